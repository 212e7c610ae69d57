"""Which texts are English beyond doubt, by their words: a compiled pass that spares fastText most of its work.

Of up to 1,536 bytes the words are counted, and among them those of two tables: function words and everyday words that
English alone has ("the", "which", "small"), and words of 32 other languages that English does not have
(`glmdata.text.latin_words`). Of English prose a third to a half are of the first, a hundredth of the second. A text of
at least 20 words is English if three in ten are of the first and no more than one in twenty of the second: six words,
each of which speaks for English with odds of seven to twenty to one (`glmdata.text.latin`). Where the rule says
nothing, because of code, names or another language, fastText is asked.

On 16,950 labelled texts and 11,101 documents no text is decided otherwise than by fastText. 8 us a text, where fastText
takes 80.
"""

import functools

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glmdata.kernels import njit
from glmdata.text.latin_words import ENGLISH_LOANS, ENGLISH_NAMES, ENGLISH_ONLY, ENGLISH_WORDS, WORDS
from glmdata.text.scripts import utf8_buffers

__all__ = ["PIECE_BYTES", "surely_english", "word_counts"]

PIECE_BYTES = 512
"""A text of more than three such pieces is looked at in three: beginning, middle and end."""
_LEAST_WORDS = 20
_ENGLISH_SHARE, _FOREIGN_SHARE = 0.3, 0.05

_ENGLISH, _FOREIGN = 1, 2
_TABLE_BITS = 13  # 8,192 places for 4,100 words: a word that is in no table ends its search at the first or second
_HASH_SEED, _HASH_FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a


def surely_english(texts: pa.StringArray, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the texts `rows`, int64[r], are English by the rule above: bool[r]."""
    words, english, foreign = word_counts(texts, rows).T
    return (words >= _LEAST_WORDS) & (english >= _ENGLISH_SHARE * words) & (foreign <= _FOREIGN_SHARE * words)


def word_counts(texts: pa.StringArray, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Words of each of the texts `rows`, those of English alone, and those of other languages: int64[r, 3].

    A word is a run of ASCII letters, lowered, and of characters of two bytes from U+00C0 on, as they are. Where a piece
    begins or ends within a word that part counts as a word.
    """
    values, offsets = utf8_buffers(texts)
    counts = np.zeros((len(rows), 3), np.int64)
    chosen = np.ascontiguousarray(rows, np.int64)
    chosen.setflags(write=False)
    _count_words(values, offsets, chosen, *_tables(), counts)
    return counts


@functools.cache
def _tables() -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """An open hash table: the hash of a word, 0 where a place is empty, and which kind of word it is."""
    others = frozenset[str]().union(*WORDS.values())
    english = ENGLISH_ONLY | ENGLISH_WORDS
    foreign = others - english - ENGLISH_LOANS - ENGLISH_NAMES
    hashes = np.zeros(1 << _TABLE_BITS, np.uint64)
    kinds = np.zeros(1 << _TABLE_BITS, np.uint8)
    for kind, words in ((_ENGLISH, english - others), (_FOREIGN, foreign)):
        for hashed in _hashes(sorted(words)):
            place = hashed >> (64 - _TABLE_BITS)
            while hashes[place]:
                place = (place + 1) % (1 << _TABLE_BITS)
            hashes[place], kinds[place] = hashed, kind
    hashes.setflags(write=False)
    kinds.setflags(write=False)
    return hashes, kinds


def _hashes(words: list[str]) -> list[int]:
    """The kernel's hash of each word."""
    data = [word.encode() for word in words]
    lengths = np.array(list(map(len, data)))
    padded = np.array(data, f"S{lengths.max()}").view(np.uint8).reshape(len(data), -1)
    hashes = np.full(len(data), _HASH_SEED)
    for place in range(padded.shape[1]):
        longer = np.where(lengths > place, hashes ^ padded[:, place], hashes)
        hashes = np.where(lengths > place, longer * _HASH_FACTOR, hashes)
    return hashes.tolist()


@njit(nogil=True, cache=True)
def _count_words(values, offsets, rows, hashes, kinds, counts):  # type: ignore[no-untyped-def]
    """Add up the words of text d = values[offsets[d]:offsets[d + 1]] for each d of `rows`."""
    for r in range(len(rows)):
        start, end = np.int64(offsets[rows[r]]), np.int64(offsets[rows[r] + 1])
        if end - start <= 3 * PIECE_BYTES:
            _count_piece(values, start, end, hashes, kinds, counts[r])
        else:
            middle = (start + end) // 2
            _count_piece(values, start, start + PIECE_BYTES, hashes, kinds, counts[r])
            _count_piece(values, middle, middle + PIECE_BYTES, hashes, kinds, counts[r])
            _count_piece(values, end - PIECE_BYTES, end, hashes, kinds, counts[r])


@njit(nogil=True, cache=True)
def _count_piece(values, start, end, hashes, kinds, counts):  # type: ignore[no-untyped-def]
    hashed, length, at = _HASH_SEED, 0, start
    while at <= end:
        byte = np.int64(values[at]) if at < end else np.int64(0)  # the end ends a word
        lower = byte | 0x20
        if 0x61 <= lower <= 0x7A and byte < 0x80:
            hashed = (hashed ^ np.uint64(lower)) * _HASH_FACTOR
            length += 1
            at += 1
        elif 0xC3 <= byte < 0xE0 and at + 1 < end:
            hashed = (hashed ^ np.uint64(byte)) * _HASH_FACTOR
            hashed = (hashed ^ np.uint64(values[at + 1])) * _HASH_FACTOR
            length += 2
            at += 2
        else:
            if length > 0:
                counts[0] += 1
                place = np.int64(hashed >> np.uint64(64 - _TABLE_BITS))
                while hashes[place] != 0:
                    if hashes[place] == hashed:
                        counts[kinds[place]] += 1
                        break
                    place = (place + 1) & ((1 << _TABLE_BITS) - 1)
                hashed, length = _HASH_SEED, 0
            at += 1
