"""Losses summed by what their rows are, so that they can be added over micro-batches and ranks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glmdata.shards.schema import OBJECTIVES

__all__ = ["LossSums"]


class LossSums:
    """Sums of losses and numbers of target tokens: of all rows, by objective and by language.

    One tensor float64 [2, 1 + objectives + languages], so that ranks exchange it in one call.
    """

    def __init__(self, languages: Sequence[str], device: torch.device) -> None:
        """Nothing summed yet; `languages` are the build's."""
        self.names = ("", *OBJECTIVES, *languages)
        self.sums = torch.zeros(2, len(self.names), dtype=torch.float64, device=device)

    def add(self, losses: Tensor, weights: Tensor, objective: Tensor, language: Tensor) -> None:
        """Add n tokens: loss and weight [n], codes of their rows' objective and language int64 [n]."""
        both = torch.stack([losses.detach() * weights, weights]).double()
        self.sums[:, 0] += both.sum(1)
        self.sums.index_add_(1, 1 + objective, both)
        self.sums.index_add_(1, 1 + len(OBJECTIVES) + language, both)

    def means(self) -> dict[str, Any]:
        """`loss`, `target_tokens`, and losses by name in `objectives` and `languages`; without those not met."""
        total, count = self.sums.tolist()
        found = {
            name: loss / tokens for name, loss, tokens in zip(self.names, total, count, strict=True) if name and tokens
        }
        return {
            "loss": total[0] / count[0] if count[0] else float("nan"),
            "target_tokens": int(count[0]),
            "objectives": {name: found[name] for name in OBJECTIVES if name in found},
            "languages": {name: found[name] for name in self.names[1 + len(OBJECTIVES) :] if name in found},
        }
