"""ShardStream: a build as batches of tensors, in an order any number of ranks and workers agree on."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from glmdata.errors import ConfigError, FingerprintMismatchError, ShardError
from glmdata.infilling.segments import find_segments, token_segments
from glmdata.shards.cache import Cache
from glmdata.shards.choices import choice_columns
from glmdata.shards.reader import Shards
from glmdata.streaming.order import ORDER_VERSION, blocks_from, rows_at
from glmdata.streaming.steps import Batch, StepStream, checked_integer
from glmdata.streaming.window import WindowOption, chosen_window

__all__ = ["ShardStream"]

Columns = dict[str, npt.NDArray[Any]]

_TORCH: dict[Any, torch.dtype] = {np.int64: torch.int64, np.float32: torch.float32}


class ShardStream(StepStream):
    """Batches of a finished build for one data-parallel rank.

    B = batch_size, L = the build's sequence_length. A batch is a dict of tensors, each new and the caller's own:
    input_ids, target_ids int64 [B, L]; loss_mask float32 [B, L]; position_ids int64 [B, 2, L] (position, block
    position); context_length, sample_id int64 [B]; objective, language int64 [B], codes as in the shards. Targets are
    shifted already: the loss is cross entropy of the logits with target_ids, times loss_mask, over its sum. Query q
    sees key k where ``k <= q or k < context_length``.

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
        rows: tuple[int, int] | None = None,
        choices: bool = False,
        window: WindowOption = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        prefetch: int | None = None,
        pin_memory: bool | None = None,
    ) -> None:
        """Open a build.

        Args:
            path: folder with manifest.json, or URI of one (s3://, gs://, ...).
            batch_size: rows of one rank's batch.
            seed: of the order, in [0, 2**63).
            dp_rank: which data-parallel rank this is.
            dp_world: how many there are.
            shuffle: False gives the shards' own order, every epoch.
            epochs: passes over the build; None never ends.
            remask: whether each epoch has masks of its own; epoch 0 has those of the build.
            rows: [first, end) of the build's rows, all that the stream has; by default all of them. So some can be held
                out: languages and objectives are mixed alike in every stretch of a build.
            choices: whether batches have the choices of their rows, in builds of recipes cloze and preference:
                choice_input_ids, choice_target_ids int64 and choice_loss_mask float32 [B, C, L], choice_position_ids
                int64 [B, C, 2, L], num_choices and label int64 [B]. C is the most that a row of the batch has.
            window: what is shuffled at a time, (rows a block, blocks): blocks of neighbouring rows come in random order
                and the rows of so many blocks in turn are mixed. None mixes everything. "auto" is None for shards
                mapped from this machine, 4 shards for those of an object store, 128 record batches for compressed ones.
            cache_dir: where shards of an object store are kept; by default $GLMDATA_CACHE_DIR, else
                ~/.cache/glmdata. Any number of processes may share it.
            cache_bytes: how much is kept there, 16 GiB by default; what was used longest ago goes first.
            prefetch: batches that a thread makes ahead while the consumer computes, 0 for none. By default 2, in
                DataLoader workers 0.
            pin_memory: whether batches lie in pinned memory, which a GPU copies from by itself. By default where CUDA
                is; never in DataLoader workers, whose loader has an option of the same name.

        Raises:
            ConfigError: an argument lies outside its range, or memory is to be pinned without CUDA.
            ShardError: `path` holds no finished build, or one without samples, or without choices where asked for.
            StorageError: the manifest cannot be fetched.
        """
        super().__init__(
            batch_size, seed=seed, dp_rank=dp_rank, dp_world=dp_world, prefetch=prefetch, pin_memory=pin_memory
        )
        self.epochs = None if epochs is None else checked_integer("epochs", epochs, 1, 1 << 31)
        self.shuffle, self.remask, self.choices = bool(shuffle), bool(remask), bool(choices)
        self.shards = Shards(path, cache=Cache(cache_dir, cache_bytes))
        if self.shards.rows == 0:
            raise ShardError(f"{self.shards.folder} holds no samples")
        self.first_row, end = _row_range(rows, self.shards)
        self.num_rows = end - self.first_row
        """Rows of an epoch."""
        if self.choices and not self.shards.manifest.has_choices:
            raise ShardError(f"{self.shards.folder}: its rows have no choices; those of cloze and preference have")
        self.window = chosen_window(window, self.shards)
        if self.window is not None:
            self.shards.keep_rows(self.window.block_rows * self.window.blocks)
        self.reduced_tokens = 0
        """Tokens that fresh masks made here, ahead or taken, were to hide and that found no room in their row."""

    def plan(self) -> dict[str, Any]:
        """What is ahead, from the manifest alone.

        `samples` of an epoch; `global_batch`; `steps_per_epoch` (a step may reach into the next epoch, so it is a
        fraction); with `epochs` also `steps` of the whole run and `padded_rows` in its last global batch (None
        without); `samples_consumed` and `epoch` (0-based) where the stream stands.
        """
        samples, total = self.num_rows, self._total()
        steps = None if total is None else -(-total // self.global_batch)
        return {
            "samples": samples,
            "sequence_length": self.shards.manifest.sequence_length,
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
            "fingerprint": self.shards.manifest.fingerprint,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "remask": self.remask,
            "rows": [self.first_row, self.first_row + self.num_rows],
            "window": None if self.window is None else list(self.window),
            "samples_consumed": self._consumed,
        }

    def _require_same_data(self, state: Mapping[str, Any]) -> None:
        mine = self.shards.manifest.fingerprint
        if state["fingerprint"] != mine:
            raise FingerprintMismatchError(
                f"the state belongs to build {state['fingerprint']}, {self.shards.folder} is {mine}; "
                "give the build that was trained on, or start without the state"
            )

    def _total(self) -> int | None:
        return None if self.epochs is None else self.epochs * self.num_rows

    def _batches(self, positions: npt.NDArray[np.int64], padded: Sequence[int]) -> Iterator[Batch]:
        rows, epochs = self.rows_of(positions)
        for chosen, epoch, repeated in zip(rows, epochs, padded, strict=True):
            batch = self.batch_of(chosen, epoch)
            if repeated:
                batch["loss_mask"][-repeated:] = 0
            yield batch

    def rows_of(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows of the build and epochs at positions of the stream, of any shape; remote shards begin to be fetched."""
        size = self.num_rows
        rows = rows_at(positions.ravel(), seed=self.seed, size=size, shuffle=self.shuffle, window=self.window)
        rows += self.first_row
        self._fetch_ahead(int(positions.flat[0]), rows)
        return rows.reshape(positions.shape), positions // size

    def _fetch_ahead(self, position: int, rows: npt.NDArray[np.int64]) -> None:
        """Have remote shards fetched before they are needed; `rows` are those at `position` and some behind it."""
        shards = self.shards
        if not shards.place.remote:
            return
        if not self.shuffle:
            first = int(shards.shards_of(rows[:1])[0])
            shards.mapping.prefetch(range(first, len(shards.manifest.shards)))
        elif self.window is None:
            shards.mapping.prefetch(dict.fromkeys(shards.shards_of(rows).tolist()))
        else:
            blocks = blocks_from(position, seed=self.seed, size=self.num_rows, window=self.window)
            first = self.first_row
            shards.mapping.prefetch(self._shards_in(range(rows.start + first, rows.stop + first) for rows in blocks))

    def _shards_in(self, blocks: Iterable[range]) -> Iterator[int]:
        """The distinct shards of blocks, in order."""
        seen = set[int]()
        for rows in blocks:
            first, last = self.shards.shards_of(np.array([rows[0], rows[-1]]))
            for shard in range(first, last + 1):
                if shard not in seen:
                    seen.add(shard)
                    yield shard
            if len(seen) == len(self.shards.manifest.shards):
                return

    def batch_of(self, rows: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64]) -> Batch:
        """Rows of the build by number as a batch: one gather straight into the tensors' memory.

        Epochs matter with `remask` only. Raises as the reader's `take`.
        """
        columns = self.room(len(rows), pinned=self._pinned)
        self.fill(columns, rows, epochs)
        return self.finished(columns, choice_columns(self.shards, rows) if self.choices else {}, pinned=self._pinned)

    def room(self, rows: int, *, pinned: bool = False) -> Columns:
        """Arrays for a batch: the positions by name are views of `positions`. Pinned ones are views of tensors."""

        def empty(*shape: int, dtype: Any = np.int64) -> npt.NDArray[Any]:
            if not pinned:
                return np.empty(shape, dtype)
            return torch.empty(shape, dtype=_TORCH[dtype], pin_memory=True).numpy()

        length = self.shards.manifest.sequence_length
        positions = empty(rows, 2, length)
        columns: Columns = {
            "input_ids": empty(rows, length),
            "target_ids": empty(rows, length),
            "loss_mask": empty(rows, length, dtype=np.float32),
            "position_ids": positions[:, 0],
            "block_position_ids": positions[:, 1],
            **{name: empty(rows) for name in ("context_length", "sample_id", "objective", "language")},
        }
        if self.shards.manifest.segments:
            columns["length"] = np.empty(rows, np.int64)
        return columns

    def fill(
        self,
        columns: Columns,
        rows: npt.NDArray[np.int64],
        epochs: npt.NDArray[np.int64],
        places: npt.NDArray[np.intp] | None = None,
    ) -> None:
        """Put rows of the build into arrays that `room` made, at `places` or from the first on. Raises as `take`."""
        if not (self.shards.compact or (self.remask and epochs.any())):
            self.shards.take(rows, out=columns, places=places)
            return
        if places is not None:
            mine = self.room(len(rows))
            self.fill(mine, rows, epochs)
            for name, array in mine.items():
                columns[name][places] = array
            return
        matrices = (columns["input_ids"], columns["target_ids"], columns["loss_mask"], _pair(columns))
        self.shards.take(rows, out={name: columns[name] for name in ("sample_id", "objective", "language")})
        lengths = self._lay_out(rows, epochs, matrices)
        for name, found in zip(("context_length", "length"), lengths, strict=True):
            if name in columns:
                columns[name][:] = found

    def finished(self, columns: Columns, more: Columns | None = None, *, pinned: bool = False) -> Batch:
        """The batch of filled arrays, and of `more` as they are."""
        batch = columns | {"position_ids": _pair(columns)} | (more or {})
        block_position_ids = batch.pop("block_position_ids")
        if self.shards.manifest.segments:
            ids = batch["input_ids"]
            found = find_segments(ids, block_position_ids, batch.pop("length"), self.shards.style)
            both = token_segments(found, *ids.shape)
            batch["segment_ids"], batch["segment_context_ends"] = both
        return {name: _tensor(array, pinned=pinned) for name, array in batch.items()}

    def _lay_out(
        self, rows: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64], matrices: tuple[npt.NDArray[Any], ...]
    ) -> npt.NDArray[np.int64]:
        """Fill the matrices from rows before masking, masked anew where asked for; [2, B] context lengths, lengths."""
        from glmdata.infilling.remask import mask_again
        from glmdata.infilling.unmask import Tensors, lay_out_rows

        shards = self.shards
        if not self.remask:
            epochs = np.zeros_like(epochs)
        found = shards.unmasked(rows, sentence_ends=bool(epochs.any()))
        if epochs.any():
            self.reduced_tokens += mask_again(found, epochs, shards.rules, shards.style, shards.manifest.seed)
        return lay_out_rows(found, epochs, shards.style, shards.manifest.seed, Tensors(*matrices))


def _row_range(rows: Any, shards: Shards) -> tuple[int, int]:
    """The rows that an argument asks for. Raises ConfigError where the build has none such."""
    if rows is None:
        return 0, shards.rows
    pair = isinstance(rows, tuple | list) and len(rows) == 2 and all(isinstance(row, int) for row in rows)
    if not pair or not 0 <= rows[0] < rows[1] <= shards.rows:
        raise ConfigError(
            f"rows must be (first, end) in 0 to {shards.rows}, the rows of {shards.folder}; it is {rows!r}"
        )
    return rows[0], rows[1]


def _pair(columns: Columns) -> npt.NDArray[Any]:
    """The array [B, 2, L] that both rows of positions are views of."""
    pair: npt.NDArray[Any] | None = columns["position_ids"].base
    assert pair is not None
    return pair


def _tensor(array: npt.NDArray[Any], *, pinned: bool) -> torch.Tensor:
    """The tensor that an array was made from, else one on its memory, or a pinned copy.

    Torch's allocator must see its own tensor go: it keeps the memory until the copies from it are done.
    """
    base: Any = array.base
    if isinstance(base, torch.Tensor):
        return base
    tensor = torch.from_numpy(array)
    return tensor.pin_memory() if pinned else tensor
