"""LoRA and prefixes: what they leave alone, what they add, and that they are the same model however they are read."""

from pathlib import Path

import pytest
from models import FAMILY, SPECIAL, small_batch, small_model, torch

from glmdata.errors import ConfigError
from glmdata.model import GLM
from glmdata.model.adapter_settings import LoRASettings, PrefixSettings, adapter_json, read_adapter
from glmdata.model.adapters import add_adapter, has_adapter, is_adapter, load_adapter, merge_lora, without_adapter
from glmdata.model.checkpoint import save_pretrained
from glmdata.model.decoding import Decoding
from glmdata.model.generation import fill_blanks
from glmdata.model.lora import LoRALinear
from glmdata.model.loss import batch_loss, trimmed
from glmdata.model.presets import preset
from glmdata.model.quantize import quantize_model
from glmdata.model.reference import export_reference
from glmdata.model.rotary import rotate
from glmdata.training.optimizer import make_optimizer

ALL = LoRASettings(rank=4, targets=["qkv", "dense", "ffn"], dropout=0.0)
ADAPTERS = [ALL, PrefixSettings(length=5, dropout=0.0), PrefixSettings(length=5, projection=True, dropout=0.0)]


def logits(model, batch):
    return model(batch["input_ids"], batch["position_ids"], batch["context_length"])


