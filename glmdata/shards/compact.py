"""Compact shards: finished rows to text and spans, and back.

Numba is imported where it is needed: reading materialised shards does without.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.errors import ShardCorruptError
from glmdata.shards.schema import (
    COMPACT_COLUMNS,
    MATRIX_COLUMNS,
    SCALAR_COLUMNS,
    SEGMENT_COLUMNS,
    ListView,
    column_views,
    list_views,
    make_batch,
    numpy_dtype,
)

if TYPE_CHECKING:
    from glmdata.infilling.style import Style
    from glmdata.infilling.unmask import Unmasked
    from glmdata.shards.manifest import Manifest

__all__ = ["Source", "compact_batch", "expand_batch", "gather", "gather_ends", "matrices", "unmasked"]

Views = dict[str, npt.NDArray[Any]]


class Source(NamedTuple):
    """Where rows come from: a record batch's views, the rows in it, and their places in what is gathered."""

    views: Views
    lists: dict[str, ListView]
    rows: Sequence[int]
    to: Sequence[int]


def compact_batch(batch: pa.RecordBatch, schema: pa.Schema, style: "Style") -> pa.RecordBatch:
    """A materialised batch's rows in the compact `schema`.

    Raises ValueError where a row is none that the pre-training objectives make.
    """
    views = column_views(batch)
    rows = unmasked(views, batch.schema.field("input_ids").type.list_size, style)
    dtype = numpy_dtype(schema.field("tokens").type.value_type)
    spans, ranks = (np.arange(rows.spans.shape[1]) < rows.num_spans[:, None] for _ in range(2))
    text = np.arange(rows.tokens.shape[1]) < rows.size[:, None]
    lists = {
        "tokens": _lists(rows.tokens[text].astype(dtype), rows.size),
        "span_starts": _lists(rows.spans[spans][:, 0].astype(np.uint16), rows.num_spans),
        "span_ends": _lists(rows.spans[spans][:, 1].astype(np.uint16), rows.num_spans),
        "span_order": _lists(rows.order[ranks].astype(np.uint16), rows.num_spans),
    }
    scalars = {name: views[name].copy() for name in SCALAR_COLUMNS}
    return make_batch(schema, **scalars, **lists, **_kept(batch))


