"""How many letters of which script a text holds: one compiled pass over the UTF-8 bytes of an Arrow array.

The same pass counts the Han characters that only simplified or only traditional Chinese writes
(`glmdata.text.chinese`). ASCII runs at 1.4 GB/s a core, Chinese at 0.7. The ranges below follow Unicode's Scripts.txt
(version 15), whole blocks where a script fills them; what is not a letter (Unicode's categories L*) is not counted,
whatever its block.
"""

import functools
import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glmdata.kernels import njit
from glmdata.text.chinese import SIMPLIFIED, TRADITIONAL

__all__ = ["SCRIPTS", "letter_counts", "script_counts", "utf8_buffers"]

_RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "han": ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
            (0xF900, 0xFAFF)),
    "hiragana": ((0x3041, 0x309F),),
    "katakana": ((0x30A1, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "hangul": ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97C), (0xAC00, 0xD7FB), (0xFFA0, 0xFFDC)),
    "latin": ((0x41, 0x24F), (0x250, 0x2AF), (0x1D00, 0x1DBF), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA722, 0xA7FF),
              (0xFB00, 0xFB06), (0xAB30, 0xAB6F), (0xFF21, 0xFF5A)),
    "cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0xA640, 0xA69F)),
    "greek": ((0x370, 0x3E1), (0x3F0, 0x3FF), (0x1F00, 0x1FFF)),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x870, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "hebrew": ((0x590, 0x5FF), (0xFB1D, 0xFB4F)),
    "devanagari": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "bengali": ((0x980, 0x9FF),),
    "gurmukhi": ((0xA00, 0xA7F),),
    "gujarati": ((0xA80, 0xAFF),),
    "oriya": ((0xB00, 0xB7F),),
    "tamil": ((0xB80, 0xBFF),),
    "telugu": ((0xC00, 0xC7F),),
    "kannada": ((0xC80, 0xCFF),),
    "malayalam": ((0xD00, 0xD7F),),
    "sinhala": ((0xD80, 0xDFF),),
    "thai": ((0xE00, 0xE7F),),
    "lao": ((0xE80, 0xEFF),),
    "tibetan": ((0xF00, 0xFFF),),
    "myanmar": ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
    "georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)),
    "ethiopic": ((0x1200, 0x139F), (0x2D80, 0x2DDF), (0xAB00, 0xAB2F)),
    "khmer": ((0x1780, 0x17FF),),
    "mongolian": ((0x1800, 0x18AF),),
    "armenian": ((0x530, 0x58F), (0xFB13, 0xFB17)),
}  # fmt: skip

SCRIPTS = (*_RANGES, "other_letter")
"""The columns of `script_counts`."""

# Columns of the kernel beyond those of the scripts.
_NOT_A_LETTER = len(SCRIPTS)
_SIMPLIFIED, _TRADITIONAL = _NOT_A_LETTER + 1, _NOT_A_LETTER + 2
_COLUMNS = _NOT_A_LETTER + 3
_BLOCK = 32


def script_counts(texts: pa.StringArray) -> NDArray[np.int64]:
    """Letters by script: int64[len(texts), len(SCRIPTS)], columns in the order of `SCRIPTS`.

    Letters are code points of Unicode's categories L* and the Han numerals; digits, marks, punctuation, space and emoji
    are not counted. Beyond the basic plane whole blocks are: Han, and historic scripts as other_letter. Nulls count as
    empty. large_string is taken too, up to 2 GiB of text.
    """
    return letter_counts(texts)[0]


