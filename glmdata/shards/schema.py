"""The columns of a shard, and record batches made of numpy matrices without a copy.

N rows, L tokens a row (the recipe's `sequence_length`). Nothing is nullable, so no validity bitmap is ever written and
`column.flatten().to_numpy().reshape(N, L)` is a view of the file.

Shards of layout `materialised` hold finished rows: MATRIX_COLUMNS of L values each. Those of layout `compact` hold what
finished rows are made of, in a quarter of the bytes: the row before masking (`tokens`, cls and eos counted), its spans
in text order (`span_starts`, `span_ends`, half-open places in `tokens`) and which of them stands first, second, ... in
Part B (`span_order`). All else follows by `glmdata.infilling.layout.finish_row` from the recipe and the `sample_id`.
The other columns are the same in both. docs/format.md tells it to readers in other languages.

Builds that pack documents as segments have SEGMENT_COLUMNS as well, of the finished row in both layouts. Builds of
cloze rows and of preferences have CHOICE_COLUMNS behind the others: the answers to choose from, joined (`choices`),
where each ends (`choice_ends`), and which is the row's own (`label`).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = [
    "CHOICE_COLUMNS",
    "COMPACT_COLUMNS",
    "FORMAT_VERSION",
    "LAYOUTS",
    "MATRIX_COLUMNS",
    "OBJECTIVES",
    "SCALAR_COLUMNS",
    "SEGMENT_COLUMNS",
    "ListView",
    "column_views",
    "list_views",
    "make_batch",
    "numpy_dtype",
    "shard_schema",
    "trim_batch",
]

FORMAT_VERSION = 1
"""Version of the shard files and the manifest; another one is refused."""

OBJECTIVES = ("token", "sentence", "document", "sft", "cloze", "seq2seq", "preference")
"""What the codes in the column `objective` stand for."""

MATRIX_COLUMNS = ("input_ids", "target_ids", "position_ids", "block_position_ids", "loss_mask")
"""Columns of L values a row."""

COMPACT_COLUMNS = ("tokens", "span_starts", "span_ends", "span_order")
"""Columns of compact shards instead of the matrices: a list each."""

SEGMENT_COLUMNS = ("segment_starts", "segment_context_lengths")
"""Columns of rows of segments, a list each: where segments begin, and how long their Part A is."""

CHOICE_COLUMNS = ("choices", "choice_ends", "label")
"""Columns at the end of builds whose rows have several answers to choose from."""

LAYOUTS = ("materialised", "compact")
"""What `shards.layout` of a recipe may be."""

SCALAR_COLUMNS = ("sample_id", "context_length", "length", "objective", "language")
"""Columns of one value a row."""

_NAMES = ("sample_id", *MATRIX_COLUMNS, *SCALAR_COLUMNS[1:], "sentence_ends", "document_ids")
_COMPACT_NAMES = ("sample_id", *COMPACT_COLUMNS, *SCALAR_COLUMNS[1:], "sentence_ends", "document_ids")
_PLACES = {name: place for place, name in enumerate(_NAMES)}
_COMPACT_PLACES = {name: place for place, name in enumerate(_COMPACT_NAMES)}
_SCALAR_DTYPES: dict[str, npt.DTypeLike] = {
    "sample_id": np.dtype(np.uint64),
    "context_length": np.dtype(np.uint16),
    "length": np.dtype(np.uint16),
    "objective": np.dtype(np.uint8),
    "language": np.dtype(np.uint8),
}
_MATRIX_DTYPES: dict[str, npt.DTypeLike] = {
    "position_ids": np.dtype(np.uint16),
    "block_position_ids": np.dtype(np.uint16),
    "loss_mask": np.dtype(np.uint8),
}
_TOKEN_DTYPES: dict[int, npt.DTypeLike] = {16: np.dtype(np.uint16), 32: np.dtype(np.uint32)}

_MAX_SEQUENCE_LENGTH = 65535  # positions and lengths are uint16


def shard_schema(
    sequence_length: int,
    vocabulary_size: int,
    layout: str = "materialised",
    *,
    segments: bool = False,
    choices: bool = False,
) -> pa.Schema:
    """The schema of every shard of a build; ids are uint16 where `vocabulary_size` <= 65536, else uint32.

    `layout` is one of LAYOUTS; `segments` where documents are packed so, `choices` where rows have CHOICE_COLUMNS.
    Raises ValueError where a row of that length or such ids cannot be stored.
    """
    if not 0 < sequence_length <= _MAX_SEQUENCE_LENGTH:
        raise ValueError(f"sequence_length must lie in 1 to {_MAX_SEQUENCE_LENGTH}, it is {sequence_length}")
    if not 0 < vocabulary_size <= 1 << 32:
        raise ValueError(f"vocabulary_size must lie in 1 to 2**32, it is {vocabulary_size}")
    token = np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)

    def item(kind: pa.DataType) -> pa.Field:
        return pa.field("item", kind, nullable=False)

    kinds: dict[str, pa.DataType] = {name: pa.from_numpy_dtype(dtype) for name, dtype in _SCALAR_DTYPES.items()}
    compact = layout == "compact"
    names: tuple[str, ...] = (*(_COMPACT_NAMES if compact else _NAMES), *(SEGMENT_COLUMNS if segments else ()))
    for name in (*COMPACT_COLUMNS, *SEGMENT_COLUMNS):
        kinds[name] = pa.list_(item(pa.uint16() if name != "tokens" else pa.from_numpy_dtype(token)))
    for name in MATRIX_COLUMNS:
        kinds[name] = pa.list_(item(pa.from_numpy_dtype(_MATRIX_DTYPES.get(name, token))), sequence_length)
    kinds["sentence_ends"] = pa.list_(item(pa.uint16()))
    kinds["document_ids"] = pa.list_(item(pa.binary(16)))
    if choices:
        names = (*names, *CHOICE_COLUMNS)
        kinds |= {"choices": pa.list_(item(pa.from_numpy_dtype(token))), "choice_ends": pa.list_(item(pa.uint32()))}
        kinds["label"] = pa.uint16()
    return pa.schema(
        [pa.field(name, kinds[name], nullable=False) for name in names],
        metadata={
            "glmdata.format_version": str(FORMAT_VERSION),
            "glmdata.sequence_length": str(sequence_length),
            **({"glmdata.layout": layout} if compact else {}),
            **({"glmdata.packing": "segments"} if segments else {}),
        },
    )


def make_batch(schema: pa.Schema, **columns: Any) -> pa.RecordBatch:
    """A record batch of all columns of `schema`, on the memory of the arrays given.

    Args:
        schema: what `shard_schema` returned.
        columns: MATRIX_COLUMNS as arrays [N, L] and SCALAR_COLUMNS as arrays [N], of the schema's dtypes and
            C-contiguous; all other lists as pyarrow ListArrays of N lists.

    Raises:
        ValueError: a column is missing or unknown, or of another dtype or shape, or holds nulls.
    """
    if set(columns) != set(schema.names):
        odd = sorted(set(columns) ^ set(schema.names))
        raise ValueError(f"a batch has the columns of its schema; missing or unknown: {', '.join(odd)}")
    arrays = [_exact_array(field, columns[field.name]) for field in schema]
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ValueError(f"columns of one batch have one length, found {sorted(lengths)}")
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def numpy_dtype(kind: pa.DataType) -> np.dtype[Any]:
    """The numpy type of an Arrow integer type; `to_pandas_dtype` wants pandas in some versions of pyarrow."""
    return np.dtype(str(kind))


def trim_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same rows on buffers that hold those rows and nothing else.

    Arrow rounds a slice's buffers up to 8 bytes and writes the neighbours' bytes in the gap; a trimmed batch is written
    the same wherever its rows came from.
    Raises ValueError where the batch has other columns than `schema`.
    """
    if not batch.schema.equals(schema):
        raise ValueError(f"a batch of other columns than the shard's: {batch.schema.names}")
    views: dict[str, Any] = {}
    for field in schema:
        column = batch.column(field.name)
        if column.null_count:
            raise ValueError(f"column {field.name} holds nulls")
        if pa.types.is_fixed_size_list(field.type):
            views[field.name] = column.flatten().to_numpy().reshape(len(column), field.type.list_size)
        else:
            views[field.name] = column if pa.types.is_list(field.type) else column.to_numpy()
    return make_batch(schema, **views)


