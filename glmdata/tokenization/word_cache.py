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

import numpy as np
import numpy.typing as npt
from numba import njit

from glmdata.tokenization.model_file import (
    BPE,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    ModelFile,
    read_model,
)
from glmdata.tokenization.piece_table import PieceTable, build_piece_table, may_join
from glmdata.tokenization.segmentation import SCORE_RESET, best_path, char_end, merge_path, new_scratch

__all__ = ["WordEncoder", "word_encoder"]

ENTRIES = 1 << 18
"""Entries of a cache: 16 MiB, of which only pages in use take memory."""
ENTRY_WORDS = 8
MAX_CHUNK_BYTES = 23
MAX_CHUNK_PIECES = 8
MAX_PROBES = 8
MAX_LIMIT = 1e9  # BPE: no score matters
MAX_MERGE_BYTES = 512
"""BPE documents with a longer chunk are left to SentencePiece: merging here takes quadratic time."""
MAX_IDLE_CACHES = 16
PADDING = 32

_U29, _U32 = np.uint64(29), np.uint64(32)
_FACTOR_0 = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1 = np.uint64(0xC2B2AE3D27D4EB4F)
_FACTOR_2 = np.uint64(0x165667B19E3779F9)
_LOW_HALF = np.uint64(0xFFFFFFFF)


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
        after = at + 1
        if right >= 0xC0:
            after = char_end(data, at, end)
            for place in range(at + 1, after):
                right = right << 8 | np.int64(data[place])
        if left >= 0 and not may_join(ascii_pairs, pairs, left, right):
            return at
        left = right
        at = after
    return end


@njit(nogil=True, cache=True, inline="always")
def _key(data, at, size):  # type: ignore[no-untyped-def]
    """A chunk of at most MAX_CHUNK_BYTES as three words (the last holds its length, so is never 0) and their hash."""
    word_0 = _word(data, at, size)
    word_1 = _word(data, at + 8, size - 8)
    word_2 = _word(data, at + 16, size - 16) | np.uint64(size) << np.uint64(56)
    mixed = (word_0 * _FACTOR_0) ^ (word_1 * _FACTOR_1) ^ (word_2 * _FACTOR_2)
    mixed = (mixed ^ mixed >> _U32) * _FACTOR_0
    return (word_0, word_1, word_2), mixed >> _U29


