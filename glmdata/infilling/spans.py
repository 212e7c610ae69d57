"""Which tokens of a row are masked: token, sentence and document level (GLM paper section 2; reference section 1.4).

The kernels work on one row of N tokens before masking, specials counted. Its text is given as *runs*, one for each
document in the row: the places between two special tokens, which are never masked and never crossed. A row always gets
at least one span and is never dropped: what cannot be masked as drawn is shortened or left out, and counted as
*reduced*. Random numbers come from glmdata.randomness under keys of (seed, purpose, sample id), nothing else.

Legend: R runs of a row, int64[R, 3] = first place, end place (exclusive), offset of the first in the text stream;
K spans, int64[K, 2] = first place, end place, in text order.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glmdata.kernels import njit
from glmdata.randomness import draw_below, draw_unit, purpose_key

if TYPE_CHECKING:
    from glmdata.recipe import SpanSettings

__all__ = [
    "LONGEST_SPAN",
    "SpanKeys",
    "SpanRules",
    "document_span",
    "draw_lengths",
    "epoch_keys",
    "length_distribution",
    "lengths_for",
    "mask_budget",
    "place_spans",
    "sentence_spans",
    "shuffle_order",
    "span_keys",
    "span_rules",
    "token_spans",
]

LONGEST_SPAN = 39
"""Token-level spans have 1 to 39 tokens, as in the reference (section 1.4a)."""
NO_LIMIT = 1 << 30
"""More spans than a row has tokens."""


class SpanRules(NamedTuple):
    """SpanSettings as the kernels take them."""

    mask_ratio: float
    sentence_ratio: float
    document_min_ratio: float
    document_infill: float
    document_eop: bool
    shuffle: bool
    max_spans: int
    length_cdf: NDArray[np.float64]


class SpanKeys(NamedTuple):
    """Purposes of the random numbers of a row, one key each, so that none depends on how many another drew."""

    objective: np.uint64
    lengths: np.uint64
    places: np.uint64
    order: np.uint64
    positions: np.uint64
    corruption: np.uint64


def span_rules(settings: "SpanSettings") -> SpanRules:
    """The recipe's span settings with the table of span lengths."""
    return SpanRules(
        settings.mask_ratio,
        settings.sentence_ratio,
        settings.document_min_ratio,
        settings.document_infill,
        settings.document_eop,
        settings.shuffle,
        settings.sentinels + 1 if settings.sentinels else NO_LIMIT,
        length_distribution(settings.length_lambda),
    )


def span_keys(seed: int, epoch: int = 0) -> SpanKeys:
    """Purpose keys of a build's seed; of epochs after the first for masks made anew."""
    end = f"/epoch {epoch}" if epoch else ""
    return SpanKeys(*(purpose_key(seed, f"infilling/{purpose}{end}") for purpose in SpanKeys._fields))


@functools.lru_cache(maxsize=64)
def _span_keys(seed: int, epoch: int) -> SpanKeys:
    return span_keys(seed, epoch)


