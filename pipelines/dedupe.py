"""Language, exact and near duplicates.

sign     a partition -> language, hashes and band keys of its documents, in one read of the text
match    a range of keys, from all partitions -> edges between documents found to be duplicates
cluster  all edges -> each removed document and its survivor

Documents of languages that the build does not want leave before duplicates are looked for, so that a survivor is
always a document that is wanted.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.corpus.documents import Outcome
from glmdata.dedupe.clusters import (
    choose_survivors,
    connected_components,
    content_hashes,
    leaders,
    survivor_rank,
)
from glmdata.dedupe.minhash import band_keys, signatures
from glmdata.dedupe.shingles import shingle_sets
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import (
    Partition,
    document_numbers,
    number_parts,
    read_columns,
    read_documents,
    write_columns,
)
from glmdata.recipe import DedupeSettings, LanguageSettings, Recipe
from glmdata.text.language import LanguageColumns, identify_columns

__all__ = ["Deduplicated", "deduplicate", "duplicates_of", "surviving_rows"]

KEYS_PER_MATCH = 2_000_000
"""Keys a match job sorts; about 100 MB with what belongs to them."""

_Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicated:
    """What the stages left: per partition signs.arrow, and one duplicates.arrow."""

    signs: list[FileRef]
    duplicates: FileRef
    language_bytes: dict[str, int]
    """Text that is left of the wanted languages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignArguments:
    """One partition."""

    partition: Partition
    languages: tuple[str, ...]
    language: LanguageSettings
    dedupe: DedupeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchArguments:
    """A range of keys: part `part` of `parts` equal parts of the 64-bit numbers."""

    part: int
    parts: int
    partitions: tuple[Partition, ...]
    signs: tuple[FileRef, ...]
    keys: tuple[FileRef, ...]
    dedupe: DedupeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterArguments:
    """All edges."""

    edges: tuple[FileRef, ...]
    signs: tuple[FileRef, ...]


