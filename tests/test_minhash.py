"""Signatures against datasketch over the same shingle hashes, and bands against their definition."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from corpora import SHARED
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.dedupe import minhash, shingles
from glmdata.dedupe.minhash import band_keys, comparison_checksum, optimal_bands, permutations, signatures
from glmdata.dedupe.shingles import jaccard, shingle_hashes, shingle_sets

TEXTS = st.lists(
    st.one_of(
        st.text("天地玄黄宇宙洪荒", max_size=30),
        st.text("abc ABC,1é", max_size=30),
        st.text("あアｱ가😀Ａ。\u0301 ", max_size=10),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=10),
    ),
    max_size=5,
).map("".join)


def reference(text: str, num_perm: int, seed: int, size: int = 5) -> list[int]:
    """The signature datasketch makes of the same shingles."""
    sketch = MinHash(num_perm, seed=seed, scheme="affine32", hashfunc=lambda value: value)
    sketch.update_batch(shingle_hashes(text, size).tolist())
    return sketch.hashvalues.tolist()


def shared_data() -> Path:
    folder = SHARED
    if not (folder / "corpus").is_dir():
        pytest.skip(f"no shared corpus at {folder}; set GLMDATA_SHARED_DATA")
    return folder


def mixture(count: int, rng: random.Random) -> list[str]:
    """Random units, Han characters and words in turn."""
    return [
        chr(rng.randrange(0x4E00, 0x9FA5)) if rng.random() < 0.5 else f" w{rng.randrange(10**6)} " for _ in range(count)
    ]


@given(st.lists(TEXTS, max_size=5), st.sampled_from([1, 2, 16, 127, 128]), st.integers(0, 2**32 - 1), st.integers(1, 6))
@settings(deadline=None)
def test_signatures_equal_those_of_datasketch(texts: list[str], num_perm: int, seed: int, size: int) -> None:
    actual = signatures(texts, num_perm, seed, shingle_size=size)
    assert (actual.dtype, actual.shape) == (np.uint32, (len(texts), num_perm))
    assert [reference(text, num_perm, seed, size) for text in texts] == actual.tolist()


def test_signatures_of_real_documents_equal_those_of_datasketch() -> None:
    text = (shared_data() / "corpus" / "zh_literature.txt").read_text("utf-8")[:200_000]
    documents = [text[i : i + 4000] for i in range(0, len(text), 4000)]
    assert [reference(document, 128, 1) for document in documents] == signatures(documents).tolist()


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_permutations_are_those_datasketch_draws(num_perm: int, seed: int) -> None:
    expected = MinHash(num_perm, seed=seed, scheme="affine32").permutations
    assert expected.tolist() == [part.tolist() for part in permutations(num_perm, seed)]


@given(st.lists(TEXTS, max_size=6), st.randoms())
def test_a_signature_depends_on_its_text_only(texts: list[str], rng: random.Random) -> None:
    """Not on its neighbours, its place, or how the strings are stored."""
    expected = [signatures([text], 16).tolist()[0] for text in texts]
    order = rng.sample(range(len(texts)), len(texts))
    shuffled = [texts[i] for i in order]
    assert [expected[i] for i in order] == signatures(shuffled, 16).tolist()
    assert [expected[i] for i in order] == signatures(pa.array(shuffled, pa.large_string()), 16).tolist()
    assert expected[1:] == signatures(pa.array(texts, pa.string())[1:], 16).tolist()


def test_the_empty_text_has_the_largest_of_all_numbers_everywhere() -> None:
    signed = signatures(["", "a"], 8)
    assert signed[0].tolist() == [0xFFFFFFFF] * 8
    assert 0xFFFFFFFF not in signed[1].tolist()
    assert signatures([], 8).shape == (0, 8)


def test_distinct_short_documents_share_no_band() -> None:
    """Other toolkits drop what is shorter than a shingle, or find all of it alike."""
    texts = ["今天", "明天", "天", "好。", "hello", "hello world", "world hello", "!", "?", "。", "a", "A b", "😀"]
    keys = band_keys(signatures(texts), 18, 7)
    assert len(texts) == len(np.unique(keys[:, 0]))
    assert keys.size == len(np.unique(keys))


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 0.95])
def test_planted_similarities_are_estimated_within_their_error(similarity: float) -> None:
    """Mean over 40 pairs of 1000 units: standard error sqrt(J (1 - J) / 512 / 40), five of them allowed."""
    rng, pairs = random.Random(7), []
    for _ in range(40):
        shared = mixture(round(1000 * 2 * similarity / (1 + similarity)), rng)
        tails = [mixture(1000 - len(shared), rng) for _ in range(2)]
        pairs += ["".join(shared + tail) for tail in tails]
    signed = signatures(pairs, 512, 3)
    values, offsets = shingle_sets(pairs, np.arange(80))
    sets = [values[a:b] for a, b in pairwise(offsets)]
    true = np.array([jaccard(a, b) for a, b in zip(sets[::2], sets[1::2], strict=True)])
    estimated = (signed[::2] == signed[1::2]).mean(axis=1)
    assert abs(true.mean() - similarity) < 0.01
    assert abs((estimated - true).mean()) < 5 * np.sqrt(similarity * (1 - similarity) / 512 / 40)


@given(
    st.integers(1, 9).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(1, 20))),
    st.integers(0, 5),
    st.integers(0, 2**32 - 1),
)
def test_band_keys_meet_exactly_where_bands_are_equal(shape: tuple[int, int], spare: int, seed: int) -> None:
    rows, bands = shape
    signed = np.random.default_rng(seed).integers(0, 2, (12, rows * bands + spare)).astype(np.uint32)
    keys = band_keys(signed, bands, rows)
    assert (keys.dtype, keys.shape) == (np.uint64, (12, bands))
    cut = [[(k, tuple(row[k * rows : (k + 1) * rows])) for k in range(bands)] for row in signed.tolist()]
    places: dict[tuple[int, tuple[int, ...]], int] = {}
    for mine, row in zip(cut, keys.tolist(), strict=True):
        for band, key in zip(mine, row, strict=True):
            assert key == places.setdefault(band, key)
    assert len(places) == len(set(places.values()))


def test_band_keys_use_all_their_bits() -> None:
    """Partitions are cut by the high bits, or by a remainder: both must be even whatever the band."""
    signed = np.random.default_rng(0).integers(0, 2**32, (4000, 126)).astype(np.uint32)
    keys = band_keys(signed, 18, 7)
    for part in (keys >> np.uint64(60), keys % np.uint64(16)):
        share = np.stack([np.bincount(part[:, band].astype(np.int64), minlength=16) for band in range(18)]) / 4000
        assert np.abs(share - 1 / 16).max() < 6 * np.sqrt(1 / 16 / 4000)


def test_one_compiled_kernel_serves_every_caller() -> None:
    """Lists, Arrow arrays, writable and read-only arrays: a second specialisation would cost a second to compile."""
    for texts in (["a b"], pa.array(["a b"]), pa.array([], pa.large_string())):
        signed = signatures(texts)
        signed.flags.writeable = not signed.flags.writeable
        band_keys(signed, 18, 7)
        band_keys(signed[:, :126], 18, 7)
        shingle_sets(texts, np.arange(len(texts)))
    shingle_hashes("a b")
    for kernel in (minhash._sign, minhash._hash_bands, shingles.shingle_text, shingles._shingle_rows):
        assert len(kernel.nopython_signatures) == 1


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 permutation"):
        signatures(["text"], 0)
    with pytest.raises(ValueError, match="at least 1 unit"):
        signatures(["text"], shingle_size=0)
    with pytest.raises(ValueError, match="18 bands of 8 rows cannot be cut from 128"):
        band_keys(signatures(["text"]), 18, 8)


def test_numbers_do_not_change_between_versions() -> None:
    """Indexes of earlier builds hold these; they change only with the index format's version."""
    signed = signatures(["GLM fills in blanks, 完形填空。"], 4)
    assert signed.tolist() == [[1550777213, 951648740, 1049247896, 516376050]]
    assert band_keys(signed, 2, 2).tolist() == [[11653207479496462309, 10870522279662703665]]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.75, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("num_perm", [16, 128, 200])
@pytest.mark.parametrize(("verified", "weights"), [(True, (0.05, 0.95)), (False, (0.5, 0.5))])
def test_bands_are_those_datasketch_chooses(
    threshold: float, num_perm: int, verified: bool, weights: tuple[float, float]
) -> None:
    found = optimal_bands(threshold, num_perm, verified=verified)
    if min(found) < 2:
        return  # datasketch refuses a single band
    lsh = MinHashLSH(threshold=threshold, num_perm=num_perm, weights=weights)
    assert (lsh.b, lsh.r) == found


def test_the_default_bands() -> None:
    assert optimal_bands(0.75, 128) == (18, 7)


def test_the_checksum_tells_rules_apart() -> None:
    found = {comparison_checksum(*rules) for rules in ((128, 1, 5), (64, 1, 5), (128, 2, 5), (128, 1, 4))}
    assert len(found) == 4
    assert comparison_checksum(128, 1, 5) in found
