"""Weight-only quantisation by rows, as GLM-130B and ChatGLM-6B do it (GLM-130B paper; reference section 3).

A row of a linear layer is divided by its scale, its greatest absolute value over 127 (int8) or 7 (int4), and rounded
half to even; all in half precision, as the original. Linear layers of the blocks only: embeddings, norms, biases and
activations stay as they are.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from glmdata.errors import ConfigError, InputError
from glmdata.model.glm import GLM

__all__ = ["QuantizedLinear", "dequantize_rows", "model_bytes", "quantize_model", "quantize_rows", "quantized_bits"]

_LAYERS = ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")


def quantize_rows(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """A matrix as integers and a scale a row.

    Args:
        weight: [rows, columns], finite, at most 65,504; columns are even for 4 bits.
        bits: 8 or 4.

    Returns:
        int8 [rows, columns] for 8 bits, int8 [rows, columns / 2] for 4, even columns in the high nibble and odd ones in
        the low; and scales float16 [rows].

    Raises:
        ConfigError: other bits, or odd columns with 4 bits.
        InputError: a weight is not finite in half precision.
    """
    _check_bits(bits)
    half = weight.detach().half()
    if not half.isfinite().all():
        raise InputError("a weight is infinite or no number in half precision; it cannot be quantised")
    if bits == 4 and weight.shape[1] % 2:
        raise ConfigError(f"int4 packs pairs of columns, {weight.shape[1]} are odd; use 8 bits")
    limit = 2 ** (bits - 1) - 1
    scales = half.abs().amax(dim=1) / limit
    # Rows so small that their scale is rounded to 0, or down by much, would leave the range of the integers.
    divisors = torch.where(scales == 0, torch.ones_like(scales), scales)
    integers = (half / divisors[:, None]).round().clamp(-limit, limit).to(torch.int8)
    if bits == 4:
        integers = (integers[:, 0::2] << 4) | (integers[:, 1::2] & 15)
    return integers, scales


def dequantize_rows(integers: Tensor, scales: Tensor, bits: int) -> Tensor:
    """float16 [rows, columns]: what `quantize_rows` gave, times its scales. Raises ConfigError for other bits."""
    _check_bits(bits)
    if bits == 4:
        low = (integers << 4) >> 4  # the shift back carries the sign
        integers = torch.stack((integers >> 4, low), dim=2).flatten(1)
    return integers.half() * scales[:, None]


class QuantizedLinear(nn.Module):
    """A linear layer whose weight is integers; it is made a matrix again for each product."""

    weight: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        """Take over a layer's weight, quantised, and its bias. Raises as `quantize_rows`.

        A layer on "meta" gives one on "meta", to be filled from a checkpoint.
        """
        super().__init__()
        self.bits = bits
        self.in_features, self.out_features = linear.in_features, linear.out_features
        if linear.weight.is_meta:
            rows, columns = linear.weight.shape
            integers = torch.empty((rows, columns * bits // 8), dtype=torch.int8, device="meta")
            scales = torch.empty(rows, dtype=torch.float16, device="meta")
        else:
            integers, scales = quantize_rows(linear.weight, bits)
        self.register_buffer("weight", integers)
        self.register_buffer("scales", scales)
        self.bias = linear.bias

    def forward(self, features: Tensor) -> Tensor:
        """[..., columns] -> [..., rows], in the dtype of the features."""
        weight = dequantize_rows(self.weight, self.scales, self.bits).to(features.dtype)
        return functional.linear(features, weight, self.bias.to(features.dtype))


def quantize_model(model: GLM, bits: int) -> GLM:
    """Replace the linear layers of all blocks; the model is changed and returned.

    Raises:
        ConfigError: bits other than 8 and 4, or a model that is quantised already.
    """
    _check_bits(bits)
    if quantized_bits(model):
        raise ConfigError(f"the model has int{quantized_bits(model)} weights already; quantise the original one")
    for block in model.layers:
        for name in _LAYERS:
            parent, _, child = name.partition(".")
            part = block.get_submodule(parent)
            linear = part.get_submodule(child)
            assert isinstance(linear, nn.Linear)
            setattr(part, child, QuantizedLinear(linear, bits))
    return model


def quantized_bits(model: GLM) -> int:
    """8 or 4; 0 for a model that is not quantised."""
    return next((module.bits for module in model.modules() if isinstance(module, QuantizedLinear)), 0)


def model_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _check_bits(bits: int) -> None:
    if bits not in (4, 8):
        raise ConfigError(f"weights are quantised to 8 or 4 bits, not {bits}")