def epoch_keys(seed: int, epochs: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """[E, 6] keys of the distinct epochs (of epoch 0 the build's own), and which of them each row has."""
    distinct = sorted(set(epochs.tolist()))
    keys = np.array([_span_keys(seed, epoch) for epoch in distinct], np.uint64).reshape(-1, len(SpanKeys._fields))
    return keys, np.searchsorted(distinct, epochs)


def length_distribution(length_lambda: float) -> NDArray[np.float64]:
    """P(length <= i + 1) for i = 0..LONGEST_SPAN - 1: Poisson without zero, cut at LONGEST_SPAN; mean 3.157 for 3.

    Built by multiplication alone, so that the table has the same bits on every machine.
    """
    weights = np.ones(LONGEST_SPAN)
    for i in range(1, LONGEST_SPAN):
        weights[i] = weights[i - 1] * length_lambda / (i + 1)
    cumulative = np.cumsum(weights)
    return np.asarray(cumulative / cumulative[-1])


def place_spans(
    lengths: Sequence[int] | NDArray[np.integer[Any]], places: Sequence[int] | NDArray[np.integer[Any]], offset: int
) -> NDArray[np.int64]:
    """Spans of the given lengths in the given order, at least one visible token between them.

    `places` (rising, K as well) counts the spare visible tokens before each span: span i starts at
    offset + places[i] + sum over j < i of (lengths[j] + 1). Returns int64[K, 2], half-open.
    """
    spans = np.empty((len(lengths), 2), np.int64)
    _place(np.array(lengths, np.int64), np.array(places, np.int64), int(offset), spans)
    return spans


@njit(nogil=True, cache=True)
def _place(lengths, places, offset, spans):  # type: ignore[no-untyped-def]
    for i in range(len(lengths)):
        spans[i, 0] = offset + places[i]
        spans[i, 1] = spans[i, 0] + lengths[i]
        offset += lengths[i] + 1


@njit(nogil=True, cache=True, inline="always")
def mask_budget(ratio, size):  # type: ignore[no-untyped-def]
    """Tokens to mask in a row of `size` tokens: the reference's int(ratio * n), but never none."""
    return max(np.int64(1), np.int64(ratio * size))


@njit(nogil=True, cache=True)
def draw_lengths(key, rules, sequence_length, lengths):  # type: ignore[no-untyped-def]
    """Draw span lengths for a row that has `sequence_length` tokens after masking; returns (spans, capacity).

    Fills `lengths` until K of them reach the budget of a row of sequence_length - 2K tokens. Capacity is the most
    tokens a row can have before masking: for every size <= capacity, the fewest lengths that reach its budget fit.
    """
    total, count = 0, 0
    while total < mask_budget(rules.mask_ratio, sequence_length - 2 * count):
        where = draw_unit(key, count)
        length = 1
        while length < LONGEST_SPAN and rules.length_cdf[length - 1] <= where:
            length += 1
        lengths[count] = length
        total += length
        count += 1
    capacity = sequence_length - 2 * count
    if mask_budget(rules.mask_ratio, capacity + 1) <= total - lengths[count - 1]:
        capacity += 1  # one span less does for one token more
    return count, capacity


@njit(nogil=True, cache=True, inline="always")
def lengths_for(lengths, rules, size):  # type: ignore[no-untyped-def]
    """How many of the drawn lengths reach the budget of a row of `size` tokens, and tokens missing where none do."""
    budget = mask_budget(rules.mask_ratio, size)
    count, masked = 0, 0
    while count < min(len(lengths), rules.max_spans) and masked < budget:
        masked += lengths[count]
        count += 1
    return count, max(np.int64(0), budget - masked)


@njit(nogil=True, cache=True)
def _choose_runs(key, lengths, runs, owner):  # type: ignore[no-untyped-def]
    """Give each length a run, by a random token of the text; shorten the ones that fit nowhere. Returns tokens lost.

    owner[k] becomes the run of length k. A run of m tokens has room while its lengths and the visible tokens between
    them stay within m. Where a length does not fit the next run is asked, round the row; where it fits nowhere it
    becomes as long as the largest room left, 0 if there is none.
    """
    room = np.empty(len(runs), np.int64)
    before = np.empty(len(runs), np.int64)  # text tokens ahead of each run
    text, limit, lost = 0, 0, 0
    for run in range(len(runs)):
        room[run] = runs[run, 1] - runs[run, 0]
        before[run] = text
        text += room[run]
        limit = max(limit, room[run])
    for k in range(len(lengths)):
        wanted = lengths[k]
        lengths[k] = min(wanted, limit)
        token = draw_below(key, 2 * k, text)
        run, above = 0, len(runs)
        while above - run > 1:
            middle = (run + above) // 2
            if before[middle] <= token:
                run = middle
            else:
                above = middle
        while room[run] < lengths[k] > 0:
            widest = room[run]
            for _ in range(len(runs) - 1):
                run = (run + 1) % len(runs)
                if room[run] >= lengths[k]:
                    break
                widest = max(widest, room[run])
            else:
                limit = max(0, widest)  # rooms only shrink: no later length needs to ask for more
                lengths[k] = limit
        owner[k] = run
        if lengths[k] > 0:
            room[run] -= lengths[k] + 1
        lost += wanted - lengths[k]
    return lost


@njit(nogil=True, cache=True)
def token_spans(key, lengths, runs, spans):  # type: ignore[no-untyped-def]
    """Place spans of drawn lengths int64[K] in the runs; returns (spans placed, tokens of the lengths not placed).

    Runs are chosen by text length, so that each token is masked about as often as any other; in a run the spans are
    placed as in the reference: sorted draws out of the spare visible tokens, one visible token between two spans.
    `lengths` is used up.
    """
    owner = np.empty(len(lengths), np.int64)
    lost = _choose_runs(key, lengths, runs, owner)
    num_spans = np.zeros(len(runs), np.int64)
    num_visible = np.empty(len(runs), np.int64)
    for run in range(len(runs)):
        num_visible[run] = runs[run, 1] - runs[run, 0]
    for k in range(len(lengths)):
        if lengths[k] > 0:
            num_spans[owner[k]] += 1
            num_visible[owner[k]] -= lengths[k]
    first = np.zeros(len(runs) + 1, np.int64)  # index of each run's first span
    for run in range(len(runs)):
        first[run + 1] = first[run] + num_spans[run]
    placed = np.empty(len(lengths), np.int64)
    places = np.empty(len(lengths), np.int64)
    filled = first.copy()
    for k in range(len(lengths)):
        if lengths[k] > 0:
            run = owner[k]
            at = filled[run]
            filled[run] += 1
            placed[at] = lengths[k]
            place = draw_below(key, 2 * k + 1, num_visible[run] - num_spans[run] + 2)
            while at > first[run] and places[at - 1] > place:
                places[at] = places[at - 1]
                at -= 1
            places[at] = place
    for run in range(len(runs)):
        a, b = first[run], first[run + 1]
        _place(placed[a:b], places[a:b], runs[run, 0], spans[a:b])
    return first[-1], lost


@njit(nogil=True, cache=True)
def shuffle_order(key, order):  # type: ignore[no-untyped-def]
    """Fill `order` with a random permutation: Fisher-Yates, inside out.

    The permutation of m + 1 is that of m with one element changed, so a window made a little shorter keeps most of its
    chosen sentences.
    """
    for i in range(len(order)):
        j = draw_below(key, i, i + 1)
        order[i] = order[j]
        order[j] = i


@njit(nogil=True, cache=True)
def sentence_spans(key, sentences, size, rules, spans):  # type: ignore[no-untyped-def]
    """Mask whole sentences, int64[M, 2], drawn until the ratio of the row's `size` is reached; (spans, tokens lost).

    One sentence stays visible, and no more are taken than `spans` has room for. Where the row has no more than one, a
    span inside it as long as the budget, but at most half of the sentence, stands for it.
    """
    budget = mask_budget(rules.sentence_ratio, size)
    if len(sentences) == 1:
        start, end = sentences[0, 0], sentences[0, 1]
        length = max(np.int64(1), min(budget, (end - start) // 2))
        spans[0, 0] = start + draw_below(key, 0, end - start - length + 1)
        spans[0, 1] = spans[0, 0] + length
        return 1, end - start - length
    order = np.empty(len(sentences), np.int64)
    shuffle_order(key, order)
    chosen = np.zeros(len(sentences), np.bool_)
    masked, count = 0, 0
    while masked < budget and count < min(len(sentences) - 1, rules.max_spans, len(spans)):
        sentence = order[count]
        chosen[sentence] = True
        masked += sentences[sentence, 1] - sentences[sentence, 0]
        count += 1
    at = 0
    for i in range(len(sentences)):
        if chosen[i]:
            spans[at, 0], spans[at, 1] = sentences[i, 0], sentences[i, 1]
            at += 1
    return count, max(np.int64(0), budget - masked)


@njit(nogil=True, cache=True)
def document_span(key, runs, size, rules, spans):  # type: ignore[no-untyped-def]
    """Mask one span in the longest run (the first of them), of random length from the least ratio to all of it.

    Returns whether it is closed by eop. A suffix is not where the rules say so; it then takes in the eos behind its
    run, if the row of `size` tokens has it.
    """
    longest = 0
    for run in range(1, len(runs)):
        if runs[run, 1] - runs[run, 0] > runs[longest, 1] - runs[longest, 0]:
            longest = run
    start, end = runs[longest, 0], runs[longest, 1]
    least = max(np.int64(1), np.int64(np.ceil(rules.document_min_ratio * (end - start))))
    length = least + draw_below(key, 0, end - start - least + 1)
    if draw_unit(key, 1) < rules.document_infill:
        spans[0, 0] = start + draw_below(key, 2, end - start - length + 1)
        spans[0, 1] = spans[0, 0] + length
        return True
    spans[0, 0] = end - length
    spans[0, 1] = end
    if rules.document_eop:
        return True
    behind = runs[longest + 1, 0] - 1 if longest + 1 < len(runs) else size
    if behind > end:
        spans[0, 1] = end + 1
    return False
