"""Two builds compared: recipe, tokenizer, counts, the first sample that differs, and what became of their documents.

Samples are compared a block of rows at a time, beginning behind the record batches of equal hashes. Documents are
joined by id: both ledgers are cut into files by the first bits of the ids, and the files are compared pair by pair, so
memory does not grow with them.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.corpus.documents import Outcome
from glmdata.ledger import Ledger
from glmdata.recipe import differences
from glmdata.shards.manifest import Manifest
from glmdata.shards.reader import Shards
from glmdata.shards.schema import MATRIX_COLUMNS, SCALAR_COLUMNS

__all__ = ["ABSENT", "Comparison", "Documents", "Example", "FirstDifference", "compare_builds"]

ABSENT = "absent"
"""The outcome of a document that a build never saw."""
OTHER = "other"
BLOCK_ROWS = 256
BUCKET_DOCUMENTS = 1 << 21
"""Documents of both builds that are joined at a time: 50 bytes each."""
MAX_EXAMPLES = 3
"""Documents named for each pair of outcomes of which one is kept."""
_OUTCOMES = (*(outcome.label for outcome in Outcome), OTHER, ABSENT)
_RECORD = np.dtype([("high", np.uint64), ("low", np.uint64), ("outcome", np.uint8)])
_CODE_ABSENT = len(_OUTCOMES) - 1

Pair = tuple[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstDifference:
    """The first sample in the shards' order that is not the same in both."""

    sample: int
    columns: tuple[str, ...]
    """What differs of it; empty where one build ends before it."""
    place: int
    """The first token at which a column differs, or 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A document kept in one build only."""

    document_id: bytes
    uri: str
    record: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What became of documents in one build and the other, ABSENT where a build never saw them."""

    outcomes: dict[tuple[str, str], int]
    """By both outcomes, those of most documents first."""
    examples: dict[tuple[str, str], tuple[Example, ...]]
    """Of the pairs of which one is kept."""

    @property
    def changed(self) -> dict[tuple[str, str], int]:
        """Pairs of different outcomes."""
        return {pair: count for pair, count in self.outcomes.items() if pair[0] != pair[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two builds; pairs are (of the first, of the second)."""

    fingerprints: tuple[str, str]
    rows: tuple[int, int]
    recipe: dict[str, Pair]
    """Settings that differ."""
    versions: dict[str, Pair]
    tokenizer: dict[str, Pair]
    counts: dict[str, Pair]
    """Counts of the manifests that differ."""
    first: FirstDifference | None
    """None where the samples are the same, or rows cannot be compared."""
    rows_comparable: bool
    """Whether rows have one length."""
    documents: Documents

    @property
    def same(self) -> bool:
        """Whether the shards are the same, byte by byte."""
        return self.fingerprints[0] == self.fingerprints[1]


def compare_builds(left: str | os.PathLike[str], right: str | os.PathLike[str]) -> Comparison:
    """Compare two finished builds. Raises ShardError, ShardCorruptError where one cannot be read."""
    shards = Shards(left), Shards(right)
    mine, theirs = (one.manifest for one in shards)
    comparable = mine.sequence_length == theirs.sequence_length
    return Comparison(
        fingerprints=(mine.fingerprint, theirs.fingerprint),
        rows=(mine.rows, theirs.rows),
        recipe=_pairs(mine.recipe, theirs.recipe),
        versions=_pairs(mine.versions, theirs.versions),
        tokenizer=_pairs(mine.tokenizer.model_dump(), theirs.tokenizer.model_dump()),
        counts=_pairs(mine.counts, theirs.counts),
        first=_first_difference(*shards) if comparable and mine.fingerprint != theirs.fingerprint else None,
        rows_comparable=comparable,
        documents=_compare_documents(Ledger(shards[0].place), Ledger(shards[1].place)),
    )


def _pairs(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Pair]:
    return {key: (a, b) for key, a, b in differences(mine, theirs)}


def _first_difference(left: Shards, right: Shards) -> FirstDifference | None:
    common = min(left.rows, right.rows)
    for start in range(_equal_rows(left.manifest, right.manifest), common, BLOCK_ROWS):
        numbers = np.arange(start, min(start + BLOCK_ROWS, common))
        a, b = left.take(numbers), right.take(numbers)
        differs = {name: a[name] != b[name] for name in (*SCALAR_COLUMNS, *MATRIX_COLUMNS)}
        rows = np.logical_or.reduce([found if found.ndim == 1 else found.any(1) for found in differs.values()])
        if rows.any():
            row = int(rows.argmax())
            columns = tuple(name for name, found in differs.items() if found[row].any())
            places = [int(differs[name][row].argmax()) for name in columns if name in MATRIX_COLUMNS]
            return FirstDifference(sample=start + row, columns=columns, place=min(places, default=0))
    if left.rows != right.rows:
        return FirstDifference(sample=common, columns=(), place=0)
    return None


