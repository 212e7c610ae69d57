"""Record batches at hand: whether they have the form that was promised, and what of them stays in memory."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.shards.descriptor import Descriptor
from glmdata.shards.schema import MATRIX_COLUMNS, SCALAR_COLUMNS, ListView

__all__ = ["VIEWS_BYTES", "Kept", "Views", "has_form", "kept_rows", "scalar_rows", "spread_scalars"]

VIEWS_BYTES = 4096
"""What the array objects of one record batch take."""

ARROW_ALIGNMENT = 64
"""Writers may count the padding of a buffer as part of it."""

Views = dict[str, npt.NDArray[Any]]


class Kept(NamedTuple):
    """A record batch at hand."""

    cost: int
    views: Views
    scalars: npt.NDArray[np.int64]
    """SCALAR_COLUMNS side by side, [N, 5]: a row of them is copied at once, which is what one value costs."""
    lists: dict[str, ListView]
    file: Descriptor | None
    """Where rows of the MATRIX_COLUMNS are read from that `views` does not have."""
    starts: dict[str, int]
    """Where in the file each of those columns begins."""
    touches: int
    """Bytes of a map that may come into memory when a row is read."""


def has_form(batch: pa.RecordBatch) -> bool:
    """Whether the values are as wide as the schema has them, and no nulls.

    A message does not tell its types: 32-bit ids would be read as twice as many of 16 bits without a word.
    """
    for column in batch.columns:
        if column.null_count:
            return False
        if pa.types.is_list(column.type):
            values = column.buffers()[-1]
            needed = column.offsets[-1].as_py() * column.type.value_type.bit_width // 8
            if needed < 0 or not 0 <= (values.size if values is not None else 0) - needed < ARROW_ALIGNMENT:
                return False
        elif not 0 <= column.buffers()[-1].size - column.nbytes < ARROW_ALIGNMENT:
            return False
    return True


def kept_rows(views: Views, lists: dict[str, ListView], file: Descriptor, offset: int) -> Kept:
    """What stays of a record batch that was read: all but the matrices.

    `offset` leads from places in memory to those in the file.
    """
    starts = {name: offset + views[name].ctypes.data for name in MATRIX_COLUMNS}
    small = {name: array.copy() for name, array in views.items() if name not in starts}
    copies = {name: view.copy() for name, view in lists.items()}
    scalars = scalar_rows(views)
    cost = VIEWS_BYTES + scalars.nbytes + sum(view.values.nbytes for view in copies.values())
    return Kept(cost, small, scalars, copies, file, starts, 0)


def scalar_rows(views: Views) -> npt.NDArray[np.int64]:
    """SCALAR_COLUMNS as the columns of one array, [N, 5]; ids beyond 2**63 keep their bits."""
    rows = np.empty((len(views[SCALAR_COLUMNS[0]]), len(SCALAR_COLUMNS)), np.int64)
    for place, name in enumerate(SCALAR_COLUMNS):
        rows[:, place] = views[name]
    return rows


def spread_scalars(rows: npt.NDArray[np.int64], out: Views, places: Any) -> None:
    """Put such rows into those of SCALAR_COLUMNS that are in `out`, at `places`."""
    for place, name in enumerate(SCALAR_COLUMNS):
        if name in out:
            out[name][places] = rows[:, place]
