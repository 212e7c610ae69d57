"""From pairs of alike documents to survivors: components, the total order among duplicates, verified groups.

Every function is a pure function of its arguments and independent of the order of edges and rows, so that the same
texts survive however the corpus was cut.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import xxhash

from glmdata.dedupe.shingles import Texts, read_only, shared_count, utf8_buffers
from glmdata.kernels import njit

__all__ = ["choose_survivors", "connected_components", "content_hashes", "leaders", "survivor_rank"]

MAX_LEADERS = 32  # a member is compared with this many leaders at most: time stays linear in a group of a million


def connected_components(
    edges_a: npt.NDArray[np.uint64], edges_b: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The connected components of an undirected graph.

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


def survivor_rank(
    priority: npt.NDArray[np.int64],
    length: npt.NDArray[np.int64],
    content_hash: npt.NDArray[np.uint64],
    document_id: npt.NDArray[np.uint64],
) -> npt.NDArray[np.int64]:
    """Each document's place in the total order that decides which duplicate stays, 0 the first choice.

    Higher priority, then longer, then smaller content hash, then smaller document id: neither scheduling nor, for
    different texts, file names can decide.

    Args: priority, length: int64[k]. content_hash, document_id: uint64[k, 2], (high, low) halves of 128-bit numbers.
    """
    order = np.lexsort(
        (
            document_id[:, 1],
            document_id[:, 0],
            content_hash[:, 1],
            content_hash[:, 0],
            ~length,  # -1 - x: descending, without overflow
            ~priority,
        )
    )
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def choose_survivors(
    labels: npt.NDArray[np.uint64],
    priority: npt.NDArray[np.int64],
    length: npt.NDArray[np.int64],
    content_hash: npt.NDArray[np.uint64],
    document_id: npt.NDArray[np.uint64],
) -> npt.NDArray[np.int64]:
    """The row that survives of each row's component.

    Args: labels: uint64[k], rows with the same label are one component. The others as for `survivor_rank`.
    Returns: int64[k], for every row the index of the first row of its component in that order.
    """
    order = np.lexsort((survivor_rank(priority, length, content_hash, document_id), labels))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = labels[order[1:]] != labels[order[:-1]]
    survivors = np.empty(len(order), np.int64)
    survivors[order] = order[is_first][np.cumsum(is_first) - 1]
    return survivors


def leaders(
    offsets: npt.NDArray[np.int64],
    members: npt.NDArray[np.int64],
    set_offsets: npt.NDArray[np.int64],
    set_values: npt.NDArray[np.uint64],
    threshold: float,
) -> npt.NDArray[np.int64]:
    """Which document each member of a group of candidates is a true duplicate of.

    In each group the members are taken in order. One whose true Jaccard similarity to a leader of its group reaches the
    threshold follows the first such leader; any other becomes a leader. The first 32 leaders of a group are compared.

    Args: offsets: int64[g + 1], members[offsets[i]:offsets[i + 1]] is group i. members: int64[k], numbers of sets,
        best first. set_offsets: int64[s + 1]; set_values: uint64[v], as `shingle_sets` gives them. threshold: in
        (0, 1].
    Returns: int64[k], the leader of each member, itself for a leader. An empty set leads itself only.
    Raises: ValueError: the threshold is outside (0, 1]. IndexError: a member has no set.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"a similarity threshold lies in (0, 1], not {threshold}")
    if len(members) and not 0 <= members.min() <= members.max() < len(set_offsets) - 1:
        raise IndexError(f"members {members.min()}..{members.max()} of {len(set_offsets) - 1} sets")
    found = np.empty(len(members), np.int64)
    _lead(
        read_only(offsets, np.int64),
        read_only(members, np.int64),
        read_only(set_offsets, np.int64),
        read_only(set_values, np.uint64),
        float(threshold),
        found,
    )
    return found


def content_hashes(texts: Texts) -> npt.NDArray[np.uint64]:
    """xxh3-128 of each text's UTF-8 bytes.

    Args: texts: as for `glmdata.dedupe.minhash.signatures`; Arrow's bytes are hashed where they lie.
    Returns: uint64[n, 2], high and low half.
    """
    data, offsets = utf8_buffers(texts)
    digests = [xxhash.xxh3_128_digest(data.data[start:end]) for start, end in pairwise(offsets.tolist())]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64).reshape(-1, 2)


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


@njit(nogil=True, cache=True)
def _lead(offsets, members, set_offsets, set_values, threshold, found):  # type: ignore[no-untyped-def]
    known = np.empty(MAX_LEADERS, np.int64)
    for group in range(len(offsets) - 1):
        num_known = 0
        for place in range(offsets[group], offsets[group + 1]):
            member = members[place]
            values = set_values[set_offsets[member] : set_offsets[member + 1]]
            found[place] = member
            for leader in known[:num_known]:
                if _alike(values, set_values[set_offsets[leader] : set_offsets[leader + 1]], threshold):
                    found[place] = leader
                    break
            if found[place] == member and num_known < MAX_LEADERS:
                known[num_known] = member
                num_known += 1


@njit(nogil=True, cache=True)
def _alike(a, b, threshold):  # type: ignore[no-untyped-def]
    """Whether the Jaccard similarity of two sets reaches the threshold, given up as soon as it cannot."""
    if min(len(a), len(b)) < threshold * max(len(a), len(b)) - 1 or min(len(a), len(b)) == 0:
        return False
    total = len(a) + len(b)
    # J >= t needs t / (1 + t) of both sizes shared; one less, so that rounding never decides, the division does.
    shared = shared_count(a, b, np.int64(threshold / (1 + threshold) * total) - 1)
    return shared >= 0 and shared / (total - shared) >= threshold
