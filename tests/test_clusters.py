"""Components, survivors and verified groups against plain Python."""

import random

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from glmdata.dedupe.clusters import choose_survivors, connected_components, content_hashes, leaders

NODES = st.one_of(st.integers(0, 12), st.integers(2**63, 2**63 + 12), st.just(2**64 - 1))
EDGES = st.lists(st.tuples(NODES, NODES), max_size=30)


def columns(edges: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(edges, np.uint64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def smallest_reachable(edges: list[tuple[int, int]]) -> dict[int, int]:
    """Every node's label is lowered along its edges until nothing changes."""
    labels = {node: node for edge in edges for node in edge}
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            low = min(labels[a], labels[b])
            changed |= labels[a] != low or labels[b] != low
            labels[a] = labels[b] = low
    return labels


@given(EDGES)
def test_roots_are_the_smallest_nodes_of_their_components(edges: list[tuple[int, int]]) -> None:
    nodes, roots = connected_components(*columns(edges))
    assert (nodes.dtype, roots.dtype) == (np.uint64, np.uint64)
    assert sorted(smallest_reachable(edges).items()) == list(zip(nodes.tolist(), roots.tolist(), strict=True))


@given(EDGES, st.randoms())
def test_components_do_not_depend_on_the_order_or_direction_of_edges(
    edges: list[tuple[int, int]], rng: random.Random
) -> None:
    other = [edge if rng.random() < 0.5 else edge[::-1] for edge in rng.sample(edges, len(edges))]
    for expected, actual in zip(
        connected_components(*columns(edges)), connected_components(*columns(other)), strict=True
    ):
        assert expected.tolist() == actual.tolist()


@pytest.mark.parametrize("backwards", [False, True])
def test_a_long_chain_and_a_big_star_are_one_component_each(backwards: bool) -> None:
    chain = np.arange(100_000, dtype=np.uint64)
    star = np.full(100_000, 10**9, np.uint64)
    edges_a = np.concatenate((chain[:-1], star))
    edges_b = np.concatenate((chain[1:], np.arange(10**9 + 1, 10**9 + 100_001, dtype=np.uint64)))
    if backwards:
        edges_a, edges_b = edges_b[::-1], edges_a[::-1]
    nodes, roots = connected_components(edges_a, edges_b)
    assert len(nodes) == 200_001
    assert np.unique(roots).tolist() == [0, 10**9]


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 first nodes and 1 second"):
        connected_components(np.zeros(2, np.uint64), np.zeros(1, np.uint64))


SMALL = st.integers(0, 2)
HALVES = st.tuples(st.sampled_from([0, 1, 2**64 - 1]), st.sampled_from([0, 1, 2**64 - 1]))
ROWS = st.lists(
    st.tuples(SMALL, st.integers(-1, 1), st.sampled_from([-(2**63), 0, 5, 2**63 - 1]), HALVES, HALVES), max_size=20
)
Row = tuple[int, int, int, tuple[int, int], tuple[int, int]]


def survivors(rows: list[Row]) -> list[int]:
    labels, priority, length, content, identity = zip(*rows, strict=True) if rows else ((),) * 5
    return choose_survivors(
        np.array(labels, np.uint64),
        np.array(priority, np.int64),
        np.array(length, np.int64),
        np.array(content, np.uint64).reshape(-1, 2),
        np.array(identity, np.uint64).reshape(-1, 2),
    ).tolist()


@given(ROWS)
def test_the_survivor_is_first_in_the_total_order_of_its_component(rows: list[Row]) -> None:
    actual = survivors(rows)
    assert len(rows) == len(actual)
    for row, survivor in zip(rows, actual, strict=True):
        rivals = [other for other in rows if other[0] == row[0]]
        expected = min(rivals, key=lambda other: (-other[1], -other[2], other[3], other[4]))
        assert expected == rows[survivor]


@given(ROWS.map(lambda rows: list({row[4]: row for row in rows}.values())), st.randoms())
def test_the_same_documents_survive_in_any_order_of_rows(rows: list[Row], rng: random.Random) -> None:
    order = rng.sample(range(len(rows)), len(rows))
    shuffled = survivors([rows[i] for i in order])
    assert survivors(rows) == [order[shuffled[order.index(i)]] for i in range(len(rows))]


SETS = st.lists(st.frozensets(st.integers(0, 9)), min_size=1, max_size=8)


def flat(sets: list[frozenset[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    return offsets, np.array([value for one in sets for value in sorted(one)], np.uint64)


def reference_leaders(groups: list[list[int]], sets: list[frozenset[int]], threshold: float) -> list[int]:
    found = []
    for group in groups:
        known: list[int] = []
        for member in group:
            mine = sets[member]
            alike = [k for k in known[:32] if mine and len(mine & sets[k]) / len(mine | sets[k]) >= threshold]
            found.append(alike[0] if alike else member)
            known += [member] * (not alike)
    return found


@given(SETS, st.sampled_from([0.1, 1 / 3, 0.5, 0.6, 0.75, 0.8, 0.9, 1.0]), st.data())
def test_members_follow_the_first_leader_they_are_alike(
    sets: list[frozenset[int]], threshold: float, data: st.DataObject
) -> None:
    groups = data.draw(
        st.lists(
            st.permutations(range(len(sets))).flatmap(
                lambda order: st.integers(0, len(order)).map(lambda count: order[:count])
            ),
            max_size=4,
        )
    )
    offsets = np.cumsum([0, *map(len, groups)], dtype=np.int64)
    members = np.array([member for group in groups for member in group], np.int64)
    assert reference_leaders(groups, sets, threshold) == leaders(offsets, members, *flat(sets), threshold).tolist()


def test_at_most_32_leaders_of_a_group_are_compared() -> None:
    """The 33rd unlike member stays, and so does its copy: a bound on time, never a false removal."""
    sets = [frozenset({i}) for i in range(33)] + [frozenset({31}), frozenset({32})]
    found = leaders(np.array([0, 35]), np.arange(35), *flat(sets), 0.8)
    assert [*range(33), 31, 34] == found.tolist()


def test_a_similarity_equal_to_the_threshold_is_enough() -> None:
    for shared in range(1, 60):
        for other in range(40):
            sets = [frozenset(range(shared)), frozenset(range(shared + other))]
            threshold = shared / (shared + other)
            assert leaders(np.array([0, 2]), np.arange(2), *flat(sets), threshold).tolist() == [0, 0]


def test_wrong_thresholds_and_members_are_refused() -> None:
    sets = flat([frozenset({1})])
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        leaders(np.array([0, 1]), np.array([0]), *sets, 0.0)
    with pytest.raises(IndexError, match=r"0\.\.1 of 1 sets"):
        leaders(np.array([0, 2]), np.array([0, 1]), *sets, 0.5)


@given(st.lists(st.text(), max_size=5))
def test_content_hashes_are_xxh3_of_the_bytes(texts: list[str]) -> None:
    expected = [divmod(xxhash.xxh3_128_intdigest(text.encode()), 2**64) for text in texts]
    arrow = pa.array(["before", *texts], pa.string()).slice(1)
    for form in (texts, arrow):
        actual = content_hashes(form)
        assert (actual.dtype, actual.shape) == (np.uint64, (len(texts), 2))
        assert expected == [tuple(row) for row in actual.tolist()]
