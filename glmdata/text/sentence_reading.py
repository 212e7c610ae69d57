"""Kernels of `glmdata.text.sentences`: reading characters and words, and the tables they are looked up in.

Here and in the other kernels `text` is the UTF-8 of one text, `i` a position in it and `tables` what `make_tables`
returns. Which sets a character or word is in are the bits of its kind.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from glmdata.kernels import njit
from glmdata.text import sentence_rules as rules

# kinds of words; numba compiles a function anew for each literal it is given, so none of these is one
NEVER, NOT_BEFORE_NUMBER, MAY, EXCLAIMED, STARTER, SHORT = (np.int64(1 << n) for n in range(6))
CLOSING, BARE_CLOSING, CLOSING_ATTRIBUTE, LIST_NUMERAL = (np.int64(1 << n) for n in range(6, 10))
ABBREVIATION = NEVER | NOT_BEFORE_NUMBER | MAY
# kinds of characters; the first four are marks
PERIOD, FINAL, WIDE, ELLIPSIS = (np.int64(1 << n) for n in range(4))
BREAK, SPACE, COMMA, CLOSER, QUOTE_CLOSER, TITLE_CLOSER, OPENER = (np.int64(1 << n) for n in range(4, 11))
BULLET, HEADING_SIGN, ITEM_SIGN, MARKUP, NUMERAL, RULE_SIGN, SPEECH, NEGATION = (
    np.int64(1 << n) for n in range(11, 19)
)
LOWER, UPPER, DIGIT, VOWEL, LETTER, HAN, CJK = (np.int64(1 << n) for n in range(19, 26))
PAUSE, ITEM_OPENER, ITEM_CLOSER, ITEM_COMMA, ORDINAL_SIGN = (np.int64(1 << n) for n in range(26, 31))
MARKS = PERIOD | FINAL | WIDE | ELLIPSIS
LONGEST_STARTER = np.int64(9)
ANY_NUMBER = np.int64(1 << 40)

# where `make_tables` puts what
NUM_WORDS, _NUM_CHARACTERS, _WORDS_BEGIN = np.int64(256), np.int64(257), np.int64(258)

_WORD_SETS = (
    (rules.NEVER_END, NEVER),
    (rules.NOT_BEFORE_NUMBER, NOT_BEFORE_NUMBER),
    (rules.MAY_END, MAY),
    (rules.EXCLAIMED_NAMES, EXCLAIMED),
    (rules.SENTENCE_STARTERS, STARTER),
    (rules.SHORT_WORDS, SHORT),
    (rules.LIST_NUMERALS, LIST_NUMERAL),
    (rules.CLOSINGS, CLOSING),
    (rules.BARE_CLOSINGS, BARE_CLOSING),
    (rules.CLOSING_ATTRIBUTES, CLOSING_ATTRIBUTE),
)
_CHARACTER_SETS = (
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
    (rules.PAUSES, PAUSE),
    (rules.ITEM_OPENERS, ITEM_OPENER),
    (rules.ITEM_CLOSERS, ITEM_CLOSER),
    (rules.ITEM_COMMAS, ITEM_COMMA),
    (rules.ORDINAL_SIGNS, ORDINAL_SIGN),
    ("abcdefghijklmnopqrstuvwxyz", LOWER | LETTER),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", UPPER | LETTER),
    ("0123456789", DIGIT),
    ("aeiouyAEIOUY", VOWEL),
)


@functools.cache
def make_tables(english: bool) -> NDArray[np.int64]:
    """All tables in one array (each further argument of a kernel costs compile time); no words unless `english`.

    Kinds of the 256 bytes (0 if not ASCII), number of words, number of characters, words, their kinds, characters,
    their kinds. Words are keys of their first eight bytes, big-endian, characters are code points; both are sorted.
    """
    words: dict[int, int] = {}
    for entries, kind in _WORD_SETS if english else ():
        for word in entries.split():
            key = int.from_bytes(word[:8].encode("ascii"), "big")
            words[key] = words.get(key, 0) | int(kind)
    characters: dict[int, int] = {}
    for listed, kind in _CHARACTER_SETS:
        for character in listed:
            characters[ord(character)] = characters.get(ord(character), 0) | int(kind)
    tables = [characters.get(byte, 0) if byte < 128 else 0 for byte in range(256)]
    tables += [len(words), len(characters)]
    for table in (words, characters):
        tables += [*sorted(table), *(table[key] for key in sorted(table))]
    result = np.array(tables, np.int64)
    result.setflags(write=False)
    return result


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _lookup(tables, begin, count, key):  # type: ignore[no-untyped-def]
    """Kind of `key` in the sorted table of `count` keys at `begin`, 0 if it is not there."""
    low, high = begin, begin + count
    while low < high:
        middle = (low + high) >> 1
        if tables[middle] < key:
            low = middle + 1
        else:
            high = middle
    return tables[low + count] if low < begin + count and tables[low] == key else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def byte_kind(text, i, tables):  # type: ignore[no-untyped-def]
    """Kind of the ASCII character at i; 0 if it is another one or outside the text."""
    return tables[text[i]] if 0 <= i < len(text) else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def kind_at(text, i, tables):  # type: ignore[no-untyped-def]
    """(kind, bytes) of the character at i; (0, 0) outside the text."""
    if not 0 <= i < len(text):
        return 0, 0
    lead = np.int64(text[i])
    if lead < 0x80:
        return tables[lead], 1
    if lead < 0xE0:
        code, size = (lead & 0x1F) << 6 | np.int64(text[i + 1]) & 0x3F, 2
    elif lead < 0xF0:
        code, size = (lead & 0x0F) << 12 | (np.int64(text[i + 1]) & 0x3F) << 6 | np.int64(text[i + 2]) & 0x3F, 3
    else:
        return CJK, 4
    kind = _lookup(tables, _WORDS_BEGIN + 2 * tables[NUM_WORDS], tables[_NUM_CHARACTERS], code)
    if code >= 0x2E80:
        kind |= CJK | HAN if 0x3400 <= code <= 0x9FFF else CJK
    elif 0xDF <= code <= 0xFF:
        kind |= LOWER
    return kind, size


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
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


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def back(text, i, first, wanted, tables):  # type: ignore[no-untyped-def]
    """Where the ASCII characters of the wanted kinds begin that stand before i, not before `first`; 24 at most."""
    begin = i
    while begin > first and i - begin < 24 and tables[text[begin - 1]] & wanted:
        begin -= 1
    return begin


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
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


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def word_at(text, i, end, tables):  # type: ignore[no-untyped-def]
    """Kind of the word in text[i:end], of which the first eight bytes count; capitals are taken as small letters."""
    key, k = np.int64(0), i
    while k < end and k < i + 8:
        key = key << 8 | np.int64(text[k]) | 32  # digits and the full stop have this bit
        k += 1
    return _lookup(tables, _WORDS_BEGIN, tables[NUM_WORDS], key)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def begins_sentence(text, i, tables):  # type: ignore[no-untyped-def]
    """Whether at i there is a function word with its first letter alone a capital, so that a sentence begins."""
    if byte_kind(text, i, tables) & UPPER == 0 or byte_kind(text, i + 1, tables) & UPPER:
        return False
    end, _ = span(text, i, LETTER, LONGEST_STARTER, tables)
    return word_at(text, i, end, tables) & STARTER != 0