def adapted(settings, positions="learned-2d"):
    """A model with an adapter whose every number shows."""
    size = 0.05 if isinstance(settings, LoRASettings) else 2.0
    model = small_model(positions)
    add_adapter(model, settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_adapter(name):
                parameter.normal_(0.0, size)
    return model


@pytest.mark.parametrize("positions", FAMILY)
def test_lora_begins_as_the_base_to_the_last_bit(positions: str) -> None:
    batch = small_batch()
    model = small_model(positions)
    before = logits(model, batch)
    add_adapter(model, ALL)
    assert torch.equal(logits(model, batch), before)


@pytest.mark.parametrize("positions", FAMILY)
def test_merged_lora_is_lora(positions: str) -> None:
    batch = small_batch()
    model = adapted(ALL, positions)
    base = logits(small_model(positions), batch)
    found = logits(model, batch)
    assert (found - base).abs().max() > 0.01
    with without_adapter(model):
        assert torch.equal(logits(model, batch), base)
    merge_lora(model)
    assert model.state_dict().keys() == small_model(positions).state_dict().keys()
    torch.testing.assert_close(logits(model, batch), found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", ADAPTERS)
def test_only_the_adapter_has_gradients_and_decay(settings) -> None:
    model = adapted(settings)
    batch_loss(model.train(), small_batch()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == is_adapter(name) == parameter.requires_grad
        assert parameter.grad is None or parameter.grad.abs().sum() > 0
    optimizer = make_optimizer(model, weight_decay=0.5, betas=(0.9, 0.9), epsilon=1e-8)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decayed == {n: 0.0 if n.endswith("bias") else 0.5 for n in names.values() if is_adapter(n)}


@pytest.mark.parametrize("positions", FAMILY)
def test_a_prefix_is_seen_by_all_and_moves_no_position(positions: str) -> None:
    """Against softmax written out: P more keys and values in each head, before those of the text, turned by nothing."""
    model = adapted(PrefixSettings(length=5, dropout=0.0), positions)
    attention, states = model.layers[1].attention, model.prefix()
    batch = small_batch(rows=2, length=40)
    seen: dict[str, torch.Tensor] = {}
    hook = attention.register_forward_hook(lambda _, given, found: seen.update(given=given, found=found))
    logits(model, batch)
    hook.remove()
    hidden, visible, angles, _ = seen["given"]
    assert visible.shape[-2:] == (40, 45)
    assert visible[..., :5].all()
    heads = attention.query_key_value(hidden).unflatten(-1, (3, attention.num_heads, -1))
    queries, keys, values = heads.permute(2, 0, 3, 1, 4)
    if angles is not None:
        queries, keys = rotate(queries, angles), rotate(keys, angles)
    both = [
        torch.cat([old[1].expand(2, -1, -1, -1), new], 2) for old, new in ((states.keys, keys), (states.values, values))
    ]
    scores = (queries @ both[0].transpose(-1, -2) / queries.shape[-1] ** 0.5).masked_fill(~visible, -torch.inf)
    expected = attention.dense((scores.softmax(-1) @ both[1]).transpose(1, 2).flatten(2))
    torch.testing.assert_close(seen["found"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("positions", FAMILY)
@pytest.mark.parametrize("settings", ADAPTERS)
def test_cached_generation_is_full_recomputation(settings, positions: str, beams: int) -> None:
    model = adapted(settings, positions)
    prompt = [SPECIAL.cls, 4, 5, SPECIAL.mask, 7, 8, SPECIAL.gmask]
    decoding = Decoding(max_tokens=8, num_beams=beams)
    cached = fill_blanks(model, prompt, SPECIAL, decoding)
    assert cached == fill_blanks(model, prompt, SPECIAL, decoding, use_cache=False)
    with without_adapter(model):
        assert fill_blanks(model, prompt, SPECIAL, decoding) != cached


def test_activations_computed_again_give_the_same_gradients() -> None:
    found = []
    for again in (False, True):
        model = adapted(ADAPTERS[1]).train()
        model.activation_checkpointing = again
        batch_loss(model, small_batch()).backward()
        found.append(model.prefix.embedding.weight.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("settings", ADAPTERS[:2])
def test_adapters_learn_on_quantised_weights_and_leave_them_alone(settings, bits: int) -> None:
    batch, model = small_batch(), quantize_model(small_model(), bits)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = logits(model, batch)
    add_adapter(model, settings)
    with without_adapter(model):
        assert torch.equal(logits(model, batch), before)
    if isinstance(settings, LoRASettings):
        assert torch.equal(logits(model, batch), before)
        assert all(isinstance(layer.attention.dense, LoRALinear) for layer in model.layers)
    optimizer, losses = make_optimizer(model, weight_decay=0.0, betas=(0.9, 0.99), epsilon=1e-8), []
    optimizer.param_groups[0]["lr"] = 0.02
    for _ in range(20):
        loss = batch_loss(model.train(), batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    kept = {name.replace(".base.", "."): tensor for name, tensor in model.state_dict().items() if not is_adapter(name)}
    assert kept.keys() == base.keys()
    assert all(torch.equal(kept[name], base[name]) for name in base)
    found = logits(model.eval(), batch)
    merge_lora(model)  # which integers cannot take
    assert has_adapter(model)
    assert torch.equal(logits(model, batch), found)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = adapted(ADAPTERS[1])
    with pytest.raises(ConfigError, match="adapter already"):
        add_adapter(model, ALL)
    with pytest.raises(ConfigError, match="no part of a model's weights"):
        save_pretrained(model, tmp_path / "out")
    with pytest.raises(ConfigError, match="no part of a model's weights"):
        export_reference(model, "glm")
    quantised = quantize_model(small_model(), 4)
    add_adapter(quantised, ALL)
    with pytest.raises(ConfigError, match="LoRA on quantised weights is no part of a model's weights"):
        save_pretrained(quantised, tmp_path / "out")
    with pytest.raises(ConfigError, match="it lacks prefix"):
        load_adapter(model, {}, "file")
    for found in (None, {"kind": "ia3"}, {"kind": "lora", "rank": 0}, {"kind": "prefix", "ranks": 3}):
        with pytest.raises(ConfigError, match=r"config\.json: "):
            read_adapter(found, "config.json")
    for settings in ADAPTERS:
        assert read_adapter(adapter_json(settings), "config.json") == settings


def test_numbers_of_parameters() -> None:
    """On the meta device; those of docs/finetuning.md."""
    everywhere = LoRASettings(targets=["qkv", "dense", "ffn"])
    expected = [
        ("glm-base", LoRASettings(), 294_912),
        ("glm-base", everywhere, 1_179_648),
        ("glm-base", PrefixSettings(), 2_359_296),
        ("glm-base", PrefixSettings(projection=True), 14_863_104),
        ("chatglm-6b", LoRASettings(), 3_670_016),
        ("chatglm-6b", everywhere, 14_680_064),
        ("chatglm-6b", PrefixSettings(), 29_360_128),
        ("chatglm-6b", PrefixSettings(projection=True), 957_059_072),
    ]
    for name, settings, count in expected:
        model = GLM(preset(name), device="meta")
        add_adapter(model, settings)
        assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == count


def test_padding_behind_the_last_loss_has_no_part_in_it() -> None:
    model = small_model(max_positions=200)
    batch = small_batch(length=150)
    short = trimmed(batch)
    assert short["input_ids"].shape[1] < 70
    assert short["position_ids"].shape[1:] == (2, short["input_ids"].shape[1])
    torch.testing.assert_close(batch_loss(model, short), batch_loss(model, batch))
    nothing = trimmed({**batch, "loss_mask": torch.zeros_like(batch["loss_mask"])})
    assert nothing["loss_mask"].sum() == 0
