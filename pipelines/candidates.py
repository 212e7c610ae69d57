"""Candidates for being duplicates, from signatures.

gather  the signatures of some partitions -> their contents and band keys, a record batch for each range of keys
match   a range of keys, from all gathered files -> pairs of documents that share one

All bytes are moved twice and read in whole record batches; nothing is per document in the driver. A key is 24 bytes,
a document has 18 of them with the default recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.dedupe.candidates import (
    INDEX_NUMBER,
    MAX_CANDIDATES,
    NEIGHBOURS,
    candidate_pairs,
    content_pairs,
    index_ranks,
    range_of,
)
from glmdata.dedupe.minhash import band_keys, optimal_bands
from glmdata.dedupe.signature_index import read_signatures
from glmdata.errors import ShardCorruptError
from glmdata.pipelines.against import Earlier
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import (
    document_numbers,
    number_parts,
    read_columns,
    read_range,
    write_columns,
    write_ranges,
)
from glmdata.recipe import DedupeSettings
from glmdata.storage import file_digest

__all__ = ["PAIR_COLUMNS", "Candidates", "Groups", "find_candidates", "group_partitions"]

KEYS_PER_JOB = 2_000_000
"""Keys that a job gathers, or matches: about 200 MB at work."""
MAX_KEYS_PER_JOB, MANY_JOBS = 16_000_000, 1000
"""From so many jobs on they grow up to so many keys, 1.3 GB at work: what is read grows with the square of the jobs,
and the footers of the gathered files with their cube (docs/scale.md)."""

PAIR_COLUMNS = ("document", "better", "rank", "bands")

_Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Runs of partitions that one job takes together: group i is partitions firsts[i] .. firsts[i + 1] - 1."""

    firsts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.firsts)

    def of(self, partitions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The group of each partition."""
        return np.searchsorted(np.array(self.firsts, np.int64), partitions, "right") - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What the stages left: edges between documents of one content, and pairs to compare, by groups of partitions.

    Without verification the pairs are edges already.
    """

    edges: tuple[FileRef, ...]
    pairs: tuple[FileRef, ...]
    num_edges: int
    num_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherArguments:
    """Signatures of partitions first, first + 1, ..., or files of an index from number `first` on."""

    signatures: tuple[FileRef, ...]
    first: int
    is_index: bool
    num_bands: int
    rows_per_band: int
    content_parts: int
    key_parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchArguments:
    """Range `part` of the keys."""

    gathered: tuple[FileRef, ...]
    part: int
    verify: bool
    groups: Groups


def find_candidates(
    engine: Engine,
    signatures: Sequence[FileRef],
    compared: Sequence[int],
    groups: Groups,
    settings: DedupeSettings,
    earlier: Earlier,
) -> Candidates:
    """Run both stages. `compared` are the documents of each partition that have a signature."""
    bands = banding(settings) if settings.near else (0, 0)
    num_documents = sum(compared) + sum(earlier.rows)
    key_parts = parts_for(num_documents * bands[0])
    content_parts = parts_for(num_documents)
    tasks = []
    for start, stop in zip(groups.firsts, (*groups.firsts[1:], len(signatures)), strict=True):
        tasks.append((tuple(signatures[start:stop]), start, False, sum(compared[start:stop])))
    tasks += [((file,), n, True, rows) for n, (file, rows) in enumerate(zip(earlier.files, earlier.rows, strict=True))]
    gathered = engine.run(
        "gather",
        [
            Job(
                function=gather,
                arguments=GatherArguments(
                    signatures=files,
                    first=first,
                    is_index=is_index,
                    num_bands=bands[0],
                    rows_per_band=bands[1],
                    content_parts=content_parts,
                    key_parts=key_parts,
                ),
                weight=max(1, weight),
            )
            for files, first, is_index, weight in tasks
        ],
    )
    contents = tuple(result.files["contents.arrow"] for result in gathered)
    keys = tuple(result.files["keys.arrow"] for result in gathered) if settings.near else ()
    jobs = [
        Job(
            function=match_contents,
            arguments=MatchArguments(gathered=contents, part=part, verify=settings.verify, groups=groups),
            weight=max(1, num_documents // content_parts),
        )
        for part in range(content_parts)
    ]
    jobs += [
        Job(
            function=match_keys,
            arguments=MatchArguments(gathered=keys, part=part, verify=settings.verify, groups=groups),
            weight=max(1, num_documents * bands[0] // key_parts),
        )
        for part in range(key_parts if settings.near else 0)
    ]
    matched = engine.run("match", jobs)
    exact, near = matched[:content_parts], matched[content_parts:]
    return Candidates(
        edges=tuple(result.files["edges.arrow"] for result in exact),
        pairs=tuple(result.files["pairs.arrow"] for result in near),
        num_edges=sum(result.counts["pairs"] for result in exact),
        num_pairs=sum(result.counts["pairs"] for result in near),
    )


def group_partitions(compared: Sequence[int], settings: DedupeSettings) -> Groups:
    """Runs of partitions, a job each; `compared` documents of each are signed."""
    keys_per_document = 1 + (banding(settings)[0] if settings.near else 0)
    most = keys_per_job(sum(compared) * keys_per_document)
    firsts, held = [0], 0
    for partition, documents in enumerate(compared):
        keys = documents * keys_per_document
        if held and held + keys > most:
            firsts.append(partition)
            held = 0
        held += keys
    return Groups(firsts=tuple(firsts))


def banding(settings: DedupeSettings) -> tuple[int, int]:
    """Bands and rows: the recipe's, or the best for its threshold."""
    if settings.num_bands and settings.rows_per_band:
        return settings.num_bands, settings.rows_per_band
    return optimal_bands(settings.jaccard_threshold, settings.num_perm, verified=settings.verify)


def keys_per_job(keys: int) -> int:
    """Of so many in all."""
    return min(MAX_KEYS_PER_JOB, max(KEYS_PER_JOB, keys // MANY_JOBS))


def parts_for(keys: int) -> int:
    """Ranges of keys, a job each."""
    return max(1, -(-keys // keys_per_job(keys)))


def gather(arguments: GatherArguments, attempt: Attempt) -> dict[str, Any]:
    """Contents and band keys of some files of signatures, by range.

    Writes contents.arrow and, with bands, keys.arrow. Of documents with the same content the best alone has band keys,
    so that a million copies are a million contents and one document to compare.
    """
    read = [_gathered(arguments, attempt, place, file) for place, file in enumerate(arguments.signatures)]
    high, low, ranks, numbers = (np.concatenate([found[column] for found in read]) for column in range(4))
    write_ranges(
        attempt.output("contents.arrow"),
        {"high": high, "low": low, "rank": ranks, "number": numbers},
        range_of(high, arguments.content_parts),
        arguments.content_parts,
    )
    if not arguments.num_bands:
        return {"records": len(high)}
    order = np.lexsort((numbers, ranks, low, high))
    best = np.ones(len(order), bool)
    best[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    chosen = np.sort(order[best])
    keys = np.concatenate([found[4] for found in read])[chosen].ravel()
    write_ranges(
        attempt.output("keys.arrow"),
        {
            "key": keys,
            "rank": np.repeat(ranks[chosen], arguments.num_bands),
            "number": np.repeat(numbers[chosen], arguments.num_bands),
        },
        range_of(keys, arguments.key_parts),
        arguments.key_parts,
    )
    return {"records": len(high)}


def _gathered(
    arguments: GatherArguments, attempt: Attempt, place: int, file: FileRef
) -> tuple[_Numbers, _Numbers, _Numbers, _Numbers, _Numbers]:
    """content_high, content_low, rank, number and band keys of one file's documents."""
    if arguments.is_index:
        columns = _read_index(attempt, file)
        high = columns["content_high"].to_numpy()
        ranks = index_ranks(high)
        numbers = INDEX_NUMBER | document_numbers(arguments.first + place, np.arange(len(high)))
    else:
        columns = read_columns(attempt, file)
        high = columns["content_high"].to_numpy()
        ranks = columns["rank"].to_numpy()
        numbers = document_numbers(arguments.first + place, columns["row"].to_numpy())
    keys = np.zeros((len(high), 0), np.uint64)
    if arguments.num_bands:
        keys = band_keys(read_signatures(columns["signature"]), arguments.num_bands, arguments.rows_per_band)
    return high.copy(), columns["content_low"].to_numpy().copy(), ranks.copy(), numbers, keys


def _read_index(attempt: Attempt, file: FileRef) -> pa.RecordBatch:
    """All rows of a file of an index, once its bytes are what was written down."""
    path = attempt.input(file)
    if file_digest(path) != (file.bytes, file.xxh3):
        raise ShardCorruptError(f"{path}: its bytes are not those that were written down; make the index again")
    with pa.memory_map(path) as source:
        return pa.ipc.open_file(source).read_all().combine_chunks().to_batches()[0]


def match_contents(arguments: MatchArguments, attempt: Attempt) -> dict[str, Any]:
    """Documents of one content. Writes edges.arrow: document, better."""
    columns = read_range(attempt, arguments.gathered, arguments.part, ("high", "low", "rank", "number"))
    document, better = content_pairs(*columns)
    write_columns(attempt.output("edges.arrow"), {"document": document, "better": better})
    return {"pairs": len(document)}


def match_keys(arguments: MatchArguments, attempt: Attempt) -> dict[str, Any]:
    """Documents that share a band. Writes pairs.arrow, `Pairs` by groups of documents."""
    columns = read_range(attempt, arguments.gathered, arguments.part, ("key", "rank", "number"))
    pairs = candidate_pairs(
        *columns,
        neighbours=NEIGHBOURS if arguments.verify else 0,
        max_candidates=MAX_CANDIDATES if arguments.verify else None,
    )
    write_ranges(
        attempt.output("pairs.arrow"),
        dict(zip(PAIR_COLUMNS, pairs, strict=True)),
        arguments.groups.of(number_parts(pairs[0])[0]),
        len(arguments.groups),
    )
    return {"pairs": len(pairs[0])}
