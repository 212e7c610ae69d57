"""The GLM network: the originals' numbers, who sees whom, losses, configurations, fresh weights."""

import json
import math

import pytest
from models import FAMILY, GOLDEN, IDS, SPECIAL, golden, golden_config, small_batch, small_config, small_model, torch

from glmdata.model import GLM
from glmdata.model.attention import visibility
from glmdata.model.loss import batch_loss, loss, token_losses
from glmdata.model.rotary import inverse_frequencies, one_row


def inputs_of(batch):
    return {name: batch[name] for name in ("input_ids", "position_ids", "context_length")}


def golden_glm():
    return GLM(golden_config("glm_tiny", "learned-2d")).load_reference(golden("glm_tiny_state_dict"), "glm").eval()


def chatglm_context(io):
    """Part A's lengths, read off the mask that ChatGLM-6B's code made."""
    rows, _, queries, keys = io["attention_mask_shape"].tolist()
    bits = (io["attention_mask_true_is_masked"][..., None] >> torch.arange(7, -1, -1)) & 1
    return (bits.flatten(2)[..., :keys].reshape(rows, queries, keys)[:, 0] == 0).sum(-1)


def test_logits_losses_and_gradients_are_those_of_glm():
    io, model = golden("glm_tiny_io"), golden_glm()
    logits = model(io["input_ids"], io["position_ids"], io["sep"])
    real = torch.arange(80) < (io["sep"] + io["loss_mask"].sum(1).long())[:, None]

    assert (logits - io["logits"])[real].abs().max() <= 2e-5
    off = (token_losses(logits, io["targets"]) - io["per_token_loss"])[io["loss_mask"] > 0].abs()
    assert off.max() <= 2e-5
    batch = {"input_ids": io["input_ids"], "position_ids": io["position_ids"], "context_length": io["sep"]}
    mean = batch_loss(model, batch | {"target_ids": io["targets"], "loss_mask": io["loss_mask"]})
    assert abs(mean.item() - io["loss"]) <= 2e-6
    mean.backward()
    norms = json.loads((GOLDEN / "glm_tiny_meta.json").read_text("utf-8"))["grad_l2"]
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert len(gradients) == len(norms)
    for name, norm in norms.items():
        ours = gradients[name.removeprefix("transformer.")]
        assert abs(ours.double().norm().item() - norm) <= 1e-5
        if f"grad/{name}" in io:
            assert (ours - io[f"grad/{name}"]).abs().max() <= 1e-5


def test_hidden_states_between_layers_are_those_of_glm():
    io, model = golden("glm_tiny_io"), golden_glm()
    found = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    model(io["input_ids"], io["position_ids"], io["sep"])
    for place, hidden in enumerate(found):
        assert (hidden - io[f"hidden_after_layer_{place}"])[:, :50].abs().max() <= 2e-5


def test_logits_and_loss_are_those_of_chatglm():
    io = golden("chatglm_tiny_io")
    model = GLM(golden_config("chatglm_tiny", "rotary-2d")).eval()
    model.load_reference(golden("chatglm_tiny_state_dict"), "chatglm-6b")
    logits = model(io["input_ids"], io["position_ids"], chatglm_context(io))
    real = torch.arange(23) < io["lengths"][:, None]

    assert (logits - io["logits"])[real].abs().max() <= 2e-5
    targets = torch.nn.functional.pad(io["labels"][:, 1:], (0, 1), value=-100)  # its trainer shifts, our shards do
    mask = (targets != -100).float()
    assert abs(loss(logits, targets.clamp(min=0), mask).item() - io["loss"]) <= 2e-6


def test_rotary_positions_in_one_row_are_those_of_the_original():
    """ChatGLM-6B's code has GLM-130B's positions as an option: [gMASK] counts on, [MASK] stays."""
    io = golden("chatglm_tiny_io")
    config = golden_config(
        "chatglm_tiny", "rotary-1d", activation="gelu", inner_size=256, head="separate", residual_scale=math.sqrt(56)
    )
    model = GLM(config).load_reference(golden("chatglm_tiny_state_dict"), "chatglm-6b").eval()
    positions = one_row(io["position_ids"], io["input_ids"], 501)
    logits = model(io["input_ids"], positions, chatglm_context(io))[:, ::6]

    assert (logits - io["logits_rope_1d"]).abs().max() <= 2e-5
    assert torch.equal(inverse_frequencies(8), io["inv_freq_fp16_rounded"])