@njit(nogil=True, cache=True, inline="always")
def _find(cache, key, mixed):  # type: ignore[no-untyped-def]
    """(entry, True) of a chunk; else (a free entry, False), or (-1, False) where its neighbourhood is full."""
    mask = np.uint64(len(cache) // ENTRY_WORDS - 1)
    for probe in range(MAX_PROBES):
        entry = np.int64((mixed + np.uint64(probe)) & mask) * ENTRY_WORDS
        if cache[entry + 2] == key[2] and cache[entry] == key[0] and cache[entry + 1] == key[1]:
            return entry, True
        if cache[entry + 2] == 0:
            return entry, False
    return -1, False


@njit(nogil=True, cache=True)
def _write_path(data, at, stop, count, table, scratch, joins_unknown, tokens, filled):  # type: ignore[no-untyped-def]
    """Write the ids of a path: unknown characters as byte pieces, or each run of them as one unknown piece.

    Returns (filled, whether the last was unknown).
    """
    path = scratch.path
    for place in range(count):
        if path[place] != table.unknown:
            tokens[filled] = path[place]
            filled += 1
            at += table.sizes[path[place]]
            joins_unknown = False
            continue
        after = char_end(data, at, stop)
        if len(table.byte_ids) > 0:
            for byte in range(at, after):
                tokens[filled] = table.byte_ids[data[byte]]
                filled += 1
        elif not joins_unknown:
            tokens[filled] = table.unknown
            filled += 1
        joins_unknown = True
        at = after
    return filled, joins_unknown


@njit(nogil=True, cache=True)
def _segment(data, at, stop, total, entry, key, cache, table, scratch):  # type: ignore[no-untyped-def]
    """Pieces of a chunk into scratch.path, and into a free entry if there is one (`entry` >= 0).

    Returns (number of pieces, score behind it).
    """
    path = scratch.path
    limit = 0.0
    count = 0
    if table.merges:
        count, limit = merge_path(data, at, stop, table, scratch), MAX_LIMIT
    elif entry >= 0:
        count, _, limit = best_path(data, at, stop, np.float32(0), table, scratch)
    if entry >= 0 and limit >= 1 and count <= MAX_CHUNK_PIECES:
        whole = True
        for place in range(count):
            whole = whole and path[place] != table.unknown
        if whole:
            cache[entry], cache[entry + 1], cache[entry + 2] = key
            cache[entry + 3] = np.uint64(limit) << _U32 | np.uint64(count)
            for place in range(count):
                cache[entry + 4 + (place >> 1)] |= np.uint64(path[place]) << np.uint64(32 * (place & 1))
    if abs(total) >= limit:
        count, total, _ = best_path(data, at, stop, total, table, scratch)
    else:
        for place in range(count):
            total += table.scores[path[place]]
    return count, total


@njit(nogil=True, cache=True)
def _encode(data, offsets, cache, table, scratch, tokens, token_offsets, left_out):  # type: ignore[no-untyped-def]
    """All documents of a batch; document i is data[offsets[i]:offsets[i + 1]], and data has PADDING bytes more.

    Writes tokens and token_offsets; left_out[i] = 1 for a document that SentencePiece has to encode.
    """
    ascii_pairs, pairs, scores = table.ascii_pairs, table.pairs, table.scores
    filled = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        begun = filled
        total = np.float32(0)  # what SentencePiece's path scores here, bit for bit
        joins_unknown = False
        while at < end:
            stop = _chunk_end(data, at, end, ascii_pairs, pairs)
            if abs(total) > SCORE_RESET:
                total = np.float32(0)
            entry, known = -1, False
            key = (np.uint64(0), np.uint64(0), np.uint64(0))
            if stop - at <= MAX_CHUNK_BYTES:
                key, mixed = _key(data, at, stop - at)
                entry, known = _find(cache, key, mixed)
            if known and abs(total) < np.int64(cache[entry + 3] >> _U32):
                for place in range(np.int64(cache[entry + 3] & _LOW_HALF)):
                    pair = cache[entry + 4 + (place >> 1)] >> np.uint64(32 * (place & 1))
                    found = np.int64(pair & _LOW_HALF)
                    tokens[filled] = found
                    filled += 1
                    total += scores[found]
                joins_unknown = False
            elif table.merges and stop - at > MAX_MERGE_BYTES:
                left_out[document] = 1
                filled = begun
                break
            else:
                count, total = _segment(data, at, stop, total, -1 if known else entry, key, cache, table, scratch)
                filled, joins_unknown = _write_path(
                    data, at, stop, count, table, scratch, joins_unknown, tokens, filled
                )
            at = stop
        token_offsets[document + 1] = filled


class WordEncoder:
    """Encodes with a model's tables. Thread-safe: each call takes a cache for itself and gives it back.

    So there are at most as many caches as calls at one time (16 MiB each), and nothing is locked while encoding.
    """

    def __init__(self, table: PieceTable, *, add_dummy_prefix: bool) -> None:
        self._table = table
        self._prefix = add_dummy_prefix
        self._idle: list[npt.NDArray[np.uint64]] = []

    def encode(
        self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Encode documents, document i being the UTF-8 data[offsets[i]:offsets[i + 1]], without U+2581.

        Returns (tokens, offsets int64[documents + 1] into them, left_out uint8[documents]); where left_out is 1 the
        document is too costly here (BPE, a long stretch without a certain cut) and has no tokens.
        """
        data, offsets = self._own(data, offsets)
        count = len(offsets) - 1
        tokens = np.empty(len(data), np.int32)
        token_offsets = np.zeros(count + 1, np.int64)
        left_out = np.zeros(count, np.uint8)
        scratch = new_scratch(int(np.diff(offsets).max(initial=0)))
        try:
            cache = self._idle.pop()
        except IndexError:
            cache = _new_cache()
        _encode(data, offsets, cache, self._table, scratch, tokens, token_offsets, left_out)
        if len(self._idle) < MAX_IDLE_CACHES:
            self._idle.append(cache)
        return tokens[: token_offsets[-1]], token_offsets, left_out

    def _own(
        self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """A copy with the dummy prefix before each document that is not empty, and padding behind."""
        first, last = int(offsets[0]), int(offsets[-1])
        filled = np.diff(offsets) > 0 if self._prefix else np.zeros(len(offsets) - 1, np.bool_)
        shifts = np.concatenate([[0], np.cumsum(filled)]).astype(np.int64)
        own = np.zeros(last - first + int(shifts[-1]) + PADDING, np.uint8)
        if self._prefix:
            own[: last - first + int(shifts[-1])] = np.insert(data[first:last], offsets[:-1][filled] - first, 32)
        else:
            own[: last - first] = data[first:last]
        return own, offsets - first + shifts


def _new_cache() -> npt.NDArray[np.uint64]:
    """An empty cache whose entries lie in one cache line each."""
    words = np.zeros((ENTRIES + 1) * ENTRY_WORDS, np.uint64)
    skipped = -words.ctypes.data % 64 // 8
    return words[skipped : skipped + ENTRIES * ENTRY_WORDS]


@functools.lru_cache(maxsize=4)
def word_encoder(model: bytes) -> WordEncoder | None:
    """The encoder of a serialised model, shared by the whole process; None where its ids would not be exact."""
    import sentencepiece

    parts = read_model(model)
    if not _is_plain(parts):
        return None
    encoder = WordEncoder(build_piece_table(parts), add_dummy_prefix=parts.add_dummy_prefix)
    processor = sentencepiece.SentencePieceProcessor()
    processor.load_from_serialized_proto(model)
    text = _probe(parts)
    data = np.frombuffer(text.encode(), np.uint8)
    tokens, _, left_out = encoder.encode(data, np.array([0, len(data)], np.int64))
    equal = bool(left_out[0]) or np.array_equal(tokens, processor.encode(text, out_type="numpy", num_threads=1))
    return encoder if equal else None


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
        and not any(b" " in piece for piece, used in zip(model.pieces, places, strict=True) if used)
    )


def _probe(model: ModelFile) -> str:
    """All pieces that text can give, in an order without meaning: a text with a near tie every few words."""
    places = np.flatnonzero((model.kinds == NORMAL) | (model.kinds == USER_DEFINED))
    order = np.argsort(places * 2654435761 % (1 << 32), kind="stable")
    spelled = b"".join(model.pieces[place] for place in places[order])
    return spelled.decode("utf-8", "ignore").replace("\u2581", " ")
