"""DPO: its numbers by their definition, its gradient, and a model that learns to prefer."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import glmdata
from corpora import document
from hypothesis import given, settings
from hypothesis import strategies as st
from models import small_model
from training_runs import run_alone, run_together, told

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

from glmdata.errors import ConfigError  # noqa: E402
from glmdata.model.adapter_settings import LoRASettings, PrefixSettings  # noqa: E402
from glmdata.model.adapters import add_adapter, is_adapter, without_adapter  # noqa: E402
from glmdata.model.loss import model_inputs  # noqa: E402
from glmdata.recipe import TokenizerSettings, read_settings  # noqa: E402
from glmdata.shards.reader import Shards  # noqa: E402
from glmdata.streaming import ShardStream  # noqa: E402
from glmdata.tokenization.training import train_tokenizer  # noqa: E402
from glmdata.training.choices import choice_log_probabilities  # noqa: E402
from glmdata.training.finetune import FinetuneOptions, finetune  # noqa: E402
from glmdata.training.finetune_settings import FinetuneSettings, PreferenceSettings  # noqa: E402
from glmdata.training.metrics import read_metrics  # noqa: E402
from glmdata.training.preference import Preference, preference_losses  # noqa: E402
from glmdata.training.run import TrainOptions, train  # noqa: E402
from glmdata.training.settings import TrainSettings  # noqa: E402

CPU = torch.device("cpu")
PAIRS, HELD = 240, 42
torch.set_num_threads(1)


def by_definition(h: float, chosen: PreferenceSettings) -> float:
    """The loss of one pair in plain Python."""
    if chosen.loss == "ipo":
        return (h - 1 / (2 * chosen.beta)) ** 2
    x = chosen.beta * h - chosen.margin
    right, wrong = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(x))
    return -(1 - chosen.label_smoothing) * math.log(right) - chosen.label_smoothing * math.log(wrong)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-40, 40), min_size=1, max_size=5),
    st.floats(0.01, 3),
    st.floats(0, 0.49),
    st.floats(0, 2),
    st.booleans(),
)
def test_losses_are_those_of_the_definition(
    differences: list[float], beta: float, smoothing: float, margin: float, ipo: bool
) -> None:
    more: dict[str, Any] = {"loss": "ipo"} if ipo else {"label_smoothing": smoothing, "margin": margin}
    chosen = PreferenceSettings(beta=beta, **more)
    found = preference_losses(torch.tensor(differences, dtype=torch.float64), chosen)
    assert found.tolist() == pytest.approx([by_definition(h, chosen) for h in differences], rel=1e-9, abs=1e-12)


def test_losses_are_the_published_ones() -> None:
    """Known points of DPO's equation 7, and its rearranged form in the paper's appendix B."""
    dpo = PreferenceSettings(beta=0.5)
    known = {0.0: math.log(2), 2 * math.log(3): math.log(4 / 3), -2 * math.log(3): math.log(4)}
    found = preference_losses(torch.tensor(list(known), dtype=torch.float64), dpo)
    assert found.tolist() == pytest.approx(list(known.values()), rel=1e-12)
    pi, ref = torch.randn(2, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ratios = (pi[:, 0] - pi[:, 1]) - (ref[:, 0] - ref[:, 1])
    gained = pi - ref
    expected = -torch.nn.functional.logsigmoid(0.5 * ratios)
    assert torch.allclose(preference_losses(gained[:, 0] - gained[:, 1], dpo), expected, rtol=1e-12)
    assert preference_losses(torch.tensor([5.0]), PreferenceSettings(loss="ipo", beta=0.1)).item() == 0
    assert preference_losses(torch.tensor([-900.0]), PreferenceSettings(beta=1.0)).item() == 900


@pytest.mark.parametrize("more", [{}, {"label_smoothing": 0.2, "margin": 0.5}, {"loss": "ipo"}])
def test_the_gradient_is_that_of_finite_differences(more: dict[str, Any]) -> None:
    h = torch.tensor([-3.0, -0.1, 0.0, 2.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: preference_losses(x, PreferenceSettings(beta=0.3, **more)), (h,))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs by a rule: of two answers the one in the language of the prompt is chosen."""
    folder, lines = tmp_path_factory.mktemp("preferences"), []
    for place in range(PAIRS):
        own, other = ("zh", "en") if place % 2 else ("en", "zh")
        told_of = {"prompt": document(own, place, 1), "chosen": document(own, 500 + place, 1)}
        lines.append(json.dumps({**told_of, "rejected": document(other, 900 + place, 1)}, ensure_ascii=False))
    (folder / "pairs.jsonl").write_text("\n".join(lines), "utf-8")
    sample = [document(language, place, 4) for place in range(100) for language in ("zh", "en")]
    (folder / "t.model").write_bytes(train_tokenizer(sample, TokenizerSettings(vocabulary_size=500)))
    build = ("build", "--recipe", "preference", "--corpus", folder / "pairs.jsonl", "--tokenizer", folder / "t.model")
    done = glmdata(*build, "--out", folder / "pairs", "--set", "sequence_length=128", "--address", "none")
    assert done.returncode == 0, done.stderr
    model = {"num_layers": 2, "hidden_size": 48, "num_heads": 2, "dropout": 0.1}
    first = TrainSettings(steps=10, batch_size=8, learning_rate=1e-3)
    train(TrainOptions(shards=str(folder / "pairs"), out=folder / "base", model=model, settings=first))
    return folder


