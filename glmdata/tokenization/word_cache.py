"""Text to ids at a multiple of SentencePiece's speed, with SentencePiece's ids.

Between two neighbouring characters that follow each other inside no piece, every segmentation has a boundary: a
*certain cut*. A document falls into chunks between certain cuts (in English mostly a word with its space, in Chinese
two or three characters), and most chunks have been seen before. One pass over the UTF-8 buffer

1. finds the end of the chunk (a bit per pair of characters),
2. looks its bytes up (chunk_table.py), compared in full,
3. where it is new, finds its pieces (segmentation.py) and enters them.

Why the ids are SentencePiece's:
* BPE merges do not look beyond a certain cut, so chunks are independent.
* Unigram scores are added up in float32 over a whole document, and rounding decides near ties. An entry says up to
  which score its path is certain; beyond it the path is found anew behind the very score (segmentation.py).
* `word_encoder` refuses models whose text is rewritten first (NFKC, removal of spaces, spaces behind words), and any
  model where a test text full of near ties does not come out with SentencePiece's ids: an installed version may add up
  scores otherwise. Then plain SentencePiece encodes.
What is left as a risk is a version that differs so rarely that the test text, 25,000 tokens, does not show it.
"""

import functools
import itertools
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.kernels import njit
from glmdata.tokenization.chunk_table import (
    ENTRY_COUNT,
    ENTRY_USED,
    MAX_CHUNK_BYTES,
    MAX_CHUNK_PIECES,
    PADDING,
    WEIGHT_SCALE,
    chunk_key,
    enter_path,
    find_entry,
    new_cache,
)
from glmdata.tokenization.model_file import (
    BPE,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    ModelFile,
)
from glmdata.tokenization.piece_table import PieceTable, build_piece_table, may_join
from glmdata.tokenization.segmentation import PATH, SCORE_RESET, best_path, char_end, merge_path, new_scratch

__all__ = ["WordEncoder", "word_encoder"]

MAX_UNSUMMED = 4096
SLACK = 64 * WEIGHT_SCALE
"""Scores are added up only when wanted, after 4096 tokens at the latest; below SCORE_RESET an addition rounds by at
most 2^-8, so until then the bound is off by less than 17."""
MAX_MERGE_BYTES = 512
"""BPE documents with a longer chunk are left to SentencePiece: merging here takes quadratic time."""
MAX_IDLE_CACHES = 16
PROBE_PIECES = 1 << 13
SPACE_SIGN_BYTES = 0xE29681

_U8, _U32, _U40 = np.uint64(8), np.uint64(32), np.uint64(40)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_FALSE: Any = np.bool_(False)  # a bare False would have numba compile _write_path for that literal too
_STRIDE = np.uint64(0x9E3779B97F4A7C15)


@njit(nogil=True, cache=True, inline="always")
def _chunk_end(data, at, end, ascii_pairs, pairs):  # type: ignore[no-untyped-def]
    """The first certain cut behind `at`; -1 where U+2581 comes first, which SentencePiece takes for a space."""
    left = np.int64(-1)
    while at < end:
        right = np.int64(data[at])
        after = at + 1
        if right >= 0xC0:
            after = char_end(data, at, end)
            for place in range(at + 1, after):
                right = right << 8 | np.int64(data[place])
            if right == SPACE_SIGN_BYTES:
                return -1
        if left >= 0 and not may_join(ascii_pairs, pairs, left, right):
            return at
        left = right
        at = after
    return end