def deduplicate(engine: Engine, partitions: Sequence[Partition], recipe: Recipe) -> Deduplicated:
    """Run the three stages."""
    languages = tuple(recipe.balance.languages)
    signed = engine.run(
        "sign",
        [
            Job(
                function=sign,
                arguments=SignArguments(
                    partition=partition, languages=languages, language=recipe.language, dedupe=recipe.dedupe
                ),
                weight=partition.text_bytes,
            )
            for partition in partitions
        ],
    )
    signs = [result.files["signs.arrow"] for result in signed]
    num_keys = sum(result.counts["keys"] for result in signed)
    parts = max(1, -(-num_keys // KEYS_PER_MATCH))
    matched = engine.run(
        "match",
        [
            Job(
                function=match,
                arguments=MatchArguments(
                    part=part,
                    parts=parts,
                    partitions=tuple(partitions),
                    signs=tuple(signs),
                    keys=tuple(result.files["keys.arrow"] for result in signed),
                    dedupe=recipe.dedupe,
                ),
                weight=max(1, num_keys // parts),
            )
            for part in range(parts)
        ],
    )
    arguments = ClusterArguments(edges=tuple(result.files["edges.arrow"] for result in matched), signs=tuple(signs))
    clustered = engine.run("cluster", [Job(function=cluster, arguments=arguments)])[0]
    gone = clustered.counts["removed_bytes"]
    totals = {
        code: sum(result.counts["language_bytes"].get(code, 0) for result in signed) - gone.get(code, 0)
        for code in languages
    }
    return Deduplicated(signs=signs, duplicates=clustered.files["duplicates.arrow"], language_bytes=totals)


def sign(arguments: SignArguments, attempt: Attempt) -> dict[str, Any]:
    """One read of a partition's text. Writes signs.arrow (a row a record) and keys.arrow (sorted by key)."""
    documents = read_documents(attempt, arguments.partition)
    texts = documents["text"]
    outcomes = np.array(documents["outcome"])
    guesses = identify_columns(texts, arguments.language.engine)
    languages = guesses.languages
    wanted = _wanted(guesses, arguments.languages, arguments.language)
    outcomes[(outcomes == Outcome.KEPT) & ~wanted] = Outcome.LANGUAGE
    alive = np.flatnonzero(outcomes == Outcome.KEPT)
    hashes = content_hashes(texts)
    lengths = pc.binary_length(texts).to_numpy()
    records = arguments.partition.records(documents["record"].to_numpy())
    write_columns(
        attempt.output("signs.arrow"),
        {
            "outcome": outcomes,
            "language": pa.array(languages, pa.string()),
            "variant": pa.array(guesses.variants, pa.string()),
            "score": np.asarray(guesses.scores, np.float32),
            "share": guesses.shares,
            "length": lengths.astype(np.int64),
            "hash_high": np.ascontiguousarray(hashes[:, 0]),
            "hash_low": np.ascontiguousarray(hashes[:, 1]),
            "document_id": arguments.partition.document_ids(records),
        },
    )
    keys, rows = _keys(texts, hashes, alive, arguments.dedupe)
    write_columns(attempt.output("keys.arrow"), {"key": keys, "row": rows.astype(np.uint32)})
    found: dict[str, int] = {}
    for code in arguments.languages:
        found[code] = int(lengths[alive][np.array([languages[row] == code for row in alive], bool)].sum())
    return {"records": documents.num_rows, "keys": len(keys), "language_bytes": found}


def _wanted(guesses: LanguageColumns, languages: Sequence[str], settings: LanguageSettings) -> npt.NDArray[np.bool_]:
    """Which documents are of a wanted language, surely enough and with enough of its letters."""
    codes = np.array(guesses.languages, dtype=object)
    wanted = np.zeros(len(codes), bool)
    for language in languages:
        wanted |= (
            (codes == language)
            & (guesses.scores >= settings.min_score_of.get(language, settings.min_score))
            & (guesses.shares >= settings.min_share_of.get(language, settings.min_share))
        )
    return wanted


def _keys(
    texts: pa.StringArray, hashes: _Numbers, alive: npt.NDArray[np.int64], settings: DedupeSettings
) -> tuple[_Numbers, npt.NDArray[np.int64]]:
    """Keys under which duplicates meet, sorted, and the row of each: one for the content, one for each band."""
    keys, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    if settings.exact or settings.near:
        keys.append(hashes[alive, 0])
        rows.append(alive)
    if settings.near and len(alive):
        signed = signatures(
            texts.take(pa.array(alive)), settings.num_perm, settings.seed, shingle_size=settings.shingle_size
        )
        bands = band_keys(signed, settings.num_bands, settings.rows_per_band)
        keys.append(bands.ravel())
        rows.append(np.repeat(alive, settings.num_bands))
    joined, owners = np.concatenate(keys), np.concatenate(rows)
    order = np.lexsort((owners, joined))
    return joined[order], owners[order]


def match(arguments: MatchArguments, attempt: Attempt) -> dict[str, Any]:
    """Documents that share a key, compared. Writes edges.arrow: a document and a better one that it repeats."""
    keys, numbers = _keys_in_range(arguments, attempt)
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    shared = np.repeat(sizes > 1, sizes)
    groups, numbers = np.repeat(np.arange(len(sizes)), sizes)[shared], numbers[shared]
    documents, members = np.unique(numbers, return_inverse=True)
    facts = _facts(attempt, arguments.signs, documents)
    rank = survivor_rank(facts.priority, facts.length, facts.content_hash, facts.document_id)
    # Equal content: all point to the best of them, which alone goes on to be compared.
    _, content = np.unique(facts.content_hash, axis=0, return_inverse=True)
    by_rank = np.lexsort((rank, content.ravel()))
    first = np.concatenate([[True], np.diff(content.ravel()[by_rank]) != 0]) if len(by_rank) else np.zeros(0, bool)
    best = np.empty(len(documents), np.int64)
    best[by_rank] = by_rank[np.maximum.accumulate(np.where(first, np.arange(len(by_rank)), 0))] if len(by_rank) else []
    copies = np.flatnonzero(best != np.arange(len(documents)))
    edges = [(documents[copies], documents[best[copies]])]
    if arguments.dedupe.near:
        edges.append(_near_edges(arguments, attempt, documents, groups, best[members], rank))
    pairs = np.unique(np.stack([np.concatenate(side) for side in zip(*edges, strict=True)], axis=1), axis=0)
    write_columns(
        attempt.output("edges.arrow"),
        {"document": np.ascontiguousarray(pairs[:, 0]), "better": np.ascontiguousarray(pairs[:, 1])},
    )
    return {"edges": len(pairs)}


def _keys_in_range(arguments: MatchArguments, attempt: Attempt) -> tuple[_Numbers, _Numbers]:
    """Keys of this job's range from all partitions, sorted, and the document numbers beside them."""
    low = np.uint64(arguments.part * (1 << 64) // arguments.parts)
    last = np.uint64((arguments.part + 1) * (1 << 64) // arguments.parts - 1)
    keys, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for partition, file in zip(arguments.partitions, arguments.keys, strict=True):
        columns = read_columns(attempt, file)
        found = columns["key"].to_numpy()
        start, stop = np.searchsorted(found, low, "left"), np.searchsorted(found, last, "right")
        keys.append(found[start:stop].copy())  # so that the file does not stay mapped: a process may map 65,530
        numbers.append(document_numbers(partition.number, columns["row"].to_numpy()[start:stop]))
    joined, owners = np.concatenate(keys), np.concatenate(numbers)
    order = np.lexsort((owners, joined))
    return joined[order], owners[order]


def _near_edges(
    arguments: MatchArguments,
    attempt: Attempt,
    documents: _Numbers,
    groups: npt.NDArray[np.int64],
    members: npt.NDArray[np.int64],
    rank: npt.NDArray[np.int64],
) -> tuple[_Numbers, _Numbers]:
    """Edges between documents of a group whose true similarity reaches the threshold."""
    pairs = np.unique(np.stack([groups, rank[members], members], axis=1), axis=0)  # a document once a group, best first
    groups, members = pairs[:, 0], pairs[:, 2]
    sizes = np.unique(groups, return_counts=True)[1]
    keep = np.repeat(sizes > 1, sizes)
    members, sizes = members[keep], sizes[sizes > 1]
    if not len(members):
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    compared, places = np.unique(members, return_inverse=True)
    set_offsets, set_values = _shingle_sets(arguments, attempt, documents[compared])
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    found = leaders(offsets, places.astype(np.int64), set_offsets, set_values, arguments.dedupe.jaccard_threshold)
    joined = np.flatnonzero(found != places)
    return documents[compared[places[joined]]], documents[compared[found[joined]]]


def _shingle_sets(
    arguments: MatchArguments, attempt: Attempt, documents: _Numbers
) -> tuple[npt.NDArray[np.int64], _Numbers]:
    """Shingle sets of documents (sorted by number): offsets and values."""
    owners, rows = number_parts(documents)
    by_number = {partition.number: partition for partition in arguments.partitions}
    values: list[_Numbers] = []
    lengths: list[npt.NDArray[np.int64]] = []
    for owner, start, stop in _runs(owners):
        texts = read_documents(attempt, by_number[owner])["text"]
        found, offsets = shingle_sets(texts, rows[start:stop], arguments.dedupe.shingle_size)
        values.append(found)
        lengths.append(np.diff(offsets))
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64), np.concatenate(values)


def cluster(arguments: ClusterArguments, attempt: Attempt) -> dict[str, Any]:
    """Connected components and their survivors. Writes duplicates.arrow, sorted by document number."""
    tables = [read_columns(attempt, file) for file in arguments.edges]
    edges = [np.concatenate([table[name].to_numpy() for table in tables]) for name in ("document", "better")]
    documents, labels = connected_components(edges[0], edges[1])
    facts = _facts(attempt, arguments.signs, documents)
    survivor = choose_survivors(labels, facts.priority, facts.length, facts.content_hash, facts.document_id)
    gone = np.flatnonzero(survivor != np.arange(len(documents)))
    rank = survivor_rank(facts.priority, facts.length, facts.content_hash, facts.document_id)
    _, content = np.unique(facts.content_hash, axis=0, return_inverse=True)
    best = np.full(int(content.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(best, content.ravel(), rank)
    write_columns(
        attempt.output("duplicates.arrow"),
        {
            "document": documents[gone],
            "survivor_id": facts.ids.take(pa.array(survivor[gone])),
            "outcome": np.where(
                rank[gone] > best[content.ravel()[gone]], Outcome.EXACT_DUPLICATE, Outcome.NEAR_DUPLICATE
            ).astype(np.uint8),
        },
    )
    removed: Counter[str] = Counter()
    for code, length in zip(facts.languages.take(pa.array(gone)).to_pylist(), facts.length[gone].tolist(), strict=True):
        removed[code] += length
    return {"duplicates": len(gone), "removed_bytes": dict(sorted(removed.items()))}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What decides between documents."""

    priority: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    content_hash: _Numbers
    document_id: _Numbers
    ids: pa.FixedSizeBinaryArray
    languages: pa.StringArray


def _facts(attempt: Attempt, signs: Sequence[FileRef], documents: _Numbers) -> _Facts:
    """Facts of documents (sorted by number) from the partitions they lie in."""
    owners, rows = number_parts(documents)
    lengths, hashes, ids = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.uint64)], [pa.array([], pa.binary(16))]
    languages = [pa.array([], pa.string())]
    for owner, start, stop in _runs(owners):
        columns = read_columns(attempt, signs[owner])
        chosen = rows[start:stop]
        languages.append(columns["language"].take(pa.array(chosen)))
        lengths.append(columns["length"].to_numpy()[chosen])
        hashes.append(np.stack([columns[name].to_numpy()[chosen] for name in ("hash_high", "hash_low")], axis=1))
        ids.append(columns["document_id"].take(pa.array(chosen)))
    joined = pa.concat_arrays(ids)
    raw = np.frombuffer(joined.buffers()[1] or b"", ">u8")[: 2 * len(joined)]
    return _Facts(
        priority=np.zeros(len(documents), np.int64),
        length=np.concatenate(lengths),
        content_hash=np.concatenate(hashes),
        document_id=raw.astype(np.uint64).reshape(-1, 2),
        ids=joined,
        languages=pa.concat_arrays(languages),
    )


def _runs(owners: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(value, start, stop) of each run of equal values."""
    cuts = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)]
    for start, stop in itertools.pairwise(cuts):
        if stop > start:
            yield int(owners[start]), start, stop


def duplicates_of(attempt: Attempt, duplicates: FileRef, partition: int) -> pa.RecordBatch:
    """Rows of duplicates.arrow for one partition."""
    columns = read_columns(attempt, duplicates)
    numbers = columns["document"].to_numpy()
    start = int(np.searchsorted(numbers, np.uint64(partition << 32), "left"))
    stop = int(np.searchsorted(numbers, np.uint64((partition + 1) << 32), "left"))
    return columns.slice(start, stop - start)


def surviving_rows(
    attempt: Attempt, signs: pa.RecordBatch, duplicates: FileRef, partition: int
) -> npt.NDArray[np.int64]:
    """Rows of a partition that are still wanted after language and duplicates."""
    alive = np.array(signs["outcome"]) == Outcome.KEPT
    alive[number_parts(duplicates_of(attempt, duplicates, partition)["document"].to_numpy())[1]] = False
    return np.flatnonzero(alive)