def letter_counts(texts: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `script_counts`, and int64[len(texts), 2]: characters only of simplified, only of traditional Chinese."""
    values, offsets = utf8_buffers(texts)
    counts = np.zeros((len(texts), _COLUMNS), np.int64)
    _count(values, offsets, _script_table(), counts)
    variants = counts[:, _SIMPLIFIED:]
    counts[:, _HAN] += variants.sum(axis=1)
    return counts[:, :_NOT_A_LETTER], variants


def utf8_buffers(texts: pa.StringArray) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The bytes of an Arrow string array and the n + 1 offsets of its texts in them, read-only and without a copy.

    Both are always read-only: numba compiles a kernel anew for a writable array, and Arrow hands out either kind.
    """
    if pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.string())
    if texts.null_count:
        texts = texts.fill_null("")
    _, offset_buffer, value_buffer = texts.buffers()
    if len(texts) == 0:
        offsets = np.zeros(1, np.int32)
    else:
        offsets = np.frombuffer(offset_buffer, np.int32, len(texts) + 1, texts.offset * 4)
    values = np.frombuffer(value_buffer if value_buffer is not None else b"", np.uint8)
    for array in (values, offsets):
        array.setflags(write=False)
    return values, offsets


@functools.cache
def _script_table() -> NDArray[np.uint8]:
    """Column of the counts for each code point of the basic plane; 10 ms, made at first use."""
    table = np.full(0x10000, _NOT_A_LETTER, np.uint8)
    letters = np.array([unicodedata.category(chr(code))[0] == "L" for code in range(0x10000)])
    table[letters] = SCRIPTS.index("other_letter")
    for column, ranges in enumerate(_RANGES.values()):
        for low, high in ranges:
            table[low : high + 1][letters[low : high + 1]] = column
    for code in (0x3007, *range(0x3021, 0x302A), *range(0x3038, 0x303B)):  # Han numerals, category Nl
        table[code] = SCRIPTS.index("han")
    table[[0xAA, 0xBA, 0xB5]] = _NOT_A_LETTER  # ordinal signs and the micro sign stand in text of any script
    for column, characters in ((_SIMPLIFIED, SIMPLIFIED), (_TRADITIONAL, TRADITIONAL)):
        table[[ord(character) for character in characters]] = column
    table.setflags(write=False)
    return table


_HAN: Any = SCRIPTS.index("han")
_LATIN: Any = SCRIPTS.index("latin")
_OTHER: Any = SCRIPTS.index("other_letter")


@njit(nogil=True, cache=True)
def _count(values, offsets, table, counts):  # type: ignore[no-untyped-def]
    """Add up letters of text d = values[offsets[d]:offsets[d + 1]] (valid UTF-8) in counts[d].

    The column _NOT_A_LETTER takes what is no letter, which spares a branch a character.
    """
    for d in range(len(offsets) - 1):
        row = counts[d]
        i, end = np.int64(offsets[d]), np.int64(offsets[d + 1])
        while i < end:
            while i + _BLOCK <= end:  # blocks of plain ASCII, which the compiler turns into vector code
                seen = np.uint8(0)
                latin = np.uint8(0)
                for k in range(_BLOCK):
                    byte = values[i + k]
                    seen |= byte
                    latin += np.uint8(np.uint8((byte | np.uint8(32)) - np.uint8(97)) < np.uint8(26))
                if seen >= 128:
                    break
                row[_LATIN] += latin
                i += _BLOCK
            stop = min(i + _BLOCK, end)
            while i < stop:
                byte = np.int64(values[i])
                if byte < 0x80:
                    row[table[byte]] += 1
                    i += 1
                elif byte < 0xE0:
                    row[table[(byte & 0x1F) << 6 | np.int64(values[i + 1]) & 0x3F]] += 1
                    i += 2
                elif byte < 0xF0:
                    code = (byte & 0x0F) << 12 | (np.int64(values[i + 1]) & 0x3F) << 6 | np.int64(values[i + 2]) & 0x3F
                    row[table[code]] += 1
                    i += 3
                else:
                    # Planes 2 and 3 are Han. Plane 1 up to U+1CFFF is taken for letters; above it stand the symbols.
                    plane_row = (byte & 0x07) << 6 | np.int64(values[i + 1]) & 0x3F  # code point >> 12
                    if 0x20 <= plane_row < 0x40:
                        row[_HAN] += 1
                    elif plane_row < 0x1D:
                        row[_OTHER] += 1
                    i += 4
