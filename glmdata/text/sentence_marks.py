"""Kernels of `glmdata.text.sentences`: what the marks . ? ! 。 … say."""

import numpy as np
from numba import njit

from glmdata.text.sentence_layout import begins_item
from glmdata.text.sentence_reading import (
    ABBREVIATION,
    CLOSER,
    COMMAS,
    ELLIPSIS,
    EXCLAIMED,
    FINAL,
    MARKS,
    MAY,
    NEGATION,
    NEVER,
    NOT_BEFORE_NUMBER,
    OPENER,
    PERIOD,
    QUOTE_CLOSER,
    SHORT,
    SPEECH,
    STARTER,
    TITLE_CLOSER,
    WIDE,
    WIDES,
    begins_sentence,
    code_point,
    lookup,
    mark_at,
    skip_space,
    word_at,
)

_VOWELS = tuple(map(ord, "aeiouy"))


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _brackets(text, i, wanted, tables):  # type: ignore[no-untyped-def]
    """(position behind the closers or openers at i, all their kinds)."""
    found = 0
    while i < len(text):
        code, size = code_point(text, i)
        kind = lookup(tables[2], tables[3], np.uint64(code))
        if kind & wanted == 0:
            break
        found |= kind
        i += size
    return i, found


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _run(text, i):  # type: ignore[no-untyped-def]
    """(position behind the run of marks at i, its kinds, its full stops); `. . .` and `! !` are runs too."""
    marks, dots = 0, 0
    while True:
        kind, size = mark_at(text, i)
        if kind & MARKS == 0:
            spaced = i
            while spaced < len(text) and text[spaced] == 32:
                spaced += 1
            kind, size = mark_at(text, spaced)
            behind = 0 if spaced + 1 >= len(text) else text[spaced + 1]
            if not 0 < kind <= FINAL or 97 <= behind | 32 <= 122 or 48 <= behind <= 57:  # ` .net` is no mark
                return i, marks, dots
            i = spaced
        marks |= kind
        dots += kind == PERIOD
        i += size


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _glued(text, i, behind, tables):  # type: ignore[no-untyped-def]
    """Whether `school.But since` lacks a space: a plain word before the mark at i, a function word behind it."""
    word = i
    while word > 0 and i - word < 24 and 97 <= text[word - 1] <= 122:
        word -= 1
    if i - word < 3 or not (word == 0 or text[word - 1] <= 32 or text[word - 1] == 39):
        return False
    _, end = word_at(text, behind, tables)
    return end < len(text) and text[end] == 32 and begins_sentence(text, behind, tables)


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _names_speaker(text, i, tables):  # type: ignore[no-untyped-def]
    """Whether behind a quotation a clause of at most ten characters names the speaker: `他说。`, `老李问道，`."""
    last = 0
    for n in range(11):
        code, size = code_point(text, i)
        if code < 0x3400 or code > 0x9FFF:
            return n > 0 and last & SPEECH != 0 and (code in WIDES or code in (33, 44, 46, 63, 0xFF0C))
        last = lookup(tables[2], tables[3], np.uint64(code))
        if last & NEGATION:
            return False
        i += size
    return False


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _exclaimed_name(text, i, tables):  # type: ignore[no-untyped-def]
    """Whether the word before the mark at i is a name written with `!`, capital first."""
    word = i
    while word > 0 and i - word < 9 and 97 <= text[word - 1] | 32 <= 122:
        word -= 1
    return i > word and text[word] <= 90 and word_at(text, word, tables)[0] & EXCLAIMED != 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
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
    after, _ = code_point(text, nxt)
    lower = 97 <= after <= 122 or 0xDF <= after <= 0xFF
    if word == i and 48 <= after <= 57 and i > 1 and text[i - 2] == 0xC2 and text[i - 1] in (0xB0, 0xBA):
        return False  # `N°. 5`, `Nº. 5`
    if word == i or digits > 0:
        return not lower
    kind = lookup(tables[0], tables[1], key) if i - word <= 8 else 0
    if kind & NEVER or (kind & NOT_BEFORE_NUMBER and 48 <= after <= 57):
        return False
    if lower:
        # An unknown abbreviation, or a sentence that begins with an identifier or carelessly? Words have vowels.
        possessive = letters == 1 and text[i - 1] == 115 and word > head and text[word - 1] in (39, 0x99)
        known = letters > 2 or kind & (STARTER | SHORT) != 0
        return dots == 0 and (possessive or (vowels > 0 and known and kind & ABBREVIATION == 0))
    initial = letters == 1 and dots == 0 and 65 <= text[i - 1] <= 90
    dotted = dots > 0 and letters <= 2 * dots + 1
    if not (kind & MAY or ((initial or dotted) and len(tables[0]) > 0)):
        return True
    return after >= 0x2E80 or word_at(text, nxt, tables)[0] & STARTER != 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _ellipsis_ends(text, i, behind, space, word, dots, closed, tables):  # type: ignore[no-untyped-def]
    """Whether the ellipsis at i ends a sentence; the positions are `read_mark`'s."""
    after, _ = code_point(text, word)
    direct, _ = code_point(text, behind)
    if i > 2 and 0xE3 <= text[i - 3] <= 0xEF and after < 0x2E80:
        return begins_sentence(text, word, tables)  # behind Chinese, where Latin text is often spaced
    if closed > 0 and space < len(text) and text[space] == 40:
        return False  # a reference: `stairways [...]” (Smith 55)`
    if space > behind:
        return not 97 <= after <= 122
    return (dots > 2 and 65 <= direct <= 90) or (closed > 0 and direct >= 0x2E80 and direct not in COMMAS)


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def read_mark(text, i, head, tables):  # type: ignore[no-untyped-def]
    """(whether the run of marks at i ends the sentence, position behind it, line breaks passed).

    The position is behind closers and white space if it does, else behind the closers only.
    """
    behind, marks, dots = _run(text, i)
    single = behind == i + 1
    behind, closed = _brackets(text, behind, np.int64(CLOSER), tables)
    space, breaks = skip_space(text, behind)
    word, _ = _brackets(text, space, np.int64(OPENER), tables)
    after, _ = code_point(text, word)
    lower = 97 <= after <= 122
    direct, _ = code_point(text, behind)
    # Chinese, and what else is written without spaces, may follow a mark directly.
    before_cjk = direct >= 0x2E80 and direct not in COMMAS
    spaced = space > behind
    if space >= len(text) or breaks > 1 or (breaks == 1 and begins_item(text, space)):
        over = True
    elif closed & QUOTE_CLOSER and before_cjk and _names_speaker(text, behind, tables):
        over = False
    elif marks & WIDE:
        over = closed & TITLE_CLOSER == 0 and direct not in COMMAS
    elif spaced and (after in COMMAS or (closed > 0 and lower)):
        over = False  # a stray comma or an emoticon; `“Go!” he said`
    elif not spaced and closed == 0 and 65 <= direct <= 90 and single and _glued(text, i, behind, tables):
        over = True
    elif marks & FINAL:
        over = spaced or before_cjk
        if spaced and single and _exclaimed_name(text, i, tables):
            over = begins_sentence(text, word, tables)
    elif marks & ELLIPSIS or dots > 1:
        over = _ellipsis_ends(text, i, behind, space, word, dots, closed, tables)
    elif spaced:
        over = _period_ends(text, i, head, word, tables)
    else:  # a full stop in place of 。
        over = before_cjk and i > head and text[i - 1] >= 0x80
    return over, space if over else behind, breaks if over else 0
