"""From keys to candidate pairs: which documents are compared because they share a band.

A document is known here by its number and its rank, a packed form of the order that decides which duplicate stays:
source priority, then length, then content. Ranks depend on the documents alone, so the pairs do not depend on how the
corpus was cut into files. Pairs are directed: (document, better), the better one of smaller rank.
"""

import numpy as np
import numpy.typing as npt

__all__ = [
    "INDEX_NUMBER",
    "MAX_PRIORITY",
    "NEIGHBOURS",
    "candidate_pairs",
    "content_pairs",
    "index_ranks",
    "pack_ranks",
    "range_of",
    "unique_pairs",
]

INDEX_NUMBER = np.uint64(1 << 63)
"""Numbers from here on are documents of a signature index: they stay, whatever repeats them goes."""
NEIGHBOURS = 4
"""In a group of documents that share a key each is paired with the best one and with so many before it in the order
of ranks, which are those of most similar length. Groups of up to 6 are compared in full, larger ones in linear time."""

MAX_PRIORITY = 63
_LENGTH_BITS, _CONTENT_BITS = 22, 36

_Numbers = npt.NDArray[np.uint64]
_Pairs = tuple[_Numbers, _Numbers, _Numbers]


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


def candidate_pairs(keys: _Numbers, ranks: _Numbers, numbers: _Numbers, *, neighbours: int = NEIGHBOURS) -> _Pairs:
    """The pairs to compare among documents that share a key.

    Args: keys, ranks, numbers: uint64[n], in any order; a document may stand under many keys. neighbours: 0 pairs
        each with the best of its group only.
    Returns: document, better, rank of the better: uint64[p], each pair once, ascending. Of documents of equal content,
        which `content_pairs` joins, the best alone is paired, so that copies take no neighbour's place; two unlike ones
        are taken for equal with probability 2^-36. No pair is of two documents of an index.
    """
    shared = _in_groups(keys)
    keys, ranks, numbers = keys[shared], ranks[shared], numbers[shared]
    contents = ranks & np.uint64((1 << _CONTENT_BITS) - 1)
    order = np.lexsort((numbers, ranks, contents, keys))
    keys, ranks, numbers, contents = keys[order], ranks[order], numbers[order], contents[order]
    first = np.ones(len(keys), bool)
    first[1:] = (keys[1:] != keys[:-1]) | (contents[1:] != contents[:-1])
    keys, ranks, numbers = keys[first], ranks[first], numbers[first]
    order = np.lexsort((ranks, keys))
    keys, ranks, numbers = keys[order], ranks[order], numbers[order]
    starts = _starts(keys)
    place = np.arange(len(keys))
    worse, better = [place[place > starts]], [starts[place > starts]]
    for distance in range(1, neighbours + 1):
        inside = place[place - distance > starts]
        worse.append(inside)
        better.append(inside - distance)
    document, other = np.concatenate(worse), np.concatenate(better)
    ours = numbers[document] < INDEX_NUMBER
    return unique_pairs(numbers[document[ours]], numbers[other[ours]], ranks[other[ours]])


def content_pairs(high: _Numbers, low: _Numbers, ranks: _Numbers, numbers: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Documents of the same 128-bit content: (document, better), each but the best of a content once."""
    shared = _in_groups(high)
    high, low, ranks, numbers = high[shared], low[shared], ranks[shared], numbers[shared]
    order = np.lexsort((numbers, ranks, low, high))
    high, low, numbers = high[order], low[order], numbers[order]
    is_first = np.ones(len(high), bool)
    is_first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(high)), 0)) if len(high) else np.zeros(0, np.int64)
    chosen = ~is_first & (numbers < INDEX_NUMBER)
    return numbers[chosen], numbers[starts[chosen]]


def unique_pairs(document: _Numbers, better: _Numbers, rank: _Numbers) -> _Pairs:
    """Pairs with a column beside them, each once, ordered by document, then rank, then better."""
    order = np.lexsort((better, rank, document))
    document, better, rank = document[order], better[order], rank[order]
    new = np.ones(len(document), bool)
    new[1:] = (document[1:] != document[:-1]) | (better[1:] != better[:-1])
    return document[new], better[new], rank[new]


def _in_groups(keys: _Numbers) -> npt.NDArray[np.int64]:
    """Places of keys that occur more than once: most do not, so the costly sorting is of few."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    shared = np.zeros(len(keys), bool)
    shared[1:] |= same
    shared[:-1] |= same
    return order[shared]


def _starts(keys: _Numbers) -> npt.NDArray[np.int64]:
    """For sorted keys the place where each one's group begins."""
    if not len(keys):
        return np.zeros(0, np.int64)
    begins = np.concatenate([[True], keys[1:] != keys[:-1]])
    return np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))
