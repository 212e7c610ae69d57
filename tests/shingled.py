"""Texts of every kind of character, and a plain reading of the units of their shingles."""

import unicodedata

from hypothesis import strategies as st

PIECES = st.one_of(
    st.text("天地玄黄宇宙洪荒日月々〇𠀀𪜶", max_size=8),
    st.text("abcXYZ019éßﬁİΣ", max_size=8),
    st.text("あいうアイウーｱｲｳﾞ", max_size=6),
    st.text("ＡｂＣ１２３＿！", max_size=6),
    st.text("가나다абвАБВกขค", max_size=6),
    st.text("\u0301\u0308\u3099\ufe0f\u00ad\u200b\u200d\U000e0100", max_size=3),
    st.text(" \t\n\u3000,.;_，。；、\u2028€+©", max_size=4),
    st.text("😀🎉👍🏽𝒜\U00010400", max_size=4),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=4),
)

TEXTS = st.lists(PIECES, max_size=12).map("".join)


def units_of(text: str) -> list[str]:
    """The rules of glmdata.dedupe.shingles, one character at a time."""
    units, word = [], ""
    for character in text:
        code = ord(character)
        if code >= 0x10000:
            kind, folded = "mark" if code >> 16 == 14 else "single", character
        else:
            form = "NFC" if 0xF900 <= code <= 0xFAFF else "NFKC" if 0xFF00 <= code <= 0xFFEF else None
            folded = (unicodedata.normalize(form, character) if form else character).casefold()
            kind = kind_of(folded[0])
        if kind == "word" or (kind == "mark" and word):
            word += folded
        elif kind in ("single", "separator"):
            units += [word] * bool(word) + [folded] * (kind == "single")
            word = ""
    return units + [word] * bool(word)


def kind_of(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] in "LN":
        name = unicodedata.name(character, "")
        cjk = (
            "CJK UNIFIED",
            "CJK COMPATIBILITY IDEOGRAPH",
            "HIRAGANA",
            "KATAKANA",
            "HANGZHOU",
            "MASU MARK",
        )
        return "single" if name.startswith(cjk) or character in "々〆〇〻〼ーゟヿ" else "word"
    if category[0] == "M":
        return "mark"
    return "ignored" if category == "Cf" and character != "\u200b" else "separator"


def weight_of(unit: str) -> float:
    """A Han or kana character, or one beyond the BMP, is half a word."""
    return 0.5 if len(unit) == 1 and (ord(unit) > 0xFFFF or kind_of(unit) == "single") else 1


def grams_of(units: list[str], size: int) -> list[tuple[str, ...]]:
    """The shortest run from each unit on that weighs `size`."""
    found = []
    for first in range(len(units)):
        weight = 0.0
        for last in range(first, len(units)):
            weight += weight_of(units[last])
            if weight >= size:
                found.append(tuple(units[first : last + 1]))
                break
    return found
