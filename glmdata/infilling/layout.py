"""Layout of one sample: tokens, spans and their order -> Part A, Part B, targets and 2D positions.

GLM's autoregressive blank infilling (Du et al. 2022; reference section 1.1). Part A is the text with each span replaced
by one mask token, Part B the spans in the given order, each after a sop. Part B's targets are shifted already: the sop
predicts the span's first token, its last token predicts eop. N tokens with K spans make N + 2K.

The reference's variants (section 1.5) are in `Style`; plain samples are what it is by default. `finish_row` is the
one place where rows of shards are made, whether they are written, read from compact shards or masked anew.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glmdata.infilling.style import Style
from glmdata.kernels import njit
from glmdata.randomness import draw, draw_below, draw_key, draw_unit

__all__ = [
    "MAX_SAMPLE_LENGTH",
    "Page",
    "Sample",
    "finish_row",
    "lay_out",
    "lay_out_row",
    "row_of",
    "segment_end",
    "segment_id",
]

MAX_SAMPLE_LENGTH = 65535
"""Positions are stored as uint16."""

Integers: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]
Spans: TypeAlias = Sequence[tuple[int, int]] | NDArray[np.integer[Any]]


class Sample(NamedTuple):
    """One finished sample of T = N + 2K tokens; query q sees key k where ``k <= q or k < context_length``."""

    input_ids: NDArray[np.uint32]
    """[T] Part A, then Part B: sop and tokens of each span."""
    target_ids: NDArray[np.uint32]
    """[T] What each place predicts: in Part A the token itself, in Part B the next one or eop."""
    loss_mask: NDArray[np.uint8]
    """[T] 0 in Part A, 1 in Part B."""
    position_ids: NDArray[np.uint16]
    """[T] Index in Part A; in Part B the index of the span's mask token."""
    block_position_ids: NDArray[np.uint16]
    """[T] 0 in Part A; 1, 2, ... in each span of Part B, its sop counted."""
    context_length: int
    """Length of Part A; the reference's `sep`."""


class Page(NamedTuple):
    """What `lay_out_row` writes, for one row [L]; or for all rows of a batch [R, L]."""

    input_ids: NDArray[np.uint32]
    target_ids: NDArray[np.uint32]
    loss_mask: NDArray[np.uint8]
    position_ids: NDArray[np.uint16]
    block_position_ids: NDArray[np.uint16]

    @classmethod
    def empty(cls, *shape: int) -> "Page":
        """Room for rows, not initialised."""
        ids = [np.empty(shape, np.uint32) for _ in range(2)]
        positions = [np.empty(shape, np.uint16) for _ in range(2)]
        return cls(ids[0], ids[1], np.empty(shape, np.uint8), positions[0], positions[1])


