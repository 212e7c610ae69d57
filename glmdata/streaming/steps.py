"""What streams have in common: steps of an endless order, shared by ranks and workers, resumed from a number."""

import abc
import contextlib
import operator
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from glmdata.errors import ConfigError
from glmdata.streaming.ahead import Ahead
from glmdata.streaming.order import ORDER_VERSION

__all__ = ["Batch", "StepStream", "checked_integer"]

ORDER_BLOCK = 8192
"""Positions whose rows are worked out at once: numpy's cost a call is shared by that many."""
PREFETCH = 2
"""Batches that lie ready by default, while the consumer computes."""

Batch = dict[str, torch.Tensor]


class StepStream(IterableDataset[Batch], abc.ABC):
    """Batches of one data-parallel rank; `ShardStream` tells what its subclasses share."""

    def __init__(
        self,
        batch_size: int,
        *,
        seed: int,
        dp_rank: int,
        dp_world: int,
        prefetch: int | None,
        pin_memory: bool | None,
    ) -> None:
        super().__init__()
        self.batch_size = checked_integer("batch_size", batch_size, 1, 1 << 24)
        self.dp_world = checked_integer("dp_world", dp_world, 1, 1 << 24)
        self.dp_rank = checked_integer("dp_rank", dp_rank, 0, self.dp_world - 1)
        self.seed = checked_integer("seed", seed, 0, (1 << 63) - 1)
        self.prefetch = None if prefetch is None else checked_integer("prefetch", prefetch, 0, 1 << 20)
        self.pin_memory = _checked_pinning(pin_memory)
        self._pinned = False
        """Whether the running iteration makes its batches in pinned memory."""
        self._consumed = 0
        self._at_end = False

    @property
    def global_batch(self) -> int:
        """Samples of one step over all ranks."""
        return self.batch_size * self.dp_world

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as small JSON, the same on every rank."""

    @abc.abstractmethod
    def _total(self) -> int | None:
        """Samples of the whole run, if it ends."""

    @abc.abstractmethod
    def _batches(self, positions: npt.NDArray[np.int64], padded: Sequence[int]) -> Iterator[Batch]:
        """A batch for each row of positions [n, batch_size]; the last `padded` rows have no loss."""

    @abc.abstractmethod
    def _require_same_data(self, state: Mapping[str, Any]) -> None:
        """Raise FingerprintMismatchError where a state belongs to another build; `state` has all keys."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was saved, at once; nothing is replayed. An iterator already running goes on as it was.

        Raises:
            FingerprintMismatchError: the state belongs to another build.
            ConfigError: it was saved with another seed, shuffle, remask or version of the order, or is no state.
        """
        mine, kind = self.state_dict(), type(self).__name__
        if isinstance(state, Mapping):
            since = {name: mine[name] for name in ("rows",) if name in mine}
            state = {"remask": False, "window": None, **since, **state}  # of before there were such things
        missing = [key for key in mine if not isinstance(state, Mapping) or key not in state]
        if missing:
            raise ConfigError(f"not the state of a {kind}: it lacks {', '.join(missing)}")
        if state["order_version"] != ORDER_VERSION:
            raise ConfigError(
                f"the state was saved under order version {state['order_version']}, this glmdata has {ORDER_VERSION}; "
                "go on with the glmdata that saved it, or start the epoch anew"
            )
        self._require_same_data(state)
        for key in mine:
            if key != "samples_consumed" and state[key] != mine[key]:
                raise ConfigError(
                    f"the state was saved with {key}={state[key]}, this stream has {key}={mine[key]}; "
                    "make them the same"
                )
        self._consumed = checked_integer("samples_consumed", state["samples_consumed"], 0, (1 << 62) - 1)
        self._at_end = False

    def __iter__(self) -> Generator[Batch]:
        """This rank's batches from where the stream stands; in a DataLoader worker its share of them.

        Raises ShardCorruptError, ShardError naming the shard, at the first batch that needs it.
        """
        if self._at_end:
            self._consumed, self._at_end = 0, False
        worker = get_worker_info()
        index, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        self._pinned = worker is None and (torch.cuda.is_available() if self.pin_memory is None else self.pin_memory)
        made = self._numbered_batches(self._consumed, index, workers)
        ahead = self.prefetch
        if ahead is None:
            ahead = PREFETCH if worker is None else 0
        with contextlib.closing(Ahead(made, ahead) if ahead else made) as batches:
            for reached, batch in batches:
                if worker is None:
                    self._consumed = reached
                yield batch
        self._at_end = worker is None

    def _numbered_batches(self, start: int, index: int, workers: int) -> Generator[tuple[int, Batch]]:
        """Every `workers`-th batch from position `start` on, with the samples consumed once it is taken."""
        size, total = self.global_batch, self._total()
        steps = None if total is None else max(0, -(-(total - start) // size))
        per_block = max(1, ORDER_BLOCK // self.batch_size)
        first = index
        while steps is None or first < steps:
            stop = first + per_block * workers
            mine = np.arange(first, stop if steps is None else min(stop, steps), workers, dtype=np.int64)
            slices = start + mine[:, None] * size + self.dp_rank * self.batch_size + np.arange(self.batch_size)
            if total is None:
                padded = [0] * len(slices)
            else:  # those past the end repeat from the start
                padded = (slices >= total).sum(axis=1).tolist()
                slices %= total
            for step, batch in zip(mine.tolist(), self._batches(slices, padded), strict=True):
                reached = start + (step + 1) * size
                yield reached if total is None else min(reached, total), batch
            first = stop


def _checked_pinning(wanted: bool | None) -> bool | None:
    """Raises ConfigError where memory is to be pinned and cannot be."""
    if wanted and not torch.cuda.is_available():
        raise ConfigError(
            "pin_memory=True needs CUDA, and PyTorch finds none here; leave it out to have memory pinned where CUDA is"
        )
    return None if wanted is None else bool(wanted)


def checked_integer(name: str, value: Any, low: int, high: int) -> int:
    """`value` as an int (numpy's are taken, floats and booleans are not) in [low, high]. Raises ConfigError."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not low <= number <= high:
        raise ConfigError(f"{name} must be an integer in {low} to {high}, it is {value!r}")
    return number
