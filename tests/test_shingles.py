"""Shingles against a plain Python reading of the same rules."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shingled import TEXTS, units_of

from glmdata.dedupe.minhash import sign_texts
from glmdata.dedupe.shingles import alike, jaccard, shingle_hashes, shingle_sets, utf8_buffers


def shingles_of(text: str, size: int) -> list[tuple[str, ...]]:
    units = units_of(text)
    if not units or len(text) == 1:
        return [("bytes", text)] if text else []
    return [tuple(units[i : i + size]) for i in range(max(1, len(units) - size + 1))]


def content_of(text: str) -> object:
    units = units_of(text)
    return units if units and len(text) > 1 else ("bytes", text)


@given(st.lists(TEXTS, max_size=4))
@settings(deadline=None)
def test_contents_are_equal_where_the_units_are(texts: list[str]) -> None:
    texts = [*texts, *(text.upper() for text in texts), *(f" {text}!\n" for text in texts), "a", "A", "!", "?", ""]
    _, contents = sign_texts(texts, 0)
    assert (contents.dtype, contents.shape) == (np.uint64, (len(texts), 2))
    found = [tuple(row) for row in contents.tolist()]
    expected = [content_of(text) for text in texts]
    assert [expected.index(c) for c in expected] == [found.index(c) for c in found]


def test_one_character_is_like_no_other() -> None:
    characters = ["a", "A", "ａ", "é", "E", "字", "!", "?", " ", "\u0301", "😀"]
    values, offsets = shingle_sets(characters, np.arange(len(characters)))
    for i in range(len(characters)):
        for j in range(i):
            assert not np.intersect1d(values[offsets[i] : offsets[i + 1]], values[offsets[j] : offsets[j + 1]]).size


SETS = st.lists(st.frozensets(st.integers(0, 9)), min_size=1, max_size=8)


def flat(sets: list[frozenset[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    return np.array([value for one in sets for value in sorted(one)], np.uint64), offsets


@given(SETS, st.sampled_from([0.1, 1 / 3, 0.5, 0.6, 0.75, 0.8, 0.9, 1.0]), st.data())
@settings(deadline=None)
def test_pairs_are_alike_where_their_similarity_reaches_the_threshold(
    sets: list[frozenset[int]], threshold: float, data: st.DataObject
) -> None:
    place = st.integers(0, len(sets) - 1)
    pairs = data.draw(st.lists(st.tuples(place, place), max_size=12))
    expected = [
        bool(sets[i] and sets[j]) and len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold for i, j in pairs
    ]
    left, right = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    assert expected == alike(*flat(sets), left, right, threshold).tolist()


def test_a_similarity_equal_to_the_threshold_is_enough() -> None:
    for shared in range(1, 60):
        for other in range(40):
            sets = flat([frozenset(range(shared)), frozenset(range(shared + other))])
            assert alike(*sets, np.array([0]), np.array([1]), shared / (shared + other)).tolist() == [True]


def test_wrong_thresholds_and_sets_are_refused() -> None:
    sets, one = flat([frozenset({1})]), np.array([0])
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        alike(*sets, one, one, 0.0)
    with pytest.raises(IndexError, match=r"1\.\.1 of 1"):
        alike(*sets, one, np.array([1]), 0.5)


def set_of(text: str, size: int = 5) -> np.ndarray:
    return shingle_sets([text], np.array([0]), size)[0]


@given(TEXTS, st.integers(1, 7))
@settings(deadline=None)
def test_hashes_are_equal_where_shingles_are_equal(text: str, size: int) -> None:
    expected, actual = shingles_of(text, size), shingle_hashes(text, size)
    assert actual.dtype == np.uint32
    assert len(expected) == len(actual)
    assert [expected.index(s) for s in expected] == [actual.tolist().index(h) for h in actual.tolist()]


@given(TEXTS, TEXTS, TEXTS, st.integers(1, 6))
@settings(deadline=None)
def test_jaccard_is_that_of_the_sets_of_shingles(start: str, middle: str, end: str, size: int) -> None:
    texts = [start + middle, middle + end]
    a, b = (set(shingles_of(text, size)) for text in texts)
    expected = len(a & b) / len(a | b) if a and b else 0.0
    assert expected == jaccard(set_of(texts[0], size), set_of(texts[1], size))


@given(st.lists(TEXTS, max_size=6), st.data())
@settings(deadline=None)
def test_sets_of_chosen_rows_hold_the_hashes_of_each_text_once_and_ascending(
    texts: list[str], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=8)) if texts else []
    values, offsets = shingle_sets(pa.array(texts, pa.string()), np.array(rows, np.int64))
    assert (values.dtype, offsets.dtype, len(offsets)) == (np.uint64, np.int64, len(rows) + 1)
    for i, row in enumerate(rows):
        mine = values[offsets[i] : offsets[i + 1]]
        assert np.all(mine[1:] > mine[:-1])
        assert len(set(shingles_of(texts[row], 5))) == len(mine)
        assert set((mine >> np.uint64(32)).tolist()) == set(shingle_hashes(texts[row]).tolist())


def test_every_bmp_character_counts_as_its_properties_say() -> None:
    """Between x and y it leaves one word, two words, or two words and a unit between."""
    for code in (*range(0xD800), *range(0xE000, 0x10000)):
        text = f"x{chr(code)}y"
        assert len(units_of(text)) == len(shingle_hashes(text, 1)), f"U+{code:04X}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Quick BROWN fox", "the quick brown fox"),
        ("STRASSE", "straße"),
        ("ΟΔΟΣ", "οδος"),
        ("ＧＬＭ－１３０Ｂ", "glm-130b"),
        ("ｱｲｳ", "アイウ"),
        ("今天，天气很好。", "今天天气很好"),
        ("今天\n天气\u3000很好", "今天天气很好"),
        ("a\u00adb", "ab"),
        ("葛\U000e0100城", "葛城"),
        ("\uf900兔", "豈兔"),
    ],
)
def test_case_width_space_and_punctuation_are_not_compared(one: str, other: str) -> None:
    assert shingle_hashes(one).tolist() == shingle_hashes(other).tolist()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("中", 1),
        ("中文", 2),
        ("我用GLM模型", 5),
        ("snake_case", 2),
        ("カタカナとひらがな", 9),
        ("don't", 2),
        ("e\u0301te\u0301", 1),
        ("😀😀x", 3),
        ("\U00020000\U00020001", 2),
    ],
)
def test_units_are_counted_as_readers_would(text: str, count: int) -> None:
    assert count == len(units_of(text)) == len(shingle_hashes(text, 1))


@given(TEXTS, TEXTS)
@settings(deadline=None)
def test_short_texts_are_alike_only_if_their_units_are_equal(one: str, other: str) -> None:
    a, b = units_of(one), units_of(other)
    if 0 < len(a) < 5 and 0 < len(b) < 5:
        assert (a == b) == (jaccard(set_of(one), set_of(other)) == 1.0)
        assert (a == b) != (jaccard(set_of(one), set_of(other)) == 0.0)


def test_texts_without_units_are_compared_by_their_bytes() -> None:
    texts = ["!", "?", "!!", " ", "\n", "。", "——", "_"]
    hashes = [shingle_hashes(text).tolist() for text in texts]
    assert all(len(h) == 1 for h in hashes)
    assert len(texts) == len({h[0] for h in hashes})


def test_the_empty_text_has_no_shingles_and_is_like_nothing() -> None:
    assert len(shingle_hashes("")) == 0
    assert jaccard(set_of(""), set_of("")) == 0.0
    assert jaccard(set_of(""), set_of("中文")) == 0.0


def test_hashes_do_not_change_between_versions() -> None:
    """Signature indexes are kept between builds; these numbers change only with the index format's version."""
    assert shingle_hashes("GLM fills in blanks, 完形填空。").tolist() == [867981473, 4105993664, 2044241822, 2907696056]


