"""A model's pieces as tables that kernels can walk: a byte trie, and which characters may be neighbours in a piece.

Pieces spell a space as U+2581; here it is the one byte of the text, so that text need not be rewritten.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from glmdata.kernels import njit
from glmdata.tokenization.model_file import BPE, BYTE, NORMAL, UNKNOWN, USER_DEFINED, ModelFile, spelled

__all__ = ["PieceTable", "build_piece_table", "child_node", "may_join"]

PAIR_BITS = 20
"""Pairs with a character beyond ASCII share 2^20 bits (128 KiB, in cache): 32,000 pieces hold about 60,000 such pairs,
and a false hit only makes a chunk longer."""
_EDGE_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_PAIR_FACTOR = np.uint64(0xC2B2AE3D27D4EB4F)
_BYTE = np.uint64(8)
_HALF = np.uint64(32)
_TOP = np.uint64(40)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)


class PieceTable(NamedTuple):
    """N = nodes of the trie, V = pieces of the model. In the order of the kernel's arguments.

    edges: uint64, open addressing, 0 = empty: (parent * 256 + byte + 1) << 32 | child.
    node_piece: int32[N], the piece that ends at a node, or -1.
    scores: float32[V], what a piece adds to a path; of the unknown piece what an unknown character adds.
    sizes: int32[V], bytes of text a piece stands for.
    user_defined: bool[V]; None of unigram models, which need it not.
    ascii_pairs: bool[128 * 128], whether b follows a inside some piece, at a * 128 + b.
    pairs: uint8[2^20 / 8], the same for all other pairs, by hash.
    byte_ids: int32[256], the byte pieces, or int32[0] without byte fallback.
    unknown: id of the unknown piece.
    merges: whether the model is BPE, else unigram.
    """

    edges: npt.NDArray[np.uint64]
    node_piece: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.int32]
    user_defined: npt.NDArray[np.bool_] | None
    ascii_pairs: npt.NDArray[np.bool_]
    pairs: npt.NDArray[np.uint8]
    byte_ids: npt.NDArray[np.int32]
    unknown: int
    merges: bool


@njit(nogil=True, cache=True, inline="always")
def child_node(edges, node, byte):  # type: ignore[no-untyped-def]
    """The node behind an edge; -1 where there is none."""
    key = (np.uint64(node) << _BYTE | np.uint64(byte)) + _ONE
    mask = np.uint64(len(edges) - 1)
    slot = (key * _EDGE_FACTOR) >> _TOP & mask
    while edges[slot] >> _HALF != key:
        if edges[slot] == 0:
            return -1
        slot = (slot + _ONE) & mask
    return np.int64(edges[slot] & _LOW_HALF)


@njit(nogil=True, cache=True, inline="always")
def _pair_bit(left, right):  # type: ignore[no-untyped-def]
    """Place of a pair of characters, each given as its UTF-8 bytes in one integer."""
    key = np.uint64(left) << _HALF | np.uint64(right)
    key = (key ^ key >> np.uint64(29)) * _PAIR_FACTOR
    return np.int64(key >> np.uint64(64 - PAIR_BITS))


@njit(nogil=True, cache=True, inline="always")
def may_join(ascii_pairs, pairs, left, right):  # type: ignore[no-untyped-def]
    """Whether some piece has `left` right before `right`; False is certain."""
    if left < 128 and right < 128:
        return ascii_pairs[left * 128 + right]
    bit = _pair_bit(left, right)
    return pairs[bit >> 3] >> (bit & 7) & 1 != 0


@njit(nogil=True, cache=True)
def _fill(data, offsets, ids, edges, node_piece, ascii_pairs, pairs):  # type: ignore[no-untyped-def]
    """Enter all pieces."""
    mask = np.uint64(len(edges) - 1)
    nodes = 1
    for place in range(len(ids)):
        node, left, right = np.int64(0), np.int64(-1), np.int64(0)
        for at in range(offsets[place], offsets[place + 1]):
            byte = np.int64(data[at])
            if at > offsets[place] and byte & 0xC0 != 0x80:
                if left >= 0:
                    _join(ascii_pairs, pairs, left, right)
                left, right = right, np.int64(0)
            right = right << 8 | byte
            child = child_node(edges, node, byte)
            if child < 0:
                child = nodes
                nodes += 1
                key = (np.uint64(node) << _BYTE | np.uint64(byte)) + _ONE
                slot = (key * _EDGE_FACTOR) >> _TOP & mask
                while edges[slot] != 0:
                    slot = (slot + _ONE) & mask
                edges[slot] = key << _HALF | np.uint64(child)
            node = child
        if left >= 0:
            _join(ascii_pairs, pairs, left, right)
        node_piece[node] = ids[place]


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _join(ascii_pairs, pairs, left, right):  # type: ignore[no-untyped-def]
    if left < 128 and right < 128:
        ascii_pairs[left * 128 + right] = True
    else:
        bit = _pair_bit(left, right)
        pairs[bit >> 3] |= np.uint8(1 << (bit & 7))


def build_piece_table(model: ModelFile) -> PieceTable:
    """Tables of the pieces that can match text: normal and user-defined ones.

    As in SentencePiece's unigram model, a user-defined piece scores 0.1 for each byte but the first of its escaped
    spelling (`GetUserDefinedScore`), an unknown character 10 less than the worst normal piece (`kUnkPenalty`).
    """
    merges = model.model_type == BPE
    places = np.flatnonzero((model.kinds == NORMAL) | (model.kinds == USER_DEFINED)).astype(np.int32)
    data, offsets = spelled([model.pieces[place] for place in places.tolist()])
    sizes = np.zeros(len(model.pieces), np.int32)
    sizes[places] = np.diff(offsets)
    unknown = int(np.flatnonzero(model.kinds == UNKNOWN)[0])
    user_defined = model.kinds == USER_DEFINED
    scores = model.scores.copy()
    if not merges:
        for place in np.flatnonzero(user_defined):
            scores[place] = np.float32(0.1 * (len(model.pieces[place]) - 1))
        scores[unknown] = model.scores[model.kinds == NORMAL].min(initial=0) - np.float32(10)
    edges = np.zeros(1 << (2 * len(data) + 16).bit_length(), np.uint64)
    node_piece = np.full(len(data) + 1, -1, np.int32)
    ascii_pairs = np.zeros(128 * 128, np.bool_)
    pairs = np.zeros((1 << PAIR_BITS) // 8, np.uint8)
    _fill(data, offsets, places, edges, node_piece, ascii_pairs, pairs)
    byte_ids = np.zeros(0, np.int32)
    if model.byte_fallback:
        by_text = {model.pieces[place]: place for place in np.flatnonzero(model.kinds == BYTE)}
        byte_ids = np.array([by_text[b"<0x%02X>" % byte] for byte in range(256)], np.int32)
    marked = user_defined if merges else None
    return PieceTable(edges, node_piece, scores, sizes, marked, ascii_pairs, pairs, byte_ids, unknown, merges)
