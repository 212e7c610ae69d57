"""Checkpoints of any bytes (C13): read, or refused by name; never code that runs, never the end of the process."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import small_model
from synthetic import damaged, refusal

torch = pytest.importorskip("torch")
from safetensors.torch import save  # noqa: E402

from glmdata.errors import ConfigError, InputError  # noqa: E402
from glmdata.model.checkpoint import CONFIG, config_json, load_pretrained, save_pretrained  # noqa: E402
from glmdata.model.reference import read_tensors  # noqa: E402


def saved() -> dict[str, bytes]:
    """One tensor in each kind of file."""
    import io

    room = io.BytesIO()
    torch.save({"a": torch.ones(20)}, room)
    return {"a.safetensors": save({"a": torch.ones(20), "b": torch.zeros(3, 4)}), "a.pt": room.getvalue()}


FILES = saved()


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=60)
def test_c13_weights_are_read_or_refused(tmp_path_factory, name: str, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data.draw(damaged(FILES[name]) | st.binary(max_size=50)))
    told = refusal(lambda: [tensor.sum() for tensor in read_tensors(path).values()], InputError)
    assert told is None or (name in told and "\n" not in told)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "model"
    save_pretrained(small_model(), folder)
    return folder


VALUES = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5) | st.just([])


@given(data=st.data())
@settings(max_examples=60)
def test_c13_a_configuration_with_any_value_is_refused_or_that_of_the_weights(checkpoint: Path, data) -> None:
    """Sizes that would need a terabyte among them: nothing is made before they are known to be those of the file."""
    found = config_json(small_model().config)
    field = data.draw(st.sampled_from(sorted(found["model"])))
    found["model"][field] = data.draw(VALUES)
    (checkpoint / CONFIG).write_text(json.dumps(found), "utf-8")
    told = refusal(lambda: load_pretrained(checkpoint), ConfigError, InputError)
    assert told is None or str(checkpoint) in told
