"""ShardStream: a build as batches of tensors, in an order any number of ranks and workers agree on."""

import operator
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.errors import ConfigError, FingerprintMismatchError, ShardError
from glmdata.infilling.segments import find_segments, token_segments
from glmdata.shards.reader import Shards
from glmdata.streaming.order import ORDER_VERSION, rows_at

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError('ShardStream needs PyTorch: pip install "glmdata[train]"') from error

__all__ = ["ShardStream"]

ORDER_BLOCK = 8192
"""Positions whose rows are worked out at once: numpy's cost a call is shared by that many."""

Batch = dict[str, torch.Tensor]


class ShardStream(IterableDataset[Batch]):
    """Batches of a finished build for one data-parallel rank.

    B = batch_size, L = the build's sequence_length. A batch is a dict of tensors, each new and the caller's own:
    input_ids, target_ids int64 [B, L]; loss_mask float32 [B, L]; position_ids int64 [B, 2, L] (position, block
    position); context_length, sample_id int64 [B]. Targets are shifted already: the loss is cross entropy of the logits
    with target_ids, times loss_mask, over its sum. Query q sees key k where ``k <= q or k < context_length``.

    Builds that pack documents as segments have two more, int64 [B, L]: segment_ids, and segment_context_ends, where the
    Part A of a token's segment ends. Query q sees key k where ``segment_ids[q] == segment_ids[k] and (k <= q or
    k < segment_context_ends[q])``; context_length is that of the first segment.

    The global batch is batch_size x dp_world consecutive positions of one endless order, a function of
    (seed, epoch, position); rank r takes its r-th contiguous slice. Without `epochs` the stream runs on into the next
    epoch inside a batch, for ever; with `epochs` it ends, its last global batch filled with repeated rows whose
    loss_mask is zero. So every rank has the same number of batches, and every sample comes exactly once an epoch.

    With `remask` the rows of each epoch but the first are masked anew by the build's own rules, a pure function of
    (the build's seed, epoch, sample id); `seed` here orders and has no part in it. See glmdata.infilling.remask.

    Iterating begins where the stream stands and moves it on; a stream with `epochs` that was read to its end begins
    again. Iterate it once at a time.

    Under a DataLoader pass ``batch_size=None``; with workers, worker w makes every W-th whole batch, and the order
    stays the same. The workers work on copies, so **this stream then does not see what was delivered**: count batches
    yourself and save ``stream.state_dict()`` with ``samples_consumed`` raised by batches x batch_size x dp_world; every
    iteration of such a loader begins where the stream stood when the workers started, so iterate it once.
    Without workers (num_workers=0, or no DataLoader) `state_dict` is exact.

    Nothing but the manifest is read before the first batch; a pickled stream holds no data. Never touches
    torch.distributed: give the rank among data-parallel peers, so that tensor-parallel peers get the same rows.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        batch_size: int,
        *,
        seed: int = 0,
        dp_rank: int = 0,
        dp_world: int = 1,
        shuffle: bool = True,
        epochs: int | None = None,
        remask: bool = False,
    ) -> None:
        """Open a build's folder.

        Args:
            path: folder with manifest.json.
            batch_size: rows of one rank's batch.
            seed: of the order, in [0, 2**63).
            dp_rank: which data-parallel rank this is.
            dp_world: how many there are.
            shuffle: False gives the shards' own order, every epoch.
            epochs: passes over the build; None never ends.
            remask: whether each epoch has masks of its own; epoch 0 has those of the build.

        Raises:
            ConfigError: an argument lies outside its range.
            ShardError: `path` holds no finished build, or one without samples.
        """
        super().__init__()
        self.batch_size = _integer("batch_size", batch_size, 1, 1 << 24)
        self.dp_world = _integer("dp_world", dp_world, 1, 1 << 24)
        self.dp_rank = _integer("dp_rank", dp_rank, 0, self.dp_world - 1)
        self.seed = _integer("seed", seed, 0, (1 << 63) - 1)
        self.epochs = None if epochs is None else _integer("epochs", epochs, 1, 1 << 31)
        self.shuffle, self.remask = bool(shuffle), bool(remask)
        self._shards = Shards(path)
        if self._shards.rows == 0:
            raise ShardError(f"{path} holds no samples")
        self._consumed = 0
        self._at_end = False
        self.reduced_tokens = 0
        """Tokens that fresh masks made here were to hide and that found no room in their row."""

    @property
    def global_batch(self) -> int:
        """Samples of one step over all ranks."""
        return self.batch_size * self.dp_world

    def plan(self) -> dict[str, Any]:
        """What is ahead, from the manifest alone.

        `samples` of the build; `global_batch`; `steps_per_epoch` (a step may reach into the next epoch, so it is a
        fraction); with `epochs` also `steps` of the whole run and `padded_rows` in its last global batch (None
        without); `samples_consumed` and `epoch` (0-based) where the stream stands.
        """
        samples, total = self._shards.rows, self._total()
        steps = None if total is None else -(-total // self.global_batch)
        return {
            "samples": samples,
            "sequence_length": self._shards.manifest.sequence_length,
            "batch_size": self.batch_size,
            "dp_world": self.dp_world,
            "global_batch": self.global_batch,
            "epochs": self.epochs,
            "steps_per_epoch": samples / self.global_batch,
            "steps": steps,
            "padded_rows": None if steps is None or total is None else steps * self.global_batch - total,
            "samples_consumed": self._consumed,
            "epoch": self._consumed // samples,
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as small JSON, the same on every rank.

        `samples_consumed` counts samples over all ranks since the start of training, up to the batch handed out last.
        Any rank's state serves any number of ranks and any batch size; with DataLoader workers see the class.
        """
        return {
            "order_version": ORDER_VERSION,
            "fingerprint": self._shards.manifest.fingerprint,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "remask": self.remask,
            "samples_consumed": self._consumed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was saved, at once; nothing is replayed. An iterator already running goes on as it was.

        Raises:
            FingerprintMismatchError: the state belongs to another build.
            ConfigError: it was saved with another seed, shuffle, remask or version of the order, or is no state.
        """
        mine = self.state_dict()
        if isinstance(state, Mapping):
            state = {"remask": False, **state}  # states saved before there was such a thing
        missing = [key for key in mine if not isinstance(state, Mapping) or key not in state]
        if missing:
            raise ConfigError(f"not the state of a ShardStream: it lacks {', '.join(missing)}")
        if state["order_version"] != ORDER_VERSION:
            raise ConfigError(
                f"the state was saved under order version {state['order_version']}, this glmdata has {ORDER_VERSION}; "
                "go on with the glmdata that saved it, or start the epoch anew"
            )
        if state["fingerprint"] != mine["fingerprint"]:
            raise FingerprintMismatchError(
                f"the state belongs to build {state['fingerprint']}, {self._shards.folder} is {mine['fingerprint']}; "
                "give the build that was trained on, or start without the state"
            )
        for key in ("seed", "shuffle", "remask"):
            if state[key] != mine[key]:
                raise ConfigError(
                    f"the state was saved with {key}={state[key]}, this stream has {key}={mine[key]}; "
                    "make them the same"
                )
        self._consumed = _integer("samples_consumed", state["samples_consumed"], 0, (1 << 62) - 1)
        self._at_end = False

    def __iter__(self) -> Iterator[Batch]:
        """This rank's batches from where the stream stands; in a DataLoader worker its share of them.

        Raises ShardCorruptError, ShardError naming the shard, at the first batch that needs it.
        """
        if self._at_end:
            self._consumed, self._at_end = 0, False
        worker = get_worker_info()
        index, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        start, size, total = self._consumed, self.global_batch, self._total()
        steps = None if total is None else max(0, -(-(total - start) // size))
        per_block = max(1, ORDER_BLOCK // self.batch_size)
        first = index
        while steps is None or first < steps:
            stop = first + per_block * workers
            mine = np.arange(first, stop if steps is None else min(stop, steps), workers, dtype=np.int64)
            slices = start + mine[:, None] * size + self.dp_rank * self.batch_size + np.arange(self.batch_size)
            rows, epochs = self._rows(slices)
            for step, positions, chosen, epoch in zip(mine.tolist(), slices, rows, epochs, strict=True):
                batch = self._gather(chosen, epoch, 0 if total is None else int((positions >= total).sum()))
                if worker is None:
                    reached = start + (step + 1) * size
                    self._consumed = reached if total is None else min(reached, total)
                yield batch
            first = stop
        self._at_end = worker is None

    def _total(self) -> int | None:
        return None if self.epochs is None else self.epochs * self._shards.rows

    def _rows(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows and epochs at positions of any shape; those past the end repeat from the start."""
        total = self._total()
        flat = positions.ravel() if total is None else positions.ravel() % total
        rows = rows_at(flat, seed=self.seed, size=self._shards.rows, shuffle=self.shuffle)
        return rows.reshape(positions.shape), (flat // self._shards.rows).reshape(positions.shape)

    def _gather(self, rows: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64], padded: int) -> Batch:
        """One batch, its last `padded` rows without loss: one gather straight into the tensors' memory."""
        length = self._shards.manifest.sequence_length
        ids, targets = (np.empty((len(rows), length), np.int64) for _ in range(2))
        positions = np.empty((len(rows), 2, length), np.int64)
        loss_mask = np.empty((len(rows), length), np.float32)
        context, samples = (np.empty(len(rows), np.int64) for _ in range(2))
        columns: dict[str, npt.NDArray[Any]] = {
            "input_ids": ids,
            "target_ids": targets,
            "loss_mask": loss_mask,
            "position_ids": positions[:, 0],
            "block_position_ids": positions[:, 1],
            "context_length": context,
            "sample_id": samples,
        }
        segments = self._shards.manifest.segments
        if segments:
            columns["length"] = np.empty(len(rows), np.int64)
        if self._shards.compact or (self.remask and epochs.any()):
            lengths, samples[:] = self._lay_out(rows, epochs, (ids, targets, loss_mask, positions))
            for name, found in zip(("context_length", "length"), lengths, strict=True):
                if name in columns:
                    columns[name][:] = found
        else:
            self._shards.take(rows, out=columns)
        if padded:
            loss_mask[-padded:] = 0
        block_position_ids = columns.pop("block_position_ids")
        columns["position_ids"] = positions
        if segments:
            found = find_segments(ids, block_position_ids, columns.pop("length"), self._shards.style)
            both = token_segments(found, len(rows), length)
            columns["segment_ids"], columns["segment_context_ends"] = both
        return {name: torch.from_numpy(array) for name, array in columns.items()}

    def _lay_out(
        self, rows: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64], matrices: tuple[npt.NDArray[Any], ...]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """Fill the matrices from rows before masking, masked anew where asked for.

        Returns context lengths and lengths, [2, B], and ids.
        """
        from glmdata.infilling.remask import mask_again
        from glmdata.infilling.unmask import Tensors, lay_out_rows

        shards = self._shards
        if not self.remask:
            epochs = np.zeros_like(epochs)
        found = shards.unmasked(rows, sentence_ends=bool(epochs.any()))
        if epochs.any():
            self.reduced_tokens += mask_again(found, epochs, shards.rules, shards.style, shards.manifest.seed)
        lengths = lay_out_rows(found, epochs, shards.style, shards.manifest.seed, Tensors(*matrices))
        return lengths, found.sample_id


def _integer(name: str, value: Any, low: int, high: int) -> int:
    """`value` as an int (numpy's are taken, floats and booleans are not) in [low, high]."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not low <= number <= high:
        raise ConfigError(f"{name} must be an integer in {low} to {high}, it is {value!r}")
    return number
