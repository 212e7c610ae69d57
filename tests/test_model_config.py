"""Configurations, presets and fresh weights: as in the named models, and refused in a line where they cannot be."""

import json
import math

import pytest
from models import GOLDEN, golden, small_config, torch

from glmdata.errors import ConfigError
from glmdata.model import GLM, PRESETS, GLMConfig, preset


def test_base_has_the_tensors_of_the_original():
    golden("glm_tiny_io")
    shapes = json.loads((GOLDEN / "glm_base_state_dict_shapes.json").read_text("utf-8"))
    model, expected = GLM(PRESETS["glm-base"], device="meta"), shapes["glm-base (110M)"]["state_dict"]
    assert model.num_parameters() == 109_338_624
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == {
        name.removeprefix("transformer."): shape for name, shape in expected.items()
    }


@pytest.mark.parametrize(
    ("name", "millions"),
    [("glm-large", 335), ("glm-410m", 410), ("glm-515m", 515), ("glm-2b", 1920), ("glm-10b", 9881),
     ("glm-130b", 128_698), ("chatglm-6b", 6708)],
)  # fmt: skip
def test_large_models_are_counted_without_memory(name, millions):
    """6.71 billion stored numbers of ChatGLM-6B, 335 million of GLM-Large: reference sections 2 and 4."""
    model = GLM(PRESETS[name], device="meta")
    assert round(model.num_parameters() / 1e6) == millions
    assert all(parameter.is_meta for parameter in model.parameters())


def test_fresh_weights_are_drawn_as_the_original_draws_them():
    torch.manual_seed(0)
    model = GLM(GLMConfig(num_layers=8, hidden_size=128, num_heads=4, vocabulary_size=512, max_positions=64))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif name.endswith("layernorm.weight"):
            assert (parameter == 1).all()
        else:
            writes = name.endswith(("attention.dense.weight", "dense_4h_to_h.weight"))
            expected = 0.02 / math.sqrt(16) if writes else 0.02
            assert abs(parameter.std().item() / expected - 1) < 0.05
            assert abs(parameter.mean().item()) < 0.05 * expected


def test_deep_norm_draws_values_and_what_follows_smaller():
    torch.manual_seed(0)
    config = small_config("rotary-1d", num_layers=8, hidden_size=192, init_std=0.0052)
    model = GLM(config)
    layer = model.layers[0]
    q, k, v = layer.attention.query_key_value.weight.split(192)
    xavier = math.sqrt(2 / (192 + 192))
    for weight, expected in ((q, xavier), (k, xavier), (v, xavier / 4), (layer.attention.dense.weight, xavier / 4)):
        assert abs(weight.std().item() / expected - 1) < 0.05
    inner = layer.mlp.dense_h_to_4h.weight
    assert abs(inner.std().item() / (math.sqrt(2 / sum(inner.shape)) / 4) - 1) < 0.05
    assert abs(model.word_embeddings.weight.std().item() / 0.0052 - 1) < 0.05


def test_weights_come_of_the_seed_alone_and_later_than_meta():
    models = []
    for device in ("cpu", "meta"):
        torch.manual_seed(5)
        model = GLM(small_config(), device=device)
        if device == "meta":
            model.to_empty(device="cpu")
            model.reset_parameters()
        models.append(model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_what_a_configuration_leaves_open_is_as_in_the_named_model():
    chatglm, glm_130b, glm = (small_config(positions) for positions in ("rotary-2d", "rotary-1d", "learned-2d"))
    assert (chatglm.residual, chatglm.activation, chatglm.head) == ("deep-norm", "gelu", "separate")
    assert chatglm.residual_scale == pytest.approx(math.sqrt(56))
    assert (glm_130b.residual, glm_130b.activation, glm_130b.head) == ("deep-norm", "geglu", "tied")
    assert (glm_130b.residual_scale, glm_130b.inner_size) == (2, 128)
    assert (glm.residual, glm.activation, glm.head, glm.inner_size) == ("pre-norm", "gelu", "tied", 192)
    assert PRESETS["glm-130b"].inner_size == 32768
    assert GLMConfig.from_json(json.loads(json.dumps(chatglm.as_json()))) == chatglm
    assert preset("glm-130b", hidden_size=96, num_heads=3).inner_size == 256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, "num_layers must be an integer, 1 or more, it is 0"),
        ({"hidden_size": 50}, "gives 3 heads no equal sizes"),
        ({"positions": "rotary-2d", "hidden_size": 54}, "that 4 divides, as rotary-2d needs"),
        ({"positions": "alibi"}, "positions must be one of learned-2d"),
        ({"dropout": 1.5}, "dropout must be a number in 0 to 0.99"),
        ({"vocabulary_size": True}, "vocabulary_size must be an integer"),
    ],
)
def test_configurations_that_cannot_be_are_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as error:
        small_config(**changes)
    assert "\n" not in str(error.value)


def test_unknown_fields_and_presets_name_the_nearest():
    with pytest.raises(ConfigError, match="did you mean num_layers"):
        GLMConfig.from_json(small_config().as_json() | {"num_layer": 3})
    with pytest.raises(ConfigError, match="did you mean glm-large"):
        preset("glm-lrge")
    with pytest.raises(ConfigError, match="lacks hidden_size"):
        GLMConfig.from_json({name: value for name, value in small_config().as_json().items() if name != "hidden_size"})


def test_rows_of_another_vocabulary_or_length_are_refused():
    config = small_config()
    config.check_rows(100, 64)
    with pytest.raises(ConfigError, match="the shards have 101 token ids, the model 100"):
        config.check_rows(101, 64)
    with pytest.raises(ConfigError, match="the shards have rows of 65, the model 64 positions"):
        config.check_rows(100, 65)
