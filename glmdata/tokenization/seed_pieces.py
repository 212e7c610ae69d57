"""Candidates for pieces: the most frequent substrings of weighted words, for the unigram trainer to choose from.

SentencePiece finds its own with a suffix array: 1,000,000 by length times frequency, where frequency counts a distinct
word once. Few candidates by true frequency train several times faster, and the pieces fit unseen text better: what
occurs a few times in the sample is not learnt by heart (docs/tokenizer.md).

Substrings of n characters are counted for n = 2, 3, ... A substring is the pair of the substrings of n - 1 characters
that begin at two neighbouring places, and can be frequent only if both are (Agrawal & Srikant 1994, Apriori).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.kernels import njit
from glmdata.randomness import mix64
from glmdata.tokenization.training_words import utf8_buffers

__all__ = ["seed_pieces"]

MAX_PIECE_CHARS = 16
"""SentencePiece's `max_sentencepiece_length`."""
MIN_COUNT = 2
_SPACE, _SPACE_SIGN = 0x20, 0x2581
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ONE = np.uint64(1)


@njit(nogil=True, cache=True)
def _count_pairs(places, grams, weights, keys, sums, firsts, slots):  # type: ignore[no-untyped-def]
    """Add up the weight of each pair of grams at neighbouring places in an open-addressing table.

    slots[i] becomes the entry of the pair that begins at places[i], or -1.
    """
    mask = np.uint64(len(keys) - 1)
    for number in range(len(places)):
        slots[number] = -1
        if number + 1 == len(places) or places[number + 1] != places[number] + 1:
            continue
        key = (np.uint64(grams[number]) << _HALF | np.uint64(grams[number + 1])) + _ONE
        slot = mix64(key) & mask
        while keys[slot] != key and keys[slot] != 0:
            slot = (slot + _ONE) & mask
        if keys[slot] == 0:
            keys[slot], firsts[slot] = key, places[number]
        sums[slot] += weights[places[number]]
        slots[number] = np.int32(slot)


def seed_pieces(
    words: pa.LargeStringArray, counts: npt.NDArray[np.int64], limit: int
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The `limit` most frequent substrings of 2 to 16 characters, most frequent first, and how often they occur.

    One that is always followed, or always preceded, by the same character gives way to the longer one. A space stands
    in front only, unless all are spaces. Of equally frequent ones those that occur in earlier words come first.
    """
    characters = _characters(words)
    spaces = characters == _SPACE
    weights = np.repeat(counts, pc.utf8_length(words).to_numpy() + 1)
    places = np.flatnonzero((characters != 0) & (characters != _SPACE_SIGN)).astype(np.int32)
    grams = characters[places].astype(np.int32)
    sums = np.bincount(grams, weights[places]).astype(np.int64)
    starts = np.zeros(0, np.int32)
    found = _Candidates(limit)
    for size in range(2, MAX_PIECE_CHARS + 2):
        frequent = sums[grams] >= found.least
        places, grams = places[frequent], grams[frequent]
        keys, pair_sums, firsts, slots = _new_table(len(places))
        _count_pairs(places, grams, weights, keys, pair_sums, firsts, slots)
        entries = np.flatnonzero(pair_sums >= found.least)
        first = firsts[entries]
        entries = entries[~spaces[first + 1] | (spaces[first] & spaces[first + size - 1])]
        if size > 2:
            closed = np.ones(len(sums), np.bool_)
            for half in ((keys[entries] - _ONE) >> _HALF, (keys[entries] - _ONE) & _LOW):
                closed[half[sums[half] == pair_sums[entries]]] = False
            found.add(starts[closed], sums[closed], size - 1)
        starts, sums = firsts[entries], pair_sums[entries]
        numbers = np.full(len(keys) + 1, -1, np.int32)  # the last is for slot -1
        numbers[entries] = np.arange(len(entries), dtype=np.int32)
        grams = numbers[slots]
        places, grams = places[grams >= 0], grams[grams >= 0]
    return found.best(characters)


class _Candidates:
    """The most frequent substrings so far, and those that occur as often as the last of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starts, self._sizes = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._sums = np.zeros(0, np.int64)
        self.least = MIN_COUNT
        """Whatever occurs less often cannot be among them any more."""

    def add(self, starts: npt.NDArray[np.int32], sums: npt.NDArray[np.int64], size: int) -> None:
        """Join substrings of `size` characters that begin at `starts`."""
        sums = np.concatenate([self._sums, sums])
        if len(sums) >= self._limit:
            self.least = max(self.least, int(np.partition(sums, -self._limit)[-self._limit]))
        frequent = np.flatnonzero(sums >= self.least)
        sizes = np.concatenate([self._sizes, np.full(len(starts), size, np.int32)])
        self._starts = np.concatenate([self._starts, starts])[frequent]
        self._sums, self._sizes = sums[frequent], sizes[frequent]

    def best(self, characters: npt.NDArray[np.uint32]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The substrings, most frequent first, and their sums."""
        order = np.lexsort((self._sizes, self._starts, -self._sums))[: self._limit]
        starts = self._starts[order]
        text = characters.tobytes().decode("utf-32-le")
        bounds = zip(starts.tolist(), (starts + self._sizes[order]).tolist(), strict=True)
        return [text[start:stop] for start, stop in bounds], self._sums[order]


def _new_table(size: int) -> tuple[npt.NDArray[Any], ...]:
    """Keys, sums and first places of an empty table for `size` pairs, and room for the slot of each."""
    entries = 1 << max(4, (size + size // 4).bit_length())
    return (
        np.zeros(entries, np.uint64),
        np.zeros(entries, np.int64),
        np.zeros(entries, np.int32),
        np.empty(size, np.int32),
    )


def _characters(words: pa.LargeStringArray) -> npt.NDArray[np.uint32]:
    """Code points, with a 0 behind each word."""
    empty, zero = (pa.scalar(text, pa.large_string()) for text in ("", "\0"))
    joined = pc.binary_join_element_wise(words, empty, zero)
    data, offsets = utf8_buffers(joined)
    text = data[offsets[0] : offsets[-1]].tobytes().decode()
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
