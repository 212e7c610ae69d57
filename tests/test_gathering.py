"""Documents gathered from a file, against plain lists."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmdata.gathering import copy_documents

Taken = tuple[int, int, int]
"""Row in the file, first and last token."""


@st.composite
def files_and_wishes(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], list[Taken]]:
    """Tokens and sentence ends of the documents of a file, and which parts of them are wanted in which order."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    numbers = itertools.count()
    tokens = [[next(numbers) for _ in range(size)] for size in sizes]
    ends = [sorted({*draw(st.lists(st.integers(1, size))), size}) for size in sizes]
    wishes = []
    for row in draw(st.lists(st.integers(0, len(sizes) - 1), max_size=8)):
        first = draw(st.integers(0, sizes[row] - 1))
        wishes.append((row, first, draw(st.integers(first + 1, sizes[row]))))
    return tokens, ends, wishes


@pytest.mark.parametrize("kind", [pa.uint16(), pa.uint32()])
@pytest.mark.parametrize("copy", [copy_documents, copy_documents.py_func], ids=["compiled", "python"])
@given(given=files_and_wishes(), other=st.integers(0, 3))
def test_documents_lie_where_they_belong(copy, kind, given, other) -> None:
    """Beside the wishes there are documents of another file, whose places stay as they are."""
    tokens, ends, wishes = given
    mine = [place for place in range(len(wishes)) if place % 4 != other]
    rows, firsts, lasts = (np.array([wish[part] for wish in wishes], np.int64) for part in range(3))
    offsets = np.concatenate([[0], np.cumsum(lasts - firsts)]).astype(np.int64)
    rooms = np.array([len(ends[row]) + 1 for row in rows], np.int64)
    slots = np.cumsum(rooms) - rooms
    lists = [pa.array(tokens, pa.large_list(kind)), pa.array(ends, pa.large_list(pa.uint32()))]
    buffers = [buffer for column in lists for buffer in (column.offsets.to_numpy(), column.values.to_numpy())]
    made, made_ends = np.full(offsets[-1], 999, kind.to_pandas_dtype()), np.full(rooms.sum(), -1, np.int64)

    copy(np.array(mine, np.int64), rows, firsts, lasts, offsets, slots, *buffers, made, made_ends)

    for place, (row, first, last) in enumerate(wishes):
        there = made[offsets[place] : offsets[place + 1]].tolist()
        found = [int(end - offsets[place]) for end in made_ends[slots[place] : slots[place] + rooms[place]] if end >= 0]
        wanted = [*(end - first for end in ends[row] if first < end < last), last - first]
        assert there == (tokens[row][first:last] if place in mine else [999] * (last - first))
        assert found == (wanted if place in mine else [])
