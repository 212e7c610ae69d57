"""Connected components of the graph of duplicates: by union-find where it fits one job, else by two star operations.

`large_star` and `small_star` (Kiveris et al., "Connected Components in MapReduce and Beyond", SoCC 2014) see one node
with its neighbours at a time, so that any part of the nodes can be a job. Each replaces edges by edges of the same
components and never by more; taken in turns they end in stars: every node joined to the smallest of its component and
to nothing else. That end is seen, not assumed: `large_star` counts the nodes that are not yet part of a star.

Every function is independent of the order and direction of edges.
"""

import numpy as np
import numpy.typing as npt

from glmdata.dedupe.shingles import read_only
from glmdata.kernels import njit

__all__ = ["both_directions", "connected_components", "forest", "large_star", "small_star"]

_Numbers = npt.NDArray[np.uint64]
_Edges = tuple[_Numbers, _Numbers]


def connected_components(edges_a: _Numbers, edges_b: _Numbers) -> _Edges:
    """The connected components of an undirected graph, in memory.

    Args: edges_a, edges_b: uint64[m], the nodes each edge joins; repeats, loops and either direction are fine.
    Returns: nodes uint64[k], ascending, every node that has an edge; roots uint64[k], the smallest node of the
        component of each.
    Raises: ValueError: the two sides differ in length.
    Union-find with path halving, the larger root put under the smaller: 0.3 us an edge. Needs about 100 bytes an edge.
    """
    if len(edges_a) != len(edges_b):
        raise ValueError(f"{len(edges_a)} first nodes and {len(edges_b)} second nodes do not make edges")
    ends = np.concatenate((read_only(edges_a, np.uint64), read_only(edges_b, np.uint64)))
    nodes, places = np.unique(ends, return_inverse=True)
    places = read_only(places, np.int64)
    parents = np.arange(len(nodes), dtype=np.int64)
    _join(places[: len(edges_a)], places[len(edges_a) :], parents)
    return nodes, nodes[parents]


def forest(edges_a: _Numbers, edges_b: _Numbers) -> _Edges:
    """The fewest edges with the same components: each node that is no root, and its root."""
    nodes, roots = connected_components(edges_a, edges_b)
    child = nodes != roots
    return nodes[child], roots[child]


def both_directions(edges_a: _Numbers, edges_b: _Numbers) -> _Edges:
    """Every edge under both of its nodes: node, neighbour."""
    return np.concatenate((edges_a, edges_b)), np.concatenate((edges_b, edges_a))


def large_star(node: _Numbers, neighbour: _Numbers) -> tuple[_Numbers, _Numbers, int]:
    """Join every larger neighbour of a node to the smallest node at hand.

    Args: node, neighbour: uint64[m], all edges of some nodes, each under both of its nodes (`both_directions`).
    Returns: node, smaller: uint64[k] each edge once; and how many of the nodes are not yet part of a star: those that
        have two smaller neighbours, or a smaller and a larger one. Where no job counts any, the edges that come out
        are (node, the smallest of its component).
    """
    node, neighbour = _distinct(node, neighbour)
    starts, smallest = _smallest(node, neighbour)
    larger = neighbour > node
    num_smaller = np.add.reduceat(~larger, starts) if len(starts) else np.zeros(0, np.int64)
    num_larger = np.add.reduceat(larger, starts) if len(starts) else np.zeros(0, np.int64)
    unsettled = int(((num_smaller > 1) | ((num_smaller > 0) & (num_larger > 0))).sum())
    return *_distinct(neighbour[larger], smallest[larger]), unsettled


def small_star(node: _Numbers, smaller: _Numbers) -> _Edges:
    """Join a node and its smaller neighbours to the smallest of them.

    Args: node, smaller: uint64[m], all edges from some nodes to smaller ones.
    Returns: node, smaller: uint64[k], each edge once.
    """
    node, smaller = _distinct(node, smaller)
    starts, smallest = _smallest(node, smaller)
    moved = smaller != smallest
    return _distinct(
        np.concatenate((node[starts], smaller[moved])), np.concatenate((smallest[starts], smallest[moved]))
    )


def _smallest(node: _Numbers, neighbour: _Numbers) -> tuple[npt.NDArray[np.int64], _Numbers]:
    """For edges ordered by node: where each node's begin, and for each edge the least of its node and neighbours."""
    if not len(node):
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    starts = np.flatnonzero(np.concatenate([[True], node[1:] != node[:-1]]))
    least = np.minimum(neighbour[starts], node[starts])  # neighbours are in order
    return starts, np.repeat(least, np.diff(np.append(starts, len(node))))


def _distinct(node: _Numbers, neighbour: _Numbers) -> _Edges:
    """Edges without repeats and loops, ordered by node, then neighbour."""
    order = np.lexsort((neighbour, node))
    node, neighbour = node[order], neighbour[order]
    new = node != neighbour
    new[1:] &= (node[1:] != node[:-1]) | (neighbour[1:] != neighbour[:-1])
    return node[new], neighbour[new]


@njit(nogil=True, cache=True)
def _join(edges_a, edges_b, parents):  # type: ignore[no-untyped-def]
    """Union-find over node indices; leaves in `parents` the smallest node of each node's component."""
    for i in range(len(edges_a)):
        a, b = edges_a[i], edges_b[i]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        if a < b:
            parents[b] = a
        else:
            parents[a] = b
    for node in range(len(parents)):  # a parent is smaller than its child, so it is final when the child comes
        parents[node] = parents[parents[node]]
