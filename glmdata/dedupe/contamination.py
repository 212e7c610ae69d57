"""Passages of benchmarks in documents, found by n-grams.

1. Texts are units, as for shingles. A word weighs 1, a Han or kana character 1/2: thirteen characters may be the name
   of an office, thirteen words are a sentence.
2. A gram is the shortest run of units from one unit on that weighs `ngram_size` or more. Benchmarks and documents that
   share a passage of that weight, and only these, share a gram, whatever stands around it.
3. A benchmark text lighter than a gram counts if it weighs SHORTEST or more, and is found where all of its units stand
   in a row. Lighter ones say too little and are passed over.
4. The grams of all benchmarks are one sorted array. A document's grams meet it behind a filter of one cache line each
   (a blocked Bloom filter, 16 bits a gram, passes 2 % of the others).

Grams are known by 64 bits. That one of a document's is taken for another of G in the benchmarks has probability
G / 2^64: 5e-13 for ten million, one mistake in 2 * 10^12 words.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.dedupe.cutting import cut
from glmdata.dedupe.shingles import (
    SHINGLE_FACTOR,
    Texts,
    fold_tables,
    place_units,
    read_only,
    shingle_capacity,
    utf8_buffers,
)
from glmdata.kernels import njit
from glmdata.randomness import mix64
from glmdata.text.sentences import sentence_ends

__all__ = [
    "SHORTEST",
    "GramIndex",
    "IndexedTexts",
    "cut_sentences",
    "find_grams",
    "gram_spans",
    "index_texts",
    "join_indexed",
]

SHORTEST = 8
"""Words that a benchmark text shorter than a gram must weigh: a question, not a name."""
WORD_WEIGHT = 2
"""Weights are in half words, so that they are whole numbers."""
BITS_PER_GRAM = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedTexts:
    """Grams of some benchmark texts; `*_owners` (int64) are the numbers of the texts' records."""

    grams: npt.NDArray[np.uint64]
    gram_owners: npt.NDArray[np.int64]
    shorts: npt.NDArray[np.uint64]
    """Of whole texts that are lighter than a gram."""
    short_owners: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.uint64]
    """Of the first two units of these."""
    too_short: int
    """Texts passed over; empty ones are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GramIndex:
    """The grams of all benchmarks, ready to be looked up; all arrays read-only."""

    ngram_size: int
    grams: npt.NDArray[np.uint64]
    """Ascending, without repeats."""
    gram_owners: npt.NDArray[np.int64]
    """The first record that holds each."""
    filter: npt.NDArray[np.uint64]
    shorts: npt.NDArray[np.uint64]
    short_owners: npt.NDArray[np.int64]
    pair_filter: npt.NDArray[np.uint64]
    """Empty where there are no short texts."""


def index_texts(texts: Texts, owners: npt.NDArray[np.int64], ngram_size: int) -> IndexedTexts:
    """Grams of benchmark texts, `owners[i]` being the record of text i; repeats are dropped."""
    data, starts = utf8_buffers(texts)
    need, least = WORD_WEIGHT * ngram_size, WORD_WEIGHT * SHORTEST
    longest = int(np.diff(starts).max(initial=0))
    units = np.empty(shingle_capacity(longest), np.uint64)
    letters, stops = np.empty(len(units), np.int32), np.empty(len(units), np.int32)
    grams = np.empty(shingle_capacity(int(starts[-1] - starts[0])) + len(starts), np.uint64)
    gram_texts, kinds = np.empty(len(grams), np.int64), np.empty(len(grams), np.uint8)
    counts = np.zeros(2, np.int64)
    room = (units, letters, stops)
    _index(data, starts, *fold_tables(), _powers(need), need, least, *room, grams, gram_texts, kinds, counts)
    count = int(counts[0])
    grams, kinds, found = grams[:count], kinds[:count], owners[gram_texts[:count]]
    first, first_owners = _smallest_owner(grams[kinds == GRAM], found[kinds == GRAM])
    shorts, short_owners = _smallest_owner(grams[kinds == SHORT], found[kinds == SHORT])
    return IndexedTexts(
        grams=first,
        gram_owners=first_owners,
        shorts=shorts,
        short_owners=short_owners,
        pairs=np.unique(grams[kinds == PAIR]),
        too_short=int(counts[1]),
    )


def join_indexed(parts: Iterable[IndexedTexts], ngram_size: int) -> GramIndex:
    """One index of all parts; what it holds does not depend on how the texts were parted."""
    held = list(parts)
    grams, gram_owners = _smallest_owner(
        np.concatenate([np.zeros(0, np.uint64), *(part.grams for part in held)]),
        np.concatenate([np.zeros(0, np.int64), *(part.gram_owners for part in held)]),
    )
    shorts, short_owners = _smallest_owner(
        np.concatenate([np.zeros(0, np.uint64), *(part.shorts for part in held)]),
        np.concatenate([np.zeros(0, np.int64), *(part.short_owners for part in held)]),
    )
    pairs = np.unique(np.concatenate([np.zeros(0, np.uint64), *(part.pairs for part in held)]))
    return GramIndex(
        ngram_size=ngram_size,
        grams=grams,
        gram_owners=gram_owners,
        filter=_filter_of(grams),
        shorts=shorts,
        short_owners=short_owners,
        pair_filter=_filter_of(pairs) if len(pairs) else read_only(np.zeros(0), np.uint64),
    )


def find_grams(texts: pa.StringArray, index: GramIndex) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each text, how many of its grams are in the index, and the record of the first of these, -1 without any."""
    counts, owners, _, _ = _search(texts, index, np.zeros((0, 2), np.int64))
    return counts, owners