def lay_out(
    tokens: Integers,
    spans: Spans,
    order: Integers,
    *,
    mask_id: int,
    sop_id: int,
    eop_id: int,
    closed: bool = True,
    block_positions: bool = True,
    position_bias: int = 0,
    sentinels: tuple[int, int] | None = None,
) -> Sample:
    """Lay out one sample.

    Args:
        tokens: N token ids in [0, 2**32); not changed.
        spans: K half-open [start, end) in `tokens`, in text order, not empty, not overlapping; they may touch.
        order: a permutation of 0..K-1, the order of the spans in Part B.
        mask_id: stands for each span in Part A.
        sop_id: begins each span in Part B.
        eop_id: the last target of each span.
        closed: False leaves out the last eop: the last span's last token is a target only (the reference's suffix).
        block_positions: False has 1 in all of Part B (no_block_position).
        position_bias: added to the first row of positions (random_position).
        sentinels: (first id, position): the second span of Part B has that id for its mask token and the next for its
            sop, the third the two behind, and so on; every token of Part B has that position (sentinel_token).

    Raises:
        ValueError: spans overlap, are empty, out of order or outside the text; `order` is no permutation; an id
            is no uint32; a position or the sample's length exceeds MAX_SAMPLE_LENGTH; or there is no span to leave
            open.

    Example: tokens 10 11 12 13 with span [1, 3) -> input_ids 10 M 13 sop 11 12, target_ids 10 M 13 11 12 eop,
    position_ids 0 1 2 1 1 1, block_position_ids 0 0 0 1 2 3, context_length 3.
    """
    text = _integers(tokens, "tokens")
    bounds = _integers(spans, "spans").reshape(-1, 2)
    ranks = _integers(order, "order")
    first_sentinel, sentinel_position = sentinels or (0, 0)
    added = len(bounds) if sentinels else 0
    markers = _integers([mask_id, sop_id, eop_id, first_sentinel, first_sentinel + 2 * added], "special ids")
    for ids in (text, markers):
        if ids.size and not 0 <= ids.min() <= ids.max() < 1 << 32:
            raise ValueError(f"token ids lie in [0, 2**32), found {ids.min()} to {ids.max()}")
    _check_spans(bounds, ranks, text.size)
    if not closed and not len(bounds):
        raise ValueError("a sample without spans has none to leave open")
    length = text.size + 2 * len(bounds)
    if max(length + position_bias, sentinel_position) > MAX_SAMPLE_LENGTH:
        raise ValueError(f"the sample has {length} tokens after masking, at most {MAX_SAMPLE_LENGTH} can be numbered")
    if min(position_bias, sentinel_position) < 0:
        raise ValueError("positions are not negative")
    style = Style(
        sop=sop_id,
        eop=eop_id,
        block_positions=block_positions,
        first_sentinel=first_sentinel,
        sentinels=added,
        sentinel_position=sentinel_position,
    )
    page = Page.empty(length)
    whole = (0, text.size, 0)
    context = lay_out_row(text.astype(np.uint32), whole, bounds, ranks, mask_id, position_bias, style, page)
    end = length if closed else length - 1
    return Sample(page[0][:end], page[1][:end], page[2][:end], page[3][:end], page[4][:end], int(context))


def _check_spans(bounds: NDArray[np.int64], ranks: NDArray[np.int64], size: int) -> None:
    edges = bounds.ravel()
    if (bounds[:, 0] >= bounds[:, 1]).any() or (np.diff(edges) < 0).any():
        raise ValueError("spans are [start, end) with start < end, in text order, without overlap")
    if edges.size and not 0 <= edges[0] <= edges[-1] <= size:
        raise ValueError(f"spans reach from {edges[0]} to {edges[-1]}, the text from 0 to {size}")
    if ranks.ndim != 1 or not np.array_equal(np.sort(ranks), np.arange(len(bounds))):
        raise ValueError(f"order must be a permutation of the {len(bounds)} spans")


def _integers(values: object, name: str) -> NDArray[np.int64]:
    """A contiguous int64 copy, so that one compiled kernel serves every caller and theirs stays as it was."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, not {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be below 2**63")
    return np.array(array, np.int64, order="C")


@njit(nogil=True, cache=True)
def lay_out_row(tokens, part, spans, order, mask_id, bias, style, page):  # type: ignore[no-untyped-def]
    """Kernel of `lay_out`: writes the first N + 2K places of the page, returns the context length.

    A part is (first, end, before): the N tokens [first, end) of uint32 `tokens`, whose spans int64[K, 2] count from the
    row's first token and order int64[K] from the row's first span, `before` of which belong to earlier parts. They are
    not checked here; bias is added to the first positions.
    """
    input_ids, target_ids, loss_mask, position_ids, block_position_ids = page
    first, end, before = part
    places = np.empty(len(spans), np.int64)
    at, last = 0, first
    for k in range(len(spans)):
        for i in range(last, spans[k, 0]):
            input_ids[at] = tokens[i]
            at += 1
        input_ids[at] = mask_id
        places[k] = at
        at += 1
        last = spans[k, 1]
    for i in range(last, end):
        input_ids[at] = tokens[i]
        at += 1
    context_length = at
    if style.sentinels > 0:
        for rank in range(1, len(spans)):
            input_ids[places[order[rank] - before]] = style.first_sentinel + 2 * rank - 2
    for i in range(context_length):
        target_ids[i] = input_ids[i]
        loss_mask[i] = 0
        position_ids[i] = bias + i
        block_position_ids[i] = 0
    for rank in range(len(spans)):
        k = order[rank] - before
        input_ids[at] = style.sop if rank == 0 or style.sentinels == 0 else style.first_sentinel + 2 * rank - 1
        for i in range(spans[k, 0], spans[k, 1]):
            target_ids[at] = tokens[i]
            at += 1
            input_ids[at] = tokens[i]
        target_ids[at] = style.eop
        at += 1
        size = spans[k, 1] - spans[k, 0] + 1
        position = style.sentinel_position if style.sentinels > 0 else bias + places[k]
        for i in range(size):
            loss_mask[at - size + i] = 1
            position_ids[at - size + i] = position
            block_position_ids[at - size + i] = i + 1 if style.block_positions else 1
    return context_length


@njit(nogil=True, cache=True, inline="always")
def segment_id(sample_id, segment):  # type: ignore[no-untyped-def]
    """What the draws of a row's segment 0, 1, ... are keyed by; a row of one segment is as one without segments."""
    return sample_id if segment == 0 else draw(sample_id, segment)


