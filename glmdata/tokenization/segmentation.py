"""One chunk of text to pieces, step by step as SentencePiece 0.2.3 does it.

The unigram path adds up scores in float32 from the start of a document, so that rounding decides near ties: 8,000
tokens reach a score of -64,000, where float32 has steps of 0.008. `best_path` therefore takes the score so far and
repeats each addition and comparison of SentencePiece's `EncodeOptimized`. It also tells how far that score may grow
before rounding could change the result: below that, the path found for a chunk once holds wherever it stands.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.kernels import njit
from glmdata.tokenization.piece_table import child_node

__all__ = ["PATH", "SCORE_RESET", "best_path", "char_end", "merge_path", "new_scratch"]

SCORE_RESET = np.float32(100_000)
"""Beyond it SentencePiece takes the score at which it stands off all open paths (`kScoreResetThreshold`)."""
_NO_GAP = np.float32(1e30)
_FROZEN = -2
_ZERO: Any = np.int64(0)
"""For arguments: numba would compile what is called for the literal 0 too."""

# Rows of the scratch arrays, indexed by end of path, or for merges by start of symbol.
_BEST, _GAP = 0, 1
_ORIGIN, _PIECE, _SYMBOL, PATH = 0, 1, 2, 3
_PAIR_SCORE, _FOLLOWING, _PAIR = _BEST, _ORIGIN, _PIECE


def new_scratch(size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Working memory of the kernels for chunks of up to `size` bytes: float32[2, size + 1] and int32[4, size + 1]."""
    return np.empty((2, size + 1), np.float32), np.empty((4, size + 1), np.int32)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def char_end(data, at, end):  # type: ignore[no-untyped-def]
    """Where the UTF-8 character at `at` ends, at most `end`."""
    byte = data[at]
    size = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    return min(end, at + size)


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def best_path(data, start, end, so_far, edges, node_piece, scores, unknown, floats, ints):  # type: ignore[no-untyped-def]
    """Viterbi over data[start:end], between two certain cuts, behind a path that scores `so_far` (float32).

    Writes the pieces to ints[PATH], `unknown` for each unknown character. Returns (number of pieces, score at the end,
    limit): where |score before| < limit, the path is the same (limit as measured from so_far = 0).

    Why: each of at most c additions on a path (c = characters) rounds by at most half a step u <= m * 2^-23, with m the
    largest |score|. The scores of two rivals at a node are thus off by c * u together, and a rival that loses by more
    on the best path never wins. The limit asks for 2 (c + 1) u, and that SentencePiece does not reset the score.
    """
    size = end - start
    for at in range(size + 1):
        ints[_ORIGIN, at] = -1
    floats[_BEST, 0] = so_far
    at, frontier, chars = _ZERO, 0, 0
    largest = np.float32(0)
    while at < size:
        here = floats[_BEST, at]
        largest = max(largest, abs(here))
        if abs(here) > SCORE_RESET:
            for place in range(at, frontier + 1):
                if place == at or ints[_ORIGIN, place] >= 0:
                    floats[_BEST, place] -= here
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
            found = np.int64(node_piece[node])
            if found >= 0:
                single = single or reach == step
                frontier = max(frontier, reach)
                _offer(floats, ints, reach, here + scores[found], at, found)
        if not single:
            frontier = max(frontier, step)
            _offer(floats, ints, step, here + scores[unknown], at, unknown)
        at = step
    count, margin = _trace(size, floats, ints)
    largest = max(largest, abs(floats[_BEST, size]))
    bound = np.float64(margin) * 4194304.0 / (chars + 1)  # 2^22: m at which 2 (c + 1) m 2^-23 is the margin
    limit = min(bound - largest, np.float64(SCORE_RESET)) - largest - 1.0
    return count, floats[_BEST, size], limit


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _offer(floats, ints, reach, score, at, found):  # type: ignore[no-untyped-def]
    """A rival for the path that ends at `reach`; an equal one loses, as in SentencePiece."""
    if ints[_ORIGIN, reach] < 0:
        floats[_GAP, reach] = _NO_GAP
    elif score > floats[_BEST, reach]:
        floats[_GAP, reach] = score - floats[_BEST, reach]
    else:
        floats[_GAP, reach] = min(floats[_GAP, reach], floats[_BEST, reach] - score)
        return
    floats[_BEST, reach] = score
    ints[_ORIGIN, reach] = at
    ints[_PIECE, reach] = found


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _trace(size, floats, ints):  # type: ignore[no-untyped-def]
    """Read the best path backwards into ints[PATH]; returns (number of pieces, least lead over a rival on it)."""
    count = 0
    margin = _NO_GAP
    at = size
    while at > 0:
        ints[PATH, count] = ints[_PIECE, at]
        margin = min(margin, floats[_GAP, at])
        count += 1
        at = ints[_ORIGIN, at]
    for place in range(count // 2):
        other = ints[PATH, count - 1 - place]
        ints[PATH, count - 1 - place] = ints[PATH, place]
        ints[PATH, place] = other
    return count, margin


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def merge_path(data, start, end, edges, node_piece, scores, user_defined, unknown, floats, ints):  # type: ignore[no-untyped-def]
    """Byte pair merges over data[start:end], between two certain cuts: the best pair first, of equals the leftmost.

    Writes the pieces to ints[PATH], `unknown` for each unknown character; returns their number. Takes quadratic time,
    so is meant for chunks of some hundred bytes.
    """
    size = end - start
    at = _ZERO
    while at < size:
        longest = _user_defined_end(data, start, size, at, edges, node_piece, user_defined)
        ints[_FOLLOWING, at] = longest if longest > 0 else char_end(data, start + at, end) - start
        ints[_SYMBOL, at] = (
            _FROZEN if longest > 0 else _walk(data, start + at, start + ints[_FOLLOWING, at], edges, _ZERO)
        )
        at = ints[_FOLLOWING, at]
    at = _ZERO
    while at < size:
        _pair_up(data, start, size, at, edges, node_piece, scores, floats, ints)
        at = ints[_FOLLOWING, at]
    while True:
        chosen, before, previous, at = -1, -1, -1, 0
        while at < size:
            if ints[_PAIR, at] >= 0 and (chosen < 0 or floats[_PAIR_SCORE, at] > floats[_PAIR_SCORE, chosen]):
                chosen, before = at, previous
            previous = at
            at = ints[_FOLLOWING, at]
        if chosen < 0:
            break
        ints[_SYMBOL, chosen] = ints[_PAIR, chosen]
        ints[_FOLLOWING, chosen] = ints[_FOLLOWING, ints[_FOLLOWING, chosen]]
        for at in (chosen, before):
            if at >= 0:
                _pair_up(data, start, size, at, edges, node_piece, scores, floats, ints)
    count = 0
    at = 0
    while at < size:
        node = _walk(data, start + at, start + ints[_FOLLOWING, at], edges, _ZERO)
        found = node_piece[node] if node >= 0 else -1
        ints[PATH, count] = found if found >= 0 else unknown
        at = ints[_FOLLOWING, at]
        count += 1
    return count


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _walk(data, at, end, edges, node):  # type: ignore[no-untyped-def]
    """The trie node that data[at:end] leads to from `node`; -1 where it leads out of the trie."""
    while at < end and node >= 0:
        node = child_node(edges, node, data[at])
        at += 1
    return node


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _user_defined_end(data, start, size, at, edges, node_piece, user_defined):  # type: ignore[no-untyped-def]
    """Where the longest user-defined piece at `at` ends; 0 where there is none."""
    longest = 0
    node, reach = 0, at
    while reach < size:
        node = child_node(edges, node, data[start + reach])
        if node < 0:
            break
        reach += 1
        if node_piece[node] >= 0 and user_defined[node_piece[node]]:
            longest = reach
    return longest


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _pair_up(data, start, size, at, edges, node_piece, scores, floats, ints):  # type: ignore[no-untyped-def]
    """Note what the symbol at `at` would be when joined with the next: its trie node (-1: no piece) and score."""
    ints[_PAIR, at] = -1
    middle = ints[_FOLLOWING, at]
    # A symbol is -1 where no piece begins with it, _FROZEN where it is user-defined and never merges.
    if middle >= size or ints[_SYMBOL, at] < 0 or ints[_SYMBOL, middle] == _FROZEN:
        return
    node = _walk(data, start + middle, start + ints[_FOLLOWING, middle], edges, np.int64(ints[_SYMBOL, at]))
    if node >= 0 and node_piece[node] >= 0:
        ints[_PAIR, at] = node
        floats[_PAIR_SCORE, at] = scores[node_piece[node]]
