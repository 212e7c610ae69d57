"""Layout of one sample: tokens, spans and their order -> Part A, Part B, targets and 2D positions.

GLM's autoregressive blank infilling (Du et al. 2022; reference section 1.1). Part A is the text with each span replaced
by one mask token, Part B the spans in the given order, each after a sop. Part B's targets are shifted already: the sop
predicts the span's first token, its last token predicts eop. N tokens with K spans make N + 2K.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glmdata.kernels import njit

__all__ = ["MAX_SAMPLE_LENGTH", "Page", "Sample", "lay_out", "lay_out_row"]

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


def lay_out(tokens: Integers, spans: Spans, order: Integers, *, mask_id: int, sop_id: int, eop_id: int) -> Sample:
    """Lay out one sample.

    Args:
        tokens: N token ids in [0, 2**32); not changed.
        spans: K half-open [start, end) in `tokens`, in text order, not empty, not overlapping; they may touch.
        order: a permutation of 0..K-1, the order of the spans in Part B.
        mask_id: stands for each span in Part A.
        sop_id: begins each span in Part B.
        eop_id: the last target of each span.

    Raises:
        ValueError: spans overlap, are empty, out of order or outside the text; `order` is no permutation; an id
            is no uint32; or the sample is longer than MAX_SAMPLE_LENGTH.

    Example: tokens 10 11 12 13 with span [1, 3) -> input_ids 10 M 13 sop 11 12, target_ids 10 M 13 11 12 eop,
    position_ids 0 1 2 1 1 1, block_position_ids 0 0 0 1 2 3, context_length 3.
    """
    text = _integers(tokens, "tokens")
    bounds = _integers(spans, "spans").reshape(-1, 2)
    ranks = _integers(order, "order")
    markers = _integers([mask_id, sop_id, eop_id], "special ids")
    for ids in (text, markers):
        if ids.size and not 0 <= ids.min() <= ids.max() < 1 << 32:
            raise ValueError(f"token ids lie in [0, 2**32), found {ids.min()} to {ids.max()}")
    edges = bounds.ravel()
    if (bounds[:, 0] >= bounds[:, 1]).any() or (np.diff(edges) < 0).any():
        raise ValueError("spans are [start, end) with start < end, in text order, without overlap")
    if edges.size and not 0 <= edges[0] <= edges[-1] <= text.size:
        raise ValueError(f"spans reach from {edges[0]} to {edges[-1]}, the text from 0 to {text.size}")
    if ranks.ndim != 1 or not np.array_equal(np.sort(ranks), np.arange(len(bounds))):
        raise ValueError(f"order must be a permutation of the {len(bounds)} spans")
    length = text.size + 2 * len(bounds)
    if length > MAX_SAMPLE_LENGTH:
        raise ValueError(f"the sample has {length} tokens after masking, at most {MAX_SAMPLE_LENGTH} can be numbered")
    page = Page.empty(length)
    return Sample(*page, int(lay_out_row(text.astype(np.uint32), bounds, ranks, markers, page)))


def _integers(values: object, name: str) -> NDArray[np.int64]:
    """A contiguous int64 copy, so that one compiled kernel serves every caller and theirs stays as it was."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, not {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be below 2**63")
    return np.array(array, np.int64, order="C")


@njit(nogil=True, cache=True)
def lay_out_row(tokens, spans, order, markers, page):  # type: ignore[no-untyped-def]
    """Kernel of `lay_out`: writes the first N + 2K places of the page, returns the context length.

    tokens uint32[N]; spans int64[K, 2] and order int64[K], not checked here; markers int64[3] = mask, sop and eop id.
    """
    mask_id, sop_id, eop_id = markers
    input_ids, target_ids, loss_mask, position_ids, block_position_ids = page
    places = np.empty(len(spans), np.int64)
    at, last = 0, 0
    for k in range(len(spans)):
        for i in range(last, spans[k, 0]):
            input_ids[at] = tokens[i]
            at += 1
        input_ids[at] = mask_id
        places[k] = at
        at += 1
        last = spans[k, 1]
    for i in range(last, len(tokens)):
        input_ids[at] = tokens[i]
        at += 1
    context_length = at
    for i in range(context_length):
        target_ids[i] = input_ids[i]
        loss_mask[i] = 0
        position_ids[i] = i
        block_position_ids[i] = 0
    for k in order:
        input_ids[at] = sop_id
        for i in range(spans[k, 0], spans[k, 1]):
            target_ids[at] = tokens[i]
            at += 1
            input_ids[at] = tokens[i]
        target_ids[at] = eop_id
        at += 1
        size = spans[k, 1] - spans[k, 0] + 1
        for i in range(size):
            loss_mask[at - size + i] = 1
            position_ids[at - size + i] = places[k]
            block_position_ids[at - size + i] = i + 1
    return context_length
