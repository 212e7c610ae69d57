"""The rows of a build by number, from shards on this machine; those of an object store come through a cache.

Row -> (shard, record batch, place) is arithmetic on the manifest. Nothing but the manifest is read before the first
row is asked for; each record batch is hashed once, before Arrow sees it.
Rows of matrices are read straight from the file, so memory does not grow with the build (glmdata.shards.descriptor).
"""

import functools
import itertools
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from glmdata.errors import ShardCorruptError, ShardError
from glmdata.shards.cache import Cache
from glmdata.shards.compact import Source, gather, gather_ends, matrices, unmasked
from glmdata.shards.descriptor import RowBuffer
from glmdata.shards.folder import open_folder
from glmdata.shards.kept import VIEWS_BYTES, Kept, Views, has_form, kept_rows, scalar_rows, spread_scalars
from glmdata.shards.manifest import Manifest, ShardEntry
from glmdata.shards.mapping import RESIDENT_BYTES, MappedShards
from glmdata.shards.schema import (
    MATRIX_COLUMNS,
    SCALAR_COLUMNS,
    ListView,
    column_views,
    list_views,
    numpy_dtype,
)
from glmdata.storage import file_digest, storage_errors

if TYPE_CHECKING:
    from glmdata.infilling.spans import SpanRules
    from glmdata.infilling.style import Style
    from glmdata.infilling.unmask import Unmasked

__all__ = ["Shards"]

CACHE_BYTES = 64 << 20
"""Memory for record batches kept at hand: decompressed ones, and the views of mapped ones."""


class _Place(NamedTuple):
    """Where rows stand: record batch of the build, and row in it."""

    batch: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]


