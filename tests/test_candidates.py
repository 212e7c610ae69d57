"""Which documents are compared: against plain Python."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmdata.dedupe import candidates
from glmdata.dedupe.candidates import (
    INDEX_NUMBER,
    MAX_CANDIDATES,
    MAX_PRIORITY,
    NEIGHBOURS,
    Pairs,
    candidate_pairs,
    content_pairs,
    index_ranks,
    join_pairs,
    pack_ranks,
    range_of,
)
from glmdata.dedupe.minhash import band_keys, sign_texts
from glmdata.dedupe.survivors import survivor_rank
from glmdata.pipelines.similarity import COMPARED_AT_ONCE, turns

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


def reference_pairs(rows: list[tuple[int, int, int]], neighbours: int) -> dict[tuple[int, int], int]:
    """(document, better) to the number of keys under which they are paired."""
    groups: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    for key, rank, number in sorted(rows):
        groups[key].setdefault(rank % 2**36, (rank, number))
    found: Counter[tuple[int, int]] = Counter()
    for group in groups.values():
        members = [number for _, number in sorted(group.values())]
        for place, member in enumerate(members):
            better = {0, *range(max(0, place - neighbours), place)} - {place} if place else set()
            found.update((member, members[other]) for other in better if member < INDEX)
    return dict(found)


def told(pairs: Pairs) -> list[tuple[int, int, int, int]]:
    return list(zip(*(column.tolist() for column in pairs), strict=True))


def most_shared(
    found: dict[tuple[int, int], int], rank_of: dict[int, int], most: int | None
) -> list[tuple[int, int, int, int]]:
    """Pairs in order, of each document the `most` with the most keys and of equals the better ones."""
    chosen = []
    for member in {document for document, _ in found}:
        mine = [(-keys, rank_of[better], better) for (document, better), keys in found.items() if document == member]
        chosen += [(member, better, rank, -keys) for keys, rank, better in sorted(mine)[:most]]
    return sorted(chosen, key=lambda pair: (pair[0], pair[2], pair[1]))


@given(ROWS, st.sampled_from([0, 1, NEIGHBOURS]), st.sampled_from([None, 1, 2, 5]))
def test_each_is_paired_with_the_best_and_its_neighbours_by_rank(
    rows: list[tuple[int, int, int]], neighbours: int, most: int | None
) -> None:
    pairs = candidate_pairs(*columns(rows, 3), neighbours=neighbours, max_candidates=most)
    rank_of = {number: rank for _, rank, number in rows}
    assert told(pairs) == most_shared(reference_pairs(rows, neighbours), rank_of, most)
    assert [column.dtype for column in pairs] == [np.uint64, np.uint64, np.uint64, np.uint8]


@given(ROWS, st.integers(1, 4), st.sampled_from([None, 1, 3]), st.integers(1, 9))
def test_pairs_of_ranges_of_keys_join_to_those_of_all(
    rows: list[tuple[int, int, int]], parts: int, most: int | None, at_once: int
) -> None:
    """A number of pairs at once that is smaller than there are makes several chunks of documents."""
    of_parts = [
        candidate_pairs(*columns([row for row in rows if row[0] % 7 % parts == part], 3), max_candidates=None)
        for part in range(parts)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "_JOINED_AT_ONCE", at_once)
        joined = join_pairs(of_parts, most)
    if sum(len(pairs[0]) > 0 for pairs in of_parts) > 1:  # one alone is as its job left it
        assert told(joined) == told(candidate_pairs(*columns(rows, 3), max_candidates=most))


def test_a_copy_is_among_the_candidates_however_many_share_a_key_with_it() -> None:
    """100 better ones share one of 18 keys each with the document, its copy shares 3: by rank it would be the last."""
    count, last = 100, 200
    keys = [(key, n << 36 | n, n) for n in range(count) for key in (n % 18, 1000 + n)]
    keys += [(key, count << 36 | count, count) for key in (2000, 2001, 2002)]
    keys += [(key, last << 36 | last, last) for key in (*range(15), 2000, 2001, 2002)]
    found = [pair for pair in told(candidate_pairs(*columns(keys, 3))) if pair[0] == last]
    assert len(found) == MAX_CANDIDATES
    assert found[-1] == (last, count, count << 36 | count, 3)


@given(st.lists(st.sampled_from([0, 1, 1 << 32, 5 << 32 | 1, 7 << 32, BIG, BIG >> 32]), max_size=30))
def test_rows_of_keys_that_come_twice_are_found_where_halves_of_keys_agree(values: list[int]) -> None:
    rows, starts = candidates._in_groups(np.array(values, np.uint64))
    groups = [group.tolist() for group in np.split(rows, np.flatnonzero(starts)) if len(group)]
    expected = [[row for row, value in enumerate(values) if value == key] for key in set(values)]
    assert sorted(groups) == sorted(group for group in expected if len(group) > 1)


@given(st.lists(st.lists(st.integers(1, 255), min_size=1, max_size=12), min_size=1, max_size=5))
def test_the_best_and_the_closest_candidates_are_compared_first(bands: list[list[int]]) -> None:
    document = np.repeat(np.arange(len(bands), dtype=np.uint64) * np.uint64(3), [len(mine) for mine in bands])
    starts, turn = turns(document, np.concatenate(bands).astype(np.uint8))
    first = 0
    for mine in bands:
        closest = sorted(range(1, len(mine)), key=lambda place: (-mine[place], place))[: COMPARED_AT_ONCE - 1]
        order = [0, *closest, *(place for place in range(1, len(mine)) if place not in closest)]
        expected = [order.index(place) // COMPARED_AT_ONCE for place in range(len(mine))]
        assert turn[first : first + len(mine)].tolist() == expected
        assert (starts[first : first + len(mine)] == first).all()
        first += len(mine)


def test_a_copy_among_documents_of_a_template_is_compared_in_the_first_turn() -> None:
    """300 documents of one template, 0.65 alike, some of them 0.78; each has a copy, 0.95 alike and of equal length."""
    rng = np.random.default_rng(12)

    def some(count: int) -> list[str]:
        return [f"stone{number:07}" for number in rng.integers(0, 10**7, count).tolist()]

    template, texts = some(200), []
    for at in rng.integers(5, 175, 300).tolist():
        own = [*template[:at], *some(20), *template[at + 20 :]]
        place = (at + 100) % 200
        texts += [" ".join(own), " ".join([*own[:place], *some(1), *own[place + 1 :]])]
    signed, contents = sign_texts(texts)
    lengths = np.array([len(text) for text in texts])
    ranks = pack_ranks(np.ones(len(texts), np.int64), lengths, contents[:, 0])
    numbers = np.arange(len(texts), dtype=np.uint64)
    keys = band_keys(signed, 18, 7)
    document, better, _, bands = candidate_pairs(keys.ravel(), np.repeat(ranks, 18), np.repeat(numbers, 18))
    _, turn = turns(document, bands)
    assert np.bincount(document.astype(np.int64)).mean() > 4 * COMPARED_AT_ONCE
    assert (document // 2 == better // 2).sum() == len(texts) // 2
    assert (turn[document // 2 == better // 2] > 0).sum() == 0  # by rank alone it is 219 of them


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
    document, better, _, _ = candidate_pairs(np.full(count, 7, np.uint64), numbers, numbers)
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
    document, better, _, _ = candidate_pairs(same, ranks, numbers)
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