def column_views(batch: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
    """Read-only views of SCALAR_COLUMNS, [N], and where the batch has them MATRIX_COLUMNS, [N, L].

    The batch is exact: as `make_batch` made it, or as read from a file.

    On the path of every row that training meets for the first time, hence straight from the buffers: 17 us.
    """
    arrays, rows = batch.columns, batch.num_rows
    compact = pa.types.is_list(arrays[1].type)
    places = _COMPACT_PLACES if compact else _PLACES
    views: dict[str, npt.NDArray[Any]] = {}
    for name, dtype in _SCALAR_DTYPES.items():
        views[name] = np.frombuffer(arrays[places[name]].buffers()[-1], dtype, rows)
    if compact:
        return views
    kind = arrays[_PLACES["input_ids"]].type
    token, length = _TOKEN_DTYPES[kind.value_type.bit_width], kind.list_size
    for name in MATRIX_COLUMNS:
        flat = np.frombuffer(arrays[_PLACES[name]].buffers()[-1], _MATRIX_DTYPES.get(name, token), rows * length)
        views[name] = flat.reshape(rows, length)
    return views


class ListView(NamedTuple):
    """A column of lists of numbers: row i has values[offsets[i]:offsets[i + 1]]."""

    offsets: memoryview
    """int32; one number of a memoryview comes in a third of the time of one of an array."""
    values: npt.NDArray[Any]

    def copy(self) -> "ListView":
        """The same on memory of its own."""
        return ListView(memoryview(bytes(self.offsets)).cast("i"), self.values.copy())


def list_views(batch: pa.RecordBatch) -> dict[str, ListView]:
    """Read-only views of an exact batch's `sentence_ends` and, where it has them, COMPACT_COLUMNS."""
    views: dict[str, ListView] = {}
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if field.name not in (*COMPACT_COLUMNS, "sentence_ends"):
            continue
        buffers, dtype = array.buffers(), numpy_dtype(field.type.value_type)
        offsets = memoryview(buffers[1])[: 4 * (batch.num_rows + 1)].cast("i")
        data = buffers[-1] if buffers[-1] is not None else b""
        views[field.name] = ListView(offsets, np.frombuffer(data, dtype, offsets[-1]))
    return views


def _exact_array(field: pa.Field, column: Any) -> pa.Array:
    """One column without a copy, without offset and without spare bytes."""
    kind = field.type
    if pa.types.is_list(kind):
        return _exact_lists(field, column)
    width = kind.list_size if pa.types.is_fixed_size_list(kind) else None
    dtype = numpy_dtype(kind.value_type if width else kind)
    shape = "[N]" if width is None else f"[N, {width}]"
    fits = (
        isinstance(column, np.ndarray)
        and column.dtype == dtype
        and column.flags.c_contiguous
        and (column.ndim == 1 if width is None else column.ndim == 2 and column.shape[1] == width)
    )
    if not fits:
        found = f"{column.dtype} {column.shape}" if isinstance(column, np.ndarray) else type(column).__name__
        raise ValueError(f"column {field.name} must be a C-contiguous {dtype} array {shape}, it is {found}")
    if width is None:
        return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])
    values = pa.Array.from_buffers(kind.value_type, column.size, [None, pa.py_buffer(column)])
    return pa.Array.from_buffers(kind, len(column), [None], children=[values])


def _exact_lists(field: pa.Field, column: Any) -> pa.Array:
    item = field.type.value_type
    if not (isinstance(column, pa.ListArray) and column.type.value_type == item):
        raise ValueError(f"column {field.name} must be a ListArray of {item}, it is {getattr(column, 'type', column)}")
    values = column.flatten()
    if column.null_count or values.null_count:
        raise ValueError(f"column {field.name} holds nulls")
    offsets = column.offsets.to_numpy() if len(column) else np.zeros(1, np.int32)
    width = item.bit_width // 8
    data = values.buffers()[-1]
    data = pa.py_buffer(b"") if data is None else data.slice(values.offset * width, len(values) * width)
    items = pa.Array.from_buffers(item, len(values), [None, data])
    starts = pa.py_buffer(np.ascontiguousarray(offsets - offsets[0], np.int32))
    return pa.Array.from_buffers(field.type, len(column), [None, starts], children=[items])
