"""Quotas and turns."""

from fractions import Fraction

import numpy as np
import pytest
from balances import leads
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.balance import copies_of, quotas, source_weight, take_turns
from glmdata.errors import InputError

counts = st.integers(min_value=1, max_value=10**13)
weights = st.floats(min_value=0.1, max_value=10)


@given(zh=counts, en=counts)
def test_one_to_one_takes_the_scarcer_whole_and_as_much_of_the_other(zh: int, en: int) -> None:
    assert quotas({"zh": zh, "en": en}, {"zh": 1, "en": 1}, "downsample") == dict.fromkeys(("zh", "en"), min(zh, en))


@given(tokens=st.lists(counts, min_size=3, max_size=3), ratio=st.lists(weights, min_size=3, max_size=3))
def test_any_ratio_is_kept_within_a_token_and_one_language_is_whole(tokens: list[int], ratio: list[float]) -> None:
    codes = ("zh", "en", "fr")
    there, wanted = dict(zip(codes, tokens, strict=True)), dict(zip(codes, ratio, strict=True))
    taken = quotas(there, wanted, "downsample")
    assert any(taken[code] == there[code] for code in codes)
    assert all(0 <= taken[code] <= there[code] for code in codes)
    shares = [taken[code] / wanted[code] for code in codes]
    assert max(shares) - min(shares) <= 1 / min(ratio) + 1e-9 * max(shares)


@given(
    tokens=st.lists(counts, min_size=1, max_size=4),
    ratio=st.lists(weights, min_size=4, max_size=4),
    most=st.integers(min_value=1, max_value=20),
)
def test_repeats_keep_the_ratio_and_give_up_as_little_as_they_can(
    tokens: list[int], ratio: list[float], most: int
) -> None:
    codes = ("zh", "en", "fr", "de")[: len(tokens)]
    there, wanted = dict(zip(codes, tokens, strict=True)), dict(zip(codes, ratio, strict=False))
    taken = quotas(there, wanted, "upsample", most)
    assert all(0 <= taken[code] <= most * there[code] for code in codes)
    shares = [taken[code] / wanted[code] for code in codes]
    assert max(shares) - min(shares) <= 1 / min(ratio) + 1e-9 * max(shares)
    rich = max(codes, key=lambda code: (there[code] / wanted[code], code))
    assert taken[rich] == there[rich] or any(taken[code] == most * there[code] for code in codes)
    assert taken[rich] <= there[rich]


@given(tokens=st.lists(counts, min_size=1, max_size=4), ratio=st.lists(weights, min_size=4, max_size=4))
def test_upsample_without_repeats_is_downsample(tokens: list[int], ratio: list[float]) -> None:
    codes = ("zh", "en", "fr", "de")[: len(tokens)]
    there, wanted = dict(zip(codes, tokens, strict=True)), dict(zip(codes, ratio, strict=False))
    assert quotas(there, wanted, "upsample", 1) == quotas(there, wanted, "downsample", 7)


def test_off_takes_everything() -> None:
    assert quotas({"zh": 5, "en": 7}, {"zh": 1, "en": 1}, "off") == {"zh": 5, "en": 7}


@pytest.mark.parametrize("strategy", ["downsample", "off"])
def test_nothing_left_is_refused(strategy: str) -> None:
    with pytest.raises(InputError, match="no document of zh or en is left"):
        quotas({"zh": 0, "en": 0}, {"zh": 1, "en": 1}, strategy)


def test_a_missing_language_is_refused_with_what_helps() -> None:
    with pytest.raises(InputError, match=r"no document of zh is left to balance; .*balance\.strategy=off"):
        quotas({"zh": 0, "en": 9}, {"zh": 1, "en": 1}, "downsample")


@given(
    weight=st.floats(min_value=0, max_value=100), other=st.floats(min_value=0, max_value=100), seed=st.integers(0, 99)
)
def test_copies_are_the_weight_rounded_and_a_higher_weight_takes_no_document_out(
    weight: float, other: float, seed: int
) -> None:
    draws = np.random.default_rng(seed).integers(0, 1 << 64, 400, np.uint64)
    low, high = (copies_of(np.full(400, value), draws) for value in sorted((weight, other)))
    assert (low <= high).all()
    assert set(low) <= {int(min(weight, other)), int(min(weight, other)) + 1}
    assert abs(low.mean() - min(weight, other)) < 0.13  # five standard deviations


def test_draws_at_the_edges_are_decided_exactly() -> None:
    draws = np.array([0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1], np.uint64)
    assert copies_of(np.full(4, 0.5), draws).tolist() == [1, 1, 0, 0]
    assert copies_of(np.full(4, 1 - 2.0**-53), draws).tolist() == [1, 1, 1, 0]
    assert copies_of(np.full(4, 0.0), draws).tolist() == [0] * 4
    assert copies_of(np.full(4, 3.0), draws).tolist() == [3] * 4


