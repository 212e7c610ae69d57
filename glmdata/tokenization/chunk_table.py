"""A table of chunks of text and their pieces: 64-byte entries, one cache line each, with bytes and ids inline.

Its size is fixed. In a full neighbourhood the entry goes that was not used since its neighbours were replaced (CLOCK),
so that the table follows the text: words seen once make room for words seen once.

An entry is eight words: three of key (the bytes, and the length in the last byte, which is never 0);
limit << 40 | weight << 8 | used << 7 | count; four words of two ids each. The path holds where |score before| < limit;
weight bounds what it adds to |score|, in units of 1 / WEIGHT_SCALE.
"""

import numpy as np
import numpy.typing as npt

from glmdata.kernels import njit
from glmdata.tokenization.segmentation import PATH

__all__ = [
    "ENTRIES",
    "ENTRY_COUNT",
    "ENTRY_USED",
    "MAX_CHUNK_BYTES",
    "MAX_CHUNK_PIECES",
    "PADDING",
    "WEIGHT_SCALE",
    "chunk_key",
    "enter_path",
    "find_entry",
    "new_cache",
]

ENTRIES = 1 << 19
"""32 MiB, of which only pages in use take memory. On 38 MB of text with 260,000 different chunks 2^18 entries were 8 %
slower, 2^20 no faster."""
ENTRY_WORDS = 8
MAX_CHUNK_BYTES = 23
MAX_CHUNK_PIECES = 8
WEIGHT_SCALE = 64
MAX_PROBES = 4
PADDING = 32
"""Bytes that may be read behind the text: a key is loaded eight bytes at a time."""
ENTRY_COUNT, ENTRY_USED = np.uint64(0x7F), np.uint64(0x80)

_U8, _U29, _U32, _U40 = np.uint64(8), np.uint64(29), np.uint64(32), np.uint64(40)
_FACTOR_0 = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1 = np.uint64(0xC2B2AE3D27D4EB4F)
_FACTOR_2 = np.uint64(0x165667B19E3779F9)


def new_cache() -> npt.NDArray[np.uint64]:
    """An empty cache whose entries lie in one cache line each."""
    words = np.zeros((ENTRIES + 1) * ENTRY_WORDS, np.uint64)
    skipped = -words.ctypes.data % 64 // 8
    return words[skipped : skipped + ENTRIES * ENTRY_WORDS]


@njit(nogil=True, cache=True, inline="always")
def _word(data, at, size):  # type: ignore[no-untyped-def]
    """Up to 8 bytes as an integer; the loop is unrolled into one load."""
    place = np.uintp(at)
    word = np.uint64(0)
    for byte in range(8):
        word |= np.uint64(data[place + np.uintp(byte)]) << np.uint64(8 * byte)
    if size >= 8:
        return word
    if size <= 0:
        return np.uint64(0)
    return word & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))


@njit(nogil=True, cache=True, inline="always")
def chunk_key(data, at, size):  # type: ignore[no-untyped-def]
    """A chunk of at most MAX_CHUNK_BYTES as three words (the last holds its length, so is never 0) and their hash."""
    word_0 = _word(data, at, size)
    word_1 = _word(data, at + 8, size - 8)
    word_2 = _word(data, at + 16, size - 16) | np.uint64(size) << np.uint64(56)
    mixed = (word_0 * _FACTOR_0) ^ (word_1 * _FACTOR_1) ^ (word_2 * _FACTOR_2)
    mixed = (mixed ^ mixed >> _U32) * _FACTOR_0
    return (word_0, word_1, word_2), mixed >> _U29


@njit(nogil=True, cache=True, inline="always")
def find_entry(cache, key, mixed):  # type: ignore[no-untyped-def]
    """(entry, True) of a chunk, or (the entry that it may have, False)."""
    mask = np.uint64(len(cache) // ENTRY_WORDS - 1)
    for probe in range(MAX_PROBES):
        entry = np.int64((mixed + np.uint64(probe)) & mask) * ENTRY_WORDS
        if cache[entry + 2] == key[2] and cache[entry] == key[0] and cache[entry + 1] == key[1]:
            return entry, True
        if cache[entry + 2] == 0:
            return entry, False
    return _oldest(cache, mixed, mask), False


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _oldest(cache, mixed, mask):  # type: ignore[no-untyped-def]
    """Of a full neighbourhood an entry that was not used since its neighbours were replaced (CLOCK)."""
    for probe in range(MAX_PROBES):
        entry = np.int64((mixed + np.uint64(probe)) & mask) * ENTRY_WORDS
        if cache[entry + 3] & ENTRY_USED == 0:
            return entry
        cache[entry + 3] &= ~ENTRY_USED
    return np.int64(mixed & mask) * ENTRY_WORDS


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def enter_path(cache, entry, key, limit, scores, merges, count, unknown, ints):  # type: ignore[no-untyped-def]
    """Give an entry to the path at hand, if it fits and holds no unknown character."""
    if limit < 1 or count > MAX_CHUNK_PIECES:
        return
    weight = 0.0
    for place in range(count):
        if ints[PATH, place] == unknown:
            return
        weight += 0.0 if merges else abs(np.float64(scores[ints[PATH, place]]))
    cache[entry], cache[entry + 1], cache[entry + 2] = key
    cache[entry + 3] = np.uint64(limit) << _U40 | np.uint64(weight * WEIGHT_SCALE + 1) << _U8 | np.uint64(count)
    for place in range(4, ENTRY_WORDS):  # assignment to a slice takes numba longer to compile
        cache[entry + place] = 0
    for place in range(count):
        cache[entry + 4 + (place >> 1)] |= np.uint64(ints[PATH, place]) << np.uint64(32 * (place & 1))