@njit(nogil=True, cache=True)
def _copy(data, offsets, prefix, own, own_offsets):  # type: ignore[no-untyped-def]
    """Copy the documents, each that is not empty behind a space where the model has a dummy prefix."""
    at = 0
    for document in range(len(offsets) - 1):
        if prefix and offsets[document + 1] > offsets[document]:
            own[at] = 32
            at += 1
        # Byte by byte, which becomes a memcpy: assignment of a slice takes numba 1.2 s longer to compile.
        for place in range(offsets[document], offsets[document + 1]):
            own[at] = data[place]
            at += 1
        own_offsets[document + 1] = at


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _write_path(  # type: ignore[no-untyped-def]
    data, at, stop, count, sizes, byte_ids, unknown, ints, joins_unknown, tokens, filled
):
    """Write the ids of a path: unknown characters as byte pieces, or each run of them as one unknown piece.

    Returns (filled, whether the last was unknown).
    """
    for place in range(count):
        found = ints[PATH, place]
        if found != unknown:
            tokens[filled] = found
            filled += 1
            at += sizes[found]
            joins_unknown = False
            continue
        after = char_end(data, at, stop)
        if len(byte_ids) > 0:
            for byte in range(at, after):
                tokens[filled] = byte_ids[data[byte]]
                filled += 1
        elif not joins_unknown:
            tokens[filled] = unknown
            filled += 1
        joins_unknown = True
        at = after
    return filled, joins_unknown


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _segment(  # type: ignore[no-untyped-def]
    data, at, stop, total, entry, key, cache, edges, node_piece, scores, user_defined, unknown, merges, floats, ints
):
    """Pieces of a chunk into ints[PATH], and into the cache's `entry`, if not -1.

    `total` is the score before the chunk. Returns (number of pieces, score behind it).
    """
    if user_defined is None:  # decided when it is compiled, so that neither kind waits for the kernels of the other
        if entry >= 0:
            # Behind 0, where the limit is measured best; mostly that is the path behind `total` too.
            count, _, limit = best_path(data, at, stop, np.float32(0), edges, node_piece, scores, unknown, floats, ints)
            enter_path(cache, entry, key, limit, scores, merges, count, unknown, ints)
            if abs(total) < limit:
                for place in range(count):
                    total += scores[ints[PATH, place]]
                return count, total
        count, total, _ = best_path(data, at, stop, total, edges, node_piece, scores, unknown, floats, ints)
        return count, total
    count = merge_path(data, at, stop, edges, node_piece, scores, user_defined, unknown, floats, ints)
    if entry >= 0:
        enter_path(cache, entry, key, np.float64(SCORE_RESET), scores, merges, count, unknown, ints)
    return count, total


