"""From keys to candidate pairs: which documents are compared because they share a band.

A document is known here by its number and its rank, a packed form of the order that decides which duplicate stays:
source priority, then length, then content. Ranks depend on the documents alone, so the pairs do not depend on how the
corpus was cut into files. Pairs are directed: (document, better), the better one of smaller rank.

Where many documents share their bands, as in templates, a document has more candidates than can be compared. Those that
share the most bands with it are kept: of 18 bands a copy of 0.95 has 12 in common, one of 0.7 has 1 or 2.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from glmdata.dedupe.shingles import read_only
from glmdata.kernels import njit

__all__ = [
    "INDEX_NUMBER",
    "MAX_CANDIDATES",
    "MAX_PRIORITY",
    "NEIGHBOURS",
    "Pairs",
    "candidate_pairs",
    "content_pairs",
    "index_ranks",
    "join_pairs",
    "pack_ranks",
    "range_of",
]

INDEX_NUMBER = np.uint64(1 << 63)
"""Numbers from here on are documents of a signature index: they stay, whatever repeats them goes."""
NEIGHBOURS = 4
"""In a group of documents that share a key each is paired with the best one and with so many before it in the order
of ranks, which are those of most similar length. Groups of up to 6 are compared in full, larger ones in linear time."""
MAX_CANDIDATES = 32
"""Candidates of a document: time and memory stay linear in a group of a million."""
_JOINED_AT_ONCE = 1 << 18

MAX_PRIORITY = 63
_LENGTH_BITS, _CONTENT_BITS = 22, 36

_Numbers = npt.NDArray[np.uint64]
_Bands = npt.NDArray[np.uint8]
_Places = npt.NDArray[np.int64]
Pairs: TypeAlias = tuple[_Numbers, _Numbers, _Numbers, _Bands]
"""document, better, rank of the better (uint64[p]) and in how many bands the two were paired (uint8[p], 255 at most):
each pair once, ordered by document, then rank, then better."""


def pack_ranks(priority: npt.NDArray[np.int64], length: npt.NDArray[np.int64], content_high: _Numbers) -> _Numbers:
    """Ranks of documents, smaller is better: the order of `glmdata.dedupe.survivors.survivor_rank`, but for texts of
    more than 4 MB and contents that agree in their first 36 bits. Where the two orders differ, the best of a group of
    candidates is not the one that decides, and some stay that should go.

    Args: priority: int64[n], 0 the best, MAX_PRIORITY at most. length: int64[n], bytes; from 4 MB on all are alike.
        content_high: uint64[n], the high half of the 128 bits of the content that is compared.
    Returns: uint64[n]: 6 bits of priority, 22 of length, 36 of content, by which `candidate_pairs` knows what is equal.
    """
    longest = (1 << _LENGTH_BITS) - 1
    shorter = (longest - np.minimum(length, longest)).astype(np.uint64)
    ranks = priority.astype(np.uint64) << np.uint64(_LENGTH_BITS + _CONTENT_BITS) | shorter << np.uint64(_CONTENT_BITS)
    return ranks | content_high >> np.uint64(64 - _CONTENT_BITS)


def index_ranks(content_high: _Numbers) -> _Numbers:
    """Ranks of documents of an index: before all others."""
    return content_high >> np.uint64(64 - _CONTENT_BITS)


def range_of(keys: _Numbers, parts: int) -> npt.NDArray[np.int64]:
    """Which of `parts` equal ranges of the 64-bit numbers each key lies in: int64[n]."""
    return (((keys >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32)).astype(np.int64)


def candidate_pairs(
    keys: _Numbers,
    ranks: _Numbers,
    numbers: _Numbers,
    *,
    neighbours: int = NEIGHBOURS,
    max_candidates: int | None = MAX_CANDIDATES,
) -> Pairs:
    """The pairs to compare among documents that share a key.

    Args: keys, ranks, numbers: uint64[n], in any order; a document may stand under many keys. neighbours: 0 pairs
        each with the best of its group only. max_candidates: of each document, those it shares the most keys with, of
        equals the better ranked; None for all.
    Returns: pairs. Of documents of equal content, which `content_pairs` joins, the best alone is paired, so that copies
        take no neighbour's place; two unlike ones are taken for equal with probability 2^-36. No pair is of two
        documents of an index.
    """
    documents, ranks_of, place_of, groups, places = _groups(keys, ranks, numbers)
    rows = np.sort(_inverse(place_of)[places] << 32 | np.arange(len(places)))
    firsts = np.searchsorted(rows, np.arange(len(documents) + 1) << 32)
    num_ours = int(np.searchsorted(documents, INDEX_NUMBER))  # what an index holds is never the worse
    room = np.diff(firsts)[:num_ours] * (neighbours + 1)
    widest = int(room.max(initial=0))
    most = widest if max_candidates is None else max_candidates
    found = np.empty(int(np.minimum(room, most).sum()), np.int64)
    bands, counts = np.empty(len(found), np.uint8), np.empty(num_ours, np.int64)
    cells = read_only(np.stack((places, _starts(groups)), axis=1), np.int32)  # one line of the cache for a row's group
    rows = read_only(rows & 0xFFFFFFFF, np.int64)
    held = np.empty((2, widest), np.int64)
    _pair(cells, rows, read_only(firsts, np.int64), neighbours, most, held, found, bands, counts)
    total = int(counts.sum())
    better = _inverse(place_of)[found[:total]]
    return np.repeat(documents[:num_ours], counts), documents[better], ranks_of[better], bands[:total]


def content_pairs(high: _Numbers, low: _Numbers, ranks: _Numbers, numbers: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Documents of the same 128-bit content: (document, better), each but the best of a content once."""
    shared = _in_groups(high)[0]
    high, low, ranks, numbers = high[shared], low[shared], ranks[shared], numbers[shared]
    order = np.lexsort((numbers, ranks, low, high))
    high, low, numbers = high[order], low[order], numbers[order]
    is_first = np.ones(len(high), bool)
    is_first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(high)), 0)) if len(high) else np.zeros(0, np.int64)
    chosen = ~is_first & (numbers < INDEX_NUMBER)
    return numbers[chosen], numbers[starts[chosen]]