@njit(nogil=True, cache=True, inline="always")
def segment_end(tokens, start, style):  # type: ignore[no-untyped-def]
    """Where the part that starts there ends, in a row before masking: at the next cls if documents stand apart."""
    end = len(tokens)
    if style.apart:
        end = start + 1
        while end < len(tokens) and tokens[end] != style.cls:
            end += 1
    return end


@njit(nogil=True, cache=True)
def finish_row(tokens, spans, order, objective, closed, sample_id, keys, style, page):  # type: ignore[no-untyped-def]
    """Lay out a row of shards and fill it up; returns (context length, length), the first segment's and the row's.

    Arguments as in `lay_out_row`. What the style draws at random it draws by (keys, segment). `closed` is as in
    `lay_out`.
    """
    input_ids, target_ids, loss_mask, position_ids, block_position_ids = page
    width = len(input_ids)
    context_length, length = 0, 0
    # Typed: a literal 0 would have what is called below compiled for it, and once more for what follows.
    segment, start, first = np.int64(0), np.int64(0), np.int64(0)
    while start < len(tokens):
        end = segment_end(tokens, start, style)
        last = np.int64(len(spans))
        if style.apart:
            last = first
            while last < len(spans) and spans[last, 0] < end:
                last += 1
        context, size = _finish_segment(
            tokens,
            (start, end, first),
            spans[first:last],
            order[first:last],
            objective,
            segment_id(sample_id, segment),
            keys,
            style,
            width,
            Page(
                input_ids[length:],
                target_ids[length:],
                loss_mask[length:],
                position_ids[length:],
                block_position_ids[length:],
            ),
        )
        context_length = context if segment == 0 else context_length
        length += size
        segment, start, first = segment + 1, end, last
    length -= 0 if closed else 1
    for i in range(length, width):
        input_ids[i] = style.pad
        target_ids[i] = 0
        loss_mask[i] = 0
        position_ids[i] = 0
        block_position_ids[i] = 0
    return context_length, length


@njit(nogil=True, cache=True)
def _finish_segment(tokens, part, spans, order, objective, identity, keys, style, width, page):  # type: ignore[no-untyped-def]
    """Lay out one part of a row, its inputs corrupted where the style says so; returns (context length, length)."""
    bias = 0
    if style.random_positions:
        last = part[1] - part[0] + len(spans) - 1
        for k in range(len(spans)):
            last -= spans[k, 1] - spans[k, 0]
        bias = draw_below(draw_key(keys.positions, identity), 0, width - last)
    context_length = lay_out_row(tokens, part, spans, order, style.mask_ids[objective], bias, style, page)
    if style.block_mask_ratio > 0 and objective == 0:
        key = draw_key(keys.corruption, identity)
        at = context_length
        for rank in range(len(order)):
            k = order[rank] - part[2]
            for i in range(at + 1, at + 1 + spans[k, 1] - spans[k, 0]):
                if draw_unit(key, i) < style.block_mask_ratio:
                    page.input_ids[i] = style.dblock
            at += spans[k, 1] - spans[k, 0] + 1
    return context_length, part[1] - part[0] + 2 * len(spans)


@njit(nogil=True, cache=True, inline="always")
def row_of(pages, row):  # type: ignore[no-untyped-def]
    """The page of one row of a batch."""
    return Page(
        pages.input_ids[row],
        pages.target_ids[row],
        pages.loss_mask[row],
        pages.position_ids[row],
        pages.block_position_ids[row],
    )