@njit(nogil=True, cache=True)
def _encode(  # type: ignore[no-untyped-def]
    data, offsets, cache, edges, node_piece, scores, sizes, user_defined, ascii_pairs, pairs, byte_ids, unknown, merges,
    floats, ints, tokens, token_offsets, left_out,
):  # fmt: skip
    """All documents of a batch; document i is data[offsets[i]:offsets[i + 1]], and data has PADDING bytes more.

    Writes tokens and token_offsets; left_out[i] = 1 for a document that SentencePiece has to encode.
    """
    filled = np.int64(0)
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        begun = summed = filled
        total = np.float32(0)  # what SentencePiece's path scores behind token `summed`, bit for bit
        bound = np.int64(SLACK)  # |score| here is at most bound / WEIGHT_SCALE
        joins_unknown = _FALSE
        while at < end:
            stop = _chunk_end(data, at, end, ascii_pairs, pairs)
            if stop < 0 or (merges and stop - at > MAX_MERGE_BYTES):
                left_out[document] = 1
                filled = begun
                break
            entry, known = -1, False
            key = (np.uint64(0), np.uint64(0), np.uint64(0))
            if stop - at <= MAX_CHUNK_BYTES:
                key, mixed = chunk_key(data, at, stop - at)
                entry, known = find_entry(cache, key, mixed)
            if known and filled - summed < MAX_UNSUMMED:
                facts = cache[entry + 3]
                if bound < np.int64(facts >> _U40) * WEIGHT_SCALE:
                    for place in range(MAX_CHUNK_PIECES // 2):
                        # All eight, whatever their number: a branch on it would wait for memory.
                        pair = cache[entry + 4 + place]
                        tokens[filled + 2 * place] = np.int64(pair & _LOW_HALF)
                        tokens[filled + 2 * place + 1] = np.int64(pair >> _U32)
                    filled += np.int64(facts & ENTRY_COUNT)
                    bound += np.int64(facts >> _U8 & _LOW_HALF)
                    if facts & ENTRY_USED == 0:
                        cache[entry + 3] = facts | ENTRY_USED
                    joins_unknown = False
                    at = stop
                    continue
            for place in range(filled if merges else summed, filled):
                if abs(total) > SCORE_RESET:
                    total = np.float32(0)
                total += scores[tokens[place]]
            if abs(total) > SCORE_RESET:
                total = np.float32(0)
            entry = -1 if known else entry
            count, total = _segment(data, at, stop, total, entry, key, cache, edges, node_piece, scores, user_defined,
                                    unknown, merges, floats, ints)  # fmt: skip
            filled, joins_unknown = _write_path(
                data, at, stop, count, sizes, byte_ids, unknown, ints, joins_unknown, tokens, filled
            )
            summed = filled
            bound = np.int64(abs(total)) * WEIGHT_SCALE + SLACK
            at = stop
        token_offsets[document + 1] = filled


class WordEncoder:
    """Encodes with a model's tables. Thread-safe: each call takes a cache for itself and gives it back.

    So there are at most as many caches as calls at one time (32 MiB each), and nothing is locked while encoding.
    """

    def __init__(self, table: PieceTable, *, add_dummy_prefix: bool) -> None:
        self._table = table
        self._prefix = add_dummy_prefix
        self._idle: list[npt.NDArray[np.uint64]] = []

    def encode(
        self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Encode documents, document i being the UTF-8 data[offsets[i]:offsets[i + 1]].

        Returns (tokens, offsets int64[documents + 1] into them, left_out uint8[documents]); where left_out is 1 the
        document has no tokens and is SentencePiece's to encode: U+2581, or for BPE a long stretch without certain cut.
        """
        count = len(offsets) - 1
        data = data.view()
        data.flags.writeable = False  # one specialisation of the kernel
        own = np.empty(int(offsets[-1] - offsets[0]) + count + PADDING, np.uint8)
        own_offsets = np.zeros(count + 1, np.int64)
        _copy(data, offsets, self._prefix, own, own_offsets)
        tokens = np.empty(int(own_offsets[-1]) + MAX_CHUNK_PIECES, np.int32)
        token_offsets = np.zeros(count + 1, np.int64)
        left_out = np.zeros(count, np.uint8)
        floats, ints = new_scratch(int(np.diff(own_offsets).max(initial=0)))
        try:
            cache = self._idle.pop()
        except IndexError:
            cache = new_cache()
        _encode(own, own_offsets, cache, *self._table, floats, ints, tokens, token_offsets, left_out)
        if len(self._idle) < MAX_IDLE_CACHES:
            self._idle.append(cache)
        return tokens[: token_offsets[-1]], token_offsets, left_out


@dataclass(frozen=True, slots=True)
class _Source:
    """A serialised model, which alone decides what is equal, and what was made of it already."""

    model: bytes
    parts: ModelFile = field(compare=False)
    processor: Any = field(compare=False)


def word_encoder(model: bytes, parts: ModelFile, processor: Any) -> WordEncoder | None:
    """The encoder of a serialised model, shared by the whole process; None where its ids would not be exact.

    `parts` is the model read, `processor` SentencePiece's own of it.
    """
    with _BUILDING:  # a second thread waits for the first instead of building its own
        return _build_encoder(_Source(model, parts, processor))


_BUILDING = threading.Lock()


@functools.lru_cache(maxsize=4)
def _build_encoder(source: _Source) -> WordEncoder | None:
    parts = source.parts
    if not _is_plain(parts):
        return None
    encoder = WordEncoder(build_piece_table(parts), add_dummy_prefix=parts.add_dummy_prefix)
    text = _probe(parts)
    data = np.frombuffer(text.encode(), np.uint8)
    tokens, _, left_out = encoder.encode(data, np.array([0, len(data)], np.int64))
    right = source.processor.encode(text, out_type="numpy", num_threads=1)
    return encoder if left_out[0] or np.array_equal(tokens, right) else None


def _is_plain(model: ModelFile) -> bool:
    """Whether SentencePiece encodes the text as it stands, spaces escaped, perhaps with one before it."""
    places = (model.kinds == NORMAL) | (model.kinds == USER_DEFINED)
    return bool(
        model.model_type in (UNIGRAM, BPE)
        and model.identity
        and model.escape_whitespaces
        and not model.remove_extra_whitespaces
        and not model.treat_whitespace_as_suffix
        and (model.kinds == UNKNOWN).sum() == 1
        and places.any()
        and not (model.model_type == BPE and (model.kinds == UNUSED).any())
        and b" " not in b"".join(itertools.compress(model.pieces, places))
    )


def _probe(model: ModelFile) -> str:
    """Halves of pieces in an order without meaning, which can be cut in many ways: a near tie every thousand tokens.

    (Whole pieces would not do: their best path is plain. Scores go far beyond SCORE_RESET.)
    """
    places = np.flatnonzero((model.kinds == NORMAL) | (model.kinds == USER_DEFINED))
    drawn = places[((np.arange(PROBE_PIECES, dtype=np.uint64) * _STRIDE) >> _U32) % np.uint64(len(places))]
    pieces = [model.pieces[place].decode("utf-8", "ignore") for place in drawn]
    halves = (left[: (len(left) + 1) // 2] + right[len(right) // 2 :] for left, right in itertools.pairwise(pieces))
    return "".join(halves).replace("\u2581", " ")
