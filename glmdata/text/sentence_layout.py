"""Kernels of `glmdata.text.sentences`: sentences that end without a mark, as in lists and mail."""

import numpy as np
from numba import njit

from glmdata.text.sentence_reading import (
    BARE_CLOSING,
    BULLET,
    CLOSING,
    CLOSING_ATTRIBUTE,
    DIGIT,
    HEADING_SIGN,
    ITEM_SIGN,
    LETTER,
    LOWER,
    NUMERAL,
    UPPER,
    back,
    begins_sentence,
    kind_at,
    skip_space,
    span,
    word_at,
)

_LONGEST_NUMBER, _LONGEST_NAME = np.int64(3), np.int64(24)
_SHORTEST_RULE = 5
_LONGEST_TITLE = 200  # bytes between two rules


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def begins_item(text, i, tables):  # type: ignore[no-untyped-def]
    """Whether a list item or a heading begins at i: `- `, `* `, `1. `, `(2)`, `3、`, `一、`, `（二）`, `• `, `#`."""
    kind, size = kind_at(text, i, tables)
    if kind & (BULLET | HEADING_SIGN):
        return True
    if kind & ITEM_SIGN:
        return i + 1 < len(text) and text[i + 1] == 32
    # an opening bracket, ( or （, three digits or numerals, and what closes them
    bracket = size if size and (text[i] == 40 or (size == 3 and text[i] == 0xEF and text[i + 2] == 0x88)) else 0
    end, _ = span(text, i + bracket, DIGIT | NUMERAL, _LONGEST_NUMBER, tables)
    if end == i + bracket or end >= len(text):
        return False
    wide = end + 2 < len(text) and text[end + 1] == 0xBC and text[end + 2] == 0x89  # ）
    if bracket:
        return text[end] == 41 or (text[end] == 0xEF and wide)
    if text[end] == 0xE3:
        return text[end + 1] == 0x80 and text[end + 2] == 0x81  # 、
    return (text[end] == 46 or text[end] == 41) and end + 1 < len(text) and text[end + 1] == 32


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def item_number(text, i, tables):  # type: ignore[no-untyped-def]
    """(number, its marks) of the list item at i, `1. `, `2) `, `3.) ` or `a. `; (-1, 0) if there is none."""
    end, _ = span(text, i, DIGIT, _LONGEST_NUMBER, tables)
    number, marks = 0, 0
    for k in range(i, end):
        number = 10 * number + text[k] - 48
    if end == i and kind_at(text, i, tables)[0] & LOWER and text[i] < 0x80:
        number, end = 1000 + text[i], i + 1
    while i < end < len(text) and (text[end] == 46 or text[end] == 41) and marks < 0x100:
        marks = marks << 8 | text[end]
        end += 1
    return (number, marks) if marks and end < len(text) and text[end] == 32 else (-1, 0)


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def next_item(text, i, first, number, marks, tables):  # type: ignore[no-untyped-def]
    """Where within a line the item after `number` begins whose mark is at i, else 0: `1. One 2. Two`."""
    begin = back(text, i, first, DIGIT | LETTER, tables)
    if number < 0 or begin <= first or text[begin - 1] != 32:
        return 0
    following, same = item_number(text, begin, tables)
    return begin if following == number + 1 and same == marks else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _stamp_end(text, i, tables):  # type: ignore[no-untyped-def]
    """Position behind a date and time, `06/04/2001 05:54 PM`, from the first slash on; 0 if there is none."""
    end = i
    for part in range(5):  # /month /year hour :minute :second
        mark = 47 if part < 2 else 32 if part == 2 else 58
        if end >= len(text) or text[end] != mark:
            if part == 4:
                break
            return 0
        behind, _ = span(text, end + 1, DIGIT, np.int64(4 if part == 1 else 2), tables)
        if behind == end + 1:
            return 0
        end = behind
    half = end + 1 if end < len(text) and text[end] == 32 else end
    if half + 1 < len(text) and (text[half] | 32 == 97 or text[half] | 32 == 112) and text[half + 1] | 32 == 109:
        end = half + 2
    return end if end >= len(text) or text[end] <= 32 else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def around_stamp(text, i, first, tables):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on) of a date and time: mail shows them between the sender and the text."""
    begin = back(text, i, first, DIGIT, tables)
    end = _stamp_end(text, i, tables) if 1 <= i - begin <= 2 and (begin == first or text[begin - 1] <= 32) else 0
    if end == 0:
        return 0, 0, i + 1
    before = 0
    if begin - 1 > first and kind_at(text, begin - 2, tables)[0] & LETTER:
        word = begin - 2
        while word > first and text[word - 1] > 32:
            word -= 1
        before = begin if kind_at(text, word, tables)[0] & UPPER else 0  # a name; not `on 06/04/2001`
    after, _ = skip_space(text, end, tables)
    follows = kind_at(text, after, tables)[0] & UPPER and kind_at(text, after + 1, tables)[0] & UPPER == 0
    return before, after if follows else 0, end


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def after_link(text, i, tables):  # type: ignore[no-untyped-def]
    """(end after, where to go on) of the address that has `@` or `://` at i, if a sentence begins behind it."""
    end = i + 1
    while end < len(text) and 32 < text[end] < 0x7F:
        end += 1
    last = end
    while (
        last > i + 1 and kind_at(text, last - 1, tables)[0] & (LETTER | DIGIT) == 0 and text[last - 1] not in (47, 62)
    ):
        last -= 1
    over = last == end and end < len(text) and text[end] == 32 and begins_sentence(text, end + 1, tables)
    return end + 1 if over else 0, last


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _is_file(text, begin, end, tables):  # type: ignore[no-untyped-def]
    """Whether text[begin:end] ends as a file name does, `Report.pdf`; a bracket may stand behind."""
    end -= end > begin and text[end - 1] == 41
    dot = back(text, end, begin, LETTER, tables)
    return 2 <= end - dot <= 4 and dot > begin + 1 and text[dot - 1] == 46 and text[dot - 2] > 46


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def between_files(text, i, first, tables):  # type: ignore[no-untyped-def]
    """Whether the dash at i parts a list of files: `Report.pdf - Stocks.xls`."""
    if i < first + 2 or i + 2 >= len(text) or text[i - 1] != 32 or text[i + 1] != 32:
        return False
    end = i + 2
    while end < len(text) and end - i < 50 and text[end] > 32:
        end += 1
    return _is_file(text, first, i - 1, tables) and _is_file(text, i + 2, end, tables)


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _rule_end(text, i):  # type: ignore[no-untyped-def]
    """Position behind the run of the byte at i; i if it is too short to draw a line."""
    end = i + 1
    while end < len(text) and text[end] == text[i]:
        end += 1
    return end if end - i >= _SHORTEST_RULE else i


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def around_rule(text, i, first, tables):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on) of a line drawn within a line: `news ------ That was`.

    A title stands between two of them: `**** NOTICE ****`. `first` is where the sentence begins.
    """
    end = _rule_end(text, i)
    if end == i:
        return (i if text[i] == 45 and between_files(text, i, first, tables) else 0), 0, i + 1
    opened = _rule_end(text, first) > first if i > first else False
    if i > first and not opened:
        before = text[i - 1] == 32 and kind_at(text, i - 2, tables)[0] & (LETTER | DIGIT)
        return (i, 0, i) if before else (0, 0, end)
    if (
        end + 1 >= len(text)
        or text[end] != 32
        or kind_at(text, end + 1, tables)[0] & (LETTER if opened else UPPER) == 0
    ):
        return 0, 0, end
    k = end
    while not opened and k < len(text) and k - end < _LONGEST_TITLE and text[k] != 10:
        if text[k] == text[i] and _rule_end(text, k) > k:
            return 0, 0, end
        k += 1
    return 0, end + 1, end


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def closing_end(text, i, tables):  # type: ignore[no-untyped-def]
    """Where the closing formula at i ends, if a name and nothing else follows on the line, else 0: `Best regards, Al`."""
    closes, bare, end = 0, 0, i
    for _ in range(5):
        begin = end if end == i else end + 1
        behind, _ = span(text, begin, LETTER, _LONGEST_NAME, tables)
        kind = word_at(text, begin, behind, tables)
        if (begin > i and text[end] != 32) or kind & (CLOSING | BARE_CLOSING | CLOSING_ATTRIBUTE) == 0:
            break
        bare = kind & BARE_CLOSING
        closes |= kind & (CLOSING | BARE_CLOSING)
        end = behind
    name, _ = skip_space(text, end, tables)
    comma = closes and name < len(text) and 44 <= text[name] <= 45
    if comma:
        name, _ = skip_space(text, name + 1, tables)
    if not (comma or bare) or kind_at(text, name, tables)[0] & UPPER == 0:
        return 0
    behind = name
    for _ in range(3):
        if kind_at(text, behind, tables)[0] & UPPER:
            behind, _ = span(text, behind, LETTER, _LONGEST_NAME, tables)
            behind += behind < len(text) and text[behind] == 32
    after, breaks = skip_space(text, behind, tables)
    digits = text[behind - 1] == 32 and kind_at(text, after, tables)[0] & DIGIT
    return name if after >= len(text) or breaks or digits else 0
