"""Whole rows of parquet and Arrow IPC files as records, for data whose records are more than one text.

Slower than `tables.py`, which reads one column: fine-tuning data is small. A row that cannot be decoded is refused by
itself.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from glmdata.corpus.batches import Convert, RecordGroup, Refused
from glmdata.corpus.streams import FREE_BYTES, CheckedFile, UnreadableError
from glmdata.corpus.tables import ARROW_MAGIC, DATA_ERRORS, MAX_STEP_ROWS, open_parquet, refused, said
from glmdata.errors import StorageError

__all__ = ["read_arrow_records", "read_parquet_records"]


def read_parquet_records(
    file: CheckedFile, *, start: int, end: int, convert: Convert, expansion: int
) -> Iterator[RecordGroup]:
    """Records of the row groups [start, end); rows that cannot be decoded are refused, never lost.

    `expansion`: `max_expansion` of the recipe.
    """
    table = open_parquet(file, None)
    columns = [field.name for field in table.schema_arrow if _is_plain(field.type)]
    for index in range(start, end):
        group = table.metadata.row_group(index)
        rows, done, expanded = group.num_rows, 0, group.total_byte_size
        reason = f"row group {index} ends early"
        if expanded > FREE_BYTES and expanded > expansion * max(1, file.size):
            reason = f"row group {index} expands to {expanded:,} bytes, like a decompression bomb"
        else:
            try:
                for batch in table.iter_batches(MAX_STEP_ROWS, row_groups=[index], columns=columns, use_threads=False):
                    yield _converted(batch.slice(0, rows - done), convert)
                    done += min(batch.num_rows, rows - done)
            except StorageError:
                raise
            except DATA_ERRORS as error:
                reason = f"row group {index} cannot be decoded: {said(error)}"
        if done < rows:
            yield refused(rows - done, reason)


def read_arrow_records(file: CheckedFile, *, convert: Convert) -> Iterator[RecordGroup]:
    """Records of an Arrow IPC file or stream. Raises UnreadableError where it stops making sense."""
    try:
        for batch in _arrow_batches(file):
            batch.validate(full=True)
            for first in range(0, batch.num_rows, MAX_STEP_ROWS):
                yield _converted(batch.slice(first, MAX_STEP_ROWS), convert)
    except StorageError:
        raise
    except DATA_ERRORS as error:
        raise UnreadableError(f"cannot be read as Arrow IPC: {said(error)}", -1) from None


def _arrow_batches(file: CheckedFile) -> Iterator[pa.RecordBatch]:
    is_file = file.read(len(ARROW_MAGIC)) == ARROW_MAGIC
    file.seek(0)
    source = pa.PythonFile(file, mode="r")
    if is_file:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield _plain_columns(reader.get_batch(number))
    else:
        for batch in pa.ipc.open_stream(source):
            yield _plain_columns(batch)


def _plain_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select([field.name for field in batch.schema if _is_plain(field.type)])


def _is_plain(kind: pa.DataType) -> bool:
    """Whether JSON could hold such values: texts, numbers, and lists and structs of them."""
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))
    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    plain = (types.is_string, types.is_large_string, types.is_boolean, types.is_integer, types.is_floating)
    return any(test(kind) for test in plain) or bool(types.is_null(kind))


def _converted(batch: pa.RecordBatch, convert: Convert) -> RecordGroup:
    texts: list[str | None] = []
    reasons: dict[int, str] = {}
    for row, value in enumerate(_rows(batch)):
        text = None
        try:
            text = convert(value) if value is not None else None
            if value is None:
                reasons[row] = "invalid UTF-8"
        except Refused as refusal:
            reasons[row] = str(refusal)
        texts.append(text)
    unknown = np.full(batch.num_rows, -1, np.int64)
    return RecordGroup(texts=texts, reasons=reasons, offsets=unknown, lengths=unknown)


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """Rows as objects, fields that are null left out; None where a text is no UTF-8."""
    try:
        found = batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        return [row for place in range(batch.num_rows) for row in _rows(batch.slice(place, 1))]
    return [{name: value for name, value in row.items() if value is not None} for row in found]
