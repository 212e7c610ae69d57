"""Where sentences end, in Chinese, English and mixtures of them: one compiled pass over the UTF-8 bytes.

At each mark the whole run of marks (`?!`, `……`) and its closers (`。”`, `.)`) is taken, and then decided:

* 。！？ end a sentence, except inside 《titles》 and before a comma or colon (`“好。”，他说`); ；：; : never end one.
* ? and ! end one before white space or CJK text, but not where a quotation runs on in lower case (`“Go!” he said`).
* A full stop ends one before white space, except after an abbreviation or initials, after the number of a list item,
  and before a lower-case word if what stands before it may be an abbreviation. Decimals, versions, addresses and file
  names have no white space there.
* Ellipses (... and ……) end one before white space and a capital, behind a closing quotation mark, and at a line's end.
* A blank line always ends one; a single line break only after a mark, before a list item or heading, and after a `#`
  heading.

White space after an end belongs to the sentence that ended, so the pieces joined are the text. The tables are in
`glmdata.text.sentence_rules`. Linear in the length of the text: 220 MB/s a core over Arrow arrays, 80 to 120 as Python
strings. Boundary F1 on the project's gold splits, mostly Universal Dependencies' paragraphs: zh 0.997, en 0.909 (what
is missed there is mostly mail headers and greetings without any mark).
"""

import functools

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from glmdata.text import sentence_rules as rules
from glmdata.text.scripts import utf8_buffers

__all__ = ["sentence_ends", "split_sentences"]


def split_sentences(text: str, language: str | None = None) -> list[str]:
    """Cut `text` into sentences; `"".join(result) == text`, no piece is empty.

    `language`: ISO 639-1, if known. The rules follow the characters at hand, so Chinese and English need not be told
    apart; for other languages English abbreviations are not looked for. Lone surrogates are taken as any character.
    """
    encoded = text.encode("utf-8", "surrogatepass")
    offsets = np.array([0, len(encoded)], np.int32)
    offsets.setflags(write=False)
    english = language is None or language.lower().split("-")[0] in {"en", "zh", "yue"}
    found, _ = _scan(np.frombuffer(encoded, np.uint8), offsets, _stops(), _tables(english))
    ends = found.tolist()
    return [encoded[a:b].decode("utf-8", "surrogatepass") for a, b in zip([0, *ends], ends, strict=False)]