def options(root: Path, out: Path, **given: Any) -> FinetuneOptions:
    chosen = {"steps": 6, "batch_size": 6, "learning_rate": 1e-3, "save_every": 2, "evaluate_every": 3} | given
    return FinetuneOptions(
        shards=str(root / "pairs"),
        out=out,
        checkpoint=root / "base",
        settings=read_settings(FinetuneSettings, "test", chosen, (), {}),
        holdout=HELD,
    )


def batch_of(root: Path, rows: int = 4) -> tuple[dict[str, Any], Any]:
    """Pairs, and a model with their vocabulary."""
    shards = Shards(str(root / "pairs"))
    size = shards.manifest.tokenizer.vocabulary_size
    batch = next(iter(ShardStream(root / "pairs", rows, choices=True)))
    return batch, small_model(vocabulary_size=size, max_positions=128, dropout=0.1)


def log_probabilities(model: Any, batch: dict[str, Any]) -> Any:
    """[B, 2] by loops, from the logits of whole rows; with a gradient."""
    found = []
    for row in range(len(batch["label"])):
        for choice in range(2):
            one = {name: batch[f"choice_{name}"][row, choice][None] for name in ("input_ids", "position_ids")}
            logits = model(**model_inputs({**one, "context_length": batch["context_length"][row : row + 1]}))[0]
            logs, targets = logits.log_softmax(-1), batch["choice_target_ids"][row, choice].tolist()
            places = np.flatnonzero(batch["choice_loss_mask"][row, choice].numpy())
            found.append(sum(logs[at, targets[at]] for at in places))
    return torch.stack(found).view(-1, 2)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"beta": 0.5, "label_smoothing": 0.1},
        {"loss": "ipo"},
        {"beta": 2.0, "margin": 1.0, "length_normalised": True, "reference_free": True},
    ],
)
def test_a_batch_has_the_loss_and_gradient_of_the_definition(root: Path, more: dict[str, Any]) -> None:
    """The gradient is that of section 4 of the paper: each answer's own, by how wrong the pair is ordered."""
    chosen = PreferenceSettings(**more)
    batch, model = batch_of(root)
    task = Preference(model, chosen, CPU)
    with torch.no_grad():
        reference = log_probabilities(copy.deepcopy(model), batch)
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    sums = task.sums()
    model.train()
    total = task.losses(model, batch, sums)
    assert model.training
    total.backward()
    mine = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    model.eval()
    policy = log_probabilities(model, batch)
    lengths = batch["choice_loss_mask"].sum(-1)
    gained = policy - (0 if chosen.reference_free else reference)
    gained = gained / lengths if chosen.length_normalised else gained
    h = (gained[:, 0] - gained[:, 1]).detach()
    expected = [by_definition(x, chosen) for x in h.tolist()]
    assert total.item() == pytest.approx(sum(expected), rel=1e-4)
    step = 1e-6
    slopes = [(by_definition(x + step, chosen) - by_definition(x - step, chosen)) / (2 * step) for x in h.tolist()]
    (torch.tensor(slopes) * (gained[:, 0] - gained[:, 1])).sum().backward()
    for name, parameter in model.named_parameters():
        if name in mine:
            scale = float(parameter.grad.abs().max())
            assert torch.allclose(mine[name], parameter.grad, rtol=1e-3, atol=2e-5 * max(scale, 1e-3)), name
    means, rewards, policy = sums.means(), chosen.beta * gained.detach(), policy.detach()
    assert means["pairs"] == 4
    assert means["target_tokens"] == int(lengths.sum())
    assert means["reward_margin"] == pytest.approx(float((rewards[:, 0] - rewards[:, 1]).mean()), abs=1e-4)
    assert means["reward_accuracy"] == pytest.approx(float((h > 0).float().mean()))
    assert means["chosen_log_probability"] == pytest.approx(float(policy[:, 0].mean()), rel=1e-5)
    assert means["rejected_log_probability"] == pytest.approx(float(policy[:, 1].mean()), rel=1e-5)
    assert means["chosen_reward"] == pytest.approx(float(rewards[:, 0].mean()), abs=1e-4)


