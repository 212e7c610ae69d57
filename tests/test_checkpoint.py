"""Checkpoints: whole or not there, read back as they were, refused where their files do not fit."""

import json

import pytest
from corpora import document
from models import FAMILY, small_batch, small_model, torch

from glmdata.errors import BuildExistsError, ConfigError, InputError, StorageError
from glmdata.model.checkpoint import load_pretrained, read_config, save_pretrained
from glmdata.model.quantize import quantize_model, quantized_bits
from glmdata.recipe import TokenizerSettings
from glmdata.storage import whole_folder
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [document(language, index) for index in range(20) for language in ("zh", "en")]
    return Tokenizer(train_tokenizer(texts, TokenizerSettings(vocabulary_size=500)))


def logits(model):
    batch = small_batch()
    return model(*(batch[name] for name in ("input_ids", "position_ids", "context_length")))


@pytest.mark.parametrize("positions", FAMILY)
@pytest.mark.parametrize("bits", [0, 8, 4])
def test_a_model_is_read_back_as_it_was(tmp_path, positions, bits):
    model = small_model(positions)
    if bits:
        quantize_model(model, bits)
    save_pretrained(model, tmp_path / "a" / "model")
    again, tokenizer = load_pretrained(tmp_path / "a" / "model")
    assert tokenizer is None
    assert again.config == model.config
    assert quantized_bits(again) == bits
    assert not again.training
    assert torch.equal(logits(again), logits(model))
    assert all(parameter.requires_grad for parameter in again.parameters())
    assert sorted(path.name for path in (tmp_path / "a" / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model"]


def test_weights_keep_their_dtype_or_take_another(tmp_path):
    save_pretrained(small_model().bfloat16(), tmp_path / "half")
    assert {parameter.dtype for parameter in load_pretrained(tmp_path / "half").model.parameters()} == {torch.bfloat16}
    whole = load_pretrained(tmp_path / "half", dtype=torch.float32).model
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}
    save_pretrained(quantize_model(small_model(), 4), tmp_path / "few")
    few = load_pretrained(tmp_path / "few", dtype=torch.bfloat16).model
    assert few.layers[0].mlp.dense_4h_to_h.scales.dtype == torch.float16
    assert few.word_embeddings.weight.dtype == torch.bfloat16
    assert logits(few).isfinite().all()


def test_the_tokenizer_comes_along(tmp_path, tokenizer):
    save_pretrained(small_model(vocabulary_size=640), tmp_path / "model", tokenizer)
    assert load_pretrained(tmp_path / "model").tokenizer.hash == tokenizer.hash
    with pytest.raises(ConfigError, match=f"the tokenizer has {tokenizer.vocabulary_size} ids, the model 100"):
        save_pretrained(small_model(), tmp_path / "other", tokenizer)
    assert not (tmp_path / "other").exists()
    (tmp_path / "model" / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(InputError, match="not a SentencePiece model"):
        load_pretrained(tmp_path / "model")


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(BuildExistsError, match="exists already"):
        save_pretrained(small_model(), tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "stale").touch()  # of a process that was killed

    def fails():
        with whole_folder(tmp_path / "out") as beside:
            (beside / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "out") as beside:
        (beside / "one").touch()
        assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one"]
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), whole_folder(tmp_path / "file" / "out"):
        pass


def test_checkpoints_whose_files_do_not_fit_are_refused_in_one_line(tmp_path):
    folder = tmp_path / "model"
    save_pretrained(small_model(), folder)
    found = json.loads((folder / "config.json").read_text("utf-8"))

    def changed(**changes):
        return json.dumps(found | {"model": found["model"] | changes})

    cases = [
        (changed(num_layers=3), ConfigError, "another configuration: it lacks layers.2"),
        (changed(num_layers=1), ConfigError, "which the model has not"),
        (changed(vocabulary_size=101), ConfigError, r"\[100, 48\], the model \[101, 48\]"),
        (changed(num_layer=3), ConfigError, "did you mean num_layers"),
        (json.dumps(found | {"bits": 8}), ConfigError, "another configuration"),
        (json.dumps(found | {"bits": 3}), InputError, "none of 0, 4, 8"),
        (json.dumps({"hidden_size": 4}), InputError, "not the configuration of a checkpoint"),
        ("{", InputError, "cannot be read as JSON"),
    ]
    for text, error, message in cases:
        (folder / "config.json").write_text(text, "utf-8")
        with pytest.raises(error, match=message) as caught:
            load_pretrained(folder)
        assert "\n" not in str(caught.value)
    (folder / "config.json").write_text(json.dumps(found), "utf-8")
    assert read_config(folder)[0] == small_model().config
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        load_pretrained(folder)
    with pytest.raises(InputError, match=r"no config\.json; give the folder of a checkpoint"):
        load_pretrained(tmp_path)
