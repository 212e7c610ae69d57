"""Quantised weights: the original's integers and scales, and models of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import FAMILY, golden, small_batch, small_model, torch

from glmdata.errors import ConfigError, InputError
from glmdata.model.loss import batch_loss
from glmdata.model.quantize import dequantize_rows, model_bytes, quantize_model, quantize_rows, quantized_bits


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_and_scales_are_the_originals(bits):
    io = golden("quantization")
    integers, scales = quantize_rows(io["weight_fp16"], bits)
    assert torch.equal(integers, io[f"int{bits}_weight"])
    assert torch.equal(scales, io[f"int{bits}_scale_fp16"])
    assert torch.equal(dequantize_rows(integers, scales, bits), io[f"int{bits}_dequant_fp16"])


def plain(weight, bits):
    """Row by row in numpy's half precision."""
    limit = 2 ** (bits - 1) - 1
    found, scales = [], []
    for row in weight.astype(np.float16):
        scale = np.float16(np.abs(row).max() / np.float16(limit))
        values = [int(np.clip(np.round(value / scale), -limit, limit)) if scale else 0 for value in row]
        if bits == 4:
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [np.uint8((high << 4 | low & 15) & 255).view(np.int8) for high, low in pairs]
        found.append(values)
        scales.append(scale)
    return np.array(found, np.int8), np.array(scales)


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([8, 4]), st.integers(-8, 4), st.integers(0, 1 << 30))
def test_rows_are_quantised_as_by_plain_arithmetic(rows, pairs, bits, power, seed):
    """Down to rows of subnormal numbers, where scales lose their digits."""
    weight = (np.random.default_rng(seed).standard_normal((rows, 2 * pairs)) * 10.0**power).astype(np.float32)
    integers, scales = quantize_rows(torch.from_numpy(weight), bits)
    with np.errstate(all="ignore"):
        expected = plain(weight, bits)
    assert np.array_equal(integers.numpy(), expected[0])
    assert np.array_equal(scales.numpy(), expected[1])


@given(st.sampled_from([8, 4]), st.integers(0, 1 << 30))
def test_no_weight_moves_by_more_than_half_a_step(bits, seed):
    weight = torch.from_numpy(np.random.default_rng(seed).standard_normal((6, 10)).astype(np.float16))
    integers, scales = quantize_rows(weight, bits)
    moved = (dequantize_rows(integers, scales, bits).float() - weight.float()).abs()
    assert (moved <= scales.float()[:, None] * 0.5 + weight.float().abs().amax(1, keepdim=True) * 2e-3).all()


def test_rows_of_zeros_stay_zeros():
    for bits in (8, 4):
        integers, scales = quantize_rows(torch.zeros(2, 4), bits)
        assert not integers.any()
        assert not dequantize_rows(integers, scales, bits).any()


@pytest.mark.parametrize("positions", FAMILY)
@pytest.mark.parametrize(("bits", "worst"), [(8, 0.02), (4, 0.4)])
def test_models_of_few_bits_stay_near_in_less_memory(positions, bits, worst):
    batch, model = small_batch(), small_model(positions)
    before, size = batch_loss(model, batch).item(), model_bytes(model)
    outside = model_bytes(model) - model_bytes(model.layers)
    weights = sum(parameter.numel() for name, parameter in model.layers.named_parameters() if parameter.dim() == 2)
    rest = sum(parameter.numel() for parameter in model.layers.parameters() if parameter.dim() == 1)
    assert size == outside + 4 * (weights + rest)
    assert quantize_model(model, bits) is model
    assert quantized_bits(model) == bits
    after = batch_loss(model, batch).item()
    assert 0 < abs(after - before) < worst * before
    scales = sum(buffer.numel() for name, buffer in model.layers.named_buffers() if name.endswith("scales"))
    assert model_bytes(model) == outside + weights * bits // 8 + 4 * rest + 2 * scales


def test_a_quantised_layer_is_the_product_with_its_weight():
    model = quantize_model(small_model(), 8)
    layer = model.layers[0].mlp.dense_h_to_4h
    features = torch.randn(3, 48)
    weight = layer.weight.float() * layer.scales.float()[:, None]
    assert torch.allclose(layer(features), features @ weight.T + layer.bias, atol=1e-2)


def test_what_cannot_be_quantised_is_refused():
    with pytest.raises(ConfigError, match="8 or 4 bits, not 2"):
        quantize_model(small_model(), 2)
    with pytest.raises(ConfigError, match="int8 weights already"):
        quantize_model(quantize_model(small_model(), 8), 4)
    with pytest.raises(ConfigError, match="3 are odd"):
        quantize_rows(torch.ones(2, 3), 4)
    for value in (float("nan"), float("inf"), 1e6):
        with pytest.raises(InputError, match="in half precision"):
            quantize_rows(torch.full((2, 2), value), 8)