def test_the_paper_s_gradient_weighs_by_the_wrong_order() -> None:
    h = torch.tensor([0.7, -1.3], dtype=torch.float64, requires_grad=True)
    preference_losses(h, PreferenceSettings(beta=0.4)).sum().backward()
    assert h.grad.tolist() == pytest.approx([-0.4 / (1 + math.exp(0.4 * x)) for x in (0.7, -1.3)])


@pytest.mark.parametrize("adapter", [LoRASettings(), PrefixSettings(length=4)])
def test_an_adapter_s_reference_is_its_base_without_a_copy(root: Path, adapter: Any) -> None:
    batch, model = batch_of(root)
    base = copy.deepcopy(model)
    add_adapter(model, adapter)
    task = Preference(model, PreferenceSettings(), CPU)
    assert task.model is model
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_adapter(name):
                parameter.add_(0.1)
    sums = task.sums()
    task.losses(model, batch, sums).backward()
    assert all((parameter.grad is not None) == is_adapter(name) for name, parameter in model.named_parameters())
    copied = Preference(base, PreferenceSettings(), CPU)
    assert copied.model is not base
    others = copied.sums()
    copied.losses(model, batch, others)
    assert sums.means() == others.means()
    assert sums.means()["reward_margin"] != 0
    with without_adapter(model), torch.no_grad():
        assert torch.equal(log_probabilities(model, batch), log_probabilities(base, batch))


def test_a_model_learns_what_is_preferred(root: Path, tmp_path: Path) -> None:
    """Held-out pairs too; the first step compares the model with itself."""
    last = finetune(options(root, tmp_path, steps=40, batch_size=8, evaluate_every=100))
    first = read_metrics(tmp_path)[0]
    assert (first["loss"], first["reward_accuracy"], first["reward_margin"]) == (pytest.approx(math.log(2)), 0.5, 0.0)
    held = last["evaluation"]
    assert held["pairs"] == HELD
    assert held["reward_accuracy"] > 0.9
    assert held["reward_margin"] > 0.2
    assert held["loss"] < math.log(2) - 0.1
    assert held["chosen_reward"] > held["rejected_reward"]


