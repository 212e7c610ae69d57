"""Normalisation removes what the recipe names and nothing else, and is stable."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmdata.recipe import NormalizationSettings
from glmdata.text.normalization import PLAIN_RANGES, Normalizer

ANY_TEXT = st.text(st.characters(), max_size=60) | st.text(
    st.sampled_from(
        "\r\n\t\x00\x1f\x7f\x85\x9f\ufeff\ufffe\ufdd0\ud800\udfff\U0001ffff\U0010fffea e\u0301 \u0323한中😀𠮷"
    )
)
ALL_SETTINGS = [
    NormalizationSettings(unicode_form=form, newlines=newlines, control_characters=controls)
    for form in ("NFC", "none")
    for newlines in ("lf", "keep")
    for controls in ("remove", "keep")
]
normalize = Normalizer(NormalizationSettings())


def is_removed(character: str) -> bool:
    """What the default recipe drops, told by Unicode's own properties."""
    code = ord(character)
    noncharacter = 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
    return (
        (unicodedata.category(character) == "Cc" and character not in "\t\n\r")
        or unicodedata.category(character) == "Cs"
        or character == "\ufeff"
        or noncharacter
    )


def plain(text: str, settings: NormalizationSettings) -> str:
    """The plainest code for the same thing."""
    if settings.control_characters == "remove":
        text = "".join(c for c in text if not is_removed(c))
    if settings.newlines == "lf":
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text) if settings.unicode_form == "NFC" else text


def test_every_code_point_is_kept_or_removed_as_the_unicode_properties_say() -> None:
    """Each of the 1,114,112 code points on its own, between letters."""
    settings = NormalizationSettings(unicode_form="none", newlines="keep")
    keep = Normalizer(settings)

    wrong = [code for code in range(0x110000) if (len(keep(f"é{chr(code)}x")) == 2) != is_removed(chr(code))]

    assert wrong == []


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda s: "-".join(s.model_dump().values()))
@given(text=ANY_TEXT)
def test_the_result_equals_the_plain_code_and_is_stable(settings: NormalizationSettings, text: str) -> None:
    once = Normalizer(settings)(text)

    assert once == plain(text, settings)
    assert Normalizer(settings)(once) == once


@given(ANY_TEXT)
def test_the_default_result_is_valid_utf8_in_nfc_with_plain_newlines(text: str) -> None:
    result = normalize(text)

    assert unicodedata.is_normalized("NFC", result.encode("utf-8").decode("utf-8"))
    assert "\r" not in result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\n\rd", "a\nb\nc\n\nd"),
        ("a\r\x00\nb", "a\nb"),
        ("\ufeff标题\u0085", "标题"),
        ("e\x00\u0301", "é"),
        ("tab\tstays", "tab\tstays"),
        ("零\u200b宽 and \u200e marks stay", "零\u200b宽 and \u200e marks stay"),
        ("𠮷野家 😀", "𠮷野家 😀"),
        ("", ""),
    ],
)
def test_named_cases(text: str, expected: str) -> None:
    assert normalize(text) == expected


def test_clean_text_is_returned_itself() -> None:
    """No copy is made of what needs no change."""
    for text in ("Clean text.\n\tIndented.", "干净的文本。\n", "naïve café"):
        assert normalize(text) is text


def test_keep_keeps_everything() -> None:
    text = "\ufeffa\r\nb\rc\x00\x85\ufffe\ud800e\u0301"
    settings = NormalizationSettings(unicode_form="none", newlines="keep", control_characters="keep")

    assert Normalizer(settings)(text) is text


def test_lone_cr_survives_where_newlines_are_kept() -> None:
    assert Normalizer(NormalizationSettings(newlines="keep"))("a\rb\x0bc") == "a\rbc"


def test_no_plain_code_point_is_ever_changed_whatever_is_beside_it() -> None:
    """By Unicode's own properties: none is removed, reordered, decomposed, or composed with one before it."""
    joins_left = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # the Hangul vowels and finals compose by rule
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            joins_left.add(int(parts[1], 16))

    wrong = [
        code
        for first, last in PLAIN_RANGES
        for code in range(first, last + 1)
        if is_removed(chr(code))
        or chr(code) == "\r"
        or unicodedata.combining(chr(code))
        or unicodedata.normalize("NFC", chr(code)) != chr(code)
        or code in joins_left
    ]

    assert wrong == []


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda s: "-".join(s.model_dump().values()))
@given(texts=st.lists(ANY_TEXT | st.text(st.sampled_from("aé中한😀。\n\r\u0301\u3099\u11a8\x7f")), max_size=6))
def test_what_is_left_at_a_glance_stays_as_it_is(settings: NormalizationSettings, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]  # lone surrogates have no UTF-8
    found = Normalizer(settings).leaves([text.encode() for text in texts])

    assert found.shape == (len(texts),)
    assert [text for text, left in zip(texts, found, strict=True) if left and Normalizer(settings)(text) != text] == []


def test_ordinary_text_is_left_at_a_glance() -> None:
    texts = [
        "Clean text.\n\tIndented.",
        "干净的文本。\n",
        "naïve café",
        "",
        "Москва",
        "「東京」😀",
        "bad\x00",
        "e\u0301",
        "a\r",
    ]

    assert normalize.leaves([text.encode() for text in texts]).tolist() == [True] * 6 + [False] * 3
