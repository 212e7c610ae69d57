"""Kernels of `glmdata.text.sentences`: what the marks . ? ! 。 … say."""

import numpy as np

from glmdata.kernels import njit
from glmdata.text.sentence_layout import begins_item
from glmdata.text.sentence_reading import (
    ABBREVIATION,
    ANY_NUMBER,
    CJK,
    CLOSER,
    COMMA,
    DIGIT,
    ELLIPSIS,
    EXCLAIMED,
    FINAL,
    HAN,
    LETTER,
    LIST_NUMERAL,
    LONGEST_STARTER,
    LOWER,
    MARKS,
    MAY,
    NEGATION,
    NEVER,
    NOT_BEFORE_NUMBER,
    NUM_WORDS,
    OPENER,
    ORDINAL_SIGN,
    PAUSE,
    PERIOD,
    QUOTE_CLOSER,
    SHORT,
    SPEECH,
    STARTER,
    TITLE_CLOSER,
    UPPER,
    VOWEL,
    WIDE,
    back,
    begins_sentence,
    byte_kind,
    kind_at,
    skip_space,
    span,
    word_at,
)

_LONGEST_SPEAKER = np.int64(10)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _run(text, i, tables):  # type: ignore[no-untyped-def]
    """(position behind the run of marks at i, its kinds, its full stops); `. . .` and `! !` are runs too."""
    marks, dots = 0, 0
    while True:
        spaced = i
        while spaced < len(text) and text[spaced] == 32:
            spaced += 1
        kind, size = kind_at(text, spaced, tables)
        if spaced > i and kind & (PERIOD | FINAL) and byte_kind(text, spaced + 1, tables) & (LETTER | DIGIT):
            kind = 0  # ` .net` is no mark
        if kind & MARKS == 0 or (spaced > i and kind & (WIDE | ELLIPSIS)):
            return i, marks, dots
        marks |= kind & MARKS
        dots += kind & PERIOD  # which is 1
        i = spaced + size


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _names_speaker(text, i, tables):  # type: ignore[no-untyped-def]
    """Whether behind a quotation a clause of at most ten characters names the speaker: `他说。`, `老李问道，`."""
    end, found = span(text, i, HAN, _LONGEST_SPEAKER, tables)
    if end == i or found & NEGATION or kind_at(text, end - 3, tables)[0] & SPEECH == 0:
        return False
    return kind_at(text, end, tables)[0] & (MARKS | PAUSE) != 0  # a colon is of the next quotation


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _period_ends(text, i, head, nxt, tables):  # type: ignore[no-untyped-def]
    """Whether the full stop at i, followed by white space, ends the sentence whose first word is at `head`.

    `nxt` is where the next word begins, its brackets and quotes skipped.
    """
    word = back(text, i, head, LETTER | DIGIT | PERIOD, tables)
    letters, dots, found = 0, 0, 0
    for k in range(word, i):
        kind = tables[text[k]]
        letters += kind & LETTER != 0
        dots += kind & PERIOD
        found |= kind
    digits = i - word - letters - dots
    if (
        word == head
        and word < i
        and dots < 4
        and ((letters == 0 and (digits <= 3 or dots > 0)) or (letters == 1 and digits == 0))
    ):
        return False  # the number of a list item or heading: `1.`, `12.`, `2.3.1.`, `a.`
    kind = word_at(text, word, i, tables) if i - word <= 8 else 0
    if word == head and kind & LIST_NUMERAL:
        return False  # `ii. Second`
    after, _ = kind_at(text, nxt, tables)
    if word == i and after & DIGIT and kind_at(text, i - 2, tables)[0] & ORDINAL_SIGN:
        return False  # `N°. 5`, `Nº. 5`
    if word == i or digits > 0:
        return after & LOWER == 0
    if kind & NEVER or (kind & NOT_BEFORE_NUMBER and after & DIGIT):
        return False
    if after & LOWER:
        # An unknown abbreviation, or a sentence that begins with an identifier or carelessly? Words have vowels.
        quote = kind_at(text, word - 3, tables)[0] if word > head + 2 and text[word - 1] >= 0x80 else 0
        if letters == 1 and text[i - 1] == 115 and (quote | byte_kind(text, word - 1, tables)) & QUOTE_CLOSER:
            return True  # `McDonald's. that`
        plain = found & VOWEL != 0 and dots == 0 and kind & ABBREVIATION == 0
        return plain and (letters > 2 or kind & (STARTER | SHORT) != 0)
    initial = letters == 1 and dots == 0 and found & UPPER
    if kind & MAY or (tables[NUM_WORDS] > 0 and (initial or (dots > 0 and letters <= 2 * dots + 1))):
        end, _ = span(text, nxt, LETTER, LONGEST_STARTER, tables)
        return after & CJK != 0 or word_at(text, nxt, end, tables) & STARTER != 0
    return True


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _ellipsis_ends(text, i, behind, space, word, breaks, dots, closed, tables):  # type: ignore[no-untyped-def]
    """Whether the ellipsis at i ends a sentence; the arguments are `read_mark`'s."""
    after, _ = kind_at(text, word, tables)
    if breaks == 0 and kind_at(text, i - 3, tables)[0] & CJK and after & CJK == 0:
        return begins_sentence(text, word, tables)  # behind Chinese, where Latin text is often spaced
    if closed and space < len(text) and text[space] == 40:
        return False  # a reference: `stairways [...]” (Smith 55)`
    if space > behind:
        return after & LOWER == 0
    direct, _ = kind_at(text, behind, tables)
    return (dots > 2 and direct & UPPER != 0) or (closed != 0 and direct & CJK != 0 and direct & COMMA == 0)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def read_mark(text, i, head, tables):  # type: ignore[no-untyped-def]
    """(whether the run of marks at i ends the sentence, position behind it, line breaks passed).

    The position is behind closers and white space if it does, else behind the closers only.
    """
    behind, marks, dots = _run(text, i, tables)
    behind, closed = span(text, behind, CLOSER, ANY_NUMBER, tables)
    space, breaks = skip_space(text, behind, tables)
    word, _ = span(text, space, OPENER, ANY_NUMBER, tables)
    after, _ = kind_at(text, word, tables)
    direct, _ = kind_at(text, behind, tables)
    # Chinese, and what else is written without spaces, may follow a mark directly.
    before_cjk = direct & CJK != 0 and direct & COMMA == 0
    spaced = space > behind
    if space >= len(text) or breaks > 1 or (breaks == 1 and begins_item(text, space, tables)):
        over = True
    elif before_cjk and closed & QUOTE_CLOSER and _names_speaker(text, behind, tables):
        over = False
    elif marks & WIDE:
        over = closed & TITLE_CLOSER == 0 and direct & COMMA == 0
    elif spaced and (after & COMMA or (closed > 0 and after & LOWER)):
        over = False  # a stray comma or an emoticon; `“Go!” he said`
    elif marks & FINAL:
        over = spaced or before_cjk
        name = back(text, i, head, LETTER, tables)
        if spaced and byte_kind(text, name, tables) & UPPER and word_at(text, name, i, tables) & EXCLAIMED:
            over = begins_sentence(text, word, tables)
    elif marks & ELLIPSIS or dots > 1:
        over = _ellipsis_ends(text, i, behind, space, word, breaks, dots, closed, tables)
    elif spaced:
        over = _period_ends(text, i, head, word, tables)
    else:  # a full stop in place of 。
        over = before_cjk and i > head and text[i - 1] >= 0x80
    return over, space if over else behind, breaks if over else 0