def _equal_rows(left: Manifest, right: Manifest) -> int:
    """Rows at the beginning that lie in record batches of equal hashes."""
    step, rows = left.rows_per_record_batch, 0
    if (step, left.layout, left.tokenizer.vocabulary_size) != (
        right.rows_per_record_batch, right.layout, right.tokenizer.vocabulary_size
    ):  # fmt: skip
        return 0
    for a, b in zip(left.shards, right.shards, strict=False):
        for number, (mine, theirs) in enumerate(zip(a.record_batches, b.record_batches, strict=False)):
            if mine != theirs:
                return rows + number * step
        if a.rows != b.rows:
            break
        rows += a.rows
    return rows


def _compare_documents(left: Ledger, right: Ledger) -> Documents:
    records = sum(ledger.manifest.counts.get("records_in", 0) for ledger in (left, right))
    bits = (records // BUCKET_DOCUMENTS).bit_length()
    counts: Counter[tuple[str, str]] = Counter()
    named: dict[tuple[str, str], list[bytes]] = {}
    with tempfile.TemporaryDirectory(prefix="glmdata-diff-") as folder:
        for side, ledger in enumerate((left, right)):
            _spill(ledger, Path(folder), side, bits)
        for bucket in range(1 << bits):
            ids, mine, theirs = _join(*(_bucket(Path(folder), side, bucket) for side in (0, 1)))
            both = mine.astype(np.int64) * len(_OUTCOMES) + theirs
            for code, count in enumerate(np.bincount(both, minlength=0).tolist()):
                if not count:
                    continue
                pair = (_OUTCOMES[code // len(_OUTCOMES)], _OUTCOMES[code % len(_OUTCOMES)])
                counts[pair] += count
                if (pair[0] == "kept") != (pair[1] == "kept"):
                    some = named.setdefault(pair, [])
                    for at in np.flatnonzero(both == code)[: MAX_EXAMPLES - len(some)]:
                        some.append(int(ids["high"][at]).to_bytes(8, "big") + int(ids["low"][at]).to_bytes(8, "big"))
    places = right.places(i for ids in named.values() for i in ids)
    places |= left.places(i for ids in named.values() for i in ids)
    return Documents(
        outcomes=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        examples={
            pair: tuple(Example(document_id=i, uri=places[i][0], record=places[i][1]) for i in ids)
            for pair, ids in named.items()
        },
    )


def _spill(ledger: Ledger, folder: Path, side: int, bits: int) -> None:
    """Append each document to the file of its bucket: id and outcome, 17 bytes."""
    names = pa.array(_OUTCOMES[:-2])
    for table in ledger.tables(["document_id", "outcome"]):
        for batch in table.to_batches():
            ids = batch["document_id"]
            halves = np.frombuffer(ids.buffers()[1], ">u8").reshape(-1, 2)[ids.offset : ids.offset + len(ids)]
            records = np.empty(len(ids), _RECORD)
            records["high"], records["low"] = halves[:, 0], halves[:, 1]
            records["outcome"] = np.asarray(pc.fill_null(pc.index_in(batch["outcome"], names), len(_OUTCOMES) - 2))
            for bucket, part in _by_bucket(records, bits):
                with (folder / f"{side}-{bucket}").open("ab") as file:
                    file.write(part.tobytes())


def _by_bucket(records: npt.NDArray[Any], bits: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    if bits == 0:
        yield 0, records
        return
    buckets = (records["high"] >> np.uint64(64 - bits)).astype(np.int64)
    order = np.argsort(buckets, kind="stable")
    names, starts = np.unique(buckets[order], return_index=True)
    for bucket, chosen in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
        yield bucket, records[chosen]


def _bucket(folder: Path, side: int, bucket: int) -> npt.NDArray[Any]:
    path = folder / f"{side}-{bucket}"
    return np.fromfile(path, _RECORD) if path.exists() else np.empty(0, _RECORD)


def _join(
    left: npt.NDArray[Any], right: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Distinct ids of both, rising, and their outcomes there; an id comes once on each side."""
    every = np.concatenate([left, right])
    side = np.repeat([0, 1], [len(left), len(right)])
    order = np.lexsort((side, every["low"], every["high"]))
    every, side = every[order], side[order]
    fresh = np.ones(len(every), np.bool_)
    fresh[1:] = (every["high"][1:] != every["high"][:-1]) | (every["low"][1:] != every["low"][:-1])
    group = np.cumsum(fresh) - 1
    outcomes = np.full((2, int(fresh.sum())), _CODE_ABSENT, np.uint8)
    outcomes[side, group] = every["outcome"]
    return every[fresh], outcomes[0], outcomes[1]
