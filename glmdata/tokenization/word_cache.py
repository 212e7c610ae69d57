"""Text to ids at a multiple of SentencePiece's speed, with SentencePiece's ids.

Between two neighbouring characters that follow each other inside no piece, every segmentation has a boundary: a
*certain cut*. A document falls into chunks between certain cuts (in English mostly a word with its space, in Chinese
two or three characters), and most chunks have been seen before. One pass over the UTF-8 buffer

1. finds the end of the chunk (a bit per pair of characters),
2. looks its bytes up in a table of 64-byte entries, one cache line each: bytes and ids inline, compared in full,
3. where it is new, finds its pieces (segmentation.py) and enters them.

When ids are those of SentencePiece:
* BPE merges do not look beyond a certain cut, so chunks are independent.
* Unigram scores are added up in float32 over a whole document, and rounding decides near ties. An entry says up to
  which score its path is certain; beyond it the path is found anew with the very score (both in segmentation.py).
* `word_encoder` refuses models whose text is rewritten first (NFKC, removal of spaces, spaces behind words), and any
  model for which a test text of all its pieces does not give SentencePiece's ids, as an installed version with other
  arithmetic would not: then plain SentencePiece encodes.
"""

import functools
import threading

import numpy as np
import numpy.typing as npt
from numba import njit

from glmdata.tokenization.model_file import BPE, BYTE, NORMAL, UNIGRAM, UNKNOWN, UNUSED, USER_DEFINED, read_model
from glmdata.tokenization.piece_table import PieceTable, build_piece_table, may_join
from glmdata.tokenization.segmentation import SCORE_RESET, best_path, merge_path

__all__ = ["WordEncoder", "word_encoder"]

ENTRIES = 1 << 18
"""Entries of a cache: 16 MiB, of which only pages in use take memory."""
ENTRY_WORDS = 8
MAX_CHUNK_BYTES = 23
MAX_CHUNK_PIECES = 8
MAX_PROBES = 8
MAX_MERGE_BYTES = 512
"""BPE documents with a longer chunk are left to SentencePiece: merging here takes quadratic time."""
MAX_IDLE_CACHES = 16
PADDING = 32

_U8, _U29, _U32 = np.uint64(8), np.uint64(29), np.uint64(32)
_FACTOR_0 = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1 = np.uint64(0xC2B2AE3D27D4EB4F)
_FACTOR_2 = np.uint64(0x165667B19E3779F9)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_LOW_BYTE = np.uint64(0xFF)


@njit(nogil=True, cache=True, inline="always")
def _word(data, at, size):  # type: ignore[no-untyped-def]
    """Up to 8 bytes as an integer; the loop is unrolled into one load."""
    place = np.uintp(at)
    word = np.uint64(0)
    for byte in range(8):
        word |= np.uint64(data[place + np.uintp(byte)]) << np.uint64(8 * byte)
    if size >= 8:
        return word
    if size <= 0:
        return np.uint64(0)
    return word & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))


@njit(nogil=True, cache=True, inline="always")
def _chunk_end(data, at, end, ascii_pairs, pairs):  # type: ignore[no-untyped-def]
    """The first certain cut behind `at`."""
    left = -1
    while at < end:
        right = np.int64(data[at])
        size = 1
        if right >= 0xC0:
            size = min(2 if right < 0xE0 else 3 if right < 0xF0 else 4, end - at)
            for place in range(at + 1, at + size):
                right = right << 8 | np.int64(data[place])
        if left >= 0 and not may_join(ascii_pairs, pairs, left, right):
            return at
        left = right
        at += size
    return end


