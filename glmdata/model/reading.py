"""What a model has read while it fills blanks: tokens, positions, keys and values."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glmdata.model.attention import KeyValueCache
from glmdata.model.glm import GLM

__all__ = ["Reader"]


class Reader:
    """R rows of one prompt, which differ in what was chosen; tokens are read when logits are asked for."""

    def __init__(self, model: GLM, prompt: Sequence[int], *, room: int, use_cache: bool = True) -> None:
        """One row.

        Args:
            model: the model.
            prompt: Part A.
            room: tokens that Part B will have at most.
            use_cache: False reads everything anew each time.
        """
        self.model = model
        self.context_length = len(prompt)
        self.capacity = len(prompt) + room
        self._use_cache = use_cache
        self._cache: KeyValueCache | None = None
        self._ids = torch.zeros((1, self.capacity), dtype=torch.int64)
        self._positions = torch.zeros((2, self.capacity), dtype=torch.int64)
        self._ids[0, : len(prompt)] = torch.tensor(list(prompt))
        self._positions[0, : len(prompt)] = torch.arange(len(prompt))
        self.length = len(prompt)
        self._place, self._block, self._counts_on = 0, 0, False

    def begin(self, place: int, *, counts_on: bool = False) -> None:
        """Tokens appended from here on belong to the mask at `place`.

        Their position is `place`, or with `counts_on` goes on behind it; the block position counts from 1.
        """
        self._place, self._block, self._counts_on = place, 0, counts_on

    def append(self, tokens: Tensor) -> None:
        """A token for each row, int64 [R]."""
        self._block += 1
        self._ids[:, self.length] = tokens
        self._positions[0, self.length] = self._place + (self._block if self._counts_on else 0)
        self._positions[1, self.length] = self._block
        self.length += 1

    def mark(self) -> tuple[int, int]:
        """Where the reader stands, for `rewind`; of one row."""
        return self.length, self._block

    @torch.no_grad()
    def rewind(self, mark: tuple[int, int]) -> None:
        """Go back to where `mark` was called, in the same blank, and be one row again."""
        self.length, self._block = mark
        self._ids = self._ids[:1]
        if self._cache is not None:
            self._cache.length = min(self._cache.length, self.length)
            self._cache.select(torch.zeros(1, dtype=torch.int64, device=self._cache.keys.device))

    @torch.no_grad()
    def select(self, rows: Tensor) -> None:
        """Go on with these rows, int64 [R]; a row may come several times. Tokens that were not read are kept too."""
        self._ids = self._ids[rows]
        if self._cache is not None:
            self._cache.select(rows.to(self._cache.keys.device))

    @torch.no_grad()
    def logits(self) -> Tensor:
        """What comes next: [R, V]."""
        model, weight = self.model, self.model.word_embeddings.weight
        rows, read = len(self._ids), 0
        if self._use_cache:
            if self._cache is None:
                self._cache = KeyValueCache(
                    model.config, rows, self.capacity, device=weight.device, dtype=_computing_dtype(model)
                )
            read = self._cache.length
        ids = self._ids[:, read : self.length].to(weight.device)
        positions = self._positions[:, read : self.length].to(weight.device).expand(rows, -1, -1)
        context = None if read else torch.full((rows,), self.context_length, device=weight.device)
        hidden = model.hidden_states(ids, positions, context, cache=self._cache)
        return model.logits(hidden[:, -1])


def _computing_dtype(model: GLM) -> torch.dtype:
    """The dtype of keys and values: autocast's, or that of the weights."""
    kind = model.word_embeddings.weight.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return model.word_embeddings.weight.dtype