@pytest.mark.parametrize(("precision", "adapter"), [("bf16", "none"), ("fp16", "lora")])
def test_half_precision_learns_what_is_preferred(root: Path, tmp_path: Path, precision: str, adapter: str) -> None:
    """The model and its reference are rounded alike, so that the first step finds no difference."""
    rate = 1e-2 if adapter == "lora" else 1e-3
    given = {"steps": 20, "batch_size": 8, "evaluate_every": 100, "learning_rate": rate, "adapter": adapter}
    held = finetune(options(root, tmp_path, precision=precision, **given))["evaluation"]
    first = read_metrics(tmp_path)[0]
    assert (first["loss"], first["reward_accuracy"], first["reward_margin"]) == (pytest.approx(math.log(2)), 0.5, 0.0)
    assert held["reward_accuracy"] > 0.8
    assert held["reward_margin"] > 0.1


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_log_probabilities_of_half_precision_are_summed_in_float32(root: Path, half: Any) -> None:
    batch, model = batch_of(root)
    seen = []

    def watched(**inputs: Any) -> Any:
        seen.append(model(**inputs))
        return seen[-1]

    with torch.autocast("cpu", half), torch.no_grad():
        found = choice_log_probabilities(watched, batch)
    assert (seen[0].dtype, found.scores.dtype) == (half, torch.float32)
    there = batch["choice_loss_mask"].flatten(0, 1) != 0
    targets = batch["choice_target_ids"].flatten(0, 1)[there]
    logs = seen[0].double().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    rows = there.nonzero()[:, 0]
    expected = torch.zeros(len(there), dtype=torch.float64).index_add(0, rows, logs).view(found.scores.shape)
    assert (found.scores.double() - expected).abs().max() < 1e-4 < expected.abs().max() * torch.finfo(half).eps


@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("killed_at", [1, 3])
def test_a_killed_run_goes_on_with_the_same_losses_to_the_last_bit(
    root: Path, tmp_path: Path, killed_at: int, adapter: str
) -> None:
    class Killed(Exception):
        pass

    def kill(line: dict[str, Any]) -> None:
        if line["step"] == killed_at:
            raise Killed

    finetune(options(root, tmp_path / "whole", adapter=adapter))
    with pytest.raises(Killed):
        finetune(options(root, tmp_path / "killed", adapter=adapter), kill)
    finetune(options(root, tmp_path / "killed", adapter=adapter))
    assert told(tmp_path / "killed") == told(tmp_path / "whole")


@pytest.mark.parametrize(("parallel", "adapter"), [("ddp", "none"), ("fsdp", "lora")])
def test_two_processes_have_the_losses_of_one(root: Path, tmp_path: Path, parallel: str, adapter: str) -> None:
    """Each has the reference, a copy of its own or the base of its adapter, parts of whose layers the other has."""
    command = ["finetune", "--checkpoint", str(root / "base"), "--shards", str(root / "pairs")]
    command += ["--adapter", adapter, "--steps", "3", "--holdout", "5", "--set", "learning_rate=1e-3"]
    command += ["--set", "epsilon=1e-4", "--out"]
    run_alone(command, tmp_path / "one", "batch_size=4")
    run_together(command, tmp_path / "two", "batch_size=2", parallel)
    alone, both = told(tmp_path / "one"), told(tmp_path / "two")
    assert len(alone) == len(both) == 3
    for a, b in zip([*alone, alone[-1]["evaluation"]], [*both, both[-1]["evaluation"]], strict=True):
        assert (a["pairs"], a["target_tokens"]) == (b["pairs"], b["target_tokens"])
        assert (a["loss"], a["reward_margin"]) == pytest.approx((b["loss"], b["reward_margin"]), abs=1e-5)
    assert alone[-1]["evaluation"]["pairs"] == 5


def test_activation_checkpointing_changes_no_loss(root: Path, tmp_path: Path) -> None:
    finetune(options(root, tmp_path / "plain", steps=2))
    finetune(options(root, tmp_path / "twice", steps=2, activation_checkpointing=True))
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("plain", "twice")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_settings_that_mean_nothing_are_refused() -> None:
    for setting in ("preference.label_smoothing=0.1", "preference.margin=1.0"):
        with pytest.raises(ConfigError, match="are of loss dpo"):
            read_settings(FinetuneSettings, "test", {}, ("preference.loss=ipo", setting), {})
