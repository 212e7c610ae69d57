"""Where sentences end, in Chinese, English and mixtures of them: one compiled pass over the UTF-8 bytes.

At each mark the whole run of marks (`?!`, `……`) and its closers (`。”`, `.)`) is taken, and then decided:

* 。！？ end a sentence, except inside 《titles》, before a comma or colon (`“好。”，他说`) and before a speaker (`“好。”他说。`);
  ；：; : never end one.
* ? and ! end one before white space or CJK text, but not where a quotation runs on in lower case (`“Go!” he said`).
* A full stop ends one before white space, except after an abbreviation or initials, after the number of a list item,
  and before a lower-case word if what stands before it may be an abbreviation. Decimals, versions, addresses and file
  names have no white space there.
* Ellipses (... and ……) end one before white space and a capital, behind a closing quotation mark, and at a line's end.
* A blank line always ends one; a single line break only after a mark, before a list item or heading, and after a `#`
  heading.
* Without any mark one ends within a line before a bullet and the next number of a list, around the dates, ruled lines
  and greetings of mail, and between an address and a sentence that begins.

White space after an end belongs to the sentence that ended, so the pieces joined are the text. The tables are in
`glmdata.text.sentence_rules`; docs/sentences.md has the rules in words, the figures and the known limits. Linear in the
length of the text.
"""

import functools

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from glmdata.text import sentence_reading as reading
from glmdata.text import sentence_rules as rules
from glmdata.text.scripts import utf8_buffers
from glmdata.text.sentence_layout import (
    INLINE_BULLETS,
    RULES,
    after_link,
    around_rule,
    around_stamp,
    begins_item,
    closing_end,
    greeting_end,
    head_of,
    item_number,
    next_item,
)
from glmdata.text.sentence_marks import read_mark
from glmdata.text.sentence_reading import BREAK, code_point, mark_at, skip_space

__all__ = ["sentence_ends", "split_sentences"]


def split_sentences(text: str, language: str | None = None) -> list[str]:
    """Cut `text` into sentences; `"".join(result) == text`, no piece is empty.

    `language`: ISO 639-1, if known. The rules follow the characters at hand, so Chinese and English need not be told
    apart; for other languages English words are not looked for. Lone surrogates are taken as any character.
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

Tables = tuple[NDArray[np.uint64], NDArray[np.uint16], NDArray[np.uint64], NDArray[np.uint16]]

_WORDS = (
    (rules.NEVER_END, reading.NEVER),
    (rules.NOT_BEFORE_NUMBER, reading.NOT_BEFORE_NUMBER),
    (rules.MAY_END, reading.MAY),
    (rules.EXCLAIMED_NAMES, reading.EXCLAIMED),
    (rules.SENTENCE_STARTERS, reading.STARTER),
    (rules.SHORT_WORDS, reading.SHORT),
    (rules.GREETINGS, reading.GREETING),
    (rules.GIVEN_NAMES, reading.GIVEN_NAME),
    (rules.CLOSINGS, reading.CLOSING),
    (rules.BARE_CLOSINGS, reading.BARE_CLOSING),
    (rules.CLOSING_ATTRIBUTES, reading.CLOSING_ATTRIBUTE),
)
_CHARACTERS = (
    (rules.CLOSERS, reading.CLOSER),
    (rules.QUOTE_CLOSERS, reading.QUOTE_CLOSER),
    (rules.TITLE_CLOSERS, reading.TITLE_CLOSER),
    (rules.OPENERS, reading.OPENER),
    (rules.SPEECH_VERBS, reading.SPEECH),
    (rules.NEGATIONS, reading.NEGATION),
)
_MARK_LEAD, _SIGN = 1, 2


@functools.cache
def _stops() -> NDArray[np.uint8]:
    """What a byte can begin: a mark or line break, a sign of layout; few can, and the scan steps over the others."""
    stops = np.zeros(256, np.uint8)
    stops[[ord(sign) for sign in "/@)"] + list(RULES)] = _SIGN
    marks = (ord("."), ord("…"), *reading.FINALS, *reading.WIDES, *reading.BREAKS, *INLINE_BULLETS)
    stops[[chr(code).encode()[0] for code in marks]] = _MARK_LEAD
    stops.setflags(write=False)
    return stops


@functools.cache
def _tables(english: bool) -> Tables:
    """Words as sorted keys of their first eight bytes, with their kinds; characters as sorted code points with theirs."""
    words: dict[int, int] = {}
    for entries, kind in _WORDS if english else ():
        for word in entries.split():
            key = int.from_bytes(word[:8].encode("ascii"), "big")
            words[key] = words.get(key, 0) | kind
    characters: dict[int, int] = {}
    for listed, kind in _CHARACTERS:
        for character in listed:
            characters[ord(character)] = characters.get(ord(character), 0) | kind
    tables = (
        np.array(sorted(words), np.uint64),
        np.array([words[key] for key in sorted(words)], np.uint16),
        np.array(sorted(characters), np.uint64),
        np.array([characters[code] for code in sorted(characters)], np.uint16),
    )
    for table in tables:
        table.setflags(write=False)
    return tables


# --- the scan --------------------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def _unmarked(text, i, first, number, style, tables):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on) of the sign at i; 0 where there is no end."""
    byte = text[i]
    if byte == 64 or (byte == 47 and i > first and text[i - 1] == 58 and i + 1 < len(text) and text[i + 1] == 47):
        after, behind = after_link(text, i, tables)
        return 0, after, behind
    if byte == 47:
        return around_stamp(text, i, first)
    if byte == 41:
        return next_item(text, i, first, number, style) if number >= 0 else 0, 0, i + 1
    return around_rule(text, i, first)


