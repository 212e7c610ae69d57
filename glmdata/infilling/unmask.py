"""Finished rows back to their text and spans, many at a time, and forth again.

What `glmdata.infilling.restore` does for one row in plain numpy, by kernels for the rows of a batch: fresh masks and
compact shards both stand on rows before masking.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glmdata.errors import ShardCorruptError
from glmdata.infilling.layout import Page, finish_row, segment_end
from glmdata.infilling.spans import SpanKeys, epoch_keys
from glmdata.infilling.style import Style
from glmdata.kernels import njit

__all__ = ["Tensors", "Unmasked", "lay_out_rows", "require_sound", "unmask"]


class Unmasked(NamedTuple):
    """Rows before masking and their spans; R rows, L = sequence length, M = L // 3 + 1."""

    tokens: NDArray[np.uint32]
    """[R, L], the first `size` of each row."""
    size: NDArray[np.int64]
    """[R]"""
    spans: NDArray[np.int64]
    """[R, M, 2] half-open places in `tokens`, in text order, the first `num_spans` of each row."""
    order: NDArray[np.int64]
    """[R, M] which of them stands first, second, ... in Part B."""
    num_spans: NDArray[np.int64]
    """[R]"""
    closed: NDArray[np.bool_]
    """[R] whether the last span has an eop."""
    objective: NDArray[np.int64]
    """[R]"""
    sample_id: NDArray[np.uint64]
    """[R]"""
    sentence_ends: NDArray[np.int64]
    """[R, L] exclusive places in `tokens`, the first `num_ends` of each row."""
    num_ends: NDArray[np.int64]
    """[R]"""

    @classmethod
    def empty(cls, rows: int, width: int) -> "Unmasked":
        """Room for rows of `width` tokens; memory that is not written is not taken."""
        most = width // 3 + 1  # a span, its mask token and its sop take three places at least
        return cls(
            tokens=np.empty((rows, width), np.uint32),
            size=np.zeros(rows, np.int64),
            spans=np.empty((rows, most, 2), np.int64),
            order=np.empty((rows, most), np.int64),
            num_spans=np.zeros(rows, np.int64),
            closed=np.ones(rows, np.bool_),
            objective=np.zeros(rows, np.int64),
            sample_id=np.zeros(rows, np.uint64),
            sentence_ends=np.empty((rows, width), np.int64),
            num_ends=np.zeros(rows, np.int64),
        )


class Tensors(NamedTuple):
    """Finished rows as training takes them."""

    input_ids: NDArray[np.int64]
    """[R, L]"""
    target_ids: NDArray[np.int64]
    """[R, L]"""
    loss_mask: NDArray[np.float32]
    """[R, L]"""
    positions: NDArray[np.int64]
    """[R, 2, L] positions, block positions."""

    @classmethod
    def empty(cls, rows: int, width: int) -> "Tensors":
        """Room for rows."""
        ids, targets = (np.empty((rows, width), np.int64) for _ in range(2))
        return cls(ids, targets, np.empty((rows, width), np.float32), np.empty((rows, 2, width), np.int64))


def lay_out_rows(
    rows: Unmasked, epochs: NDArray[np.int64], style: Style, seed: int, tensors: Tensors
) -> NDArray[np.int64]:
    """Lay rows out into tensors; returns [2, R], context lengths and lengths.

    `epochs` [R] tells whose draws a style takes that draws. Raises ShardCorruptError naming a row whose spans do not
    lie in its text, in order, or which would not fit.
    """
    require_sound(rows, style)
    keys, keys_of = epoch_keys(seed, epochs)
    found: NDArray[np.int64] = _lay_out_rows(rows, keys, keys_of, style, tensors)
    return found


def require_sound(rows: Unmasked, style: Style) -> None:
    """Raise ShardCorruptError naming the first row that the kernels must not see."""
    bad = int(_first_unsound(rows, style))
    if bad >= 0:
        raise ShardCorruptError(
            f"sample {int(rows.sample_id[bad])}: its spans or sentences do not lie in its text; copy the build again"
        )


@njit(nogil=True, cache=True)
def unmask(input_ids, target_ids, position_ids, context_length, length, style, rows):  # type: ignore[no-untyped-def]
    """Take the masks off finished rows, integers [R, L] and [R]; -1, or the first row that is none.

    Fills tokens, size, spans, order, num_spans and closed. Tokens of a span are its targets, as in `restore`.
    """
    width = input_ids.shape[1]
    rank_at = np.empty(width, np.int64)  # rank of the span whose mask token stands there, -1 for none
    starts = np.empty(rows.spans.shape[1] + 1, np.int64)  # where the span of each rank begins, its sop not counted
    for row in range(len(input_ids)):
        rows.size[row], rows.num_spans[row], rows.closed[row] = 0, 0, True
        start, stop = np.int64(0), np.int64(length[row])
        if not 0 < stop <= width:
            return row
        while start < stop:
            context, end = np.int64(context_length[row]), stop
            if style.apart:
                end = segment_end(input_ids[row, :stop], start, style)
                context = start
                while context < end and input_ids[row, context] != style.sop:
                    context += 1
            ids, targets, positions = (
                input_ids[row, start:end],
                target_ids[row, start:end],
                position_ids[row, start:end],
            )
            if not _unmask_part(ids, targets, positions, context - start, style, rank_at, starts, rows, row):
                return row
            start = end
    return -1


