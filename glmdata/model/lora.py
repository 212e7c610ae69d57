"""LoRA: a linear layer with a trained update of low rank beside its frozen weight (Hu et al. 2021)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from glmdata.model.adapter_settings import LoRASettings
from glmdata.model.quantize import QuantizedLinear

__all__ = ["LoRALinear"]


class LoRALinear(nn.Module):
    """W x + b + alpha / rank B A x. A is Gaussian and B zero at first, so that the layer begins as it was."""

    def __init__(self, base: nn.Linear | QuantizedLinear, settings: LoRASettings) -> None:
        """Take over a layer, quantised or not; A and B are float32, where it is."""
        super().__init__()
        self.base = base
        self.scale = settings.alpha / settings.rank
        self.dropout = settings.dropout
        self.enabled = True
        """False: the layer is as it was."""
        place = base.weight.device
        self.lora_a = nn.Parameter(torch.empty(settings.rank, base.in_features, device=place))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, settings.rank, device=place))
        nn.init.normal_(self.lora_a, 0.0, 1 / math.sqrt(base.in_features))  # A x is as large as a feature of x

    def forward(self, features: Tensor) -> Tensor:
        """[..., columns] -> [..., rows]."""
        found: Tensor = self.base(features)
        if not self.enabled:
            return found
        seen = functional.dropout(features, self.dropout, self.training)
        return found + functional.linear(functional.linear(seen, self.lora_a), self.lora_b) * self.scale

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The layer that was taken over, the update in its weight; integers cannot take it, that layer stays as it is.

        Rounded to them, the update, which is smaller than their steps, would be lost.
        """
        if isinstance(self.base, QuantizedLinear):
            return self
        self.base.weight += (self.lora_b @ self.lora_a * self.scale).to(self.base.weight.dtype)
        return self.base
