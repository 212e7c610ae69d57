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
import xxhash

from glmdata.dedupe.shingles import (
    Texts,
    fold_tables,
    hash_content,
    hash_units,
    read_only,
    roll_shingles,
    shingle_capacity,
    shingle_hashes,
    utf8_buffers,
)
from glmdata.kernels import njit
from glmdata.randomness import GOLDEN, mix64

__all__ = [
    "band_keys",
    "comparison_checksum",
    "optimal_bands",
    "permutations",
    "shingle_hashes",
    "sign_texts",
    "signatures",
]

MAX_HASH = np.uint32(0xFFFFFFFF)
FOUND_LATE_WEIGHT = 0.5  # datasketch's default: missed pairs and false candidates count alike
FOUND_AND_VERIFIED_WEIGHT = 0.95  # false candidates cost a comparison, missed pairs stay
STEP = 8  # hashes folded into a signature in one pass over it: the permutations are loaded once for all of them


def signatures(texts: Texts, num_perm: int = 128, seed: int = 1, *, shingle_size: int = 5) -> npt.NDArray[np.uint32]:
    """MinHash signatures of texts.

    Args: texts: str, or an Arrow string or large_string array without nulls. num_perm: permutations, at least 1. seed:
        of the permutations, 0 .. 2^32 - 1. shingle_size: units in a shingle.
    Returns: uint32[len(texts), num_perm]; row i equals `datasketch.MinHash(num_perm, seed, scheme="affine32")` updated
        with `shingle_hashes(texts[i], shingle_size)`. The empty text, which has no shingles, is all 2^32 - 1.
    """
    if num_perm < 1:
        raise ValueError(f"a signature needs at least 1 permutation, not {num_perm}")
    return sign_texts(texts, num_perm, seed, shingle_size=shingle_size)[0]


def sign_texts(
    texts: Texts, num_perm: int = 128, seed: int = 1, *, shingle_size: int = 5
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    """MinHash signatures of texts and the hashes of their content, from one hash of every unit.

    Args: as for `signatures`; num_perm 0 leaves the signatures out.
    Returns: signatures uint32[len(texts), num_perm]; contents uint64[len(texts), 2], equal for texts whose units are
        (glmdata.dedupe.shingles, rule 5), (0, 0) of the empty text.
    """
    if shingle_size < 1:
        raise ValueError(f"a shingle needs at least 1 unit, not {shingle_size}")
    data, offsets = utf8_buffers(texts)
    longest = int(np.diff(offsets).max(initial=0))
    scratch = np.empty(shingle_capacity(longest), np.uint64)
    signed = np.full((len(offsets) - 1, num_perm), MAX_HASH, np.uint32)
    contents = np.empty((len(offsets) - 1, 2), np.uint64)
    factors, terms = permutations(num_perm, seed)
    _sign(data, offsets, *fold_tables(), shingle_size, factors, terms, scratch, signed, contents)
    return signed, contents


def optimal_bands(threshold: float, num_perm: int, *, verified: bool = True) -> tuple[int, int]:
    """How many bands of how many rows find pairs of the threshold best: datasketch's optimiser.

    Of all b x r <= num_perm the one with the least weighted sum of false candidates, the integral of
    1 - (1 - s^r)^b below the threshold, and of missed pairs, the integral of (1 - s^r)^b above it. Where candidates
    are verified a missed pair weighs 19 times as much as a false candidate, else the same.

    Returns: bands, rows. (18, 7) for a threshold of 0.75 and 128 permutations, verified.
    """
    missed_weight = FOUND_AND_VERIFIED_WEIGHT if verified else FOUND_LATE_WEIGHT
    below, above = (_simpson_points(low, high) for low, high in ((0.0, threshold), (threshold, 1.0)))
    best, least = (1, 1), np.inf
    for bands in range(1, num_perm + 1):
        for rows in range(1, num_perm // bands + 1):
            false = 1.0 - (1.0 - below[0] ** rows) ** bands
            missed = (1.0 - above[0] ** rows) ** bands
            error = (1.0 - missed_weight) * float(false @ below[1]) + missed_weight * float(missed @ above[1])
            if error < least:
                best, least = (bands, rows), error
    return best


def _simpson_points(low: float, high: float, intervals: int = 256) -> tuple[npt.NDArray[np.float64], ...]:
    """Places and weights of Simpson's rule."""
    weights = np.full(intervals + 1, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    return np.linspace(low, high, intervals + 1), weights * ((high - low) / intervals / 3)


@cache
def comparison_checksum(num_perm: int, seed: int, shingle_size: int) -> str:
    """Hex digest of all that a signature depends on besides its text: folding, hashing of units, permutations.

    Signatures may be compared, and contents too, if their checksums are equal.
    """
    digest = xxhash.xxh3_128(f"{num_perm} {seed} {shingle_size}".encode())
    for table in (*fold_tables(), *permutations(num_perm, seed)):
        digest.update(np.ascontiguousarray(table, table.dtype.newbyteorder("<")).tobytes())
    probe = ["a", "春眠不觉晓，处处闻啼鸟。", "The ferry leaves the harbour at seven, and nobody hurries."]
    for array in sign_texts(probe, num_perm, seed, shingle_size=shingle_size):  # the arithmetic itself
        digest.update(array.tobytes())
    return digest.hexdigest()


@cache
def permutations(num_perm: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The factors and terms, uint32[num_perm] each and read-only, of datasketch's "affine32" permutations.

    They are drawn here as datasketch draws them (numpy's legacy generator, whose stream is frozen), because importing
    datasketch takes half a second in every worker; a test compares the two.
    """
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
def _sign(data, offsets, entries, expansions, size, factors, terms, scratch, signed, contents):  # type: ignore[no-untyped-def]
    """Lower the rows of `signed` to the minima over each text's shingles; `scratch` is used anew by every text."""
    for i in range(len(offsets) - 1):
        count = hash_units(data, offsets[i], offsets[i + 1], entries, expansions, scratch)
        contents[i, 0], contents[i, 1] = hash_content(scratch, count)
        row = signed[i]
        if len(row) == 0:
            continue
        count = roll_shingles(scratch, count, size)
        for k in range(0, count, STEP):
            # Beyond the end the last hash stands in again: a minimum does not mind.
            h0, h1 = _premix(scratch[k]), _premix(scratch[min(k + 1, count - 1)])
            h2, h3 = _premix(scratch[min(k + 2, count - 1)]), _premix(scratch[min(k + 3, count - 1)])
            h4, h5 = _premix(scratch[min(k + 4, count - 1)]), _premix(scratch[min(k + 5, count - 1)])
            h6, h7 = _premix(scratch[min(k + 6, count - 1)]), _premix(scratch[min(k + 7, count - 1)])
            for j in range(len(row)):  # vectorised by LLVM: multiply, add, minimum of 32-bit lanes
                a, b = factors[j], terms[j]
                low = min(row[j], np.uint32(a * h0 + b), np.uint32(a * h1 + b), np.uint32(a * h2 + b))
                low = min(low, np.uint32(a * h3 + b), np.uint32(a * h4 + b), np.uint32(a * h5 + b))
                row[j] = min(low, np.uint32(a * h6 + b), np.uint32(a * h7 + b))


@njit(nogil=True, cache=True, no_cpython_wrapper=True)
def _premix(shingle):  # type: ignore[no-untyped-def]
    """MurmurHash3's 32-bit finaliser of a shingle's 32-bit hash, the high half of its 64-bit one."""
    value = np.uint32(shingle >> np.uint64(32))
    value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(value ^ (value >> np.uint32(16)))
