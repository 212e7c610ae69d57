"""Kernels of `glmdata.text.sentences`: sentences that end without a mark, as in lists and mail."""

import numpy as np

from glmdata.kernels import njit
from glmdata.text.sentence_reading import (
    ANY_NUMBER,
    BARE_CLOSING,
    BULLET,
    CLOSING,
    CLOSING_ATTRIBUTE,
    DIGIT,
    HEADING_SIGN,
    ITEM_CLOSER,
    ITEM_COMMA,
    ITEM_OPENER,
    ITEM_SIGN,
    LETTER,
    LOWER,
    NUMERAL,
    PERIOD,
    UPPER,
    back,
    byte_kind,
    kind_at,
    skip_space,
    span,
    word_at,
)

_LONGEST_NUMBER, _LONGEST_YEAR, _LONGEST_NAME = np.int64(3), np.int64(4), np.int64(24)
_SHORTEST_RULE = np.int64(5)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def begins_item(text, i, tables):  # type: ignore[no-untyped-def]
    """Whether a list item or a heading begins at i: `- `, `* `, `1. `, `(2)`, `3、`, `一、`, `（二）`, `• `, `#`."""
    kind, size = kind_at(text, i, tables)
    if kind & (BULLET | HEADING_SIGN):
        return True
    if kind & ITEM_SIGN:
        return i + 1 < len(text) and text[i + 1] == 32
    begin = i + size if kind & ITEM_OPENER else i
    end, _ = span(text, begin, DIGIT | NUMERAL, _LONGEST_NUMBER, tables)
    if end == begin:
        return False
    behind, size = kind_at(text, end, tables)
    if begin > i:
        return behind & ITEM_CLOSER != 0
    if behind & (PERIOD | ITEM_CLOSER):
        return end + size < len(text) and text[end + size] == 32
    return behind & ITEM_COMMA != 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def item_number(text, i, tables):  # type: ignore[no-untyped-def]
    """(number, its marks) of the list item at i, `1. `, `2) `, `3.) ` or `a. `; (-1, 0) if there is none."""
    end, _ = span(text, i, DIGIT, _LONGEST_NUMBER, tables)
    number, marks = 0, 0
    for k in range(i, end):
        number = 10 * number + text[k] - 48
    if end == i and byte_kind(text, i, tables) & LOWER:
        number, end = 1000 + text[i], i + 1
    while i < end < len(text) and (text[end] == 46 or text[end] == 41) and marks < 0x100:
        marks = marks << 8 | text[end]
        end += 1
    return (number, marks) if marks and end < len(text) and text[end] == 32 else (-1, 0)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def next_item(text, i, first, number, marks, tables):  # type: ignore[no-untyped-def]
    """Where within a line the item after `number` begins whose mark is at i, else 0: `1. One 2. Two`."""
    begin = back(text, i, first, DIGIT | LETTER, tables)
    if number < 0 or begin <= first or text[begin - 1] != 32:
        return 0
    following, same = item_number(text, begin, tables)
    return begin if following == number + 1 and same == marks else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _stamp_end(text, i, tables):  # type: ignore[no-untyped-def]
    """Position behind a date and time, `06/04/2001 05:54 PM`, from the first slash on; 0 if there is none."""
    end = i
    for part in range(5):  # /month /year hour :minute :second
        mark = 47 if part < 2 else 32 if part == 2 else 58
        behind, _ = span(text, end + 1, DIGIT, _LONGEST_YEAR, tables)
        if end >= len(text) or text[end] != mark or behind == end + 1:
            if part < 4:
                return 0
            break
        end = behind
    half = end + 1 if end < len(text) and text[end] == 32 else end
    if byte_kind(text, half, tables) & LETTER and half + 1 < len(text) and text[half + 1] | 32 == 109:  # am, pm
        end = half + 2
    return end


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def around_stamp(text, i, first, tables):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on) of a date and time: mail shows them between the sender and the text."""
    begin = back(text, i, first, DIGIT, tables)
    end = _stamp_end(text, i, tables) if begin < i else 0
    if end == 0:
        return 0, 0, i + 1
    before = 0
    if begin > first and text[begin - 1] == 32 and byte_kind(text, begin - 2, tables) & LETTER:
        word = begin - 2
        while word > first and text[word - 1] > 32:
            word -= 1
        before = begin if byte_kind(text, word, tables) & UPPER else 0  # a name; not `on 06/04/2001`
    after, _ = skip_space(text, end, tables)
    follows = after > end and byte_kind(text, after, tables) & UPPER and byte_kind(text, after + 1, tables) & UPPER == 0
    return before, after if follows else 0, end


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _run_end(text, i, most):  # type: ignore[no-untyped-def]
    """Position behind the run of the byte at i, of which `most` are looked at."""
    end = i + 1
    while end < len(text) and end - i < most and text[end] == text[i]:
        end += 1
    return end


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def around_rule(text, i, first, tables):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on) of a line drawn within a line: `news ------ That was`.

    A title stands between two of them: `**** NOTICE ****`. `first` is where the sentence begins.
    """
    end = _run_end(text, i, ANY_NUMBER)
    if end - i < _SHORTEST_RULE or i == first:
        return 0, 0, end
    if text[first] == text[i] and _run_end(text, first, _SHORTEST_RULE) - first == _SHORTEST_RULE:
        ends = end < len(text) and text[end] == 32 and byte_kind(text, end + 1, tables) & LETTER
        return 0, (end + 1 if ends else 0), end
    ends = text[i - 1] == 32 and byte_kind(text, i - 2, tables) & (LETTER | DIGIT)
    return (i, 0, i) if ends else (0, 0, end)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def closing_end(text, i, tables):  # type: ignore[no-untyped-def]
    """Where the closing formula at i ends if a name and no more follows on the line, else 0: `Best regards, Al`."""
    closes, bare, end = 0, 0, i
    for _ in range(5):
        begin = end if end == i else end + 1
        behind, _ = span(text, begin, LETTER, _LONGEST_NAME, tables)
        kind = word_at(text, begin, behind, tables)
        if kind & (CLOSING | BARE_CLOSING | CLOSING_ATTRIBUTE) == 0 or (begin > i and text[end] != 32):
            break
        bare = kind & BARE_CLOSING
        closes |= kind & (CLOSING | BARE_CLOSING)
        end = behind
    name, _ = skip_space(text, end, tables)
    comma = closes and name < len(text) and 44 <= text[name] <= 45
    if comma:
        name, _ = skip_space(text, name + 1, tables)
    if not (comma or bare) or byte_kind(text, name, tables) & UPPER == 0:
        return 0
    behind = name
    for _ in range(3):
        if byte_kind(text, behind, tables) & UPPER:
            behind, _ = span(text, behind, LETTER, _LONGEST_NAME, tables)
            behind += behind < len(text) and text[behind] == 32
    after, breaks = skip_space(text, behind, tables)
    digits = text[behind - 1] == 32 and byte_kind(text, after, tables) & DIGIT
    return name if after >= len(text) or breaks or digits else 0
