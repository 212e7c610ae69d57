"""Who stays, against plain Python."""

import random

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from glmdata.dedupe.survivors import Settlement, choose_survivors, content_hashes, survivor_rank

SMALL = st.integers(0, 2)
HALVES = st.tuples(st.sampled_from([0, 1, 2**64 - 1]), st.sampled_from([0, 1, 2**64 - 1]))
ROWS = st.lists(st.tuples(SMALL, st.integers(-1, 1), st.sampled_from([0, 5, 2**63 - 1]), HALVES, HALVES), max_size=20)
Row = tuple[int, int, int, tuple[int, int], tuple[int, int]]


def survivors(rows: list[Row]) -> list[int]:
    labels, priority, length, content, identity = zip(*rows, strict=True) if rows else ((),) * 5
    rank = survivor_rank(
        np.array(priority, np.int64),
        np.array(length, np.int64),
        np.array(content, np.uint64).reshape(-1, 2),
        np.array(identity, np.uint64).reshape(-1, 2),
    )
    return choose_survivors(np.array(labels, np.uint64), rank).tolist()


@given(ROWS)
def test_the_survivor_is_first_in_the_total_order_of_its_component(rows: list[Row]) -> None:
    actual = survivors(rows)
    assert len(rows) == len(actual)
    for row, survivor in zip(rows, actual, strict=True):
        rivals = [other for other in rows if other[0] == row[0]]
        expected = min(rivals, key=lambda other: (other[1], -other[2], other[3], other[4]))
        assert expected == rows[survivor]


@given(ROWS.map(lambda rows: list({row[4]: row for row in rows}.values())), st.randoms())
def test_the_same_documents_survive_in_any_order_of_rows(rows: list[Row], rng: random.Random) -> None:
    order = rng.sample(range(len(rows)), len(rows))
    shuffled = survivors([rows[i] for i in order])
    assert survivors(rows) == [order[shuffled[order.index(i)]] for i in range(len(rows))]


GRAPHS = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda e: e[0] > e[1])),
        st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda e: e[0] > e[1])),
    )
)
Graph = tuple[int, set[tuple[int, int]], set[tuple[int, int]]]


def settled(count: int, edges: set[tuple[int, int]], unseen: set[tuple[int, int]]) -> tuple[list[int], int]:
    """Settle with `unseen` as pairs that are alike without an edge; survivors, and how often was asked."""
    table = np.array(sorted(edges), np.int64).reshape(-1, 2)
    settlement, turns = Settlement(count, table[:, 0], table[:, 1]), 0
    while len((asked := settlement.questions())[0]):
        document, other = asked
        pairs = zip(document.tolist(), other.tolist(), strict=True)
        settlement.answer(document, np.array([pair in edges | unseen for pair in pairs]), other)
        turns += 1
    return settlement.survivors.tolist(), turns


def reference(count: int, edges: set[tuple[int, int]], unseen: set[tuple[int, int]]) -> list[int]:
    """The three rules, one document after the other."""
    found: list[int] = []
    for document in range(count):
        better = [b for d, b in edges if d == document]
        stay = [b for b in better if found[b] == b]
        if not stay:
            stay = [found[b] for b in better if (document, found[b]) in unseen]
        found.append(min(stay, default=document))
    return found


@given(GRAPHS)
def test_documents_are_settled_by_the_rules_from_the_best_on(graph: Graph) -> None:
    assert reference(*graph) == settled(*graph)[0]


@given(GRAPHS)
def test_none_goes_but_for_one_that_stays_and_is_like_it(graph: Graph) -> None:
    _, edges, unseen = graph
    found, _ = settled(*graph)
    for document, survivor in enumerate(found):
        assert found[survivor] == survivor
        assert survivor == document or (document, survivor) in edges | unseen
    assert not [(d, b) for d, b in edges if found[d] == d and found[b] == b]


def test_a_chain_keeps_those_that_are_not_like_one_that_stays() -> None:
    """0 - 1 - 2 - 3 - 4, each like the next alone: 0, 2 and 4 stay, and one question follows the other."""
    found, turns = settled(5, {(i + 1, i) for i in range(4)}, set())
    assert (found, turns) == ([0, 0, 2, 2, 4], 2)


def test_many_doubtful_documents_are_asked_about_at_once() -> None:
    """A thousand that are like a removed one are one round of questions, not a thousand."""
    found, turns = settled(1002, {(1, 0), *((i, 1) for i in range(2, 1002))}, {(i, 0) for i in range(2, 1002, 2)})
    assert turns == 1
    assert [0 if i % 2 == 0 else i for i in range(2, 1002)] == found[2:]


def test_an_edge_to_a_worse_document_is_refused() -> None:
    with pytest.raises(ValueError, match="to a better one"):
        Settlement(3, np.array([1]), np.array([2]))


@given(st.lists(st.text(), max_size=5))
def test_content_hashes_are_xxh3_of_the_bytes(texts: list[str]) -> None:
    expected = [divmod(xxhash.xxh3_128_intdigest(text.encode()), 2**64) for text in texts]
    arrow = pa.array(["before", *texts], pa.string()).slice(1)
    for form in (texts, arrow):
        actual = content_hashes(form)
        assert (actual.dtype, actual.shape) == (np.uint64, (len(texts), 2))
        assert expected == [tuple(row) for row in actual.tolist()]