@njit(nogil=True, cache=True)
def _unmask_part(  # type: ignore[no-untyped-def]
    input_ids, target_ids, position_ids, context, style, rank_at, starts, rows, row
):
    """Add a part [T] of a finished row to its tokens and spans; False where it is none."""
    width, most, end = rows.tokens.shape[1], rows.spans.shape[1], len(input_ids)
    if not 0 < context < end:
        return False
    bias = np.int64(position_ids[0])
    count, size, found = 0, rows.size[row], rows.num_spans[row]
    earlier = found
    for i in range(context):
        rank_at[i] = -1
    for i in range(context, end):
        token = np.int64(input_ids[i])
        own = token - style.first_sentinel - 1
        if token != style.sop and not (0 <= own < 2 * style.sentinels and own % 2 == 0):
            continue
        if earlier + count == most:
            return False
        starts[count] = i
        if style.sentinels == 0:
            place = np.int64(position_ids[i]) - bias
            if not 0 <= place < context or rank_at[place] >= 0:
                return False
            rank_at[place] = count
        count += 1
    if count == 0 or starts[0] != context:
        return False
    starts[count] = end
    if style.sentinels > 0:
        for i in range(context):
            token = np.int64(input_ids[i])
            own = token - style.first_sentinel
            if 0 <= own < 2 * style.sentinels and own % 2 == 0:
                rank_at[i] = own // 2 + 1
            elif token == style.mask_ids[0] or token == style.mask_ids[1] or token == style.mask_ids[2]:
                rank_at[i] = 0
    closed = np.int64(target_ids[end - 1]) == style.eop
    if style.apart and not closed:
        return False
    for i in range(context):
        rank = rank_at[i]
        if rank < 0:
            if size == width:
                return False
            rows.tokens[row, size] = input_ids[i]
            size += 1
            continue
        if rank >= count or found - earlier == count:
            return False
        stop = starts[rank + 1]
        stop -= 1 if rank + 1 < count or closed else 0
        if size + stop - starts[rank] > width:
            return False
        rows.spans[row, found, 0] = size
        for j in range(starts[rank], stop):
            rows.tokens[row, size] = target_ids[j]
            size += 1
        rows.spans[row, found, 1] = size
        rows.order[row, earlier + rank] = found
        found += 1
    rows.size[row], rows.num_spans[row], rows.closed[row] = size, found, closed
    return found - earlier == count


@njit(nogil=True, cache=True)
def _first_unsound(rows, style):  # type: ignore[no-untyped-def]
    """The first row that the kernels must not see, or -1: spans in order, in the text, a permutation, in the room.

    In rows of segments that holds for each segment, all have text and an eop.
    """
    width = rows.tokens.shape[1]
    seen = np.empty(rows.spans.shape[1], np.bool_)
    for row in range(len(rows.size)):
        size, count = rows.size[row], rows.num_spans[row]
        if size < 1 or count < 1 or count > rows.spans.shape[1] or size + 2 * count > width:
            return row
        if rows.objective[row] < 0 or rows.objective[row] > 2 or (style.apart and not rows.closed[row]):
            return row
        last = 0
        for k in range(count):
            seen[k] = False
            if rows.spans[row, k, 0] < last or rows.spans[row, k, 1] <= rows.spans[row, k, 0]:
                return row
            last = rows.spans[row, k, 1]
        if last > size:
            return row
        start, first = 0, 0
        while start < size:
            end = segment_end(rows.tokens[row, :size], start, style)
            past, text = first, 0
            for i in range(start, end):
                text += rows.tokens[row, i] != style.cls and rows.tokens[row, i] != style.eos
            while past < count and rows.spans[row, past, 0] < end:
                past += 1
            if past == first or rows.spans[row, past - 1, 1] > end or (style.apart and text == 0):
                return row
            for k in range(first, past):
                span = rows.order[row, k]
                if span < first or span >= past or seen[span]:
                    return row
                seen[span] = True
            start, first = end, past
        last = 0
        for k in range(rows.num_ends[row]):
            if rows.sentence_ends[row, k] <= last:
                return row
            last = rows.sentence_ends[row, k]
        if last > size:
            return row
    return -1


@njit(nogil=True, cache=True)
def _lay_out_rows(rows, keys, keys_of, style, tensors):  # type: ignore[no-untyped-def]
    lengths = np.empty((2, len(rows.size)), np.int64)
    for row in range(len(rows.size)):
        key, count = keys[keys_of[row]], rows.num_spans[row]
        lengths[0, row], lengths[1, row] = finish_row(
            rows.tokens[row, : rows.size[row]],
            rows.spans[row, :count],
            rows.order[row, :count],
            rows.objective[row],
            rows.closed[row],
            rows.sample_id[row],
            SpanKeys(key[0], key[1], key[2], key[3], key[4], key[5]),
            style,
            Page(
                tensors.input_ids[row],
                tensors.target_ids[row],
                tensors.loss_mask[row],
                tensors.positions[row, 0],
                tensors.positions[row, 1],
            ),
        )
    return lengths
