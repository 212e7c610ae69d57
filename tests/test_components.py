"""Connected components, in memory and by stars, against plain Python."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmdata.dedupe.components import both_directions, connected_components, forest, large_star, small_star

NODES = st.one_of(st.integers(0, 12), st.integers(2**63, 2**63 + 12), st.just(2**64 - 1))
EDGES = st.lists(st.tuples(NODES, NODES), max_size=30)
Edge = tuple[int, int]


def columns(edges: list[Edge]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(edges, np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def pairs(edges: tuple[np.ndarray, np.ndarray]) -> list[Edge]:
    return list(zip(*(side.tolist() for side in edges), strict=True))


def smallest_reachable(edges: list[Edge]) -> dict[int, int]:
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


def stars(edges: list[Edge], parts: int, limit: int = 100) -> tuple[list[Edge], int]:
    """Both operations in turns, each node's edges seen alone with those of its part; edges at the end, and turns."""
    held = pairs(both_directions(*columns(edges)))
    for turn in range(limit):
        large: list[Edge] = []
        unsettled = 0
        for part in range(parts):
            node, smaller, count = large_star(*columns([edge for edge in held if edge[0] % parts == part]))
            large += pairs((node, smaller))
            unsettled += count
        if not unsettled:
            return large, turn
        held = []
        for part in range(parts):
            found = small_star(*columns([edge for edge in large if edge[0] % parts == part]))
            held += pairs(both_directions(*found))
    raise AssertionError(f"no end after {limit} turns")


@given(EDGES)
def test_roots_are_the_smallest_nodes_of_their_components(edges: list[Edge]) -> None:
    nodes, roots = connected_components(*columns(edges))
    assert (nodes.dtype, roots.dtype) == (np.uint64, np.uint64)
    assert sorted(smallest_reachable(edges).items()) == list(zip(nodes.tolist(), roots.tolist(), strict=True))


@given(EDGES, st.randoms())
def test_components_do_not_depend_on_the_order_or_direction_of_edges(edges: list[Edge], rng: random.Random) -> None:
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


@given(EDGES)
def test_a_forest_has_the_same_components_and_an_edge_less_than_nodes_in_each(edges: list[Edge]) -> None:
    expected = smallest_reachable(edges)
    found = pairs(forest(*columns(edges)))
    assert {node: root for node, root in expected.items() if node != root} == dict(found)
    assert len(found) == len({node for node, _ in found})


@given(EDGES, st.integers(1, 5))
def test_stars_end_with_every_node_joined_to_the_smallest_of_its_component(edges: list[Edge], parts: int) -> None:
    expected = {node: root for node, root in smallest_reachable(edges).items() if node != root}
    found, _ = stars(edges, parts)
    assert expected == dict(found)
    assert len(found) == len(expected)


@given(EDGES)
def test_a_star_operation_keeps_the_components_and_adds_no_edges(edges: list[Edge]) -> None:
    before = {tuple(sorted(edge)) for edge in edges if edge[0] != edge[1]}
    node, smaller, _ = large_star(*both_directions(*columns(edges)))
    after = small_star(node, smaller)
    assert len(after[0]) <= len(node) <= len(before)
    expected = {n: root for n, root in smallest_reachable(edges).items() if n != root}
    for found in ((node, smaller), after):
        assert expected == {n: root for n, root in smallest_reachable(pairs(found)).items() if n != root}
        assert (found[1] < found[0]).all()


@pytest.mark.parametrize("order", ["rising", "falling", "mixed"])
def test_a_chain_ends_in_few_turns(order: str) -> None:
    """The number of turns grows with the logarithm of a chain's length, not with the length."""
    nodes = list(range(3000))
    if order == "mixed":
        random.Random(5).shuffle(nodes)
    elif order == "falling":
        nodes.reverse()
    found, turns = stars([(nodes[i], nodes[i + 1]) for i in range(len(nodes) - 1)], 3)
    assert sorted(found) == [(node, 0) for node in range(1, 3000)]
    assert turns <= 14
