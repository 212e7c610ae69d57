"""How the next token is chosen from logits."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from glmdata.errors import ConfigError

__all__ = ["Decoding", "repeats", "sample_token", "scores"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """Settings; by default the likeliest token, one after the other."""

    max_tokens: int = 128
    """Of each blank, its end not counted."""
    temperature: float = 0.0
    """0: the likeliest token. Above: drawn, after logits are divided by it. ChatGLM-6B has 0.95."""
    top_k: int = 0
    """Drawn among so many likeliest tokens; 0: among all."""
    top_p: float = 1.0
    """Drawn among the fewest tokens that have this probability together. ChatGLM-6B has 0.7."""
    num_beams: int = 1
    """Above 1: the best of so many continuations, kept side by side."""
    length_penalty: float = 1.0
    """Of beams: their log probabilities are divided by length to this power; above 0 favours long ones."""
    no_repeat_ngram: int = 0
    """No run of so many tokens comes twice in a blank; 0: whatever comes."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        """Raises ConfigError for settings that cannot be, or that would be without effect."""
        for name, low, high in (
            ("max_tokens", 1, 1 << 20),
            ("temperature", 0, 1e3),
            ("top_k", 0, 1 << 31),
            ("top_p", 1e-6, 1),
            ("num_beams", 1, 1 << 16),
            ("length_penalty", -100, 100),
            ("no_repeat_ngram", 0, 1 << 20),
            ("seed", 0, (1 << 63) - 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigError(f"{name} must lie in {low:g} to {high:g}, it is {value!r}")
        if not self.temperature and (self.top_k or self.top_p < 1):
            raise ConfigError("top_k and top_p are for drawing tokens; give a temperature above 0 with them")
        if self.temperature and self.num_beams > 1:
            raise ConfigError("beams keep the likeliest continuations, a temperature draws; give one of both")
        if self.num_beams == 1 and self.length_penalty != 1:
            raise ConfigError("length_penalty is for beams; give num_beams above 1 with it")


def scores(logits: Tensor, banned: Tensor, repeated: Sequence[Sequence[int]]) -> Tensor:
    """Log probabilities with what may not come at -inf.

    Args:
        logits: [R, V].
        banned: int64 [n], tokens that never come.
        repeated: for each of R rows the tokens that may not come next.

    Returns:
        float32 [R, V], on the CPU; of what is left, not summing to 1.
    """
    found = logits.float().log_softmax(-1).cpu()
    found[:, banned] = -torch.inf
    for row, tokens in enumerate(repeated):
        found[row, list(tokens)] = -torch.inf
    return found


def repeats(tokens: Sequence[int], size: int) -> list[int]:
    """Tokens that would end a run of `size` tokens which is there already; none for size 0."""
    if size == 0 or len(tokens) < size:
        return []
    last = list(tokens[len(tokens) - size + 1 :])
    return [tokens[at + size - 1] for at in range(len(tokens) - size + 1) if list(tokens[at : at + size - 1]) == last]


def sample_token(found: Tensor, decoding: Decoding, generator: torch.Generator) -> int:
    """One token by `scores` [V]: the likeliest, or drawn."""
    if not decoding.temperature:
        return int(found.argmax())
    ordered, tokens = (found / decoding.temperature).sort(descending=True, stable=True)
    if decoding.top_k:
        ordered = ordered[: decoding.top_k]
    shares = ordered.softmax(-1)
    before = shares.cumsum(-1) - shares
    kept = torch.where(before < decoding.top_p, shares, torch.zeros_like(shares))
    kept[0] = shares[0]
    return int(tokens[torch.multinomial(kept, 1, generator=generator)])