def gram_spans(
    texts: pa.StringArray, index: GramIndex, counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the grams that `find_grams` counted lie.

    Returns: spans int64[k, 2] in bytes of their text, ascending, overlapping ones joined; offsets int64[n + 1].
    """
    _, _, spans, offsets = _search(texts, index, np.empty((int(counts.sum()), 2), np.int64))
    return spans[: offsets[-1]], offsets


def cut_sentences(
    texts: pa.StringArray, index: GramIndex, counts: npt.NDArray[np.int64]
) -> tuple[pa.StringArray, npt.NDArray[np.int64]]:
    """The texts without the sentences that hold grams (`counts` from `find_grams`), and how many passages went.

    What then stands side by side may make a new gram: look again.
    """
    spans, span_offsets = gram_spans(texts, index, counts)
    ends, end_offsets = sentence_ends(texts)
    stretches, offsets = np.empty((len(spans), 2), np.int64), np.zeros(len(texts) + 1, np.int64)
    _sentences_around(spans, span_offsets, ends, end_offsets, stretches, offsets)
    return cut(texts, stretches[: offsets[-1]], offsets), np.diff(offsets)


def _search(
    texts: pa.StringArray, index: GramIndex, spans: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    data, starts = utf8_buffers(texts)
    room = shingle_capacity(int(np.diff(starts).max(initial=0)))
    units, letters = np.empty(room, np.uint64), np.empty(room, np.int32)
    begins, ends = np.empty(room, np.int32), np.empty(room, np.int32)
    hashes, stops, candidates = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32)
    counts, owners = np.zeros(len(starts) - 1, np.int64), np.full(len(starts) - 1, -1, np.int64)
    offsets = np.zeros(len(starts), np.int64)
    need = WORD_WEIGHT * index.ngram_size
    arrays = (index.grams, index.gram_owners, index.filter, index.shorts, index.short_owners, index.pair_filter)
    places = (units, letters, begins, ends, hashes, stops, candidates)
    results = (counts, owners, spans, offsets)
    _scan(data, starts, *fold_tables(), _powers(need), need, WORD_WEIGHT * SHORTEST, *arrays, *places, *results)
    return counts, owners, spans, offsets


def _powers(need: int) -> npt.NDArray[np.uint64]:
    """Powers of the factor up to the most units that a gram can have."""
    powers = np.full(need + 1, SHINGLE_FACTOR, np.uint64)
    powers[0] = 1
    return read_only(np.cumprod(powers, dtype=np.uint64), np.uint64)


def _smallest_owner(
    values: npt.NDArray[np.uint64], owners: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Distinct values, ascending, with the smallest owner of each."""
    order = np.lexsort((owners, values))
    values, owners = values[order], owners[order]
    first = np.ones(len(values), np.bool_)
    first[1:] = values[1:] != values[:-1]
    return read_only(values[first], np.uint64), read_only(owners[first], np.int64)


def _filter_of(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A blocked Bloom filter: the high half of a value chooses a word, its low 12 bits two bits in it."""
    words = np.zeros(len(values) * BITS_PER_GRAM // 64 + 1, np.uint64)
    _fill_filter(read_only(values, np.uint64), words)
    return read_only(words, np.uint64)


GRAM, SHORT, PAIR = range(3)


@njit(nogil=True, cache=True, inline="always")
def _weight(letters):  # type: ignore[no-untyped-def]
    return 1 if letters < 0 else 2


@njit(nogil=True, cache=True)
def _roll(units, letters, count, powers, need, grams, stops):  # type: ignore[no-untyped-def]
    """Write the gram that begins at each unit and the unit after it; how many there are."""
    window, weight, after = np.uint64(0), np.int64(0), np.int64(0)
    for k in range(count):
        while after < count and weight < need:
            window = window * SHINGLE_FACTOR + units[after]
            weight += _weight(letters[after])
            after += 1
        if weight < need:
            return k
        grams[k], stops[k] = mix64(window), after
        window -= units[k] * powers[after - k - 1]
        weight -= _weight(letters[k])
    return count


@njit(nogil=True, cache=True, inline="always")
def _pair(units, k):  # type: ignore[no-untyped-def]
    return mix64(units[k] * SHINGLE_FACTOR + units[k + 1])


@njit(nogil=True, cache=True)
def _index(  # type: ignore[no-untyped-def]
    data, starts, entries, expansions, powers, need, least, units, letters, stops, grams, owners, kinds, counts
):
    """Write the grams of all texts, the text of each and what it is; counts: how many, and texts passed over."""
    filled, passed = np.int64(0), np.int64(0)
    for i in range(len(starts) - 1):
        low, high = np.int64(starts[i]), np.int64(starts[i + 1])
        count = place_units(data, low, high, entries, expansions, units, letters, None, None)
        found = _roll(units, letters, count, powers, need, grams[filled:], stops)
        kinds[filled : filled + found] = GRAM
        if found == 0 and count:
            window, weight = np.uint64(0), np.int64(0)
            for k in range(count):
                window = window * SHINGLE_FACTOR + units[k]
                weight += _weight(letters[k])
            if weight >= least:
                grams[filled], kinds[filled] = mix64(window), SHORT
                grams[filled + 1], kinds[filled + 1] = _pair(units, 0), PAIR
                found = 2
            else:
                passed += 1
        owners[filled : filled + found] = i
        filled += found
    counts[0], counts[1] = filled, passed


@njit(nogil=True, cache=True)
def _scan(  # type: ignore[no-untyped-def]
    data, starts, entries, expansions, powers, need, least,
    grams, gram_owners, gram_filter, shorts, short_owners, pair_filter,
    units, letters, begins, ends, hashes, stops, candidates, counts, owners, spans, offsets,
):  # fmt: skip
    """Look up all grams of all texts; fills `counts`, `owners` and, where it has room, `spans` with `offsets`."""
    filled = np.int64(0)
    for i in range(len(starts) - 1):
        low, high = np.int64(starts[i]), np.int64(starts[i + 1])
        count = place_units(data, low, high, entries, expansions, units, letters, begins, ends)
        found = _roll(units, letters, count, powers, need, hashes, stops)
        first = filled
        for candidate in range(_candidates(units, count, hashes, found, gram_filter, pair_filter, candidates)):
            k = np.int64(candidates[candidate])
            owner, stop = np.int64(-1), np.int64(0)
            if k < found:
                place = np.searchsorted(grams, hashes[k])
                if place < len(grams) and grams[place] == hashes[k]:
                    owner, stop = gram_owners[place], np.int64(stops[k])
            if owner < 0 and len(pair_filter):
                owner, stop = _short_from(units, letters, k, count, least, need, shorts, short_owners)
            if owner < 0:
                continue
            owners[i] = owner if counts[i] == 0 else owners[i]
            counts[i] += 1
            if len(spans):
                if filled > first and begins[k] <= spans[filled - 1, 1]:
                    spans[filled - 1, 1] = max(spans[filled - 1, 1], ends[stop - 1])
                else:
                    spans[filled, 0], spans[filled, 1] = begins[k], ends[stop - 1]
                    filled += 1
        offsets[i + 1] = filled


@njit(nogil=True, cache=True)
def _sentences_around(spans, span_offsets, ends, end_offsets, stretches, offsets):  # type: ignore[no-untyped-def]
    """Fill `stretches` with the sentences that spans touch, those next to each other joined."""
    filled = np.int64(0)
    for i in range(len(span_offsets) - 1):
        first, sentence, begin = filled, end_offsets[i], np.int64(0)
        for k in range(span_offsets[i], span_offsets[i + 1]):
            while ends[sentence] <= spans[k, 0]:
                begin = np.int64(ends[sentence])
                sentence += 1
            low = begin
            while ends[sentence] < spans[k, 1]:
                begin = np.int64(ends[sentence])
                sentence += 1
            if filled > first and low <= stretches[filled - 1, 1]:
                stretches[filled - 1, 1] = ends[sentence]
            else:
                stretches[filled, 0], stretches[filled, 1] = low, ends[sentence]
                filled += 1
        offsets[i + 1] = filled


@njit(nogil=True, cache=True)
def _candidates(units, count, hashes, found, gram_filter, pair_filter, candidates):  # type: ignore[no-untyped-def]
    """Units where a gram or a short text may begin; how many.

    A loop of its own, without branches, so that the processor waits for many places of the filter at once.
    """
    passed = 0
    if len(pair_filter) == 0:
        for k in range(found):
            candidates[passed] = k
            passed += _may_hold(gram_filter, hashes[k])
        return passed
    for k in range(found):
        candidates[passed] = k
        passed += _may_hold(gram_filter, hashes[k]) | _may_hold(pair_filter, _pair(units, k))
    for k in range(found, count - 1):
        candidates[passed] = k
        passed += _may_hold(pair_filter, _pair(units, k))
    return passed


@njit(nogil=True, cache=True)
def _short_from(units, letters, k, count, least, need, shorts, short_owners):  # type: ignore[no-untyped-def]
    """The record of the shortest short text that begins at unit k, and the unit after it; -1 if none does."""
    window, weight = np.uint64(0), np.int64(0)
    for at in range(k, count):
        window = window * SHINGLE_FACTOR + units[at]
        weight += _weight(letters[at])
        if weight >= need:
            break
        if weight >= least:
            value = mix64(window)
            place = np.searchsorted(shorts, value)
            if place < len(shorts) and shorts[place] == value:
                return short_owners[place], np.int64(at + 1)
    return np.int64(-1), np.int64(0)


@njit(nogil=True, cache=True, inline="always")
def _may_hold(words, value):  # type: ignore[no-untyped-def]
    """Whether the filter may hold a value; a word is chosen by multiply-shift of the high half."""
    word = words[np.int64(((value >> np.uint64(32)) * np.uint64(len(words))) >> np.uint64(32))]
    bits = np.uint64(1) << (value & np.uint64(63)) | np.uint64(1) << (value >> np.uint64(6) & np.uint64(63))
    return word & bits == bits


@njit(nogil=True, cache=True)
def _fill_filter(values, words):  # type: ignore[no-untyped-def]
    for value in values:
        word = np.int64(((value >> np.uint64(32)) * np.uint64(len(words))) >> np.uint64(32))
        words[word] |= np.uint64(1) << (value & np.uint64(63)) | np.uint64(1) << (value >> np.uint64(6) & np.uint64(63))
