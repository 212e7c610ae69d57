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

from glmdata.text import sentence_rules as rules
from glmdata.text.scripts import utf8_buffers
from glmdata.text.sentence_layout import (
    after_link,
    around_rule,
    around_stamp,
    begins_item,
    closing_end,
    item_number,
    next_item,
)
from glmdata.text.sentence_marks import read_mark
from glmdata.text.sentence_reading import (
    ANY_NUMBER,
    BREAK,
    BULLET,
    MARKS,
    MARKUP,
    NONE,
    kind_at,
    make_tables,
    skip_space,
    span,
)

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
    found, _ = _scan(np.frombuffer(encoded, np.uint8), offsets, _stops(), make_tables(english))
    ends = found.tolist()
    return [encoded[a:b].decode("utf-8", "surrogatepass") for a, b in zip([0, *ends], ends, strict=False)]


def sentence_ends(texts: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Ends of the sentences of each text, in bytes: `(ends, offsets)`.

    ends[offsets[i]:offsets[i + 1]] (int32; offsets int64[n + 1]) are exclusive, rising, relative to the first byte of
    text i; the last equals its length. An empty text has none. The ends are those of `split_sentences`.
    """
    return _scan(*utf8_buffers(texts), _stops(), make_tables(True))


_MARK, _SIGN = 1, 2


@functools.cache
def _stops() -> NDArray[np.uint8]:
    """What a byte can begin: a mark, line break or bullet, or a sign of layout; the scan steps over the others."""
    stops = np.zeros(256, np.uint8)
    stops[[ord(sign) for sign in "/@)" + rules.RULE_SIGNS]] = _SIGN
    marks = ".…" + rules.FINALS + rules.WIDES + rules.BREAKS + rules.BULLETS
    stops[[mark.encode()[0] for mark in marks]] = _MARK
    stops.setflags(write=False)
    return stops


@njit(nogil=True, cache=True)
def _unmarked(text, i, first, number, marks, tables):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on) of the sign at i; 0 where there is no end."""
    byte = text[i]
    if byte == 64 or (byte == 47 and i > first and text[i - 1] == 58 and i + 1 < len(text) and text[i + 1] == 47):
        after, behind = after_link(text, i, tables)
        return 0, after, behind
    if byte == 47:
        return around_stamp(text, i, first, tables)
    if byte == 41:
        return next_item(text, i, first, number, marks, tables), 0, i + 1
    return around_rule(text, i, first, tables)


@njit(nogil=True, cache=True)
def _scan(values, offsets, stops, tables):  # type: ignore[no-untyped-def]
    """(ends int32, offsets int64) as `sentence_ends` returns them."""
    ends = np.empty(len(values), np.int32)  # an upper bound; pages never written cost no memory
    count = 0
    bounds = np.zeros(len(offsets), np.int64)
    for d in range(len(offsets) - 1):
        text = values[offsets[d] : offsets[d + 1]]
        ended = NONE
        i, _ = skip_space(text, NONE, tables)
        first, line, head, number, marks = i, i, NONE - 1, NONE, NONE
        while i < len(text):
            before, after = NONE, NONE
            if head < 0:  # a sentence begins at `first`
                head, _ = span(text, first, MARKUP, ANY_NUMBER, tables)
                number, marks = item_number(text, head, tables)
                after = closing_end(text, head, tables)
                i = max(i, after)
            elif stops[text[i]] == 0:
                i += 1
                continue
            elif stops[text[i]] == _SIGN:
                before, after, i = _unmarked(text, i, first, number, marks, tables)
            else:
                kind, size = kind_at(text, i, tables)
                breaks, over = 0, False
                if kind & BREAK:
                    i, breaks = skip_space(text, i, tables)
                    over = breaks > 1 or text[line] == 35 or begins_item(text, i, tables)
                elif kind & MARKS:
                    before = next_item(text, i, first, number, marks, tables) if text[i] == 46 else 0
                    if before:
                        i += 1
                    else:
                        over, i, breaks = read_mark(text, i, head, tables)
                else:
                    before = i if kind & BULLET and i > head and text[i - 1] == 32 else 0
                    i += size
                line = i if breaks else line
                after = i if over else 0
            if before > first:
                ends[count] = ended = first = before
                count += 1
                head = -1
            if after > first:
                ends[count] = ended = first = after
                count += 1
                head = -1
        if ended < len(text):
            ends[count] = len(text)
            count += 1
        bounds[d + 1] = count
    return ends[:count].copy(), bounds