@njit(nogil=True, cache=True)
def _marked(text, i, line, first, head, number, style, tables):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on, line breaks passed) of the mark, line break or bullet that may be at i."""
    kind, size = mark_at(text, i)
    if kind == 0:
        bullet = i > head and text[i - 1] == 32 and code_point(text, i)[0] in INLINE_BULLETS
        return i if bullet else 0, 0, i + size, 0
    if kind == BREAK:
        behind, breaks = skip_space(text, i)
        over = breaks > 1 or text[line] == 35 or begins_item(text, behind)
        return 0, behind if over else 0, behind, breaks
    before = 0
    if number >= 0 and text[i] == 46:
        before = next_item(text, i, first, number, style)
    if before:
        return before, 0, i + 1, 0
    over, behind, breaks = read_mark(text, i, head, tables)
    return 0, behind if over else 0, behind, breaks


@njit(nogil=True, cache=True)
def _scan(values, offsets, stops, tables):  # type: ignore[no-untyped-def]
    """(ends int32, offsets int64) as `sentence_ends` returns them."""
    ends = np.empty(len(values), np.int32)  # an upper bound; pages never written cost no memory
    count = 0
    bounds = np.zeros(len(offsets), np.int64)
    for d in range(len(offsets) - 1):
        text = values[offsets[d] : offsets[d + 1]]
        i, _ = skip_space(text, np.int64(0))
        line, breaks, ended, begun = i, np.int64(2), np.int64(0), i
        first = head = i
        number, style = np.int64(-1), np.int64(0)
        begins = i < len(text)
        while begins or i < len(text):
            before, after = np.int64(0), np.int64(0)
            if begins:  # a sentence, at `begun`
                first, head = begun, head_of(text, begun)
                number, style = item_number(text, head)
                after = closing_end(text, head, tables)
                if after == 0 and breaks > 1:
                    after = greeting_end(text, head, tables)
                i = max(i, after)
            elif stops[text[i]] == 0:
                i += 1
                continue
            elif stops[text[i]] == _SIGN:
                before, after, i = _unmarked(text, i, first, number, style, tables)
            else:
                before, after, i, breaks = _marked(text, i, line, first, head, number, style, tables)
                if breaks:
                    line = i
            begins = False
            for end in (before, after):
                if end > ended:
                    ends[count] = ended = begun = end
                    count += 1
                    begins = end < len(text)
        if ended < len(text):
            ends[count] = len(text)
            count += 1
        bounds[d + 1] = count
    return ends[:count].copy(), bounds
