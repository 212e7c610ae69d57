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

In rows of segments each segment keeps its text and its number of spans, and so its length: at token level as at
sentence level, draws go on until one has that number. Numbers of spans are those of the first masking, which were drawn
by the rule, so that lengths given their number are as well.

Measured on one core of a busy machine at 512: 128,000 finished rows a second, 162,000 that are unmasked already.
"""

import numpy as np
from numpy.typing import NDArray

from glmdata.infilling.layout import segment_end, segment_id
from glmdata.infilling.row_plan import SENTENCE, TOKEN, list_sentences
from glmdata.infilling.spans import (
    SpanKeys,
    SpanRules,
    document_span,
    draw_lengths,
    epoch_keys,
    lengths_for,
    sentence_spans,
    shuffle_order,
    span_keys,
    token_spans,
)
from glmdata.infilling.style import Style
from glmdata.infilling.unmask import Unmasked, require_sound
from glmdata.kernels import njit
from glmdata.randomness import draw, draw_key

__all__ = ["ATTEMPTS", "mask_again"]

ATTEMPTS = 64
"""Draws for a row. At 512 the number of spans is 24.5 with a deviation of 2.5, so that most rows need some ten; those
with the fewest find none in 64 and may lose spans: 0.03 % of masked tokens, 0.08 % in text without sentence ends."""
SLACK_SHARE = 128
"""One span in so many may be too few: long rows have thousands, and their number need not be met exactly."""


def mask_again(rows: Unmasked, epochs: NDArray[np.int64], rules: SpanRules, style: Style, seed: int) -> int:
    """Give the rows [R] the masks of their epochs [R], in place; epoch 0 leaves a row as it is.

    `seed` is the build's. Returns the tokens that were to be masked and could not be placed.
    """
    if not epochs.any():
        return 0
    require_sound(rows, style)
    keys, keys_of = epoch_keys(seed, epochs)
    return int(_mask_again(rows, epochs, keys, keys_of, span_keys(seed), rules, style))


@njit(nogil=True, cache=True)
def _mask_again(rows, epochs, keys, keys_of, first, rules, style):  # type: ignore[no-untyped-def]
    width = rows.tokens.shape[1]
    scratch = (np.empty((width, 3), np.int64), np.empty((width, 2), np.int64), np.empty(width, np.int64))
    reduced = 0
    for row in range(len(epochs)):
        if epochs[row] == 0:
            continue
        key = keys[keys_of[row]]
        fresh = SpanKeys(key[0], key[1], key[2], key[3], key[4], key[5])
        tokens, size = rows.tokens[row, : rows.size[row]], rows.size[row]
        segment, start, old, new, sentence = 0, 0, 0, 0, 0
        while start < size:
            end = segment_end(tokens, start, style)
            wanted, room = 0, min(rows.spans.shape[1], (width - size) // 2)
            if style.apart:
                while old < rows.num_spans[row] and rows.spans[row, old, 0] < end:
                    old, wanted = old + 1, wanted + 1
                room = wanted
            while sentence < rows.num_ends[row] and rows.sentence_ends[row, sentence] <= start:
                sentence += 1
            count, lost, closed = _mask_part(
                rows, row, (start, end, sentence), wanted, rows.spans[row, new : new + room],
                segment_id(rows.sample_id[row], segment), fresh, first, rules, style, scratch,
            )  # fmt: skip
            if count == 0:  # a row without text keeps what it has
                new = rows.num_spans[row]
                break
            order = rows.order[row, new : new + count]
            shuffle_order(draw_key(fresh.order, segment_id(rows.sample_id[row], segment)), order)
            for k in range(count):
                order[k] = new + (order[k] if rules.shuffle else k)
            rows.closed[row] = closed
            reduced += lost
            segment, start, new = segment + 1, end, new + count
        rows.num_spans[row] = new
    return reduced


@njit(nogil=True, cache=True)
def _mask_part(  # type: ignore[no-untyped-def]
    rows, row, part, wanted, spans, identity, fresh, first, rules, style, scratch
):
    """Spans for tokens [start, end) of a row, part = (start, end, its first sentence end); `wanted` of them, or 0.

    Returns (spans, tokens to be masked that found no room, whether the last span has an eop); no span where there is
    no text or no room.
    """
    runs, sentences, lengths = scratch
    start, end, sentence = part
    found = _find_runs(rows.tokens[row], start, end, style, runs)
    size, width = end - start, rows.tokens.shape[1]
    if found == 0 or len(spans) == 0:
        return 0, 0, True
    place_key = draw_key(fresh.places, identity)
    if rows.objective[row] == TOKEN:
        if wanted > 0:
            count, missing = _as_many_lengths(draw_key(fresh.lengths, identity), rules, size, wanted, lengths)
        else:
            count, missing = _fresh_lengths(fresh, first, identity, rules, size, width, len(spans), lengths)
        count, lost = token_spans(place_key, lengths[:count], runs[:found], spans)
        return count, lost + missing, True
    if rows.objective[row] == SENTENCE:
        ends = rows.sentence_ends[row, : rows.num_ends[row]]
        listed = list_sentences(runs[:found], ends, sentence, sentences)
        wanted = wanted if wanted > 0 else rows.num_spans[row]
        count, lost = _fresh_sentences(place_key, sentences[:listed], size, rules, wanted, spans)
        return count, lost, True
    return 1, 0, document_span(place_key, runs[:found], end, rules, spans)


@njit(nogil=True, cache=True)
def _find_runs(tokens, start, end, style, runs):  # type: ignore[no-untyped-def]
    """Runs of tokens [start, end) as `spans` has them: what stands between cls and eos, places in the row."""
    count = 0
    for i in range(start, end + 1):
        if i < end and tokens[i] != style.cls and tokens[i] != style.eos:
            continue
        if i > start:
            runs[count, 0], runs[count, 1], runs[count, 2] = start, i, start
            count += 1
        start = i + 1
    return count


@njit(nogil=True, cache=True)
def _as_many_lengths(key, rules, size, wanted, lengths):  # type: ignore[no-untyped-def]
    """Token-level lengths for a segment of `size` tokens, `wanted` of them; (spans, tokens that do not fit)."""
    best, least = 0, np.int64(1) << 60
    distance = least
    for attempt in range(ATTEMPTS):
        drawn, _ = draw_lengths(draw(key, attempt), rules, size + 2 * wanted + 2, lengths)
        count, missing = lengths_for(lengths[:drawn], rules, size)
        distance = wanted - count if count <= wanted else (count - wanted) * size
        if distance < least:
            best, least = attempt, distance
        if distance == 0:
            return count, missing
    drawn, _ = draw_lengths(draw(key, best), rules, size + 2 * wanted + 2, lengths)
    count, missing = lengths_for(lengths[:drawn], rules, size)
    while count > wanted:
        count -= 1
        missing += lengths[count]
    return count, missing


@njit(nogil=True, cache=True)
def _fresh_lengths(fresh, first, identity, rules, size, width, room, lengths):  # type: ignore[no-untyped-def]
    """Token-level lengths that ask for the room the first ones asked for; (spans, tokens that do not fit)."""
    drawn, capacity = draw_lengths(draw_key(first.lengths, identity), rules, width, lengths)
    wanted, slack = max(capacity, size), 2 * (drawn // SLACK_SHARE)
    key = draw_key(fresh.lengths, identity)
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
