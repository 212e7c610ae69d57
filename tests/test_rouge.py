"""ROUGE, against examples worked out by hand and the table that every textbook has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmdata.training.rouge import rouge, units

WORDS = st.lists(st.sampled_from(["a", "b", "c", "河", "水"]), max_size=12)


def longest_common_subsequence(first: list[str], second: list[str]) -> int:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The river is_warm. Don't!", ["the", "river", "is", "warm", "don", "t"]),
        ("火车晚点20分钟。", ["火", "车", "晚", "点", "20", "分", "钟"]),
        ("ＧＬＭ的２Ｄ positions", ["glm", "的", "2d", "positions"]),
        ("カタカナ ひらがな 𠀀 𠀀a", [*"カタカナひらがな𠀀𠀀", "a"]),
        ("Straße naïve cafe\u0301", ["strasse", "naïve", "café"]),
        ("—— …… !?", []),
    ],
)
def test_units_are_words_and_han_characters(text: str, expected: list[str]) -> None:
    assert units(text) == expected


@pytest.mark.parametrize(
    ("found", "expected", "scores"),
    [
        # 3 of 3 and 3 of 4 units: P 1, R .75. Pairs: "the cat" of 2 and of 3. In order: the cat ... sat.
        ("the cat sat", "The cat has sat", (6 / 7, 2 / 5, 6 / 7)),
        # "police killed the gunman" and Lin's candidates: the same units, of which 3 and 2 are in order.
        ("police kill the gunman", "police killed the gunman", (3 / 4, 1 / 3, 3 / 4)),
        ("the gunman kill police", "police killed the gunman", (3 / 4, 1 / 3, 2 / 4)),
        # 河水变暖 and 河水很暖: 3 of 4 characters, 河水 of 3 pairs.
        ("河水变暖。", "河水很暖", (3 / 4, 1 / 3, 3 / 4)),
        # What comes three times counts as often as it is wanted: once of 3, and of 2. No pair "the gunman".
        ("the the the", "the gunman", (2 / 5, 0.0, 2 / 5)),
        ("glm 模型", "一个 GLM 模型", (6 / 8, 4 / 6, 6 / 8)),
        ("warm", "warm", (1.0, 0.0, 1.0)),
        ("", "warm", (0.0, 0.0, 0.0)),
        ("……", "", (0.0, 0.0, 0.0)),
    ],
)
def test_scores_are_those_worked_out_by_hand(found: str, expected: str, scores: tuple[float, float, float]) -> None:
    assert rouge(found, expected) == pytest.approx(scores)


@given(WORDS, WORDS)
def test_scores_follow_from_the_definitions(first: list[str], second: list[str]) -> None:
    found = rouge(" ".join(first), " ".join(second))
    common = longest_common_subsequence(first, second)
    both = len(first) + len(second)
    assert found.rouge_l == pytest.approx(2 * common / both if common else 0.0)
    assert found.rouge_l <= found.rouge_1 + 1e-12
    assert found == rouge(" ".join(second), " ".join(first))
    assert all(0 <= score <= 1 for score in found)
    if first == second and len(first) > 1:
        assert found == (1, 1, 1)