@njit(nogil=True, cache=True)
def _encode(  # type: ignore[no-untyped-def]
    data, offsets, table, edges, node_piece, scores, sizes, user_defined, ascii_pairs, pairs, byte_ids,
    merges, unknown, unknown_score, best, gap, origin, piece, symbol, path, tokens, token_offsets, left_out,
):  # fmt: skip
    """All documents of a batch; document i is data[offsets[i]:offsets[i + 1]], and data has PADDING bytes more.

    Writes tokens and token_offsets; left_out[i] = 1 for a document that SentencePiece has to encode.
    """
    filled = 0
    mask = np.uint64(len(table) // ENTRY_WORDS - 1)
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        begun = filled
        total = np.float32(0)
        joins_unknown = False
        while at < end:
            stop = _chunk_end(data, at, end, ascii_pairs, pairs)
            size = stop - at
            if abs(total) > SCORE_RESET:
                total = np.float32(0)
            entry = -1
            free = -1
            if size <= MAX_CHUNK_BYTES:
                word_0 = _word(data, at, size)
                word_1 = _word(data, at + 8, size - 8)
                word_2 = _word(data, at + 16, size - 16) | np.uint64(size) << np.uint64(56)
                mixed = (word_0 * _FACTOR_0) ^ (word_1 * _FACTOR_1) ^ (word_2 * _FACTOR_2)
                mixed = (mixed ^ mixed >> _U32) * _FACTOR_0
                slot = mixed >> _U29
                for probe in range(MAX_PROBES):
                    place = np.int64((slot + np.uint64(probe)) & mask) * ENTRY_WORDS
                    if table[place + 2] == word_2 and table[place] == word_0 and table[place + 1] == word_1:
                        entry = place
                        break
                    if table[place + 2] == 0:
                        free = place
                        break
            if entry >= 0 and abs(total) < np.int64(table[entry + 3] >> _U32):
                count = np.int64(table[entry + 3] & _LOW_BYTE)
                for place in range(count):
                    found = np.int64(table[entry + 4 + (place >> 1)] >> np.uint64(32 * (place & 1)) & _LOW_HALF)
                    tokens[filled] = found
                    filled += 1
                    total += scores[found]
                joins_unknown = False
                at = stop
                continue
            limit = 1e9
            if merges:
                if size > MAX_MERGE_BYTES:
                    left_out[document] = 1
                    filled = begun
                    break
                count = merge_path(data, at, stop, edges, node_piece, scores, user_defined, unknown, best, origin, symbol,
                                   piece, path)  # fmt: skip
            else:
                start_score = total if free < 0 else np.float32(0)
                count, total_after, limit = best_path(data, at, stop, start_score, edges, node_piece, scores, unknown,
                                                      unknown_score, best, origin, piece, gap, path)  # fmt: skip
            if free >= 0 and limit > 1 and count <= MAX_CHUNK_PIECES:
                whole = True
                for place in range(count):
                    whole = whole and path[place] != unknown
                if whole:
                    table[free] = word_0
                    table[free + 1] = word_1
                    table[free + 3] = np.uint64(min(limit, 1e9)) << _U32 | np.uint64(count)
                    for place in range(0, count, 2):
                        pair = np.uint64(path[place])
                        if place + 1 < count:
                            pair |= np.uint64(path[place + 1]) << _U32
                        table[free + 4 + (place >> 1)] = pair
                    table[free + 2] = word_2
            if not merges and free >= 0:
                count, total_after, limit = best_path(data, at, stop, total, edges, node_piece, scores, unknown,
                                                      unknown_score, best, origin, piece, gap, path)  # fmt: skip
            if not merges:
                total = total_after
            for place in range(count):
                found = path[place]
                if found != unknown:
                    tokens[filled] = found
                    filled += 1
                    at += sizes[found]
                    joins_unknown = False
                    continue
                byte = data[at]
                width = min(stop - at, 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
                if len(byte_ids) == 0:
                    if not joins_unknown:
                        tokens[filled] = unknown
                        filled += 1
                    joins_unknown = True
                for step in range(width if len(byte_ids) > 0 else 0):
                    tokens[filled] = byte_ids[data[at + step]]
                    filled += 1
                at += width
            at = stop
        token_offsets[document + 1] = filled
