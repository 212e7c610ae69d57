"""Kernels behind `fill_rows`: which text each row takes, what is masked in it, and the finished columns.

Plans are made row after row, as each window begins where the last one ended; then all rows are laid out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glmdata.infilling.layout import finish_row, row_of, segment_id
from glmdata.infilling.spans import (
    document_span,
    draw_lengths,
    lengths_for,
    sentence_spans,
    shuffle_order,
    token_spans,
)
from glmdata.kernels import njit
from glmdata.randomness import draw_key, draw_unit

__all__ = [
    "CUT_SHARE",
    "DOCUMENT",
    "MIN_SEQUENCE_LENGTH",
    "SENTENCE",
    "TOKEN",
    "Packing",
    "RowPlan",
    "Stretch",
    "list_sentences",
    "plan_rows",
    "write_rows",
]

TOKEN, SENTENCE, DOCUMENT = 0, 1, 2
"""Codes of the objectives in the shards."""

CUT_SHARE = 16
"""A row may give up this part of its capacity to end where a sentence does. With sentence ends at random that costs at
most 0.3 / 16 = 1.9 % of the room, whatever their density, so that rows stay more than 97 % full."""


STRATA = 64
"""Samples whose objectives are drawn together."""

MIN_SEQUENCE_LENGTH = 16
"""Room for cls, some text, eos and a span at any mask ratio that a recipe allows."""


class Stretch(NamedTuple):
    """The text: documents joined, read-only arrays; `complete` where the last document truly ends."""

    tokens: NDArray[np.uint32]
    document_offsets: NDArray[np.int64]
    sentence_ends: NDArray[np.int64]
    complete: bool


class Packing(NamedTuple):
    """What a row is; weights are the cumulated weights of the three objectives.

    joined: several documents are one sample; apart: several samples, a document each, are one row.
    """

    joined: bool
    apart: bool
    sequence_length: int
    weights: NDArray[np.float64]
    first_sample_id: np.uint64


class RowPlan(NamedTuple):
    """What each row holds; row i has text[i]:text[i + 1] of the tokens, and so on for sentence ends and spans."""

    text: NDArray[np.int64]
    sentence: NDArray[np.int64]
    span: NDArray[np.int64]
    size: NDArray[np.int64]
    """Tokens before masking."""
    document_first: NDArray[np.int64]
    document_last: NDArray[np.int64]
    objective: NDArray[np.uint8]
    closed: NDArray[np.bool_]
    """Whether the last span has an eop."""
    spans: NDArray[np.int64]
    order: NDArray[np.int64]
    counts: NDArray[np.int64]
    """[3, 3] spans, masked tokens and reduced tokens; by objective."""

    @classmethod
    def empty(cls, tokens: int) -> "RowPlan":
        """Room for one row and one span a token, the most there can be; memory never written is never taken."""
        return cls(
            text=np.zeros(tokens + 1, np.int64),
            sentence=np.zeros(tokens + 1, np.int64),
            span=np.zeros(tokens + 1, np.int64),
            size=np.empty(tokens, np.int64),
            document_first=np.empty(tokens, np.int64),
            document_last=np.empty(tokens, np.int64),
            objective=np.empty(tokens, np.uint8),
            closed=np.empty(tokens, np.bool_),
            spans=np.empty((tokens, 2), np.int64),
            order=np.empty(tokens, np.int64),
            counts=np.zeros((3, 3), np.int64),
        )


@njit(nogil=True, cache=True)
def _cut_window(stretch, joined, capacity, cursor, runs):  # type: ignore[no-untyped-def]
    """Text for one row of at most `capacity` (3 or more) tokens, cls and eos counted.

    A cursor is (offset of the next token, its document, the first sentence end behind it). Writes the window's runs,
    returns (number of runs, tokens, cursor behind it). A row ends at a sentence end where that leaves it full enough:
    inside a document, or before one of which only a broken sentence would fit. A document whose eos does not fit
    keeps a token for the next row, so that no row is without text.
    """
    offsets, ends = stretch.document_offsets, stretch.sentence_ends
    position, document, sentence = cursor
    enough = capacity - capacity // CUT_SHARE
    count, size = 0, 0
    while document < len(offsets) - 1 and (joined or count == 0):
        left = offsets[document + 1] - position
        closing = 1 if stretch.complete or document + 2 < len(offsets) else 0
        room = capacity - size - 1
        whole = left + closing <= room
        take = left if whole else max(0, min(room, left - 1))
        while sentence < len(ends) and ends[sentence] <= position + take:
            sentence += 1
        if not whole:
            ended = max(0, ends[sentence - 1] - position) if sentence > 0 else 0
            if size + (ended > 0) + ended >= enough:
                take = ended
        if take > 0:
            runs[count, 0] = size + 1
            runs[count, 1] = size + 1 + take
            runs[count, 2] = position
            count += 1
            size += 1 + take
            position += take
        if not whole:
            break
        size += closing
        document += 1
    return count, size, (position, document, sentence)


@njit(nogil=True, cache=True)
def list_sentences(runs, ends, sentence, sentences):  # type: ignore[no-untyped-def]
    """Places of the runs' sentences, broken ones at the row's edges as well (as in the reference); returns how many."""
    count = 0
    for run in range(len(runs)):
        start = runs[run, 0]
        while start < runs[run, 1]:
            end = runs[run, 1]
            if sentence < len(ends):
                end = min(end, runs[run, 0] + ends[sentence] - runs[run, 2])
                sentence += 1
            sentences[count, 0] = start
            sentences[count, 1] = end
            count += 1
            start = end
    return count


class _Scratch(NamedTuple):
    """Room for one window's runs [L, 3], sentences [L, 2] and drawn lengths [L]."""

    runs: NDArray[np.int64]
    sentences: NDArray[np.int64]
    lengths: NDArray[np.int64]