def test_the_longest_pattern_decides() -> None:
    weights = {"*": 0.5, "books/*": 2, "books/[a-m]*": 3, "*.txt": 7}
    found = [source_weight(uri, weights) for uri in ("web/a", "books/z", "books/a", "b.txt", "books/z.txt")]
    assert found == [0.5, 2, 3, 7, 2]
    assert source_weight("books/a", {"web/*": 2}) == 1
    assert source_weight("ab", {"a*": 2, "*b": 3}) == source_weight("ab", {"*b": 3, "a*": 2}) == 2


rows = st.lists(st.integers(min_value=1, max_value=512), max_size=60).map(lambda values: np.array(values, np.int32))


@st.composite
def languages_of_a_ratio(draw: st.DrawFn) -> list[np.ndarray]:
    """1 to 4 languages, the largest of up to 100 rows to one of another's, rows of any length or nearly full ones."""
    ratios = draw(st.lists(st.sampled_from([1, 2, 3, 7, 10, 50, 100]), min_size=1, max_size=4))
    least = draw(st.sampled_from([1, 400]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    scale = draw(st.integers(1, 3))
    return [rng.integers(least, 513, scale * ratio).astype(np.int32) for ratio in ratios]


@given(languages=st.lists(rows, min_size=1, max_size=4) | languages_of_a_ratio())
@settings(deadline=None)  # the kernel may be compiled here
def test_turns_keep_the_rows_of_a_language_in_order_and_lose_none(languages: list[np.ndarray]) -> None:
    language, row = take_turns(languages)
    for number, tokens in enumerate(languages):
        assert row[language == number].tolist() == list(range(len(tokens)))
    assert len(row) == sum(map(len, languages))


@given(languages=st.lists(rows.filter(len), min_size=2, max_size=2))
def test_two_languages_have_given_the_same_share_within_a_row(languages: list[np.ndarray]) -> None:
    language, row = take_turns(languages)
    totals = [int(tokens.sum()) for tokens in languages]
    given_ = [0] * len(languages)
    largest = max(max(tokens) / total for tokens, total in zip(languages, totals, strict=True))
    for number, place in zip(language, row, strict=True):
        given_[number] += int(languages[number][place])
        shares = [done / total for done, total in zip(given_, totals, strict=True)]
        assert max(shares) - min(shares) <= largest + 1e-9


@given(languages=languages_of_a_ratio())
@settings(deadline=None)
def test_after_any_prefix_and_in_any_run_of_rows_each_language_has_its_share_within_two_rows(
    languages: list[np.ndarray],
) -> None:
    """A run is the difference of two prefixes, so the rows of a shard keep the ratio as the build does."""
    language, row = take_turns(languages)
    tokens = np.array([languages[number][place] for number, place in zip(language, row, strict=True)])
    ahead = leads(language, tokens) / tokens.max()
    assert np.abs(ahead).max() <= 1.01
    assert (ahead.max(0) - ahead.min(0)).max() <= 2


def by_deadline_slowly(languages: list[np.ndarray]) -> list[tuple[int, int]]:
    """The plain twin, in fractions."""
    share = [Fraction(int(tokens.sum()), sum(int(t.sum()) for t in languages)) for tokens in languages]
    slack = Fraction(1, 2 * len(languages) - 2)
    given_, at, order = [0] * len(languages), [0] * len(languages), list[tuple[int, int]]()
    for _ in range(sum(map(len, languages))):
        left = [number for number, tokens in enumerate(languages) if at[number] < len(tokens)]
        size = {number: int(languages[number][at[number]]) for number in left}
        behind = {number: share[number] * (sum(given_) + size[number]) - given_[number] for number in left}
        due = [number for number in left if behind[number] >= slack * size[number]]
        chosen = (
            min(due, key=lambda number: (given_[number] + (1 - slack) * size[number]) / share[number])
            if due
            else max(left, key=lambda number: behind[number])
        )
        order.append((chosen, at[chosen]))
        given_[chosen] += size[chosen]
        at[chosen] += 1
    return order


@given(languages=st.lists(rows.filter(len), min_size=3, max_size=5))
@settings(deadline=None, max_examples=40)
def test_deadlines_agree_with_the_plain_twin(languages: list[np.ndarray]) -> None:
    language, row = take_turns(languages)
    assert list(zip(language.tolist(), row.tolist(), strict=True)) == by_deadline_slowly(languages)


def test_empty_languages_take_no_turn() -> None:
    none, some = np.zeros(0, np.int32), np.array([5, 5], np.int32)
    language, row = take_turns([none, some, none, some, none])
    assert language.tolist() == [1, 3, 1, 3]
    assert row.tolist() == [0, 0, 1, 1]
    assert [len(found) for found in take_turns([none, none])] == [0, 0]
