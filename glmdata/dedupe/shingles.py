"""Shingles: what near-duplicate detection compares of a text.

1. Characters are folded by a table: case (Unicode case folding, so that STRASSE meets straße), width (full-width ASCII,
   half-width kana) and compatibility ideographs. The text itself is never changed.
2. Units: a Han or kana character is one unit; a word is a maximal run of other letters and digits, with the combining
   marks inside it. White space, punctuation, underscore and symbols separate words and are not compared. Format
   characters (soft hyphen, joiners) are passed over, as are marks outside words. A character beyond the BMP (emoji,
   rare scripts) is a unit of its own.
3. A shingle is `size` consecutive units. A text of 1 .. size - 1 units is one shingle of all of them, so that two short
   texts are alike only if they are equal. A text without units, or of a single character, is one shingle of its bytes:
   "a" is not "A", and "!" not "?". The empty text has none.
4. A shingle's hash: units are hashed to 64 bits, a rolling polynomial modulo 2^64 joins `size` of them, SplitMix64's
   finaliser scatters the sum. MinHash takes the high 32 bits, true similarity all 64 (among 10^6 shingles of one
   comparison a chance meeting has probability 3e-8).
5. A text's content is the 128-bit hash of its units in order, or of its bytes where those are its shingle: equal for
   texts that differ in case, width, white space and punctuation only.

Units are hashed at 250 MB/s of mixed Chinese and English a core; nothing is allocated for a unit.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.kernels import njit
from glmdata.randomness import mix64

__all__ = ["alike", "fold_tables", "jaccard", "shingle_hashes", "shingle_sets", "utf8_buffers"]

Texts: TypeAlias = Sequence[str] | pa.Array

# What a character is, in the top byte of its table entry; the low 24 bits are the folded code point.
KIND_SHIFT = 24
VALUE_MASK = (1 << KIND_SHIFT) - 1
SEPARATOR, IGNORED, MARK, WORD, SINGLE, EXPANSION = range(6)  # EXPANSION: the low bits are a row of the expansions
BMP_SIZE = 0x10000
ZERO_WIDTH_SPACE = 0x200B  # a format character by category, a word boundary by meaning

HAN_RANGES = (
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3038, 0x303C),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
KANA_RANGES = ((0x3041, 0x30FF), (0x31F0, 0x31FF))

# Digits of pi, e, sqrt(2) and sqrt(3) after the point, in hexadecimal, the last made odd: nothing up the sleeve.
WORD_SEED = np.uint64(0x243F6A8885A308D3)
BYTES_SEED = np.uint64(0xB7E151628AED2A6B)
CONTENT_SEED = np.uint64(0x452821E638D01377)
WORD_FACTOR = np.uint64(0x6A09E667F3BCC909)
SHINGLE_FACTOR = np.uint64(0xBB67AE8584CAA73B)


@cache
def fold_tables() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """What each BMP character counts as in a comparison, from this Python's `unicodedata`. Built once, about 25 ms.

    Returns: entries uint32[65536], kind in the top byte and folded code point (or row of the expansions) below it;
    expansions uint32[k, 3], the code points of the characters that fold to several (ß, ligatures), zero-padded. Both
    read-only.
    """
    folded = [character.casefold() for character in map(chr, range(BMP_SIZE))]
    folded[0xF900:0xFB00] = [_casefold(code, "NFC") for code in range(0xF900, 0xFB00)]  # compatibility ideographs
    folded[0xFF00:0xFFF0] = [_casefold(code, "NFKC") for code in range(0xFF00, 0xFFF0)]  # full and half width
    first = [text[0] for text in folded]
    values = np.array(list(map(ord, first)), np.uint32)
    kinds = _kinds(values, np.array(list(map(unicodedata.category, first))))
    several = [code for code in np.flatnonzero(kinds == WORD).tolist() if len(folded[code]) > 1]
    expansions = np.array([[*map(ord, folded[code]), 0, 0][:3] for code in several], np.uint32)
    kinds[several], values[several] = EXPANSION, np.arange(len(several))
    return read_only(kinds << np.uint32(KIND_SHIFT) | values, np.uint32), read_only(expansions, np.uint32)


def _casefold(code: int, form: Literal["NFC", "NFKC"]) -> str:
    return unicodedata.normalize(form, chr(code)).casefold()


def _kinds(codes: npt.NDArray[np.uint32], categories: npt.NDArray[np.str_]) -> npt.NDArray[np.uint32]:
    """Kinds uint32[n] of folded code points with these general categories."""
    major = categories.astype("U1")
    single = np.zeros(len(codes), np.bool_)
    for low, high in HAN_RANGES + KANA_RANGES:
        single |= (low <= codes) & (codes <= high)
    kinds = np.full(len(codes), SEPARATOR, np.uint32)
    kinds[(categories == "Cf") & (codes != ZERO_WIDTH_SPACE)] = IGNORED
    kinds[major == "M"] = MARK
    letter = (major == "L") | (major == "N")
    kinds[letter] = np.where(single, SINGLE, WORD)[letter]
    return kinds


def shingle_hashes(text: str, size: int = 5) -> npt.NDArray[np.uint32]:
    """The 32-bit hashes of a text's shingles, in text order, repeats kept.

    Args: size: units in a shingle, at least 1.
    Returns: uint32[n]; n = 0 only for the empty text, 1 for a text of at most `size` units.
    """
    _check_size(size)
    data, offsets = utf8_buffers([text])
    hashes = np.empty(shingle_capacity(len(data)), np.uint64)
    count = shingle_text(data, 0, int(offsets[1]), *fold_tables(), size, hashes)
    return (hashes[:count] >> np.uint64(32)).astype(np.uint32)


def shingle_sets(
    texts: Texts, rows: npt.NDArray[np.int64], size: int = 5
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The sets of 64-bit shingle hashes of chosen texts, for their true similarity.

    Args: rows: int64[r], which texts, in any order.
    Returns: values uint64[v] and offsets int64[r + 1]; values[offsets[i]:offsets[i + 1]] belongs to rows[i], ascending
    and without repeats, empty for the empty text.
    Raises: IndexError: a row is outside the texts.
    """
    _check_size(size)
    data, starts = utf8_buffers(texts)
    chosen = read_only(rows, np.int64)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(starts) - 1:
        raise IndexError(f"rows {chosen.min()}..{chosen.max()} asked of {len(starts) - 1} texts")
    lengths = starts[chosen + 1] - starts[chosen]
    values = np.empty(int(((lengths + 1) // 2 + 1).sum()), np.uint64)
    offsets = np.zeros(len(chosen) + 1, np.int64)
    total = _shingle_rows(data, starts, chosen, *fold_tables(), size, values, offsets)
    values = values[:total]
    # numpy sorts with AVX-512 or AVX2 where it can, several times faster than a compiled quicksort would.
    for first, last in pairwise(offsets.tolist()):
        values[first:last].sort()
    is_new = np.ones(total, np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_new[1:])
    is_new[offsets[:-1][lengths > 0]] = True
    return values[is_new], np.concatenate((np.zeros(1, np.int64), np.cumsum(is_new)))[offsets]


def jaccard(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> float:
    """Jaccard similarity |a & b| / |a | b| of two sets of shingle hashes.

    Args: a, b: uint64, ascending and without repeats, as `shingle_sets` gives them.
    Returns: 0.0 if either is empty: an empty text is like no other.
    """
    shared = shared_count(read_only(a, np.uint64), read_only(b, np.uint64), 0)
    return shared / max(1, len(a) + len(b) - shared)


def alike(
    values: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    threshold: float,
) -> npt.NDArray[np.bool_]:
    """Which pairs of sets have a Jaccard similarity of at least `threshold`.

    Args: values, offsets: sets as `shingle_sets` gives them. left, right: int64[p], numbers of sets. threshold: in
        (0, 1].
    Returns: bool[p]; False where either is empty.
    Raises: ValueError: the threshold is outside (0, 1]. IndexError: there is no such set.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"a similarity threshold lies in (0, 1], not {threshold}")
    for side in (left, right):
        if len(side) and not 0 <= side.min() <= side.max() < len(offsets) - 1:
            raise IndexError(f"sets {side.min()}..{side.max()} of {len(offsets) - 1}")
    found = np.zeros(len(left), np.bool_)
    sides = (read_only(left, np.int64), read_only(right, np.int64))
    _compare(read_only(values, np.uint64), read_only(offsets, np.int64), *sides, float(threshold), found)
    return found


def utf8_buffers(texts: Texts) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The UTF-8 bytes of texts one after another and where each starts, both read-only.

    Args: texts: str (lone surrogates allowed), or an Arrow string or large_string array, whose bytes are not copied.
    Returns: bytes uint8[B], offsets int64[n + 1].
    Raises: TypeError: an Arrow array is not of strings. ValueError: it holds a null.
    """
    if not isinstance(texts, pa.Array):
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return read_only(np.frombuffer(b"".join(encoded), np.uint8), np.uint8), read_only(offsets, np.int64)
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise TypeError(f"texts must be an Arrow array of string or large_string, not {texts.type}")
    if texts.null_count:
        raise ValueError(
            f"texts hold {texts.null_count} nulls of {len(texts)}; a document without text is the empty text"
        )
    _, places, data = texts.buffers()
    if len(texts) == 0 or data is None:
        return read_only(np.empty(0), np.uint8), read_only(np.zeros(len(texts) + 1), np.int64)
    width = np.int32 if pa.types.is_string(texts.type) else np.int64
    starts = np.frombuffer(places, width)[texts.offset : texts.offset + len(texts) + 1]
    return read_only(np.frombuffer(data, np.uint8), np.uint8), read_only(starts, np.int64)


def read_only(array: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A read-only, contiguous view (a copy only if it must be): numba compiles writable arrays apart from these."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def shingle_capacity(num_bytes: int) -> int:
    """How many shingles a text can have: a word and its separator take two bytes, other units three or more."""
    return (num_bytes + 1) // 2 + 1


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"a shingle needs at least 1 unit, not {size}")


@njit(nogil=True, cache=True)
def shingle_text(data, start, end, entries, expansions, size, hashes):  # type: ignore[no-untyped-def]
    """Kernel: write the 64-bit shingle hashes of data[start:end] to `hashes` (see `shingle_capacity`); their number."""
    return roll_shingles(hashes, hash_units(data, start, end, entries, expansions, hashes), size)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def hash_content(units, count):  # type: ignore[no-untyped-def]
    """Kernel: two 64-bit hashes of units[:count], (0, 0) of none."""
    high, low = WORD_SEED, CONTENT_SEED
    for i in range(count):
        high = _extend(high, units[i])
        low = (low ^ units[i]) * SHINGLE_FACTOR
        low ^= low >> np.uint64(29)
    return (mix64(high), mix64(low)) if count else (np.uint64(0), np.uint64(0))


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def roll_shingles(hashes, count, size):  # type: ignore[no-untyped-def]
    """Kernel: turn the hashes of `count` units into those of their shingles, in place; the number of shingles."""
    if count == 0:
        return 0
    length = min(count, size)
    window, leaving_factor = np.uint64(0), np.uint64(1)
    for i in range(length):
        window = window * SHINGLE_FACTOR + hashes[i]
    for _ in range(1, length):
        leaving_factor *= SHINGLE_FACTOR
    # In place: shingle i needs unit i for the last time, to take it out of the window.
    for i in range(count - length):
        leaving = hashes[i] * leaving_factor
        hashes[i] = mix64(window)
        window = (window - leaving) * SHINGLE_FACTOR + hashes[i + length]
    hashes[count - length] = mix64(window)
    return count - length + 1


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def hash_units(data, start, end, entries, expansions, units):  # type: ignore[no-untyped-def]
    """Kernel: write the 64-bit hash of every unit of data[start:end] to `units`; their number.

    A text without units, or of one character, is one unit of its bytes; the empty text has none.
    """
    count = place_units(data, start, end, entries, expansions, units, None, None, None)
    if end > start and (count == 0 or _is_one_character(data, start, end)):
        whole = BYTES_SEED
        for place in range(start, end):
            whole = _extend(whole, data[place])
        units[0], count = whole, 1
    return count


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _is_one_character(data, start, end):  # type: ignore[no-untyped-def]
    """Whether data[start:end], not empty, holds no second whole character."""
    second = start + _width(data[start])
    return second >= end or second + _width(data[second]) > end


@njit(nogil=True, cache=True, inline="always")
def _width(byte):  # type: ignore[no-untyped-def]
    return 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def place_units(data, start, end, entries, expansions, units, letters, begins, ends):  # type: ignore[no-untyped-def]
    """Kernel: write the 64-bit hash of every unit of data[start:end] to `units`; their number, 0 without any.

    Where the arrays are not None, which costs nothing where they are: `letters` takes how many letters each word has,
    without the digits 0 to 9, and -1 for a single character; `begins` and `ends` where each unit lies in `data`, from
    `start`.
    """
    count, word, in_word, at = 0, WORD_SEED, False, start
    begin, size = start, 0
    while at < end:
        code = np.int64(data[at])
        width = _width(code)
        if at + width > end:  # not UTF-8: never read beyond the text
            break
        if width == 2:
            code = (code & 0x1F) << 6 | (data[at + 1] & 0x3F)
        elif width == 3:
            code = (code & 0x0F) << 12 | np.int64(data[at + 1] & 0x3F) << 6 | (data[at + 2] & 0x3F)
        elif width == 4:
            code = (code & 0x07) << 18 | np.int64(data[at + 1] & 0x3F) << 12
            code |= np.int64(data[at + 2] & 0x3F) << 6 | (data[at + 3] & 0x3F)
        here = at
        at += width
        if code < BMP_SIZE:
            entry = np.int64(entries[code])
            kind, value = entry >> KIND_SHIFT, entry & VALUE_MASK
        else:  # plane 14 holds variation selectors and tags
            kind, value = np.int64(MARK if code >> 16 == 14 else SINGLE), code
        if kind == WORD or (kind == MARK and in_word):
            if letters is not None:
                size = (size if in_word else 0) + (kind == WORD and not 48 <= value < 58)
            if begins is not None and not in_word:
                begin = here
            word, in_word = _extend(word, value), True
        elif kind == EXPANSION:
            if letters is not None:
                size = size + 1 if in_word else 1
            if begins is not None and not in_word:
                begin = here
            for part in expansions[value]:
                word = _extend(word, part) if part else word
            in_word = True
        elif kind in (SEPARATOR, SINGLE):
            if in_word:
                units[count] = mix64(word)
                if letters is not None:
                    letters[count] = size
                if begins is not None:
                    begins[count] = begin - start
                count, word, in_word = count + 1, WORD_SEED, False
            if kind == SINGLE:
                units[count] = mix64(np.uint64(value))
                if letters is not None:
                    letters[count] = -1
                if begins is not None:
                    begins[count], ends[count] = here - start, at - start
                count += 1
        if begins is not None and in_word and kind != IGNORED:
            ends[count] = at - start
    if in_word:
        units[count] = mix64(word)
        if letters is not None:
            letters[count] = size
        if begins is not None:
            begins[count] = begin - start
        count += 1
    return count


@njit(nogil=True, cache=True, inline="always")
def _extend(state, value):  # type: ignore[no-untyped-def]
    """One more character in a word's hash: a bijection of the state, high bits folded down for the next step."""
    state = (state ^ np.uint64(value)) * WORD_FACTOR
    return state ^ (state >> np.uint64(32))


@njit(nogil=True, cache=True)
def _shingle_rows(data, starts, rows, entries, expansions, size, values, offsets):  # type: ignore[no-untyped-def]
    """The shingle hashes of the chosen texts one after another; their number."""
    for i in range(len(rows)):
        row = rows[i]
        room = values[offsets[i] :]
        offsets[i + 1] = offsets[i] + shingle_text(data, starts[row], starts[row + 1], entries, expansions, size, room)
    return offsets[len(rows)]


@njit(nogil=True, cache=True)
def shared_count(a, b, needed):  # type: ignore[no-untyped-def]
    """Kernel: how many values two ascending sets share; -1 as soon as fewer than `needed` are certain."""
    i, j, shared = 0, 0, 0
    while i < len(a) and j < len(b):
        if shared + min(len(a) - i, len(b) - j) < needed:
            return -1
        x, y = a[i], b[j]
        shared += x == y
        i += x <= y
        j += y <= x
    return shared


@njit(nogil=True, cache=True)
def _compare(values, offsets, left, right, threshold, found):  # type: ignore[no-untyped-def]
    for i in range(len(left)):
        a = values[offsets[left[i]] : offsets[left[i] + 1]]
        b = values[offsets[right[i]] : offsets[right[i] + 1]]
        smaller, larger = min(len(a), len(b)), max(len(a), len(b))
        if smaller == 0 or smaller < threshold * larger - 1:
            continue
        total = len(a) + len(b)
        # J >= t needs t / (1 + t) of both sizes shared; one less, so that rounding never decides, the division does.
        shared = shared_count(a, b, np.int64(threshold / (1 + threshold) * total) - 1)
        found[i] = shared >= 0 and shared / (total - shared) >= threshold
