"""Reading and writing the Arrow files between stages.

A *partition* is one record batch of an ingested file: a few megabytes of documents. Every later stage writes, for each
partition, columns with one row a record in the same order, so nothing has to be joined. A document's *number* is
(partition << 32) | row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.corpus.documents import DOCUMENT_ID_BYTES, document_ids
from glmdata.pipelines.engine import Attempt, FileRef

__all__ = [
    "Partition",
    "Segment",
    "document_numbers",
    "number_parts",
    "read_columns",
    "read_documents",
    "write_columns",
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


def document_numbers(partition: int, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
    """Numbers of some rows of a partition."""
    return (np.uint64(partition) << np.uint64(32)) | rows.astype(np.uint64)


def number_parts(numbers: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Partition and row of document numbers."""
    return (numbers >> np.uint64(32)).astype(np.int64), (numbers & np.uint64(0xFFFFFFFF)).astype(np.int64)
