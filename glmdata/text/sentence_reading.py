"""Kernels of `glmdata.text.sentences`: reading characters, words and marks.

Here and in the other kernels `text` is the UTF-8 of one text, `i` a position in it, `tables` what
`glmdata.text.sentences` makes of the rules: words and characters, each as sorted keys with their kinds.
"""

import numpy as np
from numba import njit

# kinds of marks, as bits: . | ? ! | 。！？ | …; any of them; a line break
PERIOD, FINAL, WIDE, ELLIPSIS = 1, 2, 4, 8
MARKS, BREAK = 15, 16
# kinds of words, as bits
NEVER, NOT_BEFORE_NUMBER, MAY, STARTER, SHORT = 1, 2, 4, 8, 16
CLOSING, BARE_CLOSING, CLOSING_ATTRIBUTE, GREETING, GIVEN_NAME, EXCLAIMED = 32, 64, 128, 256, 512, 1024
ABBREVIATION = NEVER | NOT_BEFORE_NUMBER | MAY
# kinds of characters, as bits
CLOSER, TITLE_CLOSER, OPENER, QUOTE_CLOSER, SPEECH, NEGATION = 1, 2, 4, 8, 16, 32

FINALS, WIDES = tuple(map(ord, "?!")), tuple(map(ord, "。！？｡"))
BREAKS = (10, 13, 0x2028, 0x2029)
COMMAS = tuple(map(ord, ",;:，；：、"))
_SPACES = (32, 9, 11, 12, 0xA0, 0x202F, 0x3000)


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def code_point(text, i):  # type: ignore[no-untyped-def]
    """(code point, bytes) at i; (0, 0) at the end of the text."""
    if i >= len(text):
        return 0, 0
    lead = np.int64(text[i])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | np.int64(text[i + 1]) & 0x3F, 2
    code = (lead & 0x0F) << 12 | (np.int64(text[i + 1]) & 0x3F) << 6 | np.int64(text[i + 2]) & 0x3F
    if lead < 0xF0:
        return code, 3
    return (code & 0x7FFF) << 6 | np.int64(text[i + 3]) & 0x3F, 4


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def lookup(keys, kinds, key):  # type: ignore[no-untyped-def]
    """Kind of `key` in a sorted table, 0 if it is not there."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return np.int64(kinds[low]) if low < len(keys) and keys[low] == key else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def word_at(text, i, tables):  # type: ignore[no-untyped-def]
    """(kind, position behind) of the ASCII letters at i, of which the first eight count."""
    key, end = np.uint64(0), i
    while end < len(text) and 97 <= text[end] | 32 <= 122:
        if end - i < 8:
            key = key << np.uint64(8) | np.uint64(text[end] | 32)
        end += 1
    return lookup(tables[0], tables[1], key), end


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def skip_space(text, i):  # type: ignore[no-untyped-def]
    """(first position from i on that is not white space, line breaks passed); CRLF is one, U+2029 two."""
    breaks = 0
    while i < len(text):
        code, size = code_point(text, i)
        if code in BREAKS:
            breaks += 2 if code == 0x2029 else 1
            if code == 13 and i + 1 < len(text) and text[i + 1] == 10:
                size = 2
        elif not (code in _SPACES or 0x2000 <= code <= 0x200A):
            break
        i += size
    return i, breaks


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def mark_at(text, i):  # type: ignore[no-untyped-def]
    """(kind, bytes) of the mark or line break at i; kind 0 if there is none."""
    code, size = code_point(text, i)
    if code in BREAKS:
        return BREAK, size
    if code == 46:
        return PERIOD, size
    if code in FINALS:
        return FINAL, size
    if code in WIDES:
        return WIDE, size
    return ELLIPSIS if code == 0x2026 else 0, size


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def begins_sentence(text, i, tables):  # type: ignore[no-untyped-def]
    """Whether a capitalised function word is at i, so that a sentence begins."""
    if i >= len(text) or not 65 <= text[i] <= 90:
        return False
    kind, end = word_at(text, i, tables)
    return kind & STARTER != 0 and (end == i + 1 or text[i + 1] >= 97)
