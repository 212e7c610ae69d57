"""What there is to find: the similarity of all pairs of documents, and how a build's ledger compares with it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.dedupe.minhash import band_keys, sign_texts
from glmdata.dedupe.shingles import jaccard, shingle_sets
from glmdata.kernels import njit
from glmdata.pipelines.candidates import banding
from glmdata.recipe import DedupeSettings

LEAST = 0.5
"""Pairs of documents that are less alike are not looked for."""


@dataclass(frozen=True)
class Judged:
    """A build beside the truth. Buckets: (least similarity, pairs, pairs of which at least one is removed)."""

    buckets: list[tuple[float, int, int]]
    removed: int
    least: float
    """Similarity of a removed document to its survivor."""
    below: int
    """Documents removed whose similarity to their survivor is below the threshold."""
    missed: int
    """Pairs at or above the threshold of which both stay."""
    missed_unseen: int
    """Of those, pairs that share no band."""


class Truth:
    """All pairs of some texts with a similarity of at least LEAST, found by counting the shingles that they share."""

    def __init__(self, texts: pa.StringArray, languages: list[str]) -> None:
        self.texts, self.languages = texts, np.array(languages)
        self.values, self.offsets = shingle_sets(texts, np.arange(len(texts)))
        _, shingles = np.unique(self.values, return_inverse=True)
        order = np.argsort(shingles, kind="stable")
        owners = np.repeat(np.arange(len(texts), dtype=np.int32), np.diff(self.offsets))
        starts = np.concatenate([[0], np.cumsum(np.bincount(shingles))])
        index = (shingles, self.offsets, owners[order], starts)
        room = share_counts(*index, LEAST, np.zeros((0, 2), np.int32), np.zeros(0))
        self.pairs, self.similarity = np.zeros((room, 2), np.int32), np.zeros(room)
        share_counts(*index, LEAST, self.pairs, self.similarity)

    def judge(self, gone: npt.NDArray[np.bool_], survivor: npt.NDArray[np.int64], settings: DedupeSettings,
              language: str | None) -> Judged:  # fmt: skip
        """Compare with what a build removed, and for whom (rows of the texts), in one language or all."""
        threshold = settings.jaccard_threshold
        mine = (self.languages[self.pairs] == language).all(axis=1) if language else np.ones(len(self.pairs), bool)
        pairs, similarity = self.pairs[mine], self.similarity[mine]
        found = gone[pairs].any(axis=1)
        buckets = []
        for low, high in ((1.0, 2.0), (0.9, 1.0), (0.8, 0.9), (threshold, 0.8)):
            inside = (low <= similarity) & (similarity < high)
            buckets.append((low, int(inside.sum()), int(found[inside].sum())))
        left = np.flatnonzero(gone & (self.languages == language if language else True))
        true = np.array([jaccard(self._set(row), self._set(survivor[row])) for row in left.tolist()])
        missed = np.flatnonzero(~found & (similarity >= threshold))
        return Judged(
            buckets=buckets,
            removed=len(left),
            least=float(true.min(initial=1.0)),
            below=int((true < threshold).sum()),
            missed=len(missed),
            missed_unseen=len(missed) - int(self._share_band(pairs[missed], settings).sum()),
        )

    def missed(self, gone: npt.NDArray[np.bool_], settings: DedupeSettings) -> Iterator[tuple[int, int, float, bool]]:
        """Pairs at or above the threshold of which both stay: rows, similarity, whether they share a band."""
        both = np.flatnonzero(~gone[self.pairs].any(axis=1) & (self.similarity >= settings.jaccard_threshold))
        shared = self._share_band(self.pairs[both], settings)
        for pair, similarity, seen in zip(self.pairs[both].tolist(), self.similarity[both], shared, strict=True):
            yield pair[0], pair[1], float(similarity), bool(seen)

    def _set(self, row: int) -> npt.NDArray[np.uint64]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def _share_band(self, pairs: npt.NDArray[np.int32], settings: DedupeSettings) -> npt.NDArray[np.bool_]:
        signed = sign_texts(self.texts.take(pa.array(pairs.ravel())), settings.num_perm, settings.seed)[0]
        bands, rows = banding(settings)
        keys = band_keys(signed, bands, rows).reshape(len(pairs), 2, bands)
        return (keys[:, 0] == keys[:, 1]).any(axis=1)


@njit(nogil=True, cache=True)
def share_counts(shingles, offsets, owners, starts, least, pairs, similarity):  # type: ignore[no-untyped-def]
    """Number of pairs that are alike, of which as many as there is room for are written.

    Each document walks through the lists of its shingles' owners and counts how often an earlier document comes: the
    size of the intersection, nothing left out. Quadratic in how many documents share a shingle.
    """
    documents = len(offsets) - 1
    counts, met = np.zeros(documents, np.int32), np.empty(documents, np.int32)
    found = 0
    for document in range(documents):
        num_met = 0
        for at in range(offsets[document], offsets[document + 1]):
            for place in range(starts[shingles[at]], starts[shingles[at] + 1]):
                other = owners[place]
                if other >= document:  # owners are in order
                    break
                if counts[other] == 0:
                    met[num_met] = other
                    num_met += 1
                counts[other] += 1
        size = offsets[document + 1] - offsets[document]
        for i in range(num_met):
            other = met[i]
            shared = counts[other]
            counts[other] = 0
            value = shared / (size + offsets[other + 1] - offsets[other] - shared)
            if value >= least:
                if found < len(pairs):
                    pairs[found, 0], pairs[found, 1], similarity[found] = other, document, value
                found += 1
    return found