def test_lone_surrogates_separate_words() -> None:
    assert shingle_hashes("ab\ud800cd", 1).tolist() == shingle_hashes("ab cd", 1).tolist()


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_not_utf8_are_read_within_their_bounds(data: bytes) -> None:
    """Arrow does not check what it is told is UTF-8."""
    texts = pa.StringArray.from_buffers(
        2, pa.array([0, len(data), len(data)], pa.int32()).buffers()[1], pa.py_buffer(data)
    )
    values, offsets = shingle_sets(texts, np.array([0, 1]))
    assert (len(data) > 0, 0) == (offsets[1] > 0, offsets[2] - offsets[1])
    assert len(values) <= (len(data) + 1) // 2 + 1


def array_forms(texts: list[str]) -> Iterator[pa.Array]:
    yield pa.array(texts, pa.string())
    yield pa.array(texts, pa.large_string())
    yield pa.array(["padding", *texts, "padding"], pa.string()).slice(1, len(texts))


@given(st.lists(TEXTS, max_size=5))
@settings(deadline=None)
def test_strings_and_every_layout_of_arrow_strings_give_the_same_bytes(texts: list[str]) -> None:
    expected = [text.encode() for text in texts]
    for form in (texts, *array_forms(texts)):
        data, offsets = utf8_buffers(form)
        assert not data.flags.writeable
        assert not offsets.flags.writeable
        assert expected == [data[offsets[i] : offsets[i + 1]].tobytes() for i in range(len(texts))]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="1 nulls"):
        utf8_buffers(pa.array(["a", None]))
    with pytest.raises(TypeError, match="int64"):
        utf8_buffers(pa.array([1]))
    with pytest.raises(ValueError, match="at least 1 unit"):
        shingle_hashes("text", 0)
    with pytest.raises(IndexError, match=r"0\.\.2 asked of 2"):
        shingle_sets(["a", "b"], np.array([0, 2]))


def test_arguments_are_read_only_to_the_kernels() -> None:
    """The caller's arrays may be writable or not; they are never changed."""
    rows, one = np.array([0, 0], np.int64), np.array([1, 2, 3], np.uint64)
    values, offsets = shingle_sets(["one two three four five six"], rows)
    assert (offsets.tolist(), rows.tolist()) == ([0, 2, 4], [0, 0])
    assert jaccard(one, np.array([2, 3, 4, 5], np.uint64)) == 2 / 5
    assert values[:2].tolist() == values[2:].tolist()
