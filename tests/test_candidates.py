"""Which documents are compared: against plain Python."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmdata.dedupe.candidates import (
    INDEX_NUMBER,
    MAX_PRIORITY,
    NEIGHBOURS,
    candidate_pairs,
    content_pairs,
    index_ranks,
    pack_ranks,
    range_of,
)
from glmdata.dedupe.survivors import survivor_rank

BIG = 2**64 - 1
INDEX = int(INDEX_NUMBER)
RANK = st.integers(0, 12).map(lambda rank: rank << 36 | rank % 7)  # some of equal content, by the low bits
NUMBER = st.one_of(st.integers(0, 12), st.integers(INDEX, INDEX + 3))
ROWS = st.dictionaries(NUMBER, RANK, max_size=12).flatmap(
    lambda ranks: st.sets(st.tuples(st.sampled_from([0, 1, 2, BIG]), st.sampled_from(sorted(ranks) or [0]))).map(
        lambda rows: [(key, ranks[number], number) for key, number in sorted(rows) if number in ranks]
    )
)


def columns(rows: list[tuple[int, ...]], width: int) -> list[np.ndarray]:
    table = np.array(rows, np.uint64).reshape(-1, width)
    return [np.ascontiguousarray(table[:, i]) for i in range(width)]


def reference_pairs(rows: list[tuple[int, int, int]], neighbours: int) -> set[tuple[int, int]]:
    groups: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    for key, rank, number in sorted(rows):
        groups[key].setdefault(rank % 2**36, (rank, number))
    found = set()
    for group in groups.values():
        members = [number for _, number in sorted(group.values())]
        for place, member in enumerate(members):
            better = {0, *range(max(0, place - neighbours), place)} - {place} if place else set()
            found |= {(member, members[other]) for other in better if member < INDEX}
    return found


@given(ROWS, st.sampled_from([0, NEIGHBOURS]))
def test_each_is_paired_with_the_best_and_its_neighbours_by_rank(
    rows: list[tuple[int, int, int]], neighbours: int
) -> None:
    document, better, rank = candidate_pairs(*columns(rows, 3), neighbours=neighbours)
    found = list(zip(document.tolist(), better.tolist(), strict=True))
    assert reference_pairs(rows, neighbours) == set(found)
    assert len(found) == len(set(found))
    assert document.tolist() == sorted(document.tolist())
    ranks = {(n, r) for _, r, n in rows}
    assert all(pair in ranks for pair in zip(better.tolist(), rank.tolist(), strict=True))
    assert not [pair for pair in found if pair[0] >= INDEX]


@given(ROWS, st.randoms())
def test_pairs_do_not_depend_on_the_order_of_rows(rows: list[tuple[int, int, int]], rng: object) -> None:
    shuffled = sorted(rows, key=lambda _: rng.random())  # type: ignore[attr-defined]
    for expected, actual in zip(
        candidate_pairs(*columns(rows, 3)), candidate_pairs(*columns(shuffled, 3)), strict=True
    ):
        assert expected.tolist() == actual.tolist()


def test_a_group_of_a_million_makes_five_pairs_a_document() -> None:
    """A band that everybody shares does not make a pair of everybody with everybody."""
    count = 1_000_000
    numbers = np.arange(count, dtype=np.uint64)
    document, better, _ = candidate_pairs(np.full(count, 7, np.uint64), numbers, numbers)
    assert len(document) <= (NEIGHBOURS + 1) * count
    assert np.unique(document).tolist() == numbers[1:].tolist()
    assert (better < document).all()


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, BIG]), st.integers(0, 1), st.integers(0, 3), st.integers(0, 20)),
        max_size=20,
        unique_by=lambda row: row[3],
    )
)
def test_documents_of_one_content_name_the_best_of_them(rows: list[tuple[int, int, int, int]]) -> None:
    expected = set()
    for high, low, rank, number in rows:
        rivals = [(r, n) for h, w, r, n in rows if (h, w) == (high, low)]
        if min(rivals) != (rank, number):
            expected.add((number, min(rivals)[1]))
    document, better = content_pairs(*columns(rows, 4))
    assert expected == set(zip(document.tolist(), better.tolist(), strict=True))
    assert len(document) == len(expected)


def test_a_document_of_an_index_is_never_the_worse() -> None:
    numbers = np.array([INDEX, INDEX + 1, 5], np.uint64)
    same, ranks = np.zeros(3, np.uint64), np.array([1, 2, 3], np.uint64)
    assert [side.tolist() for side in content_pairs(same, same, ranks, numbers)] == [[5], [INDEX]]
    document, better, _ = candidate_pairs(same, ranks, numbers)
    assert (document.tolist(), better.tolist()) == ([5, 5], [INDEX, INDEX + 1])


DOCUMENTS = st.lists(
    st.tuples(st.integers(0, MAX_PRIORITY), st.integers(0, 2**22 - 1), st.integers(0, BIG)), min_size=2, max_size=9
)


@given(DOCUMENTS)
def test_ranks_are_in_the_order_of_survivors(rows: list[tuple[int, int, int]]) -> None:
    priority, length = (np.array(column) for column in list(zip(*rows, strict=True))[:2])
    hashes = np.stack([np.array([c for _, _, c in rows], np.uint64), np.zeros(len(rows), np.uint64)], axis=1)
    ranks = pack_ranks(priority, length, hashes[:, 0])
    assert (ranks % 2**36 == hashes[:, 0] >> np.uint64(28)).all()
    expected = survivor_rank(priority, length, hashes, np.zeros((len(rows), 2), np.uint64))
    ordered = ranks[np.argsort(expected)]
    assert (ordered[1:] >= ordered[:-1]).all()
    assert len(np.unique(ranks)) == len({(p, n, c >> 28) for p, n, c in rows})


def test_documents_of_an_index_rank_before_all_others() -> None:
    content = np.array([BIG, 5], np.uint64)
    ranks = pack_ranks(np.array([1, 1]), np.array([2**40, 2**22]), np.array([0, 1], np.uint64))
    assert index_ranks(content).max() < ranks.min()
    assert index_ranks(content).tolist() == [BIG >> 28, 0]


@pytest.mark.parametrize("parts", [1, 2, 3, 1000, 65537])
def test_ranges_cover_all_keys_evenly_and_in_order(parts: int) -> None:
    keys = np.arange(200_001, dtype=np.uint64) * np.uint64(BIG // 200_000)
    keys[-1] = BIG
    found = range_of(keys, parts)
    assert (found[0], found[-1]) == (0, parts - 1)
    assert (np.diff(found) >= 0).all()
