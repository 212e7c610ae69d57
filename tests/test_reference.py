"""Original checkpoints: into our model and back, and files of others that must not do harm."""

import pickle
from pathlib import Path

import pytest
from models import golden, golden_config, small_batch, small_config, small_model, torch
from safetensors.torch import save_file

from glmdata.errors import ConfigError, InputError
from glmdata.model import GLM
from glmdata.model.reference import export_reference, load_reference_file, read_tensors

KINDS = [("glm", "glm_tiny", "learned-2d"), ("chatglm-6b", "chatglm_tiny", "rotary-2d")]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("kind", "name", "positions"), KINDS)
def test_what_is_loaded_is_exported_again(kind, name, positions):
    state = golden(f"{name}_state_dict")
    model = GLM(golden_config(name, positions)).load_reference(state, kind)
    assert same(export_reference(model, kind), state)


@pytest.mark.parametrize(("kind", "positions"), [("glm", "learned-2d"), ("chatglm-6b", "rotary-2d")])
def test_what_is_exported_is_loaded_again(kind, positions):
    model = small_model(positions)
    state = export_reference(model, kind)
    again = GLM(small_config(positions)).load_reference(state, kind).eval()
    batch = small_batch()
    inputs = [batch[name] for name in ("input_ids", "position_ids", "context_length")]
    assert torch.equal(again(*inputs), model(*inputs))


@pytest.mark.parametrize("prefix", ["", "module.", "glm.", "module.glm."])
def test_prefixes_of_wrappers_are_taken_off(prefix):
    model = small_model()
    state = {prefix + name: tensor for name, tensor in export_reference(model, "glm").items()}
    assert same(GLM(small_config()).load_reference(state, "glm").state_dict(), model.state_dict())


@pytest.mark.parametrize(("kind", "positions"), [("glm", "learned-2d"), ("chatglm-6b", "rotary-2d")])
@pytest.mark.parametrize("form", ["safetensors", "pt", "module", "folder"])
def test_files_of_half_precision_are_read(tmp_path, kind, positions, form):
    model = small_model(positions)
    state = {name: tensor.half() for name, tensor in export_reference(model, kind).items()}
    path = tmp_path / f"weights.{'safetensors' if form == 'safetensors' else 'pt'}"
    if form == "safetensors":
        save_file(state, path)
    elif form == "folder":
        names = sorted(state)
        for part in range(3):
            torch.save({name: state[name] for name in names[part::3]}, tmp_path / f"pytorch_model-{part}.bin")
        path = tmp_path
    else:
        torch.save({"module": state} if form == "module" else state, path)
    loaded = load_reference_file(path, kind, small_config(positions))
    assert all(parameter.dtype == torch.float32 and parameter.requires_grad for parameter in loaded.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())


class Harm:
    """What unpickling must not run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_e1_a_file_with_code_is_refused_and_the_code_not_run(tmp_path):
    for save in (torch.save, lambda found, path: path.write_bytes(pickle.dumps(found))):
        save({"a": Harm(tmp_path / "harmed")}, tmp_path / "evil.pt")
        with pytest.raises(InputError, match=r"evil\.pt"):
            read_tensors(tmp_path / "evil.pt")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pt", "text.safetensors", "text.pt", "list.pt", "gone.pt"])
def test_damaged_files_are_named_in_one_line(tmp_path, name):
    path = tmp_path / name
    if name.startswith("cut"):
        tensors = {"a": torch.ones(1000)}
        save_file(tensors, path) if name.endswith("safetensors") else torch.save(tensors, path)
        path.write_bytes(path.read_bytes()[:900])
    elif name.startswith("text"):
        path.write_text("no tensors here\n" * 3, "utf-8")
    elif name.startswith("list"):
        torch.save([torch.ones(3)], path)
    with pytest.raises(InputError, match=name) as error:
        read_tensors(path)
    assert "\n" not in str(error.value)


def test_another_configuration_is_refused_and_the_model_left_as_it_was():
    model, other = small_model(), small_model(num_layers=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ConfigError, match="which the model has not"):
        model.load_reference(export_reference(other, "glm"), "glm")
    with pytest.raises(ConfigError, match=r"word_embeddings.weight \[90, 48\], the model \[100, 48\]"):
        model.load_reference(export_reference(small_model(vocabulary_size=90), "glm"), "glm")
    with pytest.raises(ConfigError, match="lacks position_embeddings"):
        model.load_reference(export_reference(small_model("rotary-2d"), "chatglm-6b"), "chatglm-6b")
    with pytest.raises(ConfigError, match="no reference 'bert'"):
        model.load_reference({}, "bert")
    assert same(model.state_dict(), before)


def test_models_without_an_original_are_not_exported_as_one():
    for positions, kind in (("rotary-1d", "glm"), ("learned-2d", "chatglm-6b"), ("rotary-2d", "glm")):
        with pytest.raises(ConfigError, match=f"is no {kind}"):
            export_reference(small_model(positions), kind)
