"""Parquet and Arrow IPC files: a record is a row, its text a value of one column.

Columns come out as bytes and every value is decoded strictly by itself, because a file may call bytes a string that
are none, and one such value must not cost its neighbours.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glmdata.corpus.batches import MAX_BATCH_RECORDS, RecordGroup, too_long
from glmdata.corpus.streams import BLOCK_BYTES, FREE_BYTES, CheckedFile, UnreadableError
from glmdata.errors import StorageError

__all__ = [
    "ARROW_MAGIC",
    "DATA_ERRORS",
    "MAX_STEP_ROWS",
    "open_parquet",
    "read_arrow",
    "read_parquet",
    "refused",
    "said",
]

ARROW_MAGIC = b"ARROW1"
SLICE_ROWS = 256
MAX_STEP_ROWS = 32
"""Rows decoded at once: all of them may name one huge entry of a dictionary page. Steps of 4096 are no faster."""
# What pyarrow raises for bad data; StorageError, an OSError too, is let through before.
DATA_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError)


def open_parquet(file: CheckedFile, field: str | None) -> pq.ParquetFile:
    """Read the footer and check it.

    Raises UnreadableError if it is none, contradicts itself, or has no column `field` of text or bytes; None asks for
    none.
    """
    try:
        # buffer_size: pages are read as they are needed, not the column chunk at once.
        table = pq.ParquetFile(file, buffer_size=BLOCK_BYTES, pre_buffer=False, page_checksum_verification=True)
        leaf = None if field is None else _leaf_index(table, field, _column_index(table.schema_arrow, field))
        _check_counts(table.metadata, leaf)
    except StorageError:
        raise
    except DATA_ERRORS as error:
        raise UnreadableError(f"cannot be read as parquet: {said(error)}") from None
    return table


def _leaf_index(table: pq.ParquetFile, field: str, index: int) -> int:
    """Position among the leaf columns of the top-level column `field`; nested columns before it have several leaves."""
    paths = [table.schema.column(leaf).path for leaf in range(len(table.schema))]
    return paths.index(field) if field in paths else index


def _check_counts(metadata: pq.FileMetaData, leaf: int | None) -> None:
    """A damaged footer may claim any number of rows; each becomes a row of the ledger, so the claims must agree."""
    rows = 0
    for group in range(metadata.num_row_groups):
        claimed = metadata.row_group(group).num_rows
        rows += claimed
        values = claimed if leaf is None else metadata.row_group(group).column(leaf).num_values
        if claimed < 0 or values != claimed:
            raise UnreadableError(f"the parquet footer contradicts itself about the rows of row group {group}")
    if rows != metadata.num_rows:
        raise UnreadableError("the parquet footer contradicts itself about the number of rows")


def read_parquet(
    file: CheckedFile, *, start: int, end: int, field: str, limit: int, expansion: int
) -> Iterator[RecordGroup]:
    """Records of the row groups [start, end). Rows that cannot be decoded are refused one by one, never lost.

    `limit`, `expansion`: `max_record_bytes` and `max_expansion` of the recipe.
    """
    table = open_parquet(file, field)
    column = _column_index(table.schema_arrow, field)
    leaf = _leaf_index(table, field, column)
    shared = pa.types.is_dictionary(table.schema_arrow.field(column).type)  # listed once a batch: the fewer the better
    for index in range(start, end):
        chunk = table.metadata.row_group(index).column(leaf)
        rows, done = chunk.num_values, 0
        expanded = chunk.total_uncompressed_size
        reason = f"row group {index} ends early"
        if expanded > FREE_BYTES and expanded > expansion * max(1, chunk.total_compressed_size):
            reason = f"row group {index} expands to {expanded:,} bytes, like a decompression bomb"
        else:
            step = max(1, rows) if shared else max(1, min(MAX_STEP_ROWS, BLOCK_BYTES * rows // max(1, expanded)))
            try:
                for batch in table.iter_batches(step, row_groups=[index], columns=[field], use_threads=False):
                    for group in _groups(batch.column(0).slice(0, rows - done), field, limit):
                        done += len(group.texts)
                        yield group
            except StorageError:
                raise
            except DATA_ERRORS as error:
                reason = f"row group {index} cannot be decoded: {said(error)}"
        while done < rows:
            count = min(rows - done, MAX_BATCH_RECORDS)
            done += count
            yield refused(count, reason)


def read_arrow(file: CheckedFile, *, field: str, limit: int) -> Iterator[RecordGroup]:
    """Records of an Arrow IPC file or stream. Raises UnreadableError where it stops making sense."""
    try:
        for batch in _arrow_batches(file, field):
            yield from _groups(batch, field, limit)
    except StorageError:
        raise
    except DATA_ERRORS as error:
        raise UnreadableError(f"cannot be read as Arrow IPC: {said(error)}", -1) from None


def _arrow_batches(file: CheckedFile, field: str) -> Iterator[pa.Array]:
    """The text column, batch by batch."""
    is_file = file.read(len(ARROW_MAGIC)) == ARROW_MAGIC
    open_reader = pa.ipc.open_file if is_file else pa.ipc.open_stream
    file.seek(0)
    index = _column_index(open_reader(pa.PythonFile(file, mode="r")).schema, field)
    file.seek(0)
    options = pa.ipc.IpcReadOptions(included_fields=[index], use_threads=False)
    reader = open_reader(pa.PythonFile(file, mode="r"), options=options)
    if is_file:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number).column(0)
    else:
        for batch in reader:
            yield batch.column(0)


def _column_index(schema: pa.Schema, field: str) -> int:
    index = schema.get_field_index(field)
    if index < 0:
        known = ", ".join(schema.names[:20])
        raise UnreadableError(f'no single column "{field}"; the columns are {known or "none"}', -1)
    kind = schema.field(index).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not _is_texts(value):
        raise UnreadableError(f'column "{field}" holds {kind}, not text', -1)
    return int(index)


def _is_texts(kind: pa.DataType) -> bool:
    """Null is the type of a column without any text: each of its rows is refused by itself."""
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_null(kind)
    )


def _groups(column: pa.Array, field: str, limit: int) -> Iterator[RecordGroup]:
    """Groups of about BLOCK_BYTES of a column's rows; bytes are checked to lie inside their buffers first."""
    if isinstance(column, pa.DictionaryArray):
        # Rows share the values' bytes: a dictionary of one huge value does not grow with the rows that name it.
        entries = _as_bytes(column.dictionary).to_pylist()
        safe = pa.DictionaryArray.from_arrays(column.indices, pa.nulls(len(entries), pa.int8()), safe=True)
        rows = safe.indices
    else:
        entries, rows = None, _as_bytes(column)
    values: list[bytes | None] = []
    held = 0
    for first in range(0, len(rows), SLICE_ROWS):
        for item in rows.slice(first, SLICE_ROWS).to_pylist():
            value = item if entries is None or item is None else entries[item]
            values.append(value)
            held += len(value or b"")
            if held >= BLOCK_BYTES:
                yield _decoded(values, field, limit)
                values, held = [], 0
    if values:
        yield _decoded(values, field, limit)


