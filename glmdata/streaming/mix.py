"""MixedStream: several builds in one stream, by weight."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.errors import ConfigError, FingerprintMismatchError
from glmdata.shards.manifest import Manifest
from glmdata.streaming.order import ORDER_VERSION, seed_of_source
from glmdata.streaming.steps import Batch, StepStream, checked_integer
from glmdata.streaming.stream import ShardStream
from glmdata.streaming.turns import Turns
from glmdata.streaming.window import WindowOption

__all__ = ["MixedStream"]


class MixedStream(StepStream):
    """Batches of several builds for one data-parallel rank, as `ShardStream` gives them of one.

    The builds take turns by a table of a few slots that repeats: over every period each has exactly its share, and in
    between it is never a whole sample off. Each build has an order of its own, a function of (seed, its place in the
    list, its own position), and goes on into its next epoch by itself, so small builds repeat while large ones last.
    Batches have one key more: source int64 [B], the place in the list.

    Position in the mix -> build and position there is arithmetic, so resuming, ranks, batch sizes and DataLoader
    workers are as with ShardStream.
    """

    def __init__(
        self,
        builds: Sequence[tuple[str | os.PathLike[str], Any]] | Mapping[str, Any],
        batch_size: int,
        *,
        seed: int = 0,
        dp_rank: int = 0,
        dp_world: int = 1,
        shuffle: bool = True,
        samples: int | None = None,
        remask: bool = False,
        window: WindowOption = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        prefetch: int | None = None,
        pin_memory: bool | None = None,
    ) -> None:
        """Open builds.

        Args:
            builds: (path or URI, weight) pairs, or a mapping of them. Weights are in samples; integers, fractions or
                decimals, of any sum.
            samples: length of the run; None never ends. The last global batch is filled with repeated rows whose
                loss_mask is zero.
            batch_size, seed, dp_rank, dp_world, shuffle, remask, window, cache_dir, cache_bytes, prefetch, pin_memory:
                as of ShardStream.

        Raises:
            ConfigError: an argument lies outside its range, or the builds do not go together.
            ShardError, StorageError: as ShardStream.
        """
        super().__init__(
            batch_size, seed=seed, dp_rank=dp_rank, dp_world=dp_world, prefetch=prefetch, pin_memory=pin_memory
        )
        pairs = _pairs(builds)
        self.samples = None if samples is None else checked_integer("samples", samples, 1, 1 << 62)
        self.shuffle, self.remask = bool(shuffle), bool(remask)
        self._turns = Turns.by_weight([weight for _, weight in pairs])
        self._streams = [
            ShardStream(
                path,
                batch_size,
                seed=seed_of_source(self.seed, number),
                shuffle=shuffle,
                remask=remask,
                window=window,
                cache_dir=cache_dir,
                cache_bytes=cache_bytes,
            )
            for number, (path, _) in enumerate(pairs)
        ]
        for stream in self._streams:
            stream.shards.mapping.share_cache(len(pairs))
        _require_alike([(stream.shards.folder, stream.shards.manifest) for stream in self._streams])

    def plan(self) -> dict[str, Any]:
        """What is ahead, from the manifests alone.

        `period` of the turns; `sources` in the order given, each with `path`, `samples` of the build, `share` of the
        mix, and how many `epochs` of it are behind at `samples_consumed`; the others as in ShardStream.plan.
        """
        steps = None if self.samples is None else -(-self.samples // self.global_batch)
        counts, period = self._turns.counts.tolist(), len(self._turns.source)
        taken = self._turns.taken(self._consumed)
        return {
            "sequence_length": self._streams[0].shards.manifest.sequence_length,
            "batch_size": self.batch_size,
            "dp_world": self.dp_world,
            "global_batch": self.global_batch,
            "samples": self.samples,
            "steps": steps,
            "padded_rows": None if steps is None or self.samples is None else steps * self.global_batch - self.samples,
            "samples_consumed": self._consumed,
            "period": period,
            "sources": [
                {
                    "path": stream.shards.folder,
                    "samples": stream.shards.rows,
                    "share": count / period,
                    "epochs": behind / stream.shards.rows,
                }
                for stream, count, behind in zip(self._streams, counts, taken, strict=True)
            ],
        }

    def state_dict(self) -> dict[str, Any]:
        """As of ShardStream; `sources` name the builds, with how many of a period's turns each has."""
        return {
            "order_version": ORDER_VERSION,
            "sources": [
                {
                    "fingerprint": stream.shards.manifest.fingerprint,
                    "turns": count,
                    "window": None if stream.window is None else list(stream.window),
                }
                for stream, count in zip(self._streams, self._turns.counts.tolist(), strict=True)
            ],
            "seed": self.seed,
            "shuffle": self.shuffle,
            "remask": self.remask,
            "samples_consumed": self._consumed,
        }

    def _require_same_data(self, state: Mapping[str, Any]) -> None:
        theirs = state["sources"]
        if not isinstance(theirs, list) or not all(isinstance(one, dict) and "fingerprint" in one for one in theirs):
            raise ConfigError("not the state of a MixedStream: its sources are no list of builds")
        found, mine = ([one["fingerprint"] for one in sources] for sources in (theirs, self.state_dict()["sources"]))
        if found != mine:
            raise FingerprintMismatchError(
                f"the state belongs to a mix of builds {', '.join(map(str, found))}, this is one of {', '.join(mine)}; "
                "give the builds that were trained on, in the same order, or start without the state"
            )

    def _total(self) -> int | None:
        return self.samples

    def _batches(self, positions: npt.NDArray[np.int64], padded: Sequence[int]) -> Iterator[Batch]:
        sources, inner = self._turns.at(positions)
        rows, epochs = np.empty_like(inner), np.empty_like(inner)
        for number, stream in enumerate(self._streams):
            mine = sources == number
            if mine.any():
                rows[mine], epochs[mine] = stream.rows_of(inner[mine])
        for chosen, epoch, source, repeated in zip(rows, epochs, sources, padded, strict=True):
            batch = self._gathered(chosen, epoch, source)
            if repeated:
                batch["loss_mask"][-repeated:] = 0
            yield batch

    def _gathered(
        self, rows: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64], sources: npt.NDArray[np.int64]
    ) -> Batch:
        """One batch, the rows of each build gathered to where they belong."""
        numbers = np.unique(sources).tolist()
        columns = self._streams[0].room(len(sources), pinned=self._pinned)
        for number in numbers:
            places = np.flatnonzero(sources == number)
            self._streams[number].fill(columns, rows[places], epochs[places], places)
        return self._streams[numbers[0]].finished(columns, {"source": sources.copy()}, pinned=self._pinned)


def _pairs(builds: Any) -> list[tuple[Any, Any]]:
    pairs = list(builds.items() if isinstance(builds, Mapping) else builds)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ConfigError(f"builds must be pairs of a path and a weight, found {pair!r}")
    return [(path, weight) for path, weight in pairs]


def _require_alike(builds: Sequence[tuple[str, Manifest]]) -> None:
    """Raise ConfigError where rows of the builds cannot stand in one batch, or their ids mean different tokens."""
    first, one = builds[0]
    for name, other in builds[1:]:
        pairs = {
            "sequence_length": (one.sequence_length, other.sequence_length),
            "tokenizer": (one.tokenizer.hash, other.tokenizer.hash),
            "special tokens": (one.tokenizer.special_tokens, other.tokenizer.special_tokens),
            "packing in segments": (one.segments, other.segments),
        }
        unlike = [f"{what} {mine} and {theirs}" for what, (mine, theirs) in pairs.items() if mine != theirs]
        if unlike:
            raise ConfigError(
                f"{first} and {name} cannot be mixed: {'; '.join(unlike)}; "
                "build them with one tokenizer and one sequence_length"
            )
