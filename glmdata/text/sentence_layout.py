"""Kernels of `glmdata.text.sentences`: sentences that end without a mark, as in lists and mail."""

from numba import njit

from glmdata.text.sentence_reading import (
    BARE_CLOSING,
    CLOSING,
    CLOSING_ATTRIBUTE,
    GIVEN_NAME,
    GREETING,
    begins_sentence,
    code_point,
    skip_space,
    word_at,
)

_SIGNS = tuple(map(ord, "-*+"))  # begin list items if a space follows
_BULLETS = tuple(map(ord, "#•·●⁃▪◦■"))  # begin list items and headings
INLINE_BULLETS = tuple(map(ord, "•●⁃▪◦■"))  # do so within a line too
_MARKUP = tuple(map(ord, " #*-+>•·●⁃▪◦■"))  # may stand before the first word of a sentence
_NUMERALS = tuple(map(ord, "一二三四五六七八九十"))
RULES = tuple(map(ord, "-=*~"))  # a run of five draws a line
_SHORTEST_RULE = 5
_LOOK_AHEAD = 200  # bytes that a title between two rules may take


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def begins_item(text, i):  # type: ignore[no-untyped-def]
    """Whether a list item or a heading begins at i: `- `, `* `, `1. `, `(2)`, `3、`, `一、`, `（二）`, `• `, `#`."""
    code, size = code_point(text, i)
    if code in _BULLETS:
        return True
    if code in _SIGNS:
        return i + 1 < len(text) and text[i + 1] == 32
    bracket = code in (40, 0xFF08)
    first = i + size if bracket else i
    i = first
    code, size = code_point(text, i)
    while i - first < 9 and (48 <= code <= 57 or code in _NUMERALS):  # three Han numerals, or nine digits
        i += size
        code, size = code_point(text, i)
    if i == first:
        return False
    if bracket:
        return code in (41, 0xFF09)
    return code == 0x3001 or (code in (41, 46) and i + 1 < len(text) and text[i + 1] == 32)


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def head_of(text, i):  # type: ignore[no-untyped-def]
    """Where the words of a sentence begin: behind `## `, `- `, `* `, `> `, `• `."""
    code, size = code_point(text, i)
    while code in _MARKUP:
        i += size
        code, size = code_point(text, i)
    return i


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _digits(text, i):  # type: ignore[no-untyped-def]
    """Position behind the digits at i, five at most."""
    end = i
    while end < len(text) and end - i < 5 and 48 <= text[end] <= 57:
        end += 1
    return end


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def item_number(text, i):  # type: ignore[no-untyped-def]
    """(number, style) of the list item at i, `1. `, `2) `, `3.) ` or `a. `; (-1, 0) if there is none."""
    end, number = _digits(text, i), 0
    for k in range(i, end):
        number = number * 10 + text[k] - 48
    style = 0
    if end == i and end < len(text) and 97 <= text[end] <= 122:
        number, style, end = text[end], 4, end + 1
    marked = end
    if end < len(text) and text[end] == 46:
        style, end = style + 1, end + 1
    if end < len(text) and text[end] == 41:
        style, end = style + 2, end + 1
    if marked == i or end == marked or end >= len(text) or text[end] != 32:
        return -1, 0
    return number, style


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def next_item(text, i, first, number, style):  # type: ignore[no-untyped-def]
    """Where within a line the item after `number` begins whose mark is at i, else 0: `1. One 2. Two`."""
    begin = i
    while begin > first and i - begin < 5 and text[begin - 1] > 46:
        begin -= 1
    if begin <= first or text[begin - 1] != 32:
        return 0
    following, following_style = item_number(text, begin)
    return begin if following == number + 1 and following_style == style else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def stamp(text, i):  # type: ignore[no-untyped-def]
    """(begin, end) of the date and time whose first slash is at i, `06/04/2001 05:54 PM`; (0, 0) if there is none."""
    begin = i
    while begin > 0 and i - begin < 3 and 48 <= text[begin - 1] <= 57:
        begin -= 1
    if not 1 <= i - begin <= 2 or (begin > 0 and text[begin - 1] > 32):
        return 0, 0
    end = i
    for mark, least, most in ((47, 1, 2), (47, 2, 4), (32, 1, 2), (58, 2, 2), (58, 2, 2)):
        behind = _digits(text, end + 1)
        if end >= len(text) or text[end] != mark or not least <= behind - end - 1 <= most:
            if mark == 58 and behind > end and text[end - 3] == 58:
                break  # no seconds
            return 0, 0
        end = behind
    meridiem = end + 1 if end < len(text) and text[end] == 32 else end
    if meridiem + 1 < len(text) and text[meridiem] | 32 in (97, 112) and text[meridiem + 1] | 32 == 109:
        end = meridiem + 2
    return (begin, end) if end >= len(text) or text[end] <= 32 else (0, 0)


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def around_stamp(text, i, first):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on) of a date and time: mail shows them between the sender and the text."""
    begin, end = stamp(text, i)
    if end == 0:
        return 0, 0, i + 1
    before = 0
    if begin - 1 > first and (97 <= text[begin - 2] | 32 <= 122):
        word = begin - 1
        while word > first and text[word - 1] > 32:
            word -= 1
        if 65 <= text[word] <= 90:  # a name; not `on 06/04/2001`
            before = begin
    after, _ = skip_space(text, end)
    follows = after + 1 < len(text) and 65 <= text[after] <= 90 and not 65 <= text[after + 1] <= 90
    return before, after if follows else 0, end


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def after_link(text, i, tables):  # type: ignore[no-untyped-def]
    """(end after, where to go on) of the address that has `@` or `://` at i, if a sentence begins behind it."""
    end = i
    while end < len(text) and 32 < text[end] < 0x7F:
        end += 1
    last = end
    while last > i + 1 and text[last - 1] in (33, 34, 39, 41, 42, 44, 46, 58, 59, 63):  # !"')*,.:;?
        last -= 1
    if last == end and last + 1 < len(text) and text[last] == 32 and begins_sentence(text, last + 1, tables):
        return last + 1, last + 1
    return 0, last


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _rule_end(text, i):  # type: ignore[no-untyped-def]
    """Position behind the run of the character at i."""
    end = i + 1
    while end < len(text) and text[end] == text[i]:
        end += 1
    return end


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _is_file(text, begin, end):  # type: ignore[no-untyped-def]
    """Whether text[begin:end] is a file name: `Report.pdf`, also with a bracket behind."""
    if end > begin and text[end - 1] == 41:
        end -= 1
    dot = end
    while dot > begin and end - dot < 5 and 97 <= text[dot - 1] | 32 <= 122:
        dot -= 1
    return 2 <= end - dot <= 4 and dot > begin + 1 and text[dot - 1] == 46 and text[dot - 2] > 46


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def around_rule(text, i, first):  # type: ignore[no-untyped-def]
    """(end before, end after, where to go on) of a drawn line, `-----`, or of the dash in a list of files, within a line.

    A title stands between two of them: `**** NOTICE ****`. `first` is where the sentence begins.
    """
    end = _rule_end(text, i)
    spaced_before = i > first + 1 and text[i - 1] == 32 and text[i - 2] > 32
    spaced_after = end + 1 < len(text) and text[end] == 32
    if end - i < _SHORTEST_RULE:
        if not (text[i] == 45 and end == i + 1 and spaced_before and spaced_after):
            return 0, 0, end
        left, right = i - 1, end + 1
        while left > first and i - left < 40 and text[left - 1] > 32:
            left -= 1
        while right < len(text) and right - i < 40 and text[right] > 32:
            right += 1
        return i if _is_file(text, left, i - 1) and _is_file(text, end + 1, right) else 0, 0, end
    before_word = spaced_after and 97 <= text[end + 1] | 32 <= 122
    if i > first and _rule_end(text, first) - first >= _SHORTEST_RULE:
        return 0, end + 1 if before_word else 0, end
    if i > first:
        named = 97 <= text[i - 2] | 32 <= 122 or 48 <= text[i - 2] <= 57 or text[i - 2] in (33, 46, 47, 63)
        if spaced_before and named:
            return i, 0, i
        return 0, 0, end
    if before_word and text[end + 1] <= 90:
        k = end
        while k < len(text) and k - end < _LOOK_AHEAD and text[k] not in (10, 13):
            if text[k] == text[i] and _rule_end(text, k) - k >= _SHORTEST_RULE:
                return 0, 0, end
            k += 1
        return 0, end + 1, end
    return 0, 0, end


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _names(text, i):  # type: ignore[no-untyped-def]
    """Position behind up to three capitalised words at i, parted by spaces; i if there is none."""
    end = i
    for n in range(3):
        begin = end + 1 if n else i
        if begin >= len(text) or not 65 <= text[begin] <= 90 or (n and text[end] != 32):
            break
        end = begin + 1
        while end < len(text) and 97 <= text[end] | 32 <= 122:
            end += 1
        if end - begin <= 3 and end < len(text) and text[end] == 46:  # `Ms. Fox`, `J. Fox`
            end += 1
    return end


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def greeting_end(text, i, tables):  # type: ignore[no-untyped-def]
    """Where the greeting ends that opens a letter at i, else 0: `Dear Ms. Fox, `, `Hi Kevin, `, `David, `."""
    kind, end = word_at(text, i, tables)
    if end == i or not 65 <= text[i] <= 90:
        return 0
    greets = kind & GREETING != 0
    if greets and end < len(text) and text[end] == 32:
        name = _names(text, end + 1)
        greets, end = name > end + 1, name
    if not (greets or kind & GIVEN_NAME) or end >= len(text) or text[end] != 44:
        return 0
    after, _ = skip_space(text, end + 1)
    if greets:
        return after if end + 1 < after < len(text) and 65 <= text[after] <= 90 else 0
    return after if after > end + 1 and begins_sentence(text, after, tables) else 0


@njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def closing_end(text, i, tables):  # type: ignore[no-untyped-def]
    """Where the closing formula at i ends if a name and nothing else follows on the line, else 0: `Best regards, Al`."""
    closes, bare = False, False
    begin = end = i
    for _ in range(5):
        kind, behind = word_at(text, begin, tables)
        if behind == begin or kind & (CLOSING | BARE_CLOSING | CLOSING_ATTRIBUTE) == 0:
            break
        bare = kind & BARE_CLOSING != 0
        closes |= kind & (CLOSING | BARE_CLOSING) != 0
        end = behind
        if end >= len(text) or text[end] != 32:
            break
        begin = end + 1
    if not closes:
        return 0
    name, breaks = skip_space(text, end)
    dashed = name < len(text) and text[name] in (33, 44, 45)
    while name < len(text) and text[name] in (33, 44, 45):  # !,-
        name, breaks = skip_space(text, name + 1)
    behind = _names(text, name)
    if breaks > 1 or behind == name or name == end or not (dashed or bare):
        return 0
    after, breaks = skip_space(text, behind)
    alone = (
        after >= len(text) or breaks > 0 or (after > behind and (48 <= text[after] <= 57 or text[after] in (42, 45)))
    )
    return name if alone else 0
