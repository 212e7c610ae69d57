"""Kernels of `glmdata.text.sentences`: reading characters and words, and the tables they are looked up in.

Here and in the other kernels `text` is the UTF-8 of one text, `i` a position in it and `tables` what `make_tables`
returns. Which sets a character or word is in are the bits of its kind.
"""

import functools

import numpy as np
from numba import njit
from numpy.typing import NDArray

from glmdata.text import sentence_rules as rules

# kinds of words; numba compiles a function anew for each literal it is given, so none of these is one
NEVER, NOT_BEFORE_NUMBER, MAY, EXCLAIMED, STARTER, SHORT = (np.int64(1 << n) for n in range(6))
CLOSING, BARE_CLOSING, CLOSING_ATTRIBUTE = (np.int64(1 << n) for n in range(6, 9))
ABBREVIATION = NEVER | NOT_BEFORE_NUMBER | MAY
# kinds of characters; the first four are marks
PERIOD, FINAL, WIDE, ELLIPSIS = (np.int64(1 << n) for n in range(4))
BREAK, SPACE, COMMA, CLOSER, QUOTE_CLOSER, TITLE_CLOSER, OPENER = (np.int64(1 << n) for n in range(4, 11))
BULLET, HEADING_SIGN, ITEM_SIGN, MARKUP, NUMERAL, RULE_SIGN, SPEECH, NEGATION = (
    np.int64(1 << n) for n in range(11, 19)
)
LOWER, UPPER, DIGIT, VOWEL, LETTER, HAN, CJK = (np.int64(1 << n) for n in range(19, 26))
MARKS = PERIOD | FINAL | WIDE | ELLIPSIS
LONGEST_STARTER = np.int64(9)
NONE, ANY_NUMBER = np.int64(0), np.int64(1 << 40)

Tables = tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]

_WORDS = (
    (rules.NEVER_END, NEVER),
    (rules.NOT_BEFORE_NUMBER, NOT_BEFORE_NUMBER),
    (rules.MAY_END, MAY),
    (rules.EXCLAIMED_NAMES, EXCLAIMED),
    (rules.SENTENCE_STARTERS, STARTER),
    (rules.SHORT_WORDS, SHORT),
    (rules.CLOSINGS, CLOSING),
    (rules.BARE_CLOSINGS, BARE_CLOSING),
    (rules.CLOSING_ATTRIBUTES, CLOSING_ATTRIBUTE),
)
_CHARACTERS = (
    (".", PERIOD),
    (rules.FINALS, FINAL),
    (rules.WIDES, WIDE),
    ("…", ELLIPSIS),
    (rules.BREAKS, BREAK),
    (rules.SPACES, SPACE),
    (rules.COMMAS, COMMA),
    (rules.CLOSERS, CLOSER),
    (rules.QUOTE_CLOSERS, QUOTE_CLOSER),
    (rules.TITLE_CLOSERS, TITLE_CLOSER),
    (rules.OPENERS, OPENER),
    (rules.BULLETS, BULLET),
    (rules.HEADING_SIGNS, HEADING_SIGN),
    (rules.ITEM_SIGNS, ITEM_SIGN),
    (rules.MARKUP, MARKUP),
    (rules.NUMERALS, NUMERAL),
    (rules.RULE_SIGNS, RULE_SIGN),
    (rules.SPEECH_VERBS, SPEECH),
    (rules.NEGATIONS, NEGATION),
    ("abcdefghijklmnopqrstuvwxyz", LOWER | LETTER),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", UPPER | LETTER),
    ("0123456789", DIGIT),
    ("aeiouyAEIOUY", VOWEL),
)


