"""`glmdata evaluate`, `quantize`, `convert`, and `export` of models, as their users run them."""

import json
import math
import signal
import sys
from pathlib import Path

import pytest
from commands import build_small, glmdata
from corpora import write_corpus
from models import small_config, small_model, torch
from safetensors.torch import load_file, save_file

from glmdata.cli.main import main
from glmdata.model import GLMConfig
from glmdata.model.checkpoint import load_pretrained, save_pretrained
from glmdata.model.loss import batch_loss
from glmdata.model.quantize import quantize_model
from glmdata.model.reference import export_reference
from glmdata.shards.reader import Shards
from glmdata.streaming import ShardStream
from glmdata.tokenization import Tokenizer

FIELDS = ("num_layers", "hidden_size", "num_heads", "vocabulary_size", "max_positions")
ORIGINALS = [("thudm-glm", "glm", "learned-2d"), ("chatglm-6b", "chatglm-6b", "rotary-2d")]


@pytest.fixture(autouse=True)
def _signals():
    """The command line has a way of its own to end; pytest keeps its."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A build, and a checkpoint of a model with its tokenizer."""
    root = tmp_path_factory.mktemp("commands")
    write_corpus(root / "corpus", 40)
    build_small(root / "corpus", root / "shards")
    manifest = Shards(root / "shards").manifest
    model = small_model(vocabulary_size=manifest.tokenizer.vocabulary_size, max_positions=manifest.sequence_length)
    save_pretrained(model, root / "model", Tokenizer.load(root / "shards" / "tokenizer.model"))
    return root


def sized(config: GLMConfig) -> list[str]:
    return [f"--model={name}={getattr(config, name)}" for name in FIELDS]


def told(*arguments: object) -> dict:
    done = glmdata(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def mean_loss(model, shards: Path, rows: tuple[int, int]) -> float:
    """The same by one batch."""
    batch = next(iter(ShardStream(shards, rows[1] - rows[0], shuffle=False, rows=rows)))
    with torch.no_grad():
        return float(batch_loss(model, batch))


@pytest.mark.parametrize("batch_size", [1, 4, 8])
def test_an_evaluation_is_the_mean_loss_of_the_rows(made, batch_size):
    """9 rows fill no whole batch of 4 or 8; what fills it up must not count."""
    rows = Shards(made / "shards").rows
    found = told(
        "evaluate", made / "model", "--shards", made / "shards", "--holdout", 9, "--batch-size", batch_size
    )  # fmt: skip
    expected = mean_loss(load_pretrained(made / "model").model, made / "shards", (rows - 9, rows))
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(expected), rel=1e-4)
    assert found["rows"] == 9
    assert found["objectives"].keys() <= {"token", "sentence", "document"}


def test_quantised_weights_are_saved_and_judged(made, tmp_path):
    shards = made / "shards"
    rows = Shards(shards).rows
    found = told(
        "quantize", made / "model", "--bits", 8, "--out", tmp_path / "int8", "--shards", shards, "--holdout", 6
    )  # fmt: skip
    plain = load_pretrained(made / "model").model
    before = mean_loss(plain, shards, (rows - 6, rows))
    after = mean_loss(quantize_model(plain, 8), shards, (rows - 6, rows))
    assert before != after
    assert found["before"]["perplexity"] == pytest.approx(math.exp(before), rel=1e-4)
    assert found["after"]["perplexity"] == pytest.approx(math.exp(after), rel=1e-4)
    assert found["after"]["layer_bytes"] < found["before"]["layer_bytes"] / 3
    assert told("evaluate", tmp_path / "int8", "--shards", shards, "--holdout", 6)["loss"] == pytest.approx(after)
    said = told("generate", tmp_path / "int8", "--prompt", "The [MASK]", "--max-tokens", 4)
    assert said["prompts"][0]["blanks"][0]["tokens"] <= 4
    again = glmdata("quantize", tmp_path / "int8", "--bits", 4, "--out", tmp_path / "int4")
    assert again.returncode == 2
    assert "int8 weights already" in again.stderr