def join_pairs(parts: Sequence[Pairs], max_candidates: int | None = MAX_CANDIDATES) -> Pairs:
    """The pairs of several ranges of keys as those of one: the bands of a pair are added up, and of each document the
    candidates that it shares the most with are left.
    """
    filled = [part for part in parts if len(part[0])] or list(parts[:1])
    if len(filled) == 1:
        return filled[0]
    cuts = np.unique(np.concatenate([part[0][::_JOINED_AT_ONCE] for part in filled]))
    bounds = [np.append(np.searchsorted(part[0], cuts), len(part[0])).tolist() for part in filled]
    joined = []
    for chunk in range(len(cuts)):  # pairs of some documents
        slices = [slice(*ends[chunk : chunk + 2]) for ends in bounds]
        some = [[column[at] for column in part] for part, at in zip(filled, slices, strict=True)]
        document, better, rank, bands = map(np.concatenate, zip(*some, strict=True))
        joined.append(_joined(document, better, rank, bands, max_candidates))
    document, better, rank, bands = map(np.concatenate, zip(*joined, strict=True))
    return document, better, rank, bands


def _joined(document: _Numbers, better: _Numbers, rank: _Numbers, bands: _Bands, max_candidates: int | None) -> Pairs:
    order = np.lexsort((better, rank, document))
    document, better, rank = document[order], better[order], rank[order]
    new = np.ones(len(document), bool)
    new[1:] = (document[1:] != document[:-1]) | (better[1:] != better[:-1])
    summed = np.minimum(np.add.reduceat(bands[order].astype(np.int64), np.flatnonzero(new)), 255).astype(np.uint8)
    document, better, rank = document[new], better[new], rank[new]
    if max_candidates is not None:
        kept = np.zeros(len(document), np.bool_)
        starts = np.flatnonzero(np.append(np.diff(document, prepend=~document[0]) != 0, True))
        _choose(read_only(starts, np.int64), read_only(summed, np.uint8), max_candidates, kept)
        document, better, rank, summed = document[kept], better[kept], rank[kept], summed[kept]
    return document, better, rank, summed


def _groups(keys: _Numbers, ranks: _Numbers, numbers: _Numbers) -> tuple[_Numbers, _Numbers, _Places, _Places, _Places]:
    """Rows of keys that several documents share, each content once a key: ordered by key and rank.

    Returns: documents uint64[d], ascending, their ranks, and the place of each in the order of (rank, number); for each
    row the number of its group, ascending, and the place of its document, ascending in a group: int64[r].
    """
    rows, starts = _in_groups(keys)
    group_of = np.full(len(keys), -1, np.int64)
    group_of[rows] = np.cumsum(starts)
    shared = np.flatnonzero(group_of >= 0)  # in the order they came in: numbers ascend there, and sort in linear time
    ranks, numbers, group_of = ranks[shared], numbers[shared], group_of[shared]
    documents, first, row_of = np.unique(numbers, return_index=True, return_inverse=True)
    ranks_of = ranks[first]
    place_of = np.empty(len(documents), np.int64)
    place_of[np.lexsort((documents, ranks_of))] = np.arange(len(documents))
    rows = np.sort(group_of << 32 | place_of[row_of])  # sorting values is many times faster than sorting places
    groups, places = rows >> 32, rows & 0xFFFFFFFF
    _, content_of, copies = np.unique(
        ranks_of & np.uint64((1 << _CONTENT_BITS) - 1), return_inverse=True, return_counts=True
    )
    content_of = content_of[_inverse(place_of)]
    several = np.flatnonzero(copies[content_of[places]] > 1)  # rows in question: few, but for copies
    order = several[np.argsort(groups[several] << 32 | content_of[places[several]], kind="stable")]
    repeated = np.zeros(len(rows), bool)
    repeated[order[1:]] = (np.diff(groups[order]) == 0) & (np.diff(content_of[places[order]]) == 0)
    return documents, ranks_of, place_of, groups[~repeated], places[~repeated]


