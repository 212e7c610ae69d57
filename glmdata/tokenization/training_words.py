"""What a tokenizer is trained on: distinct words, and how often each occurs.

SentencePiece's trainer keeps to pieces of one script with a space at most in front. Where no such piece can go across,
text is cut; that changes nothing of what is learnt (the trainer's expectations are sums over the parts), and equal
words, being counted, cost no more than one. English comes down to a few per cent. Chinese, cut at punctuation and
where it meets Latin, goes on bringing new clauses, so that beyond a limit words are sampled.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.kernels import njit
from glmdata.randomness import mix64

__all__ = ["count_words", "merge_words", "utf8_buffers"]

MAX_WORD_BYTES = 256
"""A longer word is cut: the trainer's lattice is built a word at a time."""
RANGE_BYTES = 64 << 20
"""Words are merged a range of hashes at a time, of about this size."""
_SPACE, _SIGN, _LATIN, _HAN, _OTHER, _BREAK = 0, 1, 2, 3, 4, 5
_BEYOND = 0xFFFF
"""A code point that is no character, for all whose script does not matter."""


def _kinds() -> npt.NDArray[np.int64]:
    """Kinds of characters by code point; _OTHER, never cut from its neighbours, where the script is not plain."""
    kinds = np.full(1 << 16, _OTHER, np.int64)
    for kind, ranges in (
        (_SIGN, ((0x00, 0x7F), (0x2010, 0x2027), (0x3001, 0x3003), (0x3008, 0x3020), (0xFF01, 0xFF20))),
        (_LATIN, ((0x41, 0x5A), (0x61, 0x7A))),
        (_HAN, ((0x3400, 0x4DB5), (0x4E00, 0x9FD5))),
    ):
        for first, last in ranges:
            kinds[first : last + 1] = kind
    kinds[0x20] = _SPACE
    kinds[[0x09, 0x0A]] = _BREAK
    return kinds


@njit(nogil=True, cache=True)
def _cut(data, offsets, kinds, starts, ends):  # type: ignore[no-untyped-def]
    """Write where words begin and end; returns their number."""
    count = 0
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        start, left = at, _BREAK
        while at <= end:
            kind, size = _BREAK, 1
            if at < end:
                lead = np.int64(data[at])
                size = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
                code = lead if lead < 0x80 else _BEYOND
                if size == 3 and at + 2 < end:
                    code = (lead & 15) << 12 | (np.int64(data[at + 1]) & 63) << 6 | (np.int64(data[at + 2]) & 63)
                kind = kinds[code]
            differs = left not in (_SPACE, _OTHER, kind) and kind != _OTHER
            if _BREAK in (left, kind) or differs or at + size - start > MAX_WORD_BYTES:
                if left != _BREAK:
                    starts[count], ends[count] = start, at
                    count += 1
                start = at
            left = kind
            at += size
    return count


@njit(nogil=True, cache=True)
def _hash(data, offsets, hashes):  # type: ignore[no-untyped-def]
    """FNV-1a of each word, scrambled."""
    for word in range(len(offsets) - 1):
        value = np.uint64(0xCBF29CE484222325)
        for at in range(offsets[word], offsets[word + 1]):
            value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
        hashes[word] = mix64(value)


def utf8_buffers(texts: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """(data, offsets int64[texts + 1]) of an array without nulls; read-only views."""
    _, offsets, data = texts.buffers()
    if not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    data = np.frombuffer(data if data is not None else b"", np.uint8)
    return data, np.frombuffer(offsets, np.int64, len(texts) + 1, 8 * texts.offset)


def count_words(texts: pa.LargeStringArray) -> pa.RecordBatch:
    """Distinct words of texts: word (large_string), count (int64), hash (uint64); in the order of hash, then word."""
    data, offsets = utf8_buffers(texts)
    size = int(offsets[-1] - offsets[0])
    starts, ends = np.empty(size, np.int64), np.empty(size, np.int64)
    found = _cut(data, offsets, _kinds(), starts, ends)
    bounds = np.zeros(2 * found + 1, np.int64)  # every other string is a word, the rest is what lies between two
    bounds[0:-1:2], bounds[1::2] = starts[:found], ends[:found]
    bounds[-1] = bounds[-2] if found else 0
    strings = pa.LargeStringArray.from_buffers(2 * found, pa.py_buffer(bounds), pa.py_buffer(data))
    counted = strings.take(pa.array(np.arange(0, 2 * found, 2))).value_counts()
    return _ordered(counted.field("values"), counted.field("counts"))


def merge_words(batches: Sequence[pa.RecordBatch], max_bytes: int) -> tuple[pa.LargeStringArray, npt.NDArray[np.int64]]:
    """All words of some results of `count_words`, and counts; in the order of hash, then word.

    Where they have more than `max_bytes` in UTF-8, rare words are sampled by hash: with the least k that will do, a
    word seen n < 2^k times is kept with probability n / 2^k and then counted 2^k times (threshold sampling, Duffield,
    Lund & Thorup 2005), so that counts stay right in the mean. The result depends on the words and counts alone.
    """
    ranges = 1 << (sum(batch.nbytes for batch in batches) // RANGE_BYTES).bit_length()
    edges = np.array([(number << 64) // ranges for number in range(1, ranges)], np.uint64)
    cuts = [[0, *np.searchsorted(batch["hash"].to_numpy(), edges).tolist(), len(batch)] for batch in batches]
    kept: list[pa.RecordBatch] = []
    power = 0
    for number in range(ranges):
        parts = [
            batch.slice(cut[number], cut[number + 1] - cut[number]) for batch, cut in zip(batches, cuts, strict=True)
        ]
        merged = pa.Table.from_batches(parts).group_by("word").aggregate([("count", "sum")]).combine_chunks()
        columns = (merged[name].combine_chunks() for name in ("word", "count_sum"))
        kept.append(_thinned(_ordered(*columns), power))
        while sum(batch["word"].nbytes - 8 * len(batch) for batch in kept) > max_bytes:
            power += 1
            kept = [_thinned(batch, power) for batch in kept]
    words = pa.concat_arrays([batch["word"] for batch in kept])
    counts = np.concatenate([batch["count"].to_numpy() for batch in kept])
    return words, np.maximum(counts, 1 << power)


def _thinned(batch: pa.RecordBatch, power: int) -> pa.RecordBatch:
    """The words that are kept at 2^power; those of a higher power are among them."""
    if not power:
        return batch
    drawn = batch["hash"].to_numpy() & np.uint64((1 << power) - 1)
    return batch.filter(pa.array(drawn < batch["count"].to_numpy().astype(np.uint64)))


def _ordered(words: pa.LargeStringArray, counts: pa.Int64Array) -> pa.RecordBatch:
    """Words with their hashes, in order."""
    hashes = np.empty(len(words), np.uint64)
    _hash(*utf8_buffers(words), hashes)
    batch = pa.RecordBatch.from_pydict({"word": words, "count": counts, "hash": hashes})
    order = np.argsort(hashes)
    if (np.diff(hashes[order]) == 0).any():
        return batch.take(pc.sort_indices(batch, [("hash", "ascending"), ("word", "ascending")]))
    return batch.take(pa.array(order))