class Shards:
    """Random access to the rows of a finished build; for one thread at a time.

    Pickles as its manifest and path, and maps files anew where it is unpickled.
    """

    manifest: Manifest
    rows: int
    """Rows of the build."""
    num_batches: int
    """Record batches of the build, numbered through all shards in order."""

    def __init__(self, folder: str | os.PathLike[str], *, cache: Cache | None = None) -> None:
        """Read the manifest of a folder or URI; `cache` is for the shards of the latter, by default Cache().

        Raises as Manifest.load: ShardError without a build, ShardCorruptError where damaged. ConfigError where the
        cache has no room for two shards.
        """
        self.place = open_folder(folder, cache)
        self.folder = self.place.name
        """Path or URI as messages have it."""
        self.manifest = Manifest.load(self.place)
        self.compact = self.manifest.layout == "compact"
        self.schema, self._finished = self.manifest.shard_schema(), self.manifest.shard_schema("materialised")
        self._step = self.manifest.rows_per_record_batch
        entries = self.manifest.shards
        self._first_row = np.cumsum([0] + [shard.rows for shard in entries], dtype=np.int64)
        self._first_batch = np.cumsum([0] + [len(shard.record_batches) for shard in entries], dtype=np.int64)
        self.rows = int(self._first_row[-1])
        self.num_batches = int(self._first_batch[-1])
        self.compressed: bool = self.manifest.recipe["shards"].get("compression", "none") != "none"
        self._cache_bytes = CACHE_BYTES
        self._small = sum(shard.bytes for shard in entries) <= RESIDENT_BYTES
        """Whether all of its maps may be in memory."""
        self._mapped = self._small or self.compact or self.compressed
        """Whether rows come from views of whole record batches, else straight from the files."""
        self.mapping = MappedShards(self.place, entries)
        self._reset()

    def _reset(self) -> None:
        self._verified = bytearray(self.num_batches)
        self._views: OrderedDict[int, Kept] = OrderedDict()
        self._buffers: dict[tuple[str, ...], RowBuffer] = {}
        self._with_lists = self.compact
        self._cached = 0

    def __getstate__(self) -> dict[str, Any]:
        """Everything but maps and views, which belong to one process."""
        own = ("_verified", "_views", "_buffers", "_cached", "_with_lists")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with nothing mapped."""
        self.__dict__.update(state)
        self._reset()

    @functools.cached_property
    def style(self) -> "Style":
        """How the rows are laid out. Raises as Manifest.style."""
        return self.manifest.style

    @functools.cached_property
    def rules(self) -> "SpanRules":
        """What the rows' masks follow. Raises as Manifest.span_settings."""
        from glmdata.infilling.spans import span_rules

        return span_rules(self.manifest.span_settings)

    def file(self, name: str) -> Path:
        """Path of a file of the build that is not a shard, such as `tokenizer.model`.

        Raises ShardError where the manifest lists none of that name, ShardCorruptError where its bytes are others (so
        that a tokenizer is never loaded from a file that was changed), and as the folder's `path`.
        """
        entry = self.manifest.files.get(name)
        if entry is None:
            raise ShardError(f"{self.folder}: its manifest lists no {name}; copy the build again")
        path = self.place.path(name, entry.bytes, entry.xxh3)
        with storage_errors("reading"):
            if path.is_file() and file_digest(path) != (entry.bytes, entry.xxh3):
                raise ShardCorruptError(
                    f"{self.folder}/{name}: its bytes are not those that were written; copy it again"
                )
        return path

    def batch(self, number: int) -> pa.RecordBatch:
        """Record batch `number` of the build, verified.

        Raises ShardCorruptError naming shard and batch, ShardError where the file is missing, IndexError.
        """
        if not 0 <= number < self.num_batches:
            raise IndexError(f"record batch {number} of {self.num_batches}")
        return self._read(number, mapped=False)[1]

    def _shard_of(self, batch: int) -> tuple[int, int]:
        """The shard that holds a record batch, and its number in it."""
        index = int(np.searchsorted(self._first_batch, batch, "right")) - 1
        return index, batch - int(self._first_batch[index])

    def _read(self, number: int, *, mapped: bool) -> tuple[pa.Buffer, pa.RecordBatch]:
        """A record batch, verified, and the message that it lies on, copied or on the map."""
        index, local = self._shard_of(number)
        entry = self.manifest.shards[index]
        shard = self.mapping.shard(index)
        while self.mapping.released:
            self._forget(self.mapping.released.pop())
        try:
            message = shard.message(local, mapped=mapped)
            checked = message if self._verified[number] else shard.message(local, mapped=False)
        except OSError as error:
            raise ShardError(f"{self.folder}/{entry.path}: cannot be read: {error}") from None
        if not self._verified[number] and xxhash.xxh3_64_hexdigest(checked) != entry.record_batches[local]:
            if self.mapping.fetch_again(index):
                return self._read(number, mapped=mapped)
            raise self._corrupt(entry, local, "differs from what the manifest says")
        try:
            batch = pa.ipc.read_record_batch(message, self.schema)
            batch.validate(full=not self._verified[number])  # lists may lead out of their buffers, with a right hash
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._corrupt(entry, local, f"is none of this build: {error}") from None
        if not self._verified[number]:
            expected = min(self._step, entry.rows - local * self._step)
            if batch.num_rows != expected or not has_form(batch):
                raise self._corrupt(entry, local, f"is not {expected} rows of the manifest's form")
            self._verified[number] = 1
        return message, batch

    def row(self, number: int) -> dict[str, Any]:
        """All columns of one row: arrays [L], ints, lists of numbers as arrays, `document_ids` as a list of bytes."""
        if not 0 <= number < self.rows:
            raise IndexError(f"row {number} of {self.rows}")
        place = self._place(np.array([number], np.int64))
        at = int(place.row[0])
        batch = self.batch(int(place.batch[0]))
        views = column_views(batch)
        found: dict[str, Any] = {name: int(views[name][at]) for name in SCALAR_COLUMNS}
        if self.compact:
            taken = self.take(np.array([number], np.int64), MATRIX_COLUMNS)
            found |= {name: taken[name][0] for name in MATRIX_COLUMNS}
        else:
            found |= {name: views[name][at] for name in MATRIX_COLUMNS}
        for name in self._finished.names:
            if name not in found:
                value = batch.column(name)[at]
                numbers = pa.types.is_list(value.type) and pa.types.is_integer(value.type.value_type)
                found[name] = value.values.to_numpy() if numbers else value.as_py()
        return {name: found[name] for name in self._finished.names}

    def take(
        self,
        rows: npt.NDArray[np.integer[Any]],
        columns: Sequence[str] = (*SCALAR_COLUMNS, *MATRIX_COLUMNS),
        *,
        out: Mapping[str, npt.NDArray[Any]] | None = None,
        places: npt.NDArray[np.intp] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Gather rows in the order asked for; a record batch is looked up once, however many of its rows are.

        Args:
            rows: [n] numbers in [0, self.rows), any order, repeats allowed.
            columns: names among SCALAR_COLUMNS and MATRIX_COLUMNS; those of `out` where that is given.
            out: arrays to fill, [n] or [n, L], of any dtype that holds the values; may be views.
            places: [n], where in `out` the rows go; by default 0, 1, 2, ...

        Raises:
            IndexError: a number lies outside.
            ShardCorruptError, ShardError: as `batch`.
        """
        numbers = self._checked(rows)
        found = dict(out) if out is not None else {name: self._room(name, len(numbers)) for name in columns}
        stored = {name: target for name, target in found.items() if not (self.compact and name in MATRIX_COLUMNS)}
        if self._mapped:
            self._take_mapped(numbers, stored, places)
        else:
            self._take_read(numbers, stored, places)
        if len(stored) < len(found):
            made = matrices(self.unmasked(numbers), self.style, self.manifest.seed)
            for name in found.keys() - stored.keys():
                found[name][... if places is None else places] = made[name]
        return found

    def _take_mapped(self, numbers: npt.NDArray[np.int64], out: Views, places: npt.NDArray[np.intp] | None) -> None:
        """`take` from views of record batches."""
        place = self._place(numbers)
        scattered = len(numbers) == 1 or (len(numbers) and place.batch[0] != place.batch[-1])
        if scattered and len(numbers) <= self.num_batches:
            # Scattered rows, few of them in one record batch: plain indices are three times as fast as arrays of one.
            targets = np.arange(len(numbers)) if places is None else places
            matrices = [(name, target) for name, target in out.items() if name in MATRIX_COLUMNS]
            scalars, keep = np.empty((len(numbers), len(SCALAR_COLUMNS)), np.int64), self._keep
            found = zip(targets.tolist(), scalars, place.batch.tolist(), place.row.tolist(), strict=True)
            for to, values, number, row in found:
                kept = keep(number)
                values[:] = kept.scalars[row]
                views = kept.views
                for name, target in matrices:
                    target[to] = views[name][row]
            spread_scalars(scalars, out, targets)
            return
        for batch, at, sources in self._by_batch(numbers):
            views = self._keep(batch).views
            chosen = at if places is None else places[at]
            for name, target in out.items():
                target[chosen] = np.take(views[name], sources, axis=0)

    def _take_read(self, numbers: npt.NDArray[np.int64], out: Views, places: npt.NDArray[np.intp] | None) -> None:
        """`take` with rows of matrices read from the files."""
        names = tuple(name for name in out if name in MATRIX_COLUMNS)
        scalars = np.empty((len(numbers), len(SCALAR_COLUMNS)), np.int64)
        buffer, waiting = self._buffer(names), list[int]()
        place, targets = self._place(numbers), np.arange(len(numbers)) if places is None else places
        found = zip(targets.tolist(), scalars, place.batch.tolist(), place.row.tolist(), strict=True)
        for to, values, number, row in found:
            kept = self._keep(number)
            values[:] = kept.scalars[row]
            if kept.file is None:
                for name in names:
                    out[name][to] = kept.views[name][row]
                continue
            try:
                full = buffer.read(kept.file, [kept.starts[name] for name in names], row)
            except (OSError, EOFError) as error:
                index, local = self._shard_of(number)
                raise self._corrupt(self.manifest.shards[index], local, f"cannot be read: {error}") from None
            waiting.append(to)
            if full:
                buffer.flush(out, waiting)
                waiting = []
        buffer.flush(out, waiting)
        spread_scalars(scalars, out, targets)

    def _buffer(self, names: tuple[str, ...]) -> RowBuffer:
        """An empty buffer for rows of these columns, made once."""
        buffer = self._buffers.get(names)
        if buffer is None:
            kinds = {name: self._finished.field(name).type for name in names}
            dtypes = {name: numpy_dtype(kind.value_type) for name, kind in kinds.items()}
            buffer = self._buffers[names] = RowBuffer(dtypes, self.manifest.sequence_length)
        buffer.rows = 0  # an error may have left some
        return buffer

    def unmasked(self, rows: npt.NDArray[np.integer[Any]], *, sentence_ends: bool = False) -> "Unmasked":
        """Rows before masking, with the spans they were built with; [n] numbers as in `take`.

        Compact shards hold them so; those of materialised ones are unmasked. `sentence_ends` are filled on demand.

        Raises:
            IndexError, ShardCorruptError, ShardError: as `take`.
            ShardError: a row has no masks to be taken off, such as those of fine-tuning.
        """
        from glmdata.infilling.unmask import Unmasked

        numbers, width = self._checked(rows), self.manifest.sequence_length
        if sentence_ends and not self._with_lists:
            self._with_lists, self._cached = True, 0
            self._views.clear()
        if self.compact:
            found = Unmasked.empty(len(numbers), width)
            sources = self._sources(numbers)
            gather(sources, found)
        else:
            names = ("input_ids", "target_ids", "position_ids", "context_length", "length", "objective", "sample_id")
            try:
                found = unmasked(self.take(numbers, names), width, self.style)
            except ValueError as error:
                raise ShardError(f"{self.folder}: {error}") from None
        if sentence_ends:
            gather_ends(sources if self.compact else self._sources(numbers), found)
        return found

    def _sources(self, numbers: npt.NDArray[np.int64]) -> list[Source]:
        return [
            Source(*self._view(batch), sources.tolist(), chosen.tolist())
            for batch, chosen, sources in self._by_batch(numbers)
        ]

    def _checked(self, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
        numbers = rows.astype(np.int64)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < self.rows:
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} of {self.rows}")
        return numbers

    def _by_batch(
        self, numbers: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """(record batch, places in `numbers`, rows in the batch), each record batch once."""
        place = self._place(numbers)
        order = np.argsort(place.batch, kind="stable")
        batches, rows = place.batch[order], place.row[order]
        cuts = [0, *(np.flatnonzero(np.diff(batches)) + 1).tolist(), len(numbers)] if len(numbers) else [0]
        for start, stop in itertools.pairwise(cuts):
            yield int(batches[start]), order[start:stop], rows[start:stop]

    def _room(self, name: str, rows: int) -> npt.NDArray[Any]:
        kind = self._finished.field(name).type
        if name in MATRIX_COLUMNS:
            return np.empty((rows, kind.list_size), numpy_dtype(kind.value_type))
        return np.empty(rows, numpy_dtype(kind))

    def _place(self, rows: npt.NDArray[np.int64]) -> _Place:
        shard = self.shards_of(rows)
        batch, row = np.divmod(rows - self._first_row[shard], self._step)
        return _Place(self._first_batch[shard] + batch, row)

    def _view(self, number: int) -> tuple[Views, dict[str, ListView]]:
        """Views of a record batch's columns, and of its lists if any need them."""
        kept = self._keep(number)
        return kept.views, kept.lists

    def _keep(self, number: int) -> Kept:
        """A record batch at hand; one that was used recently comes without work."""
        kept = self._views.get(number)
        if kept is not None:
            self._views.move_to_end(number)
        else:
            kept = self._opened(number)
            self._views[number] = kept
            self._cached += kept.cost
            while self._cached > self._cache_bytes and len(self._views) > 1:
                self._cached -= self._views.popitem(last=False)[1].cost
        if kept.touches:
            self.mapping.touch(kept.touches)
        return kept

    def _opened(self, number: int) -> Kept:
        message, batch = self._read(number, mapped=self._mapped and not self.compressed)
        index, local = self._shard_of(number)
        shard = self.mapping.shard(index)
        views, lists = column_views(batch), list_views(batch) if self._with_lists else {}
        if self._mapped or shard.file is None:
            scalars = scalar_rows(views)
            cost = VIEWS_BYTES + scalars.nbytes + (batch.nbytes if self.compressed else 0)
            touches = 0 if self._small or self.compressed else message.size
            return Kept(cost, views, scalars, lists, None, {}, touches)
        return kept_rows(views, lists, shard.file, shard.blocks[local].offset - message.address)

    def shards_of(self, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.intp]:
        """Which shards hold the rows, [n]."""
        return np.searchsorted(self._first_row, rows, "right") - 1

    def keep_rows(self, rows: int) -> None:
        """Make room in memory for the decompressed record batches of so many rows, if they are compressed at all."""
        if self.compressed:
            widths = (self._finished.field(name).type for name in MATRIX_COLUMNS)
            a_row = sum(kind.list_size * kind.value_type.bit_width // 8 for kind in widths)
            self._cache_bytes = max(CACHE_BYTES, min(rows, self.rows) * a_row * 9 // 8)

    def _forget(self, shard: int) -> None:
        """Drop the views that keep a shard mapped."""
        for number in range(self._first_batch[shard], self._first_batch[shard + 1]):
            if number in self._views:
                self._cached -= self._views.pop(number).cost

    def _corrupt(self, shard: ShardEntry, local: int, what: str) -> ShardCorruptError:
        first = local * self._step
        last = min(first + self._step, shard.rows) - 1
        return ShardCorruptError(
            f"{self.folder}/{shard.path}: record batch {local} (rows {first} to {last}) {what}; copy the build again"
        )