def _kept(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Lists that both layouts have."""
    names = ("sentence_ends", "document_ids", *SEGMENT_COLUMNS)
    return {name: batch.column(name) for name in names if name in batch.schema.names}


def _lists(values: npt.NDArray[Any], sizes: npt.NDArray[np.int64]) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def unmasked(views: Views, width: int, style: "Style") -> "Unmasked":
    """Finished rows before masking. Raises ValueError naming the first that cannot be undone."""
    from glmdata.infilling.unmask import Unmasked, unmask

    rows = Unmasked.empty(len(views["length"]), width)
    rows.objective[:] = views["objective"]
    rows.sample_id[:] = views["sample_id"]
    names = ("input_ids", "target_ids", "position_ids", "context_length", "length")
    bad = int(unmask(*(_owned(views[name]) for name in names), style, rows))
    if bad < 0:
        bad = int(np.argmax(rows.objective > 2)) if (rows.objective > 2).any() else -1
    if bad >= 0:
        raise ValueError(
            f"sample {int(rows.sample_id[bad])} (objective code {int(rows.objective[bad])}) is no row of masked text "
            "that can be unmasked"
        )
    return rows


def _owned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Writable as far as numba knows, so that one kernel serves views of files and gathered arrays alike."""
    return array if array.flags.writeable else array.copy()


def gather(sources: Sequence[Source], rows: "Unmasked") -> None:
    """Fill all but the sentence ends from compact record batches. Raises ShardCorruptError.

    Numbers go through lists: setting one in an array takes as long as copying a row.
    """
    width, most = rows.tokens.shape[1], rows.spans.shape[1]
    scalars: list[tuple[int, int, int, int, int, int]] = []
    for views, lists, numbers, places in sources:
        (at, text), (heads, starts), (end_heads, ends), (order_heads, order) = (lists[name] for name in COMPACT_COLUMNS)
        length, objective, sample_id = views["length"].item, views["objective"].item, views["sample_id"].item
        for row, to in zip(numbers, places, strict=True):
            first, last, head, tail = at[row], at[row + 1], heads[row], heads[row + 1]
            size, count = last - first, tail - head
            same = head == end_heads[row] == order_heads[row] and tail == end_heads[row + 1] == order_heads[row + 1]
            if not (same and 0 < size <= width and 0 < count <= most):
                raise ShardCorruptError(f"sample {sample_id(row)}: its lists do not fit together; copy the build again")
            rows.tokens[to, :size] = text[first:last]
            spans = rows.spans[to, :count]
            spans[:, 0], spans[:, 1] = starts[head:tail], ends[head:tail]
            rows.order[to, :count] = order[head:tail]
            scalars.append((to, size, count, length(row), objective(row), sample_id(row)))
    if scalars:
        filled, sizes, counts, lengths, objectives, ids = map(list, zip(*scalars, strict=True))
        rows.size[filled], rows.num_spans[filled], rows.objective[filled] = sizes, counts, objectives
        rows.closed[filled] = rows.size[filled] + 2 * rows.num_spans[filled] == lengths
        rows.sample_id[filled] = np.array(ids, np.uint64)


def gather_ends(sources: Sequence[Source], rows: "Unmasked") -> None:
    """Fill the sentence ends from record batches of either layout. Raises ShardCorruptError."""
    most = rows.sentence_ends.shape[1]
    for views, lists, numbers, places in sources:
        offsets, values = lists["sentence_ends"]
        for row, to in zip(numbers, places, strict=True):
            first, last = offsets[row], offsets[row + 1]
            if not 0 <= last - first <= most:
                name = views["sample_id"].item(row)
                raise ShardCorruptError(f"sample {name}: its sentence ends do not fit in a row; copy the build again")
            rows.sentence_ends[to, : last - first] = values[first:last]
            rows.num_ends[to] = last - first


def matrices(rows: "Unmasked", style: "Style", seed: int, epochs: npt.NDArray[np.int64] | None = None) -> Views:
    """MATRIX_COLUMNS of rows as they were built, or as of their epochs, and both lengths.

    Raises ShardCorruptError where one is unsound.
    """
    from glmdata.infilling.unmask import Tensors, lay_out_rows

    tensors = Tensors.empty(*rows.tokens.shape)
    epochs = np.zeros(len(rows.size), np.int64) if epochs is None else epochs
    lengths = lay_out_rows(rows, epochs, style, seed, tensors)
    positions = {"position_ids": tensors.positions[:, 0], "block_position_ids": tensors.positions[:, 1]}
    flat = {name: getattr(tensors, name) for name in MATRIX_COLUMNS if name not in positions}
    return {**flat, **positions, "context_length": lengths[0], "length": lengths[1]}


def expand_batch(batch: pa.RecordBatch, manifest: "Manifest") -> pa.RecordBatch:
    """A compact batch's rows, materialised. Raises ShardCorruptError where one is unsound."""
    from glmdata.infilling.unmask import Unmasked

    views, lists = column_views(batch), list_views(batch)
    rows = Unmasked.empty(batch.num_rows, manifest.sequence_length)
    everything = range(batch.num_rows)
    gather([Source(views, lists, everything, everything)], rows)
    schema = manifest.shard_schema("materialised")
    made = matrices(rows, manifest.style, manifest.seed)
    columns = {
        name: np.ascontiguousarray(made[name], numpy_dtype(schema.field(name).type.value_type))
        for name in MATRIX_COLUMNS
    }
    for name in ("context_length", "length"):
        if not np.array_equal(made[name], views[name]):
            raise ShardCorruptError(f"{name} is not that of the text and spans")
    scalars = {name: views[name].copy() for name in SCALAR_COLUMNS}
    return make_batch(schema, **scalars, **columns, **_kept(batch))
