"""One chunk of text to pieces, step by step as SentencePiece 0.2.3 does it.

The unigram path adds up scores in float32 from the start of a document, so that rounding decides near ties: 8,000
tokens reach a score of -64,000, where float32 has steps of 0.008. `best_path` therefore takes the score so far and
repeats each addition and comparison of SentencePiece's `EncodeOptimized`. It also tells how far that score may grow
before rounding could change the result: below that, the path found for a chunk once holds wherever it stands.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from glmdata.tokenization.piece_table import child_node

__all__ = ["SCORE_RESET", "Scratch", "best_path", "char_end", "merge_path", "new_scratch"]

SCORE_RESET = np.float32(100_000)
"""Beyond it SentencePiece takes the score at which it stands off all open paths (`kScoreResetThreshold`)."""
_NO_GAP = np.float32(1e30)
_FROZEN = -2


class Scratch(NamedTuple):
    """Working memory, longer by one than the longest chunk: best and gap float32, the rest int32."""

    best: npt.NDArray[np.float32]
    gap: npt.NDArray[np.float32]
    origin: npt.NDArray[np.int32]
    piece: npt.NDArray[np.int32]
    symbol: npt.NDArray[np.int32]
    path: npt.NDArray[np.int32]


def new_scratch(size: int) -> Scratch:
    """Working memory for chunks of up to `size` bytes."""
    floats = np.empty((2, size + 1), np.float32)
    integers = np.empty((4, size + 1), np.int32)
    return Scratch(*floats, *integers)


@njit(nogil=True, cache=True, inline="always")
def char_end(data, at, end):  # type: ignore[no-untyped-def]
    """Where the UTF-8 character at `at` ends, at most `end`."""
    byte = data[at]
    size = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    return min(end, at + size)


@njit(nogil=True, cache=True)
def best_path(data, start, end, so_far, table, scratch):  # type: ignore[no-untyped-def]
    """Viterbi over data[start:end], between two certain cuts, behind a path that scores `so_far` (float32).

    Writes the pieces to scratch.path, the unknown piece for each unknown character. Returns (number of pieces, score at
    the end, limit): where |score before| < limit, the path is the same (limit as measured from so_far = 0).

    Why: each of at most c additions on a path (c = characters) rounds by at most half a step u <= m * 2^-23, with m the
    largest |score|. The scores of two rivals at a node are thus off by c * u together, and a rival that loses by more
    on the best path never wins. The limit asks for 2 (c + 1) u, and that SentencePiece does not reset the score.
    """
    best, gap, origin, piece, path = scratch.best, scratch.gap, scratch.origin, scratch.piece, scratch.path
    edges, node_piece, scores = table.edges, table.node_piece, table.scores
    size = end - start
    for at in range(size + 1):
        origin[at] = -1
    best[0] = so_far
    at, frontier, chars = 0, 0, 0
    largest = np.float32(0)
    while at < size:
        here = best[at]
        largest = max(largest, abs(here))
        if abs(here) > SCORE_RESET:
            for place in range(at, frontier + 1):
                if place == at or origin[place] >= 0:
                    best[place] -= here
            here = np.float32(0)
        chars += 1
        step = char_end(data, start + at, end) - start
        single = False
        node, reach = 0, at
        while reach < size:
            node = child_node(edges, node, data[start + reach])
            if node < 0:
                break
            reach += 1
            found = node_piece[node]
            if found >= 0:
                single = single or reach == step
                frontier = max(frontier, reach)
                _offer(best, origin, piece, gap, reach, here + scores[found], at, found)
        if not single:
            frontier = max(frontier, step)
            _offer(best, origin, piece, gap, step, here + scores[table.unknown], at, table.unknown)
        at = step
    count = 0
    margin = _NO_GAP
    at = size
    while at > 0:
        path[count] = piece[at]
        margin = min(margin, gap[at])
        count += 1
        at = origin[at]
    for place in range(count // 2):
        path[place], path[count - 1 - place] = path[count - 1 - place], path[place]
    largest = max(largest, abs(best[size]))
    bound = np.float64(margin) * 4194304.0 / (chars + 1)  # 2^22: m at which 2 (c + 1) m 2^-23 is the margin
    limit = min(bound - largest, np.float64(SCORE_RESET)) - largest - 1.0
    return count, best[size], limit


@njit(nogil=True, cache=True, inline="always")
def _offer(best, origin, piece, gap, reach, score, at, found):  # type: ignore[no-untyped-def]
    """A rival for the path that ends at `reach`; an equal one loses, as in SentencePiece."""
    if origin[reach] < 0:
        best[reach], origin[reach], piece[reach], gap[reach] = score, at, found, _NO_GAP
    elif score > best[reach]:
        gap[reach] = score - best[reach]
        best[reach], origin[reach], piece[reach] = score, at, found
    else:
        gap[reach] = min(gap[reach], best[reach] - score)


@njit(nogil=True, cache=True)
def merge_path(data, start, end, table, scratch):  # type: ignore[no-untyped-def]
    """Byte pair merges over data[start:end], between two certain cuts: the best pair first, of equals the leftmost.

    Writes the pieces to scratch.path, the unknown piece for each unknown character; returns their number. Takes
    quadratic time, so is meant for chunks of some hundred bytes.
    """
    edges, node_piece, user_defined = table.edges, table.node_piece, table.user_defined
    # By start of a symbol: where it ends; its trie node (-1 where no piece begins with it, _FROZEN for a user-defined
    # one, which never merges); node of the symbol joined with the next one (-1 where that is no piece), and its score.
    following, symbol, pair, pair_score, path = (
        scratch.origin,
        scratch.symbol,
        scratch.piece,
        scratch.best,
        scratch.path,
    )
    size = end - start
    at = 0
    while at < size:
        longest = 0
        node, reach = 0, at
        while reach < size:
            node = child_node(edges, node, data[start + reach])
            if node < 0:
                break
            reach += 1
            if node_piece[node] >= 0 and user_defined[node_piece[node]]:
                longest = reach
        following[at] = longest if longest > 0 else char_end(data, start + at, end) - start
        node = 0
        for place in range(at, following[at]):
            node = child_node(edges, node, data[start + place]) if node >= 0 else -1
        symbol[at] = _FROZEN if longest > 0 else node
        at = following[at]
    at = 0
    while at < size:
        pair[at] = _pair_node(data, start, size, at, table, scratch)
        at = following[at]
    while True:
        chosen, before, previous, at = -1, -1, -1, 0
        while at < size:
            if pair[at] >= 0 and (chosen < 0 or pair_score[at] > pair_score[chosen]):
                chosen, before = at, previous
            previous = at
            at = following[at]
        if chosen < 0:
            break
        symbol[chosen] = pair[chosen]
        following[chosen] = following[following[chosen]]
        for at in (chosen, before):
            if at >= 0:
                pair[at] = _pair_node(data, start, size, at, table, scratch)
    count = 0
    at = 0
    while at < size:
        node = 0
        for place in range(at, following[at]):
            node = child_node(edges, node, data[start + place]) if node >= 0 else -1
        found = node_piece[node] if node >= 0 else -1
        path[count] = found if found >= 0 else table.unknown
        at = following[at]
        count += 1
    return count


@njit(nogil=True, cache=True, inline="always")
def _pair_node(data, start, size, at, table, scratch):  # type: ignore[no-untyped-def]
    """Trie node of the symbol at `at` joined with the next; -1 where that is no piece. Sets its score."""
    following, symbol = scratch.origin, scratch.symbol
    middle = following[at]
    if middle >= size or symbol[at] < 0 or symbol[middle] == _FROZEN:
        return -1
    node = symbol[at]
    for place in range(middle, following[middle]):
        node = child_node(table.edges, node, data[start + place])
        if node < 0:
            return -1
    if table.node_piece[node] < 0:
        return -1
    scratch.best[at] = table.scores[table.node_piece[node]]
    return node