def by_the_paper(model, ids, positions, context):
    """GLM-130B as its paper states it, one row: x = LN(alpha x + f(x)), rotations as products of complex numbers."""
    weights, config = model.state_dict(), model.config
    half, alpha = config.head_size // 2, math.sqrt(2 * config.num_layers)
    turns = torch.polar(torch.ones(len(ids), half), positions[:, None] * inverse_frequencies(config.head_size))

    def norm(x, name):
        deviation = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        return deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def turn(x):
        turned = torch.complex(x[:, :half], x[:, half:]) * turns
        return torch.cat([turned.real, turned.imag], 1)

    x = norm(weights["word_embeddings.weight"][ids], "layers.0.input_layernorm")
    for layer in range(config.num_layers):
        at = f"layers.{layer}"
        parts = linear(x, f"{at}.attention.query_key_value").split(config.head_size, dim=1)
        mixed = []
        for head in range(config.num_heads):
            q, k, v = parts[head], parts[head + config.num_heads], parts[head + 2 * config.num_heads]
            scores = turn(q) @ turn(k).T / math.sqrt(config.head_size)
            for row in range(len(ids)):
                scores[row, max(row + 1, context) :] = -math.inf
            mixed.append(scores.softmax(1) @ v)
        x = norm(alpha * x + linear(torch.cat(mixed, 1), f"{at}.attention.dense"), f"{at}.post_attention_layernorm")
        first, second = linear(x, f"{at}.mlp.dense_h_to_4h").chunk(2, dim=1)
        inner = first * second * (1 + torch.erf(second / math.sqrt(2))) / 2
        following = f"layers.{layer + 1}.input_layernorm" if layer + 1 < config.num_layers else "final_layernorm"
        x = norm(alpha * x + linear(inner, f"{at}.mlp.dense_4h_to_h"), following)
    return x @ weights["word_embeddings.weight"].T


def test_glm_130b_is_as_its_paper_states_it():
    model, batch = small_model("rotary-1d", num_layers=3), small_batch()
    logits = model(**inputs_of(batch))
    for row in range(4):
        stated = by_the_paper(
            model, batch["input_ids"][row], batch["position_ids"][row, 0], int(batch["context_length"][row])
        )
        assert (logits[row] - stated).abs().max() < 1e-4 * stated.abs().max()


def test_one_row_of_positions_is_the_same_in_segments():
    batch = small_batch(3, 36)
    ids = batch["input_ids"]
    ids[1][ids[1] == IDS["mask_id"]] = SPECIAL.gmask
    alone = one_row(batch["position_ids"], ids, SPECIAL.gmask)
    assert torch.equal(alone[0], batch["position_ids"][0, 0])
    counted = batch["position_ids"][1].sum(0)
    assert torch.equal(alone[1], counted)
    packed = one_row(
        batch["position_ids"].transpose(0, 1).reshape(1, 2, -1),
        ids.reshape(1, -1),
        SPECIAL.gmask,
        torch.arange(3).repeat_interleave(36)[None],
    )
    assert torch.equal(packed, alone.reshape(1, -1))
    model = small_model("rotary-1d")
    expected = batch_loss(model, batch | {"position_ids": alone})
    assert torch.equal(batch_loss(model, batch, gmask_id=SPECIAL.gmask), expected)
    assert not torch.equal(batch_loss(model, batch), expected)


@pytest.mark.parametrize("positions", FAMILY)
def test_padding_and_later_tokens_are_not_seen_and_part_a_is(positions):
    model, batch = small_model(positions), small_batch()
    logits = model(**inputs_of(batch))
    context = batch["context_length"]
    for row in range(len(context)):
        for place in range(40):
            changed = {name: tensor.clone() for name, tensor in inputs_of(batch).items()}
            changed["input_ids"][row, place] = (changed["input_ids"][row, place] + 1) % 90
            moved = (model(**changed) - logits).abs().amax(-1) > 1e-6
            assert not moved[torch.arange(4) != row].any()
            seen = torch.arange(40) >= (0 if place < context[row] else place)
            assert torch.equal(moved[row], seen)


def test_segments_are_as_if_each_stood_in_a_row_of_its_own():
    for positions in FAMILY:
        model, batch = small_model(positions), small_batch(2, 40)
        lengths = batch["context_length"] + batch["loss_mask"].sum(1).long()
        alone = model(**inputs_of(batch))
        size = int(lengths.sum())
        ids, places = torch.zeros(1, size + 4, dtype=torch.int64), torch.zeros(1, 2, size + 4, dtype=torch.int64)
        segments, ends = torch.full((1, size + 4), 2), torch.full((1, size + 4), size + 4)
        start = 0
        for row, length in enumerate(lengths.tolist()):
            stop = start + length
            ids[0, start:stop] = batch["input_ids"][row, :length]
            places[0, :, start:stop] = batch["position_ids"][row, :, :length]
            segments[0, start:stop], ends[0, start:stop] = row, start + batch["context_length"][row]
            start = stop
        packed = model(
            ids, places, batch["context_length"][:1], segment_ids=segments, segment_context_ends=ends
        )  # fmt: skip
        first, second = lengths.tolist()
        assert torch.allclose(packed[0, :first], alone[0, :first], atol=1e-5)
        assert torch.allclose(packed[0, first:size], alone[1, :second], atol=1e-5)