@njit(nogil=True, cache=True)
def plan_rows(stretch, packing, rules, keys, plan):  # type: ignore[no-untyped-def]
    """Decide text, spans and order of every row; returns the number of rows.

    Objectives are drawn in strata: of the STRATA samples that share id // STRATA each has another part of [0, 1), in
    random order, so that shares are the recipe's within a sample or two in each such run, not only on average.

    Documents apart: segments are added while there is room for one. A row ends behind a document that goes on in the
    next one, and before one that would be cut for less than a CUT_SHARE of the row.
    """
    width, offsets = packing.sequence_length, stretch.document_offsets
    scratch = _Scratch(np.empty((width, 3), np.int64), np.empty((width, 2), np.int64), np.empty(width, np.int64))
    strata = np.empty(STRATA, np.int64)
    row, first = 0, 0
    cursor = (np.int64(0), np.int64(0), np.int64(0))
    while cursor[1] < len(offsets) - 1:
        sample_id = packing.first_sample_id + np.uint64(row)
        slot = np.int64(sample_id % np.uint64(STRATA))
        objective_key = draw_key(keys.objective, sample_id // np.uint64(STRATA))
        if row == 0 or slot == 0:
            shuffle_order(objective_key, strata)
        pick = (strata[slot] + draw_unit(objective_key, STRATA + slot)) / STRATA * packing.weights[2]
        objective = TOKEN if pick < packing.weights[0] else SENTENCE if pick < packing.weights[1] else DOCUMENT
        plan.objective[row] = objective
        plan.document_first[row] = cursor[1]
        segment, total, spans, room = 0, 0, 0, width
        while segment == 0 or (packing.apart and room >= MIN_SEQUENCE_LENGTH and cursor[1] < len(offsets) - 1):
            at = first + spans
            count, size, reduced, closed, behind = _plan_segment(
                stretch, packing.joined, objective, segment_id(sample_id, segment), room, cursor, rules, keys, scratch,
                plan.spans[at:], plan.order[at:],
            )  # fmt: skip
            cut = behind[0] > offsets[behind[1]]
            if segment > 0 and cut and room * CUT_SHARE < width:
                break
            for k in range(at, at + count):
                plan.counts[1, objective] += plan.spans[k, 1] - plan.spans[k, 0]
                plan.spans[k, 0] += total
                plan.spans[k, 1] += total
                plan.order[k] += spans
            plan.counts[0, objective] += count
            plan.counts[2, objective] += reduced
            plan.closed[row] = closed
            plan.document_last[row] = behind[1] + cut
            cursor, segment = behind, segment + 1
            total, spans, room = total + size, spans + count, 0 if cut else room - size - 2 * count
        first, row = first + spans, row + 1
        plan.text[row], plan.sentence[row], plan.span[row] = cursor[0], cursor[2], first
        plan.size[row - 1] = total
    return row


@njit(nogil=True, cache=True)
def _plan_segment(  # type: ignore[no-untyped-def]
    stretch, joined, objective, identity, room, cursor, rules, keys, scratch, spans, order
):
    """Text, spans and order of one sample of at most `room` tokens after masking.

    Returns (spans, tokens before masking, tokens not masked as wanted, whether the last span has an eop, the cursor
    behind the text). Spans count from the sample's start.
    """
    runs, sentences, lengths = scratch
    place_key = draw_key(keys.places, identity)
    drawn, capacity = 0, room - 2
    if objective == TOKEN:
        drawn, capacity = draw_lengths(draw_key(keys.lengths, identity), rules, room, lengths)
    while True:
        found, size, behind = _cut_window(stretch, joined, capacity, cursor, runs)
        count, reduced, closed = 1, 0, True
        if objective == TOKEN:
            count, missing = lengths_for(lengths[:drawn], rules, size)
            count, reduced = token_spans(place_key, lengths[:count], runs[:found], spans)
            reduced += missing
        elif objective == SENTENCE:
            listed = list_sentences(runs[:found], stretch.sentence_ends, cursor[2], sentences)
            count, reduced = sentence_spans(place_key, sentences[:listed], size, rules, spans)
        else:
            closed = document_span(place_key, runs[:found], size, rules, spans)
        over = size + 2 * count - room
        if over <= 0:
            break
        # Fewer tokens need fewer spans in proportion, so each one taken away makes room for 1 + 2 count / size.
        capacity = size - max(1, over * size // (size + 2 * count))
    shuffle_order(draw_key(keys.order, identity), order[:count])
    if not rules.shuffle:
        for k in range(count):
            order[k] = k
    return count, size, reduced, closed, behind


@njit(nogil=True, cache=True)
def write_rows(stretch, plan, first_sample_id, keys, style, pages, ends):  # type: ignore[no-untyped-def]
    """Lay out the rows of a plan into pages [R, L]; returns their context lengths and lengths, both uint16[R].

    `ends` receives the sentence ends as offsets in the rows before masking.
    """
    offsets = stretch.document_offsets
    rows, width = pages.input_ids.shape
    context_length, length = np.empty(rows, np.uint16), np.empty(rows, np.uint16)
    text = np.empty(width, np.uint32)
    sentence = 0
    for row in range(rows):
        size = 0
        for document in range(plan.document_first[row], plan.document_last[row]):
            start = max(plan.text[row], offsets[document])
            end = min(plan.text[row + 1], offsets[document + 1])
            text[size] = style.cls
            size += 1
            while sentence < len(ends) and stretch.sentence_ends[sentence] <= end:
                ends[sentence] = size + stretch.sentence_ends[sentence] - start
                sentence += 1
            for i in range(start, end):
                text[size] = stretch.tokens[i]
                size += 1
            if end == offsets[document + 1] and (stretch.complete or document + 2 < len(offsets)):
                text[size] = style.eos
                size += 1
        first, last = plan.span[row], plan.span[row + 1]
        context_length[row], length[row] = finish_row(
            text[:size],
            plan.spans[first:last],
            plan.order[first:last],
            plan.objective[row],
            plan.closed[row],
            first_sample_id + np.uint64(row),
            keys,
            style,
            row_of(pages, row),
        )
    return context_length, length