@pytest.mark.parametrize("kind", [one[0] for one in ORIGINALS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_original_goes_through_a_checkpoint_and_back_bit_by_bit(tmp_path, kind, dtype):
    _, name, positions = next(one for one in ORIGINALS if one[0] == kind)
    state = {key: tensor.to(dtype) for key, tensor in export_reference(small_model(positions), name).items()}
    save_file(state, tmp_path / "original.safetensors")
    preset = "glm-base" if kind == "thudm-glm" else "chatglm-6b"
    flags = ["--from", kind, "--preset", preset, *sized(small_config(positions)), "--out", tmp_path / "mine"]
    assert told("convert", tmp_path / "original.safetensors", *flags)["dtype"] == str(dtype).removeprefix("torch.")
    told("export", tmp_path / "mine", "--to", kind, "--out", tmp_path / "back.safetensors")
    told("export", tmp_path / "mine", "--to", kind, "--out", tmp_path / "back.pt")
    unpickled = torch.load(tmp_path / "back.pt", weights_only=True)
    for back in (load_file(tmp_path / "back.safetensors"), unpickled.get("module", unpickled)):
        assert back.keys() == state.keys()
        for key, tensor in back.items():
            if not key.endswith("inv_freq"):  # no weights: the originals keep them in either precision
                assert tensor.dtype == dtype
                assert torch.equal(tensor, state[key]), key


def test_what_cannot_be_done_is_said_in_a_line(made, tmp_path, monkeypatch, capsys):
    model, shards = made / "model", made / "shards"
    save_pretrained(quantize_model(small_model(), 8), tmp_path / "int8")
    save_pretrained(small_model(vocabulary_size=2000), tmp_path / "short")
    save_file(export_reference(small_model(), "glm"), tmp_path / "glm.safetensors")
    (tmp_path / "there.pt").touch()
    small = ["--from", "thudm-glm", "--preset", "tiny", "--out", tmp_path / "out"]
    cases = [
        (("export", model, "--to", "chatglm-6b", "--out", tmp_path / "a.pt"), 2, "is no chatglm-6b"),
        (("export", model, "--to", "thudm-glm", "--out", tmp_path / "a.txt"), 2, "must end in .safetensors"),
        (("export", model, "--to", "thudm-glm", "--out", tmp_path / "there.pt"), 1, "exists already"),
        (("export", tmp_path / "int8", "--to", "thudm-glm", "--out", tmp_path / "a.pt"), 2, "are quantised"),
        (("export", shards, "--to", "thudm-glm", "--out", tmp_path / "a.pt"), 1, "no config.json"),
        (("convert", tmp_path / "glm.safetensors", *small), 2, "of another configuration"),
        (("convert", tmp_path / "none.pt", *small), 1, "no such file"),
        (("convert", tmp_path / "there.pt", *small), 1, "not a whole PyTorch file"),
        (("convert", model, "--from", "thudm-glm", "--out", tmp_path / "out"), 2, "--preset"),
        (("evaluate", model, "--shards", shards, "--holdout", 99_999), 2, "99999 were asked for"),
        (("evaluate", tmp_path / "short", "--shards", shards), 2, "max_positions of at least 96"),
        (("evaluate", tmp_path / "int8", "--shards", shards), 2, "token ids"),
        (("evaluate", model, "--shards", tmp_path), 1, "no finished build"),
        (("quantize", model, "--bits", 8), 2, "give --out"),
        (("quantize", model, "--bits", 8, "--out", tmp_path / "b", "--holdout", 3), 2, "--shards"),
        (("quantize", model, "--bits", 8, "--out", tmp_path / "int8"), 1, "exists already"),
    ]
    monkeypatch.setattr("sys.meta_path", [*sys.meta_path])  # a command hides libraries that later tests import
    for arguments, code, words in cases:
        monkeypatch.setattr("sys.argv", ["glmdata", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:  # in this process: sixteen starts would take a minute
            main()
        printed, said = capsys.readouterr()
        assert (ended.value.code, printed) == (code, ""), arguments
        assert words in said, arguments
        assert said.startswith("Usage: ") or (said.startswith("glmdata: ") and said.count("\n") == 1), said
    assert not (tmp_path / "out").exists()
