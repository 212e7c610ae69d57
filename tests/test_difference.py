"""In what two texts differ: the pieces make both, whatever they are, and read as a person would mark them."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmdata.text.difference import Piece, compare, rows, split_units

CHARACTERS = st.sampled_from([*"ab \n\r\t,.", *"的一是。，", "\u3000", "é", "\u0301", "😀", "\u2028", "\x00", "が"])
TEXTS = st.text(CHARACTERS, max_size=200) | st.text(max_size=40)


def marked(pieces: list[Piece]) -> str:
    marks = {"=": "{}", "-": "[-{}-]", "+": "{{+{}+}}"}
    return "".join(marks[piece.kind].format(piece.text) for piece in pieces)


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, str]:
    """A text, and the same with a few stretches replaced."""
    text = draw(TEXTS)
    other = text
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(other)))
        other = other[:start] + draw(st.text(CHARACTERS, max_size=9)) + other[start + draw(st.integers(0, 20)) :]
    return text, other


def check(a: str, b: str) -> list[Piece]:
    pieces = compare(a, b)
    assert a == "".join(piece.text for piece in pieces if piece.kind != "+")
    assert b == "".join(piece.text for piece in pieces if piece.kind != "-")
    assert all(piece.text for piece in pieces)
    for first, second in itertools.pairwise(pieces):
        assert (first.kind, second.kind) in {("=", "-"), ("=", "+"), ("-", "+"), ("-", "="), ("+", "=")}
    return pieces


@given(TEXTS, TEXTS)
def test_the_pieces_make_both_texts(a: str, b: str) -> None:
    check(a, b)


@given(edited())
def test_the_pieces_make_a_text_and_what_became_of_it(texts: tuple[str, str]) -> None:
    check(*texts)


@given(TEXTS)
def test_equal_texts_are_one_equal_piece(text: str) -> None:
    assert ([Piece("=", text)] if text else []) == compare(text, text)


@given(TEXTS)
def test_units_join_to_the_text(text: str) -> None:
    assert text == "".join(split_units(text))


@given(edited())
def test_rows_end_where_both_have_an_end_of_line(texts: tuple[str, str]) -> None:
    pieces = compare(*texts)
    table = rows(pieces)
    for side, text in zip("+-", texts, strict=True):
        assert text == "".join(piece.text for row in table for piece in row if piece.kind != side)
    for row in table:
        equal = [piece.text for piece in row if piece.kind == "="]
        assert all("\n" not in text.removesuffix("\n") for text in equal)
        assert all("\n" not in piece.text for piece in row[:-1] if piece.kind == "=")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (
            "他把信放进抽屉，一共3次。",
            "他把信放在抽屉里，一共3回。",
            "他把信放[-进-]{+在+}抽屉{+里+}，一共3[-次-]{+回+}。",
        ),
        ("the quick fox\nruns", "the slow fox\nruns", "the [-quick-]{+slow+} fox\nruns"),
        ("one\ntwo\nthree\n", "one\nthree\n", "one\n[-two\n-]three\n"),
        ("a b", "a  b", "a[- -]{+  +}b"),
        ("", "x", "{+x+}"),
        # Nothing but single characters in common: not interleaved.
        ("春天的河水慢慢变暖", "木匠的桌子已经修好", "[-春天的河水慢慢变暖-]{+木匠的桌子已经修好+}"),
    ],
)
def test_differences_are_marked_as_a_person_would(a: str, b: str, expected: str) -> None:
    assert expected == marked(compare(a, b))


def test_a_word_in_a_book_is_found() -> None:
    lines = [f"line {number} of a book\n" for number in range(20_000)]
    changed = [*lines[:9_000], "line nine thousand of a book\n", *lines[9_001:]]
    pieces = check("".join(lines), "".join(changed))
    assert [Piece("-", "9000"), Piece("+", "nine thousand")] == [piece for piece in pieces if piece.kind != "="]


@pytest.mark.parametrize("separator", ["", " ", "\n"])
@pytest.mark.parametrize("alphabet", ["ab", "的一是在", [chr(0x4E00 + number) for number in range(3000)]])
def test_large_texts_without_anything_in_common_end(alphabet: str | list[str], separator: str) -> None:
    """With 200,000 units each, a quadratic comparison would run into the time limit of the tests."""
    drawn = random.Random(1)
    check(*(separator.join(drawn.choices(alphabet, k=200_000)) for _ in range(2)))
    check(separator.join(alphabet) * 50_000 if len(alphabet) < 9 else "", separator.join("b的" * 100_000))


def test_what_difflib_takes_longest_for_ends_too() -> None:
    """Many gaps, each of the size that is still compared, of two periods that never fit."""
    check(*("".join(f"{period}a{number} " for number in range(500)) for period in ("，。" * 164, "，。。" * 66)))