def _in_groups(keys: _Numbers) -> tuple[_Places, npt.NDArray[np.bool_]]:
    """Rows of keys that occur more than once, equal keys side by side in the order of rows, and where each key begins.

    Most keys occur once, so the costly sorting is of few. Values are sorted, the low half of a key above the row: that
    is many times faster than sorting places, and no slower where all keys are equal.
    """
    packed = np.sort(keys << np.uint64(32) | np.arange(len(keys), dtype=np.uint64))
    rows = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    same_half = packed[1:] >> np.uint64(32) == packed[:-1] >> np.uint64(32)
    near = np.zeros(len(keys), bool)
    near[1:] |= same_half
    near[:-1] |= same_half
    rows, starts = rows[near], ~np.append(False, same_half)[near]
    ordered = keys[rows]
    if (~starts[1:] & (ordered[1:] != ordered[:-1])).any():  # one in 2^32 pairs of keys: sort those halves in full
        order = np.lexsort((rows, ordered, np.cumsum(starts)))
        rows, ordered = rows[order], ordered[order]
        starts[1:] = ordered[1:] != ordered[:-1]
        alone = starts & np.append(starts[1:], True)
        rows, starts = rows[~alone], starts[~alone]
    return rows, starts


def _inverse(permutation: _Places) -> _Places:
    found = np.empty_like(permutation)
    found[permutation] = np.arange(len(permutation))
    return found


def _starts(keys: _Places) -> npt.NDArray[np.int64]:
    """For ascending keys the place where each one's group begins."""
    if not len(keys):
        return np.zeros(0, np.int64)
    begins = np.concatenate([[True], keys[1:] != keys[:-1]])
    return np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))


@njit(nogil=True, cache=True)
def _pair(cells, rows, firsts, neighbours, most, held, found, bands, counts):  # type: ignore[no-untyped-def]
    """Write the candidates of each document, by their places in the order of ranks, and in how many groups they came.

    cells: of each row, in groups, the place of its document and the row where its group starts. rows: those of document
    d are rows[firsts[d]:firsts[d + 1]]. held: scratch for all candidates of a document, repeated ones too. counts:
    candidates of each document.
    """
    near, times = held
    total = 0
    for d in range(len(counts)):
        size = 0
        for at in range(firsts[d], firsts[d + 1]):
            row = rows[at]
            best = np.int64(cells[row, 1])
            if row > best:
                size = _insert(near, size, cells[best, 0])
            for other in range(max(best + 1, row - neighbours), row):
                size = _insert(near, size, cells[other, 0])
        distinct = 0
        for i in range(size):
            if i > 0 and near[i] == near[i - 1]:
                times[distinct - 1] += 1
            else:
                near[distinct], times[distinct] = near[i], 1
                distinct += 1
        least, ties = _least_kept(times[:distinct], most)
        first = total
        for i in range(distinct):
            if times[i] > least or (times[i] == least and ties > 0):
                ties -= times[i] == least
                found[total], bands[total] = near[i], min(times[i], 255)
                total += 1
        counts[d] = total - first


@njit(nogil=True, cache=True, inline="always")
def _insert(values, size, value):  # type: ignore[no-untyped-def]
    """Add to values[:size], which are ascending; the new size."""
    at = size
    while at > 0 and values[at - 1] > value:
        values[at] = values[at - 1]
        at -= 1
    values[at] = value
    return size + 1


@njit(nogil=True, cache=True)
def _least_kept(times, most):  # type: ignore[no-untyped-def]
    """Of the `most` greatest values the least, and how many of that value are among them."""
    if len(times) <= most:
        return 0, 0
    value = times.max()
    above = 0
    while True:
        equal = 0
        for i in range(len(times)):
            equal += times[i] == value
        if above + equal >= most:
            return value, most - above
        above += equal
        value -= 1


@njit(nogil=True, cache=True)
def _choose(starts, bands, most, kept):  # type: ignore[no-untyped-def]
    """Keep of each document's candidates, bands[starts[d]:starts[d + 1]], the `most` with the most bands, the first of
    equals.
    """
    for d in range(len(starts) - 1):
        least, ties = _least_kept(bands[starts[d] : starts[d + 1]], most)
        for i in range(starts[d], starts[d + 1]):
            if bands[i] > least or (bands[i] == least and ties > 0):
                ties -= bands[i] == least
                kept[i] = True
