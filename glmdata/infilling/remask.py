"""Rows without their masks, and masked anew: another sample of the same text for each epoch.

A fresh mask is a pure function of (seed, epoch, sample id, row): the rules of the first masking, keys of the epoch.
A row's length is fixed, and its text was cut to leave room for the spans that it had first, so

* a row keeps its objective. A document-level row has room for one span, where the token level needs 24: drawing the
  objective anew would give token-level rows that mask 1 %, or shares that are not the recipe's;
* at token level, lengths are drawn until they make the room that the first ones made, which is drawn again from
  (seed, sample id). Whatever N the window had, lengths then are distributed as the first masking's were at that N, and
  over all rows as in epoch 0: simply leaving out what does not fit would mask 6 % less;
* at sentence level, orders are drawn until one takes as many sentences as were masked;
* where `ATTEMPTS` draws find none, the nearest one that fits is taken; where none fits, spans are left out and their
  tokens counted as reduced. Text is never dropped.

Measured on one core of a busy machine at 512: 128,000 finished rows a second, 162,000 that are unmasked already.
"""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glmdata.errors import ShardCorruptError
from glmdata.infilling.layout import Page, finish_row
from glmdata.infilling.row_plan import SENTENCE, TOKEN, list_sentences
from glmdata.infilling.spans import (
    SpanKeys,
    SpanRules,
    document_span,
    draw_lengths,
    lengths_for,
    sentence_spans,
    shuffle_order,
    span_keys,
    token_spans,
)
from glmdata.infilling.style import Style
from glmdata.kernels import njit
from glmdata.randomness import draw, draw_key

__all__ = ["ATTEMPTS", "Tensors", "Unmasked", "lay_out_rows", "mask_again", "require_sound", "unmask"]

ATTEMPTS = 64
"""Draws for a row. At 512 the number of spans is 24.5 with a deviation of 2.5, so that most rows need some ten; those
with the fewest find none in 64 and may lose spans: 0.03 % of masked tokens, 0.08 % in text without sentence ends."""
SLACK_SHARE = 128
"""One span in so many may be too few: long rows have thousands, and their number need not be met exactly."""


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


@functools.lru_cache(maxsize=64)
def _epoch_keys(seed: int, epoch: int) -> SpanKeys:
    return span_keys(seed, epoch)