@functools.cache
def make_tables(english: bool) -> Tables:
    """(words, their kinds, characters, their kinds, kinds of ASCII characters); no words unless `english`.

    Words are keys of their first eight bytes, big-endian, characters are code points; both are sorted.
    """
    words: dict[int, int] = {}
    for entries, kind in _WORDS if english else ():
        for word in entries.split():
            key = int.from_bytes(word[:8].encode("ascii"), "big")
            words[key] = words.get(key, 0) | int(kind)
    characters: dict[int, int] = {}
    for listed, kind in _CHARACTERS:
        for character in listed:
            characters[ord(character)] = characters.get(ord(character), 0) | int(kind)
    tables = (
        np.array(sorted(words), np.uint64),
        np.array([words[key] for key in sorted(words)], np.int64),
        np.array(sorted(characters), np.uint64),
        np.array([characters[code] for code in sorted(characters)], np.int64),
        np.array([characters.get(code, 0) for code in range(128)], np.int64),
    )
    for table in tables:
        table.setflags(write=False)
    return tables


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _lookup(keys, kinds, key):  # type: ignore[no-untyped-def]
    """Kind of `key` in a sorted table, 0 if it is not there."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return kinds[low] if low < len(keys) and keys[low] == key else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def kind_at(text, i, tables):  # type: ignore[no-untyped-def]
    """(kind, bytes) of the character at i; (0, 0) outside the text."""
    if not 0 <= i < len(text):
        return 0, 0
    lead = np.int64(text[i])
    if lead < 0x80:
        return tables[4][lead], 1
    if lead < 0xE0:
        code, size = (lead & 0x1F) << 6 | np.int64(text[i + 1]) & 0x3F, 2
    elif lead < 0xF0:
        code, size = (lead & 0x0F) << 12 | (np.int64(text[i + 1]) & 0x3F) << 6 | np.int64(text[i + 2]) & 0x3F, 3
    else:
        return CJK, 4
    kind = _lookup(tables[2], tables[3], np.uint64(code))
    if code >= 0x2E80:
        kind |= CJK | HAN if 0x3400 <= code <= 0x9FFF else CJK
    elif 0xDF <= code <= 0xFF:
        kind |= LOWER
    return kind, size


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def span(text, i, wanted, most, tables):  # type: ignore[no-untyped-def]
    """(position behind at most `most` characters of the wanted kinds from i on, all their kinds)."""
    found = 0
    while most > 0:
        kind, size = kind_at(text, i, tables)
        if kind & wanted == 0:
            break
        found |= kind
        i += size
        most -= 1
    return i, found


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def back(text, i, first, wanted, tables):  # type: ignore[no-untyped-def]
    """Where the ASCII characters of the wanted kinds begin that stand before i, not before `first`; 24 at most."""
    begin = i
    while begin > first and i - begin < 24 and text[begin - 1] < 0x80 and tables[4][text[begin - 1]] & wanted:
        begin -= 1
    return begin


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def skip_space(text, i, tables):  # type: ignore[no-untyped-def]
    """(first position from i on that is not white space, line breaks passed); CRLF is one, U+2029 two."""
    breaks = 0
    while True:
        kind, size = kind_at(text, i, tables)
        if kind & (SPACE | BREAK) == 0:
            return i, breaks
        if kind & BREAK:
            if text[i] == 13 and i + 1 < len(text) and text[i + 1] == 10:
                size = 2
            breaks += 2 if text[i] == 0xE2 and text[i + 2] == 0xA9 else 1
        i += size


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def word_at(text, i, end, tables):  # type: ignore[no-untyped-def]
    """Kind of the word in text[i:end], of which the first eight bytes count; capitals are taken as small letters."""
    key = np.uint64(0)
    for k in range(i, min(end, i + 8)):
        key = key << np.uint64(8) | np.uint64(text[k] | 32 if text[k] > 64 else text[k])
    return _lookup(tables[0], tables[1], key)


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def begins_sentence(text, i, tables):  # type: ignore[no-untyped-def]
    """Whether at i there is a function word with its first letter alone a capital, so that a sentence begins."""
    if kind_at(text, i, tables)[0] & UPPER == 0 or kind_at(text, i + 1, tables)[0] & UPPER:
        return False
    end, _ = span(text, i, LETTER, LONGEST_STARTER, tables)
    return word_at(text, i, end, tables) & STARTER != 0
