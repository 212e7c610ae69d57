"""Reading and writing the Arrow files between stages.

A *partition* is one record batch of an ingested file: a few megabytes of documents. Every later stage writes, for each
partition, columns with one row a record in the same order, so nothing has to be joined. A document's *number* is
(partition << 32) | row.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.corpus.documents import DOCUMENT_ID_BYTES, document_ids
from glmdata.pipelines.engine import Attempt, FileRef

__all__ = [
    "Partition",
    "Segment",
    "document_numbers",
    "joined_columns",
    "number_parts",
    "read_columns",
    "read_documents",
    "read_range",
    "read_ranges",
    "row_pieces",
    "runs_of",
    "write_columns",
    "write_ranges",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Consecutive rows of a partition that come from one split of one file.

    `first_record` is what the file's earlier splits held: a row's record number is that plus its `record` column,
    unless that is WHOLE_FILE.
    """

    uri: str
    first_record: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One record batch of an ingested file."""

    number: int
    segments: tuple[Segment, ...]
    file: FileRef
    batch: int
    rows: int
    text_bytes: int

    def uris(self) -> pa.StringArray:
        """The file of each row."""
        rows = np.repeat(np.arange(len(self.segments)), [segment.rows for segment in self.segments])
        return pa.array([segment.uri for segment in self.segments], pa.string()).take(pa.array(rows))

    def records(self, local: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Record numbers in the files, from the `record` column."""
        first = np.repeat([segment.first_record for segment in self.segments], [s.rows for s in self.segments])
        return np.where(local >= 0, local + first, local).astype(np.int64)

    def document_ids(self, records: npt.NDArray[np.int64]) -> pa.FixedSizeBinaryArray:
        """Ids of the rows, from their record numbers."""
        parts, start = [pa.array([], pa.binary(DOCUMENT_ID_BYTES))], 0
        for segment in self.segments:
            parts.append(document_ids(segment.uri, records[start : start + segment.rows]))
            start += segment.rows
        return pa.concat_arrays(parts)


def read_documents(attempt: Attempt, partition: Partition) -> pa.RecordBatch:
    """The partition's records (glmdata.corpus.documents.DOCUMENT_SCHEMA), memory-mapped."""
    return pa.ipc.open_file(pa.memory_map(attempt.input(partition.file))).get_batch(partition.batch)


def read_columns(attempt: Attempt, file: FileRef) -> pa.RecordBatch:
    """The one record batch of a file written by `write_columns`, memory-mapped."""
    return pa.ipc.open_file(pa.memory_map(attempt.input(file))).get_batch(0)


def write_columns(path: str, columns: Mapping[str, pa.Array | npt.NDArray[np.generic]]) -> None:
    """Write columns of equal length as one record batch of an Arrow IPC file."""
    arrays = {name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()}
    batch = pa.RecordBatch.from_pydict(arrays)
    write_batches(path, batch.schema, [batch])


def write_batches(path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an Arrow IPC file."""
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def write_ranges(path: str, columns: Mapping[str, npt.NDArray[Any]], place: npt.NDArray[np.int64], parts: int) -> None:
    """Write rows as an Arrow IPC file with a record batch for each of `parts` ranges, so that one reads its own alone.

    Args: columns: unsigned integers, n each. place: int64[n], the range of each row; rows of a range keep their order.
    """
    bounds = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=parts))]).tolist()
    if (place[1:] < place[:-1]).any():
        order = np.argsort(place.astype(np.uint16) if parts <= 1 << 16 else place, kind="stable")  # 16 bits: radix sort
        columns = {name: column[order] for name, column in columns.items()}
    arrays = {name: pa.array(column) for name, column in columns.items()}
    schema = pa.schema([pa.field(name, array.type, nullable=False) for name, array in arrays.items()])
    batches = (
        pa.RecordBatch.from_arrays([array[start:stop] for array in arrays.values()], schema=schema)
        for start, stop in itertools.pairwise(bounds)
    )
    write_batches(path, schema, batches)


def read_ranges(
    attempt: Attempt, files: Sequence[FileRef], part: int, columns: Sequence[str]
) -> Iterator[list[npt.NDArray[Any]]]:
    """One range of each of some files written by `write_ranges`: its columns.

    Read, not mapped: pages of mapped files would count as memory of the process, and it may map 65,530 at most.
    """
    for file in files:
        with pa.OSFile(attempt.input(file)) as source:
            batch = pa.ipc.open_file(source).get_batch(part)
        yield [batch[name].to_numpy() for name in columns]


def read_range(
    attempt: Attempt, files: Sequence[FileRef], part: int, columns: Sequence[str]
) -> list[npt.NDArray[np.uint64]]:
    """As `read_ranges`, joined: uint64[n] for each column."""
    found = [[np.zeros(0, np.uint64)] for _ in columns]
    for read in read_ranges(attempt, files, part, columns):
        for values, column in zip(found, read, strict=True):
            values.append(column)
    return [np.concatenate(values) for values in found]


def row_pieces(attempt: Attempt, sizes: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Rows to work on at a time: all, or runs of no more than the attempt's `piece_bytes`, of one row at least.

    sizes: int64[rows], bytes of text. There is one run without rows too, so that joined results have their types.
    """
    ends, start = np.cumsum(sizes), 0
    while True:
        stop = len(sizes)
        if attempt.piece_bytes and start < stop:
            before = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + attempt.piece_bytes, side="right")))
        yield slice(start, stop)
        if stop == len(sizes):
            return
        start = stop


def joined_columns(parts: Sequence[Mapping[str, pa.Array]]) -> dict[str, pa.Array]:
    """The columns of some pieces, one behind the other."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: pa.concat_arrays([part[name] for part in parts]) for name in parts[0]}


def runs_of(values: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(value, start, stop) of each run of equal values."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, stop in itertools.pairwise(cuts):
        if stop > start:
            yield int(values[start]), start, stop


def document_numbers(partition: int, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
    """Numbers of some rows of a partition."""
    return (np.uint64(partition) << np.uint64(32)) | rows.astype(np.uint64)


def number_parts(numbers: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Partition and row of document numbers."""
    return (numbers >> np.uint64(32)).astype(np.int64), (numbers & np.uint64(0xFFFFFFFF)).astype(np.int64)
