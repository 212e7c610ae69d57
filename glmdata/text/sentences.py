"""Where sentences end, in Chinese, English and mixtures of them: one compiled pass over the UTF-8 bytes.

At each mark the whole run of marks (`?!`, `……`) and its closers (`。”`, `.)`) is taken, and then decided:

* 。！？ end a sentence, except inside 《titles》, before a comma or colon (`“好。”，他说`) and where the speaker of a
  quotation follows (`“好。”他说。`); ；：; : never end one.
* ? and ! end one before white space or CJK text, but not where a quotation runs on in lower case (`“Go!” he said`).
* A full stop ends one before white space, except after an abbreviation or initials, after the number of a list item,
  and before a lower-case word if what stands before it may be an abbreviation. Decimals, versions, addresses and file
  names have no white space there.
* Ellipses (... and ……) end one before white space and a capital, behind a closing quotation mark, and at a line's end.
* A blank line always ends one; a single line break only after a mark, before a list item or heading, and after a `#`
  heading.
* Without any mark one ends within a line before a bullet and the next number of a list, around the dates and drawn
  lines of mail, and after its closing formulas.

White space after an end belongs to the sentence that ended, so the pieces joined are the text. The tables are in
`glmdata.text.sentence_rules`; docs/sentences.md has the rules in words, the figures and the known limits. Linear in the
length of the text.
"""

import functools
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glmdata.kernels import njit
from glmdata.text import sentence_rules as rules
from glmdata.text.scripts import utf8_buffers
from glmdata.text.sentence_layout import (
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
    RULE_SIGN,
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
    ends = _find_ends(np.frombuffer(encoded, np.uint8), offsets, english)[0].tolist()
    return [encoded[a:b].decode("utf-8", "surrogatepass") for a, b in zip([0, *ends], ends, strict=False)]


def sentence_ends(texts: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Ends of the sentences of each text, in bytes: `(ends, offsets)`.

    ends[offsets[i]:offsets[i + 1]] (int32; offsets int64[n + 1]) are exclusive, rising, relative to the first byte of
    text i; the last equals its length. An empty text has none. The ends are those of `split_sentences`.
    """
    return _find_ends(*utf8_buffers(texts), english=True)


def _find_ends(
    values: NDArray[np.uint8], offsets: NDArray[np.int32], english: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """As `sentence_ends`, of the texts values[offsets[i]:offsets[i + 1]]; both arrays must be read-only."""
    ends = np.empty(len(values), np.int32)  # an upper bound; pages never written cost no memory
    bounds = np.zeros(len(offsets), np.int64)
    count = _scan(values, offsets, _stops(), make_tables(english), ends, bounds)
    return ends[:count].copy(), bounds


_ZERO: Any = np.int64(0)  # a bare 0 would have numba compile the helpers for that literal too


@functools.cache
def _stops() -> NDArray[np.bool_]:
    """Whether a byte can begin a mark, a line break, a bullet or a sign of layout; the scan steps over the others."""
    stops = np.zeros(256, np.bool_)
    found = ".…/)" + rules.FINALS + rules.WIDES + rules.BREAKS + rules.BULLETS + rules.RULE_SIGNS
    stops[[character.encode()[0] for character in found]] = True
    stops.setflags(write=False)
    return stops


@njit(nogil=True, cache=True)
def _scan(values, offsets, stops, tables, ends, bounds):  # type: ignore[no-untyped-def]
    """Fill `ends` and `bounds`, the offsets of each text's ends, and return the number of ends."""
    count = 0
    for d in range(len(offsets) - 1):
        text = values[offsets[d] : offsets[d + 1]]
        ended, head, number, marks = _ZERO, _ZERO - 1, _ZERO, _ZERO
        i, _ = skip_space(text, _ZERO, tables)
        first = line = i
        while i < len(text):
            before, after = _ZERO, _ZERO
            if head < 0:  # a sentence begins at `first`
                head, _ = span(text, first, MARKUP, ANY_NUMBER, tables)
                number, marks = item_number(text, head, tables)
                after = closing_end(text, head, tables)
                i = after or i
            elif not stops[text[i]]:
                i += 1
                continue
            elif text[i] == 41:
                before = next_item(text, i, first, number, marks, tables)
                i += 1
            elif text[i] == 47:
                before, after, i = around_stamp(text, i, first, tables)
            elif tables[text[i]] & RULE_SIGN:
                before, after, i = around_rule(text, i, first, tables)
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
    return count