def test_visibility_is_its_definition():
    context, segments = torch.tensor([3, 0]), torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 2, 2]])
    ends = torch.tensor([[1, 1, 4, 4, 4], [0, 3, 3, 3, 3]])
    plain, packed = visibility(5, context), visibility(5, None, segments, ends)
    for row, q, k in ((row, q, k) for row in range(2) for q in range(5) for k in range(5)):
        assert bool(plain[row, 0, q, k]) == (k <= q or k < context[row])
        same = bool(segments[row, q] == segments[row, k])
        assert bool(packed[row, 0, q, k]) == (same and (k <= q or bool(k < ends[row, q])))
    later = visibility(2, past=3)
    assert later.shape == (1, 1, 2, 5)
    assert later[0, 0].tolist() == [[True] * 4 + [False], [True] * 5]


@pytest.mark.parametrize("positions", FAMILY)
def test_logits_only_where_there_is_a_loss_are_the_same(positions):
    model, batch = small_model(positions), small_batch()
    everywhere = model(**inputs_of(batch))
    chosen = model(**inputs_of(batch), loss_mask=batch["loss_mask"])
    assert torch.allclose(chosen, everywhere[batch["loss_mask"] > 0], atol=1e-6)
    whole = loss(everywhere, batch["target_ids"], batch["loss_mask"])
    assert torch.allclose(batch_loss(model, batch), whole, atol=1e-6)
    by_hand = -everywhere.log_softmax(-1).gather(2, batch["target_ids"][..., None])[..., 0]
    assert torch.allclose(whole, by_hand[batch["loss_mask"] > 0].mean(), atol=1e-6)


def test_losses_of_micro_batches_add_up_to_that_of_the_batch():
    model, batch = small_model(), small_batch(6)
    whole = batch_loss(model, batch)
    whole.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    total, divisor = 0.0, batch["loss_mask"].sum()
    for part in (slice(0, 1), slice(1, 6)):
        share = batch_loss(model, {name: tensor[part] for name, tensor in batch.items()}, divisor=divisor)
        share.backward()
        total += share.item()
    assert abs(total - whole.item()) < 1e-6
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_rows_without_loss_give_zero_and_no_nan():
    model, batch = small_model(), small_batch()
    found = batch_loss(model, batch | {"loss_mask": torch.zeros_like(batch["loss_mask"])})
    found.backward()
    assert found.item() == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("positions", FAMILY)
def test_layers_computed_twice_give_the_same_gradients(positions):
    batch, gradients = small_batch(), []
    for twice in (False, True):
        model = small_model(positions).train()
        model.activation_checkpointing = twice
        batch_loss(model, batch).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("positions", FAMILY)
def test_bfloat16_by_autocast_is_near(positions):
    model, batch = small_model(positions), small_batch()
    exact = batch_loss(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = batch_loss(model, batch)
    assert near.dtype == torch.float32
    assert abs(near - exact) < 0.02 * exact


def test_a_model_learns_to_fill_its_blanks():
    torch.manual_seed(3)
    model, batch = GLM(small_config()), small_batch()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        found = batch_loss(model, batch)
        found.backward()
        optimizer.step()
    assert found.item() < 0.5  # chance is 4.6


def test_embedding_gradients_shrink_and_nothing_else_changes():
    batch, gradients, losses = small_batch(), [], []
    for scale in (1.0, 0.1):
        model = small_model("rotary-2d", embedding_gradient_scale=scale)
        found = batch_loss(model, batch)
        found.backward()
        losses.append(found.item())
        gradients.append(model.word_embeddings.weight.grad)
    assert abs(losses[0] - losses[1]) < 1e-5
    assert torch.allclose(gradients[1], gradients[0] * 0.1, atol=1e-6)


def test_dropout_works_while_training_and_not_otherwise():
    batch = small_batch()
    model = small_model(dropout=0.5)
    assert torch.equal(model(**inputs_of(batch)), model(**inputs_of(batch)))
    model.train()
    assert not torch.equal(model(**inputs_of(batch)), model(**inputs_of(batch)))