def _keys(seed: int, epochs: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """[E, 6] keys of the distinct epochs (of epoch 0 the build's own), and which of them each row has."""
    distinct = sorted(set(epochs.tolist()))
    keys = np.array([_epoch_keys(seed, epoch) for epoch in distinct], np.uint64).reshape(-1, len(SpanKeys._fields))
    return keys, np.searchsorted(distinct, epochs)


def mask_again(rows: Unmasked, epochs: NDArray[np.int64], rules: SpanRules, style: Style, seed: int) -> int:
    """Give the rows [R] the masks of their epochs [R], in place; epoch 0 leaves a row as it is.

    `seed` is the build's. Returns the tokens that were to be masked and could not be placed.
    """
    if not epochs.any():
        return 0
    require_sound(rows)
    keys, keys_of = _keys(seed, epochs)
    return int(_mask_again(rows, epochs, keys, keys_of, _epoch_keys(seed, 0), rules, style))


def lay_out_rows(
    rows: Unmasked, epochs: NDArray[np.int64], style: Style, seed: int, tensors: Tensors
) -> NDArray[np.int64]:
    """Lay rows out into tensors; returns [2, R], context lengths and lengths.

    `epochs` [R] tells whose draws a style takes that draws. Raises ShardCorruptError naming a row whose spans do not
    lie in its text, in order, or which would not fit.
    """
    require_sound(rows)
    keys, keys_of = _keys(seed, epochs)
    found: NDArray[np.int64] = _lay_out_rows(rows, keys, keys_of, style, tensors)
    return found


def require_sound(rows: Unmasked) -> None:
    """Raise ShardCorruptError naming the first row that the kernels must not see."""
    bad = int(_first_unsound(rows))
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
    most = rows.spans.shape[1]
    rank_at = np.empty(width, np.int64)  # rank of the span whose mask token stands there, -1 for none
    starts = np.empty(most + 1, np.int64)  # where the span of each rank begins in Part B, its sop not counted
    for row in range(len(input_ids)):
        context, end = np.int64(context_length[row]), np.int64(length[row])
        if not 0 < context < end <= width:
            return row
        bias = np.int64(position_ids[row, 0])
        count = 0
        for i in range(context):
            rank_at[i] = -1
        for i in range(context, end):
            token = np.int64(input_ids[row, i])
            own = token - style.first_sentinel - 1
            if token != style.sop and not (0 <= own < 2 * style.sentinels and own % 2 == 0):
                continue
            if count == most:
                return row
            starts[count] = i
            if style.sentinels == 0:
                place = np.int64(position_ids[row, i]) - bias
                if not 0 <= place < context or rank_at[place] >= 0:
                    return row
                rank_at[place] = count
            count += 1
        if count == 0 or starts[0] != context:
            return row
        starts[count] = end
        if style.sentinels > 0:
            for i in range(context):
                token = np.int64(input_ids[row, i])
                own = token - style.first_sentinel
                if 0 <= own < 2 * style.sentinels and own % 2 == 0:
                    rank_at[i] = own // 2 + 1
                elif token == style.mask_ids[0] or token == style.mask_ids[1] or token == style.mask_ids[2]:
                    rank_at[i] = 0
        rows.closed[row] = np.int64(target_ids[row, end - 1]) == style.eop
        size, found = 0, 0
        for i in range(context):
            rank = rank_at[i]
            if rank < 0:
                if size == width:
                    return row
                rows.tokens[row, size] = input_ids[row, i]
                size += 1
                continue
            if rank >= count or found == most:
                return row
            stop = starts[rank + 1]
            stop -= 1 if rank + 1 < count or rows.closed[row] else 0
            if size + stop - starts[rank] > width:
                return row
            rows.spans[row, found, 0] = size
            for j in range(starts[rank], stop):
                rows.tokens[row, size] = target_ids[row, j]
                size += 1
            rows.spans[row, found, 1] = size
            rows.order[row, rank] = found
            found += 1
        if found != count:
            return row
        rows.size[row], rows.num_spans[row] = size, count
    return -1


@njit(nogil=True, cache=True)
def _first_unsound(rows):  # type: ignore[no-untyped-def]
    """The first row that the kernels must not see, or -1: spans in order, in the text, a permutation, in the room."""
    width = rows.tokens.shape[1]
    seen = np.empty(rows.spans.shape[1], np.bool_)
    for row in range(len(rows.size)):
        size, count = rows.size[row], rows.num_spans[row]
        if count < 1 or count > rows.spans.shape[1] or size + 2 * count - (0 if rows.closed[row] else 1) > width:
            return row
        last = 0
        for k in range(count):
            seen[k] = False
            if rows.spans[row, k, 0] < last or rows.spans[row, k, 1] <= rows.spans[row, k, 0]:
                return row
            last = rows.spans[row, k, 1]
        if last > size or rows.objective[row] < 0 or rows.objective[row] > 2:
            return row
        for k in range(count):
            span = rows.order[row, k]
            if span < 0 or span >= count or seen[span]:
                return row
            seen[span] = True
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


@njit(nogil=True, cache=True)
def _mask_again(rows, epochs, keys, keys_of, first, rules, style):  # type: ignore[no-untyped-def]
    width = rows.tokens.shape[1]
    runs = np.empty((width, 3), np.int64)
    sentences = np.empty((width, 2), np.int64)
    lengths = np.empty(width, np.int64)
    reduced = 0
    for row in range(len(rows.size)):
        if epochs[row] == 0:
            continue
        key = keys[keys_of[row]]
        fresh = SpanKeys(key[0], key[1], key[2], key[3], key[4], key[5])
        size, sample_id = rows.size[row], rows.sample_id[row]
        found = _find_runs(rows.tokens[row, :size], style, runs)
        room = min(rows.spans.shape[1], (width - size) // 2)
        if found == 0 or room == 0:
            continue
        spans = rows.spans[row, :room]
        count, lost, closed = 1, 0, True
        if rows.objective[row] == TOKEN:
            count, missing = _fresh_lengths(fresh, first, sample_id, rules, size, width, room, lengths)
            place_key = draw_key(fresh.places, sample_id)
            count, lost = token_spans(place_key, lengths[:count], runs[:found], spans)
            lost += missing
        elif rows.objective[row] == SENTENCE:
            ends = rows.sentence_ends[row, : rows.num_ends[row]]
            listed = list_sentences(runs[:found], ends, 0, sentences)
            place_key = draw_key(fresh.places, sample_id)
            count, lost = _fresh_sentences(place_key, sentences[:listed], size, rules, rows.num_spans[row], spans)
        else:
            closed = document_span(draw_key(fresh.places, sample_id), runs[:found], size, rules, spans)
        order = rows.order[row, :count]
        shuffle_order(draw_key(fresh.order, sample_id), order)
        if not rules.shuffle:
            for k in range(count):
                order[k] = k
        rows.num_spans[row], rows.closed[row] = count, closed
        reduced += lost
    return reduced


@njit(nogil=True, cache=True)
def _find_runs(tokens, style, runs):  # type: ignore[no-untyped-def]
    """Runs of a row as `spans` has them: what stands between cls and eos. Sentence ends count from the row's start."""
    count, start = 0, 0
    for i in range(len(tokens) + 1):
        if i < len(tokens) and tokens[i] != style.cls and tokens[i] != style.eos:
            continue
        if i > start:
            runs[count, 0], runs[count, 1], runs[count, 2] = start, i, start
            count += 1
        start = i + 1
    return count


@njit(nogil=True, cache=True)
def _fresh_lengths(fresh, first, sample_id, rules, size, width, room, lengths):  # type: ignore[no-untyped-def]
    """Token-level lengths that ask for the room the first ones asked for; (spans, tokens that do not fit)."""
    drawn, capacity = draw_lengths(draw_key(first.lengths, sample_id), rules, width, lengths)
    wanted, slack = max(capacity, size), 2 * (drawn // SLACK_SHARE)
    key = draw_key(fresh.lengths, sample_id)
    best, least = 0, np.int64(1) << 60
    distance = least
    for attempt in range(ATTEMPTS):
        drawn, capacity = draw_lengths(draw(key, attempt), rules, width, lengths)
        distance = capacity - wanted if capacity >= wanted else (wanted - capacity) * width
        if distance < least:
            best, least = attempt, distance
        if distance <= slack:
            break
    if distance > slack:
        drawn, capacity = draw_lengths(draw(key, best), rules, width, lengths)
    count, missing = lengths_for(lengths[:drawn], rules, size)
    while count > room:
        count -= 1
        missing += lengths[count]
    return count, missing


@njit(nogil=True, cache=True)
def _fresh_sentences(place_key, sentences, size, rules, wanted, spans):  # type: ignore[no-untyped-def]
    """Sentences, as many as were masked first where that can be, never more than `spans` has room for."""
    best, least = 0, np.int64(1) << 60
    for attempt in range(ATTEMPTS if len(sentences) > 2 else 1):
        count, lost = sentence_spans(draw(place_key, attempt), sentences, size, rules, spans)
        distance = abs(count - wanted) + lost * len(spans)
        if distance < least:
            best, least = attempt, distance
        if distance == 0:
            return count, lost
    return sentence_spans(draw(place_key, best), sentences, size, rules, spans)
