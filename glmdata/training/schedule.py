"""Learning rates over a run: warm-up, then cosine or linear decay to a floor, as the original has them."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Decay", "Schedule"]

Decay = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The learning rate of each step: the original's AnnealingLR (reference section 5, golden points).

    From 0 it rises to `peak` over `warmup_steps`, decays until `decay_steps`, and stays at `peak` x `final_ratio`. The
    original's linear decay goes on below zero after its last step; this one does not.
    """

    peak: float
    warmup_steps: int
    decay_steps: int
    decay: Decay = "cosine"
    final_ratio: float = 0.1

    def at(self, step: int) -> float:
        """The rate of update number `step`, the first being 1."""
        if self.warmup_steps > 0 and step <= self.warmup_steps:
            return self.peak * step / self.warmup_steps
        if self.decay == "constant":
            return self.peak
        passed = min(1.0, (step - self.warmup_steps) / max(1, self.decay_steps - self.warmup_steps))
        left = 1 - passed if self.decay == "linear" else (1 + math.cos(math.pi * passed)) / 2
        return self.peak * (self.final_ratio + (1 - self.final_ratio) * left)