def sentence_ends(texts: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Ends of the sentences of each text, in bytes: `(ends, offsets)`.

    ends[offsets[i]:offsets[i + 1]] (int32; offsets int64[n + 1]) are exclusive, rising, relative to the first byte of
    text i; the last equals its length. An empty text has none. The ends are those of `split_sentences`.
    """
    return _scan(*utf8_buffers(texts), _stops(), _tables(True))


# --- tables ----------------------------------------------------------------------------------------------------------

Tables = tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint8]]

_PERIOD, _FINAL, _WIDE, _ELLIPSIS = 1, 2, 4, 8  # kinds of marks, as bits: . | ? ! | 。！？ | …
_MARKS, _BREAK = 15, 16  # any of them; a line break
_NEVER, _NOT_BEFORE_NUMBER, _MAY, _STARTER = 1, 2, 4, 8  # kinds of words, as bits
_CLOSER, _TITLE_CLOSER, _OPENER = 1, 2, 4  # kinds of brackets and quotes, as bits

_FINALS, _WIDES = tuple(map(ord, "?!")), tuple(map(ord, "。！？｡"))
_BREAKS = (10, 13, 0x2028, 0x2029)
_COMMAS = tuple(map(ord, ",;:，；：、"))
_SIGNS = tuple(map(ord, "-*+"))  # begin list items if a space follows
_BULLETS = tuple(map(ord, "#•·●"))  # begin list items and headings
_MARKUP = tuple(map(ord, " #*-+>•·●⁃"))  # may stand before the first word of a sentence
_NUMERALS = tuple(map(ord, "一二三四五六七八九十"))
_SPACES = (32, 9, 11, 12, 0xA0, 0x202F, 0x3000)
_VOWELS = tuple(map(ord, "aeiouy"))


@functools.cache
def _stops() -> NDArray[np.bool_]:
    """Whether a byte can begin a mark or a line break; few can, and the scan steps over the others."""
    stops = np.zeros(256, np.bool_)
    stops[[chr(code).encode()[0] for code in (ord("."), ord("…"), *_FINALS, *_WIDES, *_BREAKS)]] = True
    stops.setflags(write=False)
    return stops


@functools.cache
def _tables(english: bool) -> Tables:
    """Abbreviations and starters as sorted 8-byte keys with their kinds; brackets as sorted code points with theirs."""
    words: dict[int, int] = {}
    listed = (
        (rules.NEVER_END, _NEVER),
        (rules.NOT_BEFORE_NUMBER, _NOT_BEFORE_NUMBER),
        (rules.MAY_END, _MAY),
        (rules.SENTENCE_STARTERS, _STARTER),
    )
    for entries, kind in listed if english else ():
        for word in entries.split():
            key = int.from_bytes(word.encode("ascii"), "big")
            words[key] = words.get(key, 0) | kind
    brackets: dict[int, int] = {}
    for characters, kind in ((rules.CLOSERS, _CLOSER), (rules.TITLE_CLOSERS, _TITLE_CLOSER), (rules.OPENERS, _OPENER)):
        for character in characters:
            brackets[ord(character)] = brackets.get(ord(character), 0) | kind
    tables = (
        np.array(sorted(words), np.uint64),
        np.array([words[key] for key in sorted(words)], np.uint8),
        np.array(sorted(brackets), np.uint64),
        np.array([brackets[code] for code in sorted(brackets)], np.uint8),
    )
    for table in tables:
        table.setflags(write=False)
    return tables


# --- kernels: `text` is the UTF-8 of one text, `i` a position in it ---------------------------------------------------


@njit(nogil=True, cache=True)
def _code_point(text, i):  # type: ignore[no-untyped-def]
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


@njit(nogil=True, cache=True)
def _lookup(keys, kinds, key):  # type: ignore[no-untyped-def]
    """Kind of `key` in a sorted table, 0 if it is not there."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return np.int64(kinds[low]) if low < len(keys) and keys[low] == key else 0


@njit(nogil=True, cache=True)
def _skip_space(text, i):  # type: ignore[no-untyped-def]
    """(first position from i on that is not white space, line breaks passed); CRLF is one, U+2029 two."""
    breaks = 0
    while i < len(text):
        code, size = _code_point(text, i)
        if code in _BREAKS:
            breaks += 2 if code == 0x2029 else 1
            if code == 13 and i + 1 < len(text) and text[i + 1] == 10:
                size = 2
        elif not (code in _SPACES or 0x2000 <= code <= 0x200A):
            break
        i += size
    return i, breaks


@njit(nogil=True, cache=True)
def _brackets(text, i, wanted, tables):  # type: ignore[no-untyped-def]
    """(position behind the closers or openers at i, all their kinds)."""
    found = 0
    while i < len(text):
        code, size = _code_point(text, i)
        kind = _lookup(tables[2], tables[3], np.uint64(code))
        if kind & wanted == 0:
            break
        found |= kind
        i += size
    return i, found


@njit(nogil=True, cache=True)
def _mark(text, i):  # type: ignore[no-untyped-def]
    """(kind, bytes) of the mark or line break at i; kind 0 if there is none."""
    code, size = _code_point(text, i)
    if code in _BREAKS:
        return _BREAK, size
    if code == 46:
        return _PERIOD, size
    if code in _FINALS:
        return _FINAL, size
    if code in _WIDES:
        return _WIDE, size
    return _ELLIPSIS if code == 0x2026 else 0, size


@njit(nogil=True, cache=True)
def _run(text, i):  # type: ignore[no-untyped-def]
    """(position behind the run of marks at i, its kinds, its full stops); `. . .` and `! !` are runs too."""
    marks, dots = 0, 0
    while True:
        kind, size = _mark(text, i)
        if kind & _MARKS == 0:
            spaced = i
            while spaced < len(text) and text[spaced] == 32:
                spaced += 1
            kind, size = _mark(text, spaced)
            behind = 0 if spaced + 1 >= len(text) else text[spaced + 1]
            if not 0 < kind <= _FINAL or 97 <= behind | 32 <= 122 or 48 <= behind <= 57:  # ` .net` is no mark
                return i, marks, dots
            i = spaced
        marks |= kind
        dots += kind == _PERIOD
        i += size


@njit(nogil=True, cache=True)
def _begins_item(text, i):  # type: ignore[no-untyped-def]
    """Whether a list item or a heading begins at i: `- `, `* `, `1. `, `(2)`, `3、`, `一、`, `（二）`, `• `, `#`."""
    code, size = _code_point(text, i)
    if code in _BULLETS:
        return True
    if code in _SIGNS:
        return i + 1 < len(text) and text[i + 1] == 32
    bracket = code in (40, 0xFF08)
    first = i + size if bracket else i
    i = first
    code, size = _code_point(text, i)
    while i - first < 9 and (48 <= code <= 57 or code in _NUMERALS):  # three Han numerals, or nine digits
        i += size
        code, size = _code_point(text, i)
    if i == first:
        return False
    if bracket:
        return code in (41, 0xFF09)
    return code == 0x3001 or (code in (41, 46) and i + 1 < len(text) and text[i + 1] == 32)


@njit(nogil=True, cache=True)
def _head(text, i):  # type: ignore[no-untyped-def]
    """Where the words of a sentence begin: behind `## `, `- `, `* `, `> `, `• `."""
    code, size = _code_point(text, i)
    while code in _MARKUP:
        i += size
        code, size = _code_point(text, i)
    return i


@njit(nogil=True, cache=True)
def _period_ends(text, i, head, nxt, tables):  # type: ignore[no-untyped-def]
    """Whether the full stop at i, followed by white space, ends the sentence whose first word is at `head`.

    `nxt` is where the next word begins, its brackets and quotes skipped.
    """
    word = i  # first byte of the letters, digits and dots before the full stop
    letters, vowels, digits, dots = 0, 0, 0, 0
    key = np.uint64(0)
    while word > head and i - word < 24:
        byte = np.uint64(text[word - 1])
        if byte == 46:
            dots += 1
        elif 48 <= byte <= 57:
            digits += 1
        elif 97 <= byte | 32 <= 122:
            byte |= np.uint64(32)
            letters += 1
            vowels += byte in _VOWELS
        else:
            break
        if i - word < 8:
            key |= byte << np.uint64(8 * (i - word))
        word -= 1
    numbered = (letters == 0 and (digits <= 3 or dots > 0)) or (letters == 1 and digits == 0)
    if word == head and word < i and numbered and dots < 4:
        return False  # the number of a list item or heading: `1.`, `12.`, `2.3.1.`, `a.`
    after, _ = _code_point(text, nxt)
    lower = 97 <= after <= 122 or 0xDF <= after <= 0xFF
    if word == i or digits > 0:
        return not lower
    kind = _lookup(tables[0], tables[1], key) if i - word <= 8 else 0
    if kind & _NEVER or (kind & _NOT_BEFORE_NUMBER and 48 <= after <= 57):
        return False
    if lower:
        # An unknown abbreviation, or a sentence that begins with an identifier or carelessly? Words have vowels.
        return dots == 0 and vowels > 0 and (kind == _STARTER or (kind == 0 and letters > 2))
    initial = letters == 1 and dots == 0 and 65 <= text[i - 1] <= 90
    dotted = dots > 0 and letters <= 2 * dots + 1
    if not (kind & _MAY or ((initial or dotted) and len(tables[0]) > 0)):
        return True
    key, end = np.uint64(0), nxt
    while end < len(text) and end - nxt < 9 and 97 <= text[end] | 32 <= 122:
        key = key << np.uint64(8) | np.uint64(text[end] | 32)
        end += 1
    return after >= 0x2E80 or (end - nxt < 9 and _lookup(tables[0], tables[1], key) & _STARTER != 0)


@njit(nogil=True, cache=True)
def _read_mark(text, i, head, tables):  # type: ignore[no-untyped-def]
    """(whether the run of marks at i ends the sentence, position behind it, line breaks passed).

    The position is behind closers and white space if it does, else behind the closers only.
    """
    behind, marks, dots = _run(text, i)
    behind, closed = _brackets(text, behind, np.int64(_CLOSER), tables)
    space, breaks = _skip_space(text, behind)
    word, _ = _brackets(text, space, np.int64(_OPENER), tables)
    after, _ = _code_point(text, word)
    lower = 97 <= after <= 122
    direct, _ = _code_point(text, behind)
    # Chinese, and what else is written without spaces, may follow a mark directly.
    before_cjk = direct >= 0x2E80 and direct not in _COMMAS
    spaced = space > behind
    if space >= len(text) or breaks > 1 or (breaks == 1 and _begins_item(text, space)):
        over = True
    elif marks & _WIDE:
        over = closed & _TITLE_CLOSER == 0 and direct not in _COMMAS
    elif spaced and (after in _COMMAS or (closed > 0 and lower)):
        over = False  # a stray comma or an emoticon; `“Go!” he said`
    elif marks & _FINAL:
        over = spaced or before_cjk
    elif marks & _ELLIPSIS or dots > 1:
        over = (spaced and not lower) or (dots > 2 and 65 <= direct <= 90) or (closed > 0 and before_cjk)
    elif spaced:
        over = _period_ends(text, i, head, word, tables)
    else:  # a full stop in place of 。
        over = before_cjk and i > head and text[i - 1] >= 0x80
    return over, space if over else behind, breaks if over else 0


@njit(nogil=True, cache=True)
def _scan(values, offsets, stops, tables):  # type: ignore[no-untyped-def]
    """(ends int32, offsets int64) as `sentence_ends` returns them."""
    ends = np.empty(len(values), np.int32)  # an upper bound; pages never written cost no memory
    count = 0
    bounds = np.zeros(len(offsets), np.int64)
    start = np.int64(0)  # a bare 0 would have numba compile the helpers for that literal too
    for d in range(len(offsets) - 1):
        text = values[offsets[d] : offsets[d + 1]]
        i, _ = _skip_space(text, start)
        ended, line, head = start, i, _head(text, i)
        while i < len(text):
            if not stops[text[i]]:
                i += 1
                continue
            kind, size = _mark(text, i)
            if kind == 0:
                i += size
                continue
            if kind == _BREAK:
                i, breaks = _skip_space(text, i)
                over = breaks > 1 or text[line] == 35 or _begins_item(text, i)
            else:
                over, i, breaks = _read_mark(text, i, head, tables)
            if breaks:
                line = i
            if over:
                ends[count] = ended = i
                count += 1
                head = _head(text, i)
        if ended < len(text):
            ends[count] = len(text)
            count += 1
        bounds[d + 1] = count
    return ends[:count].copy(), bounds
