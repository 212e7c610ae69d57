"""MinHash signatures over Arrow string buffers, equal to datasketch's, and their bands.

A signature holds, for each of `num_perm` permutations of the 32-bit numbers, the smallest image of the text's shingle
hashes; the share of equal places in two signatures estimates the Jaccard similarity of their shingle sets (Broder
1997), standard error sqrt(J (1 - J) / num_perm). The permutations are those of `datasketch.MinHash(num_perm, seed,
scheme="affine32")` (datasketch 2.0): the hash is scattered by MurmurHash3's finaliser, then a * h + b modulo 2^32
with a odd.

Measured on one core (Xeon with AVX-512, mixed Chinese and English): 200 MB/s with 128 permutations,
250 MB/s with 16.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from glmdata.dedupe.shingles import (
    Texts,
    fold_tables,
    read_only,
    shingle_capacity,
    shingle_hashes,
    shingle_text,
    utf8_buffers,
)
from glmdata.kernels import njit
from glmdata.randomness import GOLDEN, mix64

__all__ = ["band_keys", "permutations", "shingle_hashes", "signatures"]

MAX_HASH = np.uint32(0xFFFFFFFF)
STEP = 8  # hashes folded into a signature in one pass over it: the permutations are loaded once for all of them


def signatures(texts: Texts, num_perm: int = 128, seed: int = 1, *, shingle_size: int = 5) -> npt.NDArray[np.uint32]:
    """MinHash signatures of texts.

    Args: texts: str, or an Arrow string or large_string array without nulls. num_perm: permutations, at least 1. seed:
        of the permutations, 0 .. 2^32 - 1. shingle_size: units in a shingle.
    Returns: uint32[len(texts), num_perm]; row i equals `datasketch.MinHash(num_perm, seed, scheme="affine32")` updated
        with `shingle_hashes(texts[i], shingle_size)`. The empty text, which has no shingles, is all 2^32 - 1.
    """
    if shingle_size < 1:
        raise ValueError(f"a shingle needs at least 1 unit, not {shingle_size}")
    data, offsets = utf8_buffers(texts)
    longest = int(np.diff(offsets).max(initial=0))
    scratch = np.empty(shingle_capacity(longest), np.uint64)
    signed = np.full((len(offsets) - 1, num_perm), MAX_HASH, np.uint32)
    factors, terms = permutations(num_perm, seed)
    _sign(data, offsets, *fold_tables(), shingle_size, factors, terms, scratch, signed)
    return signed


@cache
def permutations(num_perm: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The factors and terms, uint32[num_perm] each and read-only, of datasketch's "affine32" permutations.

    They are drawn here as datasketch draws them (numpy's legacy generator, whose stream is frozen), because importing
    datasketch takes half a second in every worker; a test compares the two.
    """
    if num_perm < 1:
        raise ValueError(f"a signature needs at least 1 permutation, not {num_perm}")
    generator = np.random.RandomState(seed)
    factors = generator.randint(0, 1 << 31, num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    terms = generator.randint(0, 1 << 32, num_perm, dtype=np.uint32)
    return read_only(factors, np.uint32), read_only(terms, np.uint32)


def band_keys(signed: npt.NDArray[np.uint32], num_bands: int, rows_per_band: int) -> npt.NDArray[np.uint64]:
    """A 64-bit key of each band of each signature: texts that share a key are candidates for being duplicates.

    The key is a bijection of (hash of the band's rows, band number), the number in as many bits as it takes and the
    hash in the rest. So keys of different bands never meet, all bits are scattered, and unlike bands of the same number
    share a key with probability 2^-59 for 17 to 32 bands.

    Args: signed: uint32[n, num_perm] from `signatures`; the first num_bands * rows_per_band columns are used.
    Returns: uint64[n, num_bands].
    Raises: ValueError: the bands need more columns than there are.
    """
    if num_bands < 1 or rows_per_band < 1 or num_bands * rows_per_band > signed.shape[1]:
        raise ValueError(f"{num_bands} bands of {rows_per_band} rows cannot be cut from {signed.shape[1]} permutations")
    keys = np.empty((len(signed), num_bands), np.uint64)
    _hash_bands(read_only(signed, np.uint32), rows_per_band, (num_bands - 1).bit_length(), keys)
    return keys


@njit(nogil=True, cache=True)
def _hash_bands(signed, rows_per_band, number_bits, keys):  # type: ignore[no-untyped-def]
    for i in range(keys.shape[0]):
        for band in range(keys.shape[1]):
            hashed = np.uint64(rows_per_band)
            for j in range(band * rows_per_band, (band + 1) * rows_per_band):
                hashed = mix64(hashed ^ np.uint64(signed[i, j])) + GOLDEN
            keys[i, band] = mix64((hashed << np.uint64(number_bits)) | np.uint64(band))


@njit(nogil=True, cache=True)
def _sign(data, offsets, entries, expansions, size, factors, terms, scratch, signed):  # type: ignore[no-untyped-def]
    """Lower the rows of `signed` to the minima over each text's shingles; `scratch` is used anew by every text."""
    for i in range(len(offsets) - 1):
        count = shingle_text(data, offsets[i], offsets[i + 1], entries, expansions, size, scratch)
        row = signed[i]
        for k in range(0, count, STEP):
            # Beyond the end the last hash stands in again: a minimum does not mind.
            h0, h1 = _premix(scratch[k]), _premix(scratch[min(k + 1, count - 1)])
            h2, h3 = _premix(scratch[min(k + 2, count - 1)]), _premix(scratch[min(k + 3, count - 1)])
            h4, h5 = _premix(scratch[min(k + 4, count - 1)]), _premix(scratch[min(k + 5, count - 1)])
            h6, h7 = _premix(scratch[min(k + 6, count - 1)]), _premix(scratch[min(k + 7, count - 1)])
            for j in range(len(row)):  # vectorised by LLVM: multiply, add, minimum of 32-bit lanes
                a, b = factors[j], terms[j]
                low = min(row[j], _permute(a, b, h0), _permute(a, b, h1), _permute(a, b, h2), _permute(a, b, h3))
                row[j] = min(low, _permute(a, b, h4), _permute(a, b, h5), _permute(a, b, h6), _permute(a, b, h7))


@njit(nogil=True, cache=True, inline="always")
def _permute(factor, term, value):  # type: ignore[no-untyped-def]
    return np.uint32(factor * value + term)


@njit(nogil=True, cache=True, inline="always")
def _premix(shingle):  # type: ignore[no-untyped-def]
    """MurmurHash3's 32-bit finaliser of a shingle's 32-bit hash, the high half of its 64-bit one."""
    value = np.uint32(shingle >> np.uint64(32))
    value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(value ^ (value >> np.uint32(16)))
