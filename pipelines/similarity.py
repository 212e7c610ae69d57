"""Candidates compared: how alike two documents truly are.

verify  the pairs of the documents of some partitions -> edges between documents that are alike

Texts are read where ingest left them, and shingled in portions of bounded size. A document of a signature index has no
text at hand: with it the similarity is estimated from the signatures (standard error 0.04 with 128 permutations).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.dedupe.candidates import INDEX_NUMBER, MAX_CANDIDATES, join_pairs
from glmdata.dedupe.shingles import alike, shingle_sets
from glmdata.dedupe.signature_index import read_signatures
from glmdata.pipelines.against import Earlier
from glmdata.pipelines.candidates import PAIR_COLUMNS, Candidates, Groups
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import (
    Partition,
    number_parts,
    read_columns,
    read_documents,
    read_ranges,
    runs_of,
    write_columns,
)
from glmdata.recipe import DedupeSettings

__all__ = ["Comparison", "Texts", "turns", "verify_candidates"]

COMPARED_AT_ONCE = 4
"""Candidates of a document compared in one turn."""
ENOUGH_ALIKE = 4
"""A document that is like so many better ones needs no more: should the best of them go, there are others."""
PORTION_BYTES = 16 << 20
"""Text shingled at a time; its sets take up to four times as much."""
MAX_OPENED = 4096
"""Partitions held open: a process may map 65,530 files."""
ESTIMATED_AT_ONCE = 1 << 16
"""Pairs of signatures compared at a time."""

_Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Where the texts and signatures of all documents lie, and how they are compared."""

    partitions: tuple[Partition, ...]
    signatures: tuple[FileRef, ...]
    earlier: Earlier
    dedupe: DedupeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyArguments:
    """The pairs of documents of group `group`."""

    pairs: tuple[FileRef, ...]
    group: int
    texts: Texts