def _as_bytes(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.binary())
    if pa.types.is_string(kind):
        column = column.view(pa.binary())
    elif pa.types.is_large_string(kind):
        column = column.view(pa.large_binary())
    column.validate(full=True)
    return column


def _decoded(values: list[bytes | None], field: str, limit: int) -> RecordGroup:
    texts: list[str | None] = []
    reasons: dict[int, str] = {}
    for index, value in enumerate(values):
        text = None
        if value is None:
            reasons[index] = f"{field} is null"
        elif len(value) > limit:
            reasons[index] = too_long(len(value))
        else:
            try:
                text = value.decode()
            except UnicodeDecodeError as error:
                reasons[index] = f"invalid UTF-8 at byte {error.start} of {field}"
        texts.append(text)
    lengths = np.fromiter((-1 if value is None else len(value) for value in values), np.int64, len(values))
    return RecordGroup(texts=texts, reasons=reasons, offsets=np.full(len(values), -1, np.int64), lengths=lengths)


def refused(count: int, reason: str) -> RecordGroup:
    """Rows that cannot be read."""
    unknown = np.full(count, -1, np.int64)
    return RecordGroup(
        texts=[None] * count, reasons=dict.fromkeys(range(count), reason), offsets=unknown, lengths=unknown
    )


def said(error: Exception) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())[:200]
