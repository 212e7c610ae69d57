"""Rows of segments: where each sample of a row begins, and what a model must know to keep them apart.

Query q sees key k where both lie in the same segment, and ``k <= q`` or k lies in that segment's Part A.
R = rows, L = sequence length, S = segments of all rows.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glmdata.infilling.style import Style

__all__ = ["Segments", "find_segments", "split_segments", "token_segments", "visible_keys", "whole_segments"]


_MATRICES = ("input_ids", "target_ids", "position_ids", "block_position_ids", "loss_mask")


class Segments(NamedTuple):
    """Segments of finished rows, row after row."""

    row: npt.NDArray[np.int64]
    """[S] Which row each is in, rising."""
    start: npt.NDArray[np.int64]
    """[S] Place of its first token in the row."""
    context_length: npt.NDArray[np.int64]
    """[S] Length of its Part A."""
    length: npt.NDArray[np.int64]
    """[S] Its length."""


def find_segments(
    input_ids: npt.NDArray[Any],
    block_position_ids: npt.NDArray[Any],
    length: npt.NDArray[Any],
    style: Style,
) -> Segments:
    """The segments of finished rows [R, L] of `length` [R]; where documents are not apart, a row is one.

    A segment begins at a row's start and at each cls. Rows may be damaged; the segments then still cover the rows.
    """
    rows, width = input_ids.shape
    stop = np.minimum(length.astype(np.int64), width)
    real = np.arange(width) < stop[:, None]
    begins = real & (input_ids == style.cls) if style.apart else np.zeros_like(real)
    begins[:, 0] = True
    flat = np.flatnonzero(begins)
    row, start = np.divmod(flat, width)
    last = np.append(row[1:] != row[:-1], True)
    end = np.where(last, stop[row], np.roll(start, -1))
    in_a = np.add.reduceat((real & (block_position_ids == 0)).ravel(), flat, dtype=np.int64) if rows else start
    return Segments(row, start, in_a, np.maximum(end - start, 0))


def token_segments(found: Segments, rows: int, width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each token the number of its segment in the row, and where that segment's Part A ends, [R, L] each.

    Padding is a segment of its own without a Part A.
    """
    ids = np.zeros((rows, width), np.int64)
    ends = np.zeros((rows, width), np.int64)
    first = np.searchsorted(found.row, np.arange(rows))
    number = np.arange(len(found.row)) - first[found.row]
    place = np.repeat(found.row * width + found.start, found.length)
    place += np.arange(len(place)) - np.repeat(np.cumsum(found.length) - found.length, found.length)
    count = np.bincount(found.row, minlength=rows)
    ids[...] = count[:, None]
    ids.ravel()[place] = np.repeat(number, found.length)
    ends.ravel()[place] = np.repeat(found.start + found.context_length, found.length)
    return ids, ends


def whole_segments(
    start: npt.NDArray[np.int64], context_length: npt.NDArray[np.int64], length: npt.NDArray[np.int64]
) -> Segments:
    """The segments of one row, [S] each."""
    return Segments(np.zeros(len(start), np.int64), start, context_length, length)


def visible_keys(
    segment_ids: npt.NDArray[np.int64],
    context_ends: npt.NDArray[np.int64],
    queries: npt.NDArray[np.int64],
    keys: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Whether each query sees each key, [queries, keys]; of one row as `token_segments` has it, [L] each."""
    same = segment_ids[queries][:, None] == segment_ids[keys]
    return same & ((keys <= queries[:, None]) | (keys < context_ends[queries][:, None]))


def split_segments(row: Mapping[str, Any], style: Style) -> list[dict[str, Any]]:
    """A finished row's samples, each as a row by itself; `row` has the columns of a shard by name."""
    if not style.apart:
        return [dict(row)]
    columns = {name: np.asarray(row[name]) for name in _MATRICES if name in row}
    length = np.array([row["length"]])
    found = find_segments(columns["input_ids"][None], columns["block_position_ids"][None], length, style)
    return [
        {name: column[start : start + size] for name, column in columns.items()}
        | {"context_length": context, "length": size}
        for start, context, size in zip(
            found.start.tolist(), found.context_length.tolist(), found.length.tolist(), strict=True
        )
    ]