def verify_candidates(
    engine: Engine, candidates: Candidates, groups: Groups, texts: Texts
) -> tuple[list[FileRef], int]:
    """Run the stage; edges.arrow of each group, and how many edges there are."""
    jobs = [
        Job(
            function=verify,
            arguments=VerifyArguments(pairs=candidates.pairs, group=group, texts=texts),
            weight=max(1, candidates.num_pairs // len(groups)),
        )
        for group in range(len(groups))
    ]
    results = engine.run("verify", jobs)
    return [result.files["edges.arrow"] for result in results], sum(result.counts["edges"] for result in results)


def verify(arguments: VerifyArguments, attempt: Attempt) -> dict[str, Any]:
    """Compare each document with its candidates, in `turns`, until enough are alike. Writes edges.arrow.

    Where the recipe wants no verification every pair is an edge.
    """
    verified = arguments.texts.dedupe.verify
    parts = read_ranges(attempt, arguments.pairs, arguments.group, PAIR_COLUMNS)
    document, better, _, bands = join_pairs(
        [(d, b, r, n) for d, b, r, n in parts], MAX_CANDIDATES if verified else None
    )
    found = np.full(len(document), not verified)
    if verified and len(document):
        comparison = Comparison(arguments.texts, attempt)
        starts, turn_of = turns(document, bands)
        for turn in range(int(turn_of.max()) + 1):
            alike_so_far = np.bincount(starts[found], minlength=len(document))[starts]
            now = np.flatnonzero((turn_of == turn) & (alike_so_far < ENOUGH_ALIKE))
            if len(now):
                found[now] = comparison.alike(document[now], better[now])
    write_columns(attempt.output("edges.arrow"), {"document": document[found], "better": better[found]})
    return {"pairs": len(document), "edges": int(found.sum())}


def turns(document: _Numbers, bands: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """When each pair is compared, COMPARED_AT_ONCE of a document in a turn: first the best candidate by rank and those
    that share the most bands, then the others by rank. Among templates a document can be like four better ones that all
    go for others; the one that it is a copy of would not be among them.

    Args: document uint64[p], bands uint8[p], of pairs (glmdata.dedupe.candidates.Pairs); p > 0.
    Returns: where the pairs of each one's document start, and the turn, int64[p].
    """
    firsts = np.flatnonzero(np.append(True, document[1:] != document[:-1]))
    sizes = np.diff(np.append(firsts, len(document)))
    starts = np.repeat(firsts, sizes)
    place = np.arange(len(document)) - starts
    left = bands.astype(np.int64) << 32 | 0xFFFFFFFF - place  # more bands, then the better rank
    left[firsts] &= 0xFFFFFFFF
    for _ in range(COMPARED_AT_ONCE - 1):
        closest = firsts + (0xFFFFFFFF - (np.maximum.reduceat(left, firsts) & 0xFFFFFFFF))
        left[closest] &= 0xFFFFFFFF
    chosen = left <= 0xFFFFFFFF
    num_before = np.cumsum(chosen, dtype=np.int64) - chosen
    num_before -= num_before[starts]
    others = place - num_before  # by rank, without those of the first turn
    return starts, np.where(chosen, 0, 1 + others // COMPARED_AT_ONCE)


class Comparison:
    """Compares pairs of documents by their numbers."""

    def __init__(self, texts: Texts, attempt: Attempt) -> None:
        self._texts, self._attempt = texts, attempt
        self._opened: dict[int, pa.StringArray] = {}

    def _texts_of(self, partition: int) -> pa.StringArray:
        """The texts of a partition, which is opened once, not for each portion."""
        if partition not in self._opened:
            if len(self._opened) >= MAX_OPENED:
                self._opened.clear()
            self._opened[partition] = read_documents(self._attempt, self._texts.partitions[partition])["text"]
        return self._opened[partition]

    def alike(self, document: _Numbers, better: _Numbers) -> npt.NDArray[np.bool_]:
        """Whether the similarity of each pair reaches the threshold. `document` is of this build, `better` may be of
        an index.
        """
        found = np.zeros(len(document), bool)
        indexed = better >= INDEX_NUMBER
        here, there = np.flatnonzero(~indexed), np.flatnonzero(indexed)
        for portion in self._portions(document[here], better[here]):
            mine = here[portion]
            found[mine] = self._truly_alike(document[mine], better[mine])
        for start in range(0, len(there), ESTIMATED_AT_ONCE):
            mine = there[start : start + ESTIMATED_AT_ONCE]
            found[mine] = self._estimated(document[mine], better[mine]) >= self._texts.dedupe.jaccard_threshold
        return found

    def _portions(self, document: _Numbers, better: _Numbers) -> Iterator[slice]:
        """Runs of pairs with about PORTION_BYTES of text."""
        if not len(document):
            return
        numbers, places = np.unique(np.concatenate((document, better)), return_inverse=True)
        sizes = self._lengths(numbers)[places].reshape(2, -1).sum(axis=0)
        portion = (np.cumsum(sizes) - sizes) // PORTION_BYTES
        for _, start, stop in runs_of(portion):
            yield slice(start, stop)

    def _lengths(self, numbers: _Numbers) -> npt.NDArray[np.int64]:
        owners, rows = number_parts(numbers)
        lengths = np.zeros(len(numbers), np.int64)
        for owner, start, stop in runs_of(owners):
            offsets = _offsets(self._texts_of(owner))
            lengths[start:stop] = offsets[rows[start:stop] + 1] - offsets[rows[start:stop]]
        return lengths

    def _truly_alike(self, document: _Numbers, better: _Numbers) -> npt.NDArray[np.bool_]:
        numbers, places = np.unique(np.concatenate((document, better)), return_inverse=True)
        owners, rows = number_parts(numbers)
        values: list[_Numbers] = [np.zeros(0, np.uint64)]
        lengths: list[npt.NDArray[np.int64]] = []
        for owner, start, stop in runs_of(owners):
            chosen = self._texts_of(owner).take(pa.array(rows[start:stop]))
            sets, offsets = shingle_sets(chosen, np.arange(stop - start), self._texts.dedupe.shingle_size)
            values.append(sets)
            lengths.append(np.diff(offsets))
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        left, right = places.reshape(2, -1)
        return alike(np.concatenate(values), offsets, left, right, self._texts.dedupe.jaccard_threshold)

    def _estimated(self, document: _Numbers, better: _Numbers) -> npt.NDArray[np.float64]:
        """Share of equal places of two signatures; 0 without signatures."""
        if not self._texts.dedupe.near:
            return np.zeros(len(document))
        equal = np.zeros(len(document))
        order = np.argsort(better, kind="stable")
        mine = self._signatures(document[order])
        owners, rows = number_parts(better[order] ^ INDEX_NUMBER)
        for owner, start, stop in runs_of(owners):
            with pa.memory_map(self._attempt.input(self._texts.earlier.files[owner])) as source:
                column = pa.ipc.open_file(source).read_all()["signature"]
                theirs = read_signatures(column.take(pa.array(rows[start:stop])).combine_chunks())
            equal[order[start:stop]] = (mine[start:stop] == theirs).mean(axis=1)
        return equal

    def _signatures(self, numbers: _Numbers) -> npt.NDArray[np.uint32]:
        found = np.zeros((len(numbers), self._texts.dedupe.num_perm), np.uint32)
        order = np.argsort(numbers, kind="stable")
        owners, rows = number_parts(numbers[order])
        for owner, start, stop in runs_of(owners):
            columns = read_columns(self._attempt, self._texts.signatures[owner])
            places = np.searchsorted(columns["row"].to_numpy(), rows[start:stop])
            found[order[start:stop]] = read_signatures(columns["signature"].take(pa.array(places)))
        return found


def _offsets(texts: pa.StringArray) -> npt.NDArray[np.int32]:
    """Where each text begins, and where the last one ends."""
    return np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
