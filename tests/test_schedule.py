"""Learning rates against those of the original."""

import itertools
import json

import pytest
from corpora import SHARED
from hypothesis import given
from hypothesis import strategies as st

from glmdata.training.schedule import Schedule


def test_rates_are_those_of_the_original():
    path = SHARED / "golden" / "lr_schedule.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    points = 0
    for case in json.loads(path.read_text("utf-8"))["cases"]:
        steps = case["lr_decay_iters"]
        schedule = Schedule(
            peak=case["start_lr"],
            warmup_steps=int(case["warmup"] * steps),
            decay_steps=steps,
            decay=case["style"],
            final_ratio=case["lr_decay_ratio"],
        )
        for step, rate in case["lr_at_step"].items():
            wanted = max(rate, case["start_lr"] * case["lr_decay_ratio"]) if int(step) > steps else rate
            assert schedule.at(int(step)) == pytest.approx(wanted, rel=1e-12), (case["style"], step)
            points += 1
    assert points == 27


@given(
    st.sampled_from(["cosine", "linear", "constant"]),
    st.integers(0, 50),
    st.integers(1, 200),
    st.floats(0, 1),
)
def test_rates_rise_then_fall_and_are_never_negative(decay, warmup, steps, final):
    schedule = Schedule(peak=3e-4, warmup_steps=warmup, decay_steps=steps, decay=decay, final_ratio=final)
    rates = [schedule.at(step) for step in range(2 * steps + 60)]
    assert min(rates) >= 0
    assert max(rates) <= 3e-4 * (1 + 1e-12)
    behind = rates[warmup + 1 :]
    assert all(later <= rate * (1 + 1e-12) for rate, later in itertools.pairwise(behind))
    assert decay == "constant" or rates[-1] == pytest.approx(3e-4 * final)
