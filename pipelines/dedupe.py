"""Exact and near duplicates: from signatures to survivors.

sign -> gather -> match -> verify -> (spread -> stars -> route) -> settle

What each does is told in its module: candidates, similarity, components, settle. Without verification the candidates
are the edges; while the edges fit one job the stages in brackets are not run.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.corpus.documents import Outcome
from glmdata.pipelines.against import Earlier
from glmdata.pipelines.candidates import Groups, find_candidates, group_partitions
from glmdata.pipelines.components import bring_together
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Result
from glmdata.pipelines.partitions import Partition, number_parts
from glmdata.pipelines.settle import DUPLICATE_SCHEMA, settle_components
from glmdata.pipelines.sign import sign_partitions
from glmdata.pipelines.similarity import Texts, verify_candidates
from glmdata.recipe import DedupeSettings, Recipe

__all__ = ["Deduplicated", "Duplicates", "deduplicate", "duplicates_of", "find_duplicates", "surviving_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Files of duplicates, each with a record batch for each group of partitions."""

    files: tuple[FileRef, ...]
    groups: Groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicated:
    """What the stages left: per partition signs.arrow and signatures.arrow, and the duplicates."""

    signs: list[FileRef]
    signatures: list[FileRef]
    duplicates: Duplicates
    language_bytes: dict[str, int]
    """Text that is left of the wanted languages."""
    held: int
    """Documents that earlier builds hold."""


def deduplicate(
    engine: Engine, partitions: Sequence[Partition], recipe: Recipe, earlier: Earlier | None = None
) -> Deduplicated:
    """Run all stages; documents that `earlier` builds hold are duplicates of theirs."""
    signed = sign_partitions(engine, partitions, recipe)
    duplicates, settled = find_duplicates(engine, partitions, signed, recipe.dedupe, earlier or Earlier())
    removed: Counter[str] = Counter()
    for result in settled:
        removed.update(result.counts["removed_bytes"])
    totals = {
        code: sum(result.counts["language_bytes"].get(code, 0) for result in signed) - removed[code]
        for code in recipe.balance.languages
    }
    return Deduplicated(
        signs=[result.files["signs.arrow"] for result in signed],
        signatures=[result.files["signatures.arrow"] for result in signed],
        duplicates=duplicates,
        language_bytes=totals,
        held=sum(result.counts["held"] for result in settled),
    )


def find_duplicates(
    engine: Engine,
    partitions: Sequence[Partition],
    signed: Sequence[Result],
    settings: DedupeSettings,
    earlier: Earlier,
) -> tuple[Duplicates, list[Result]]:
    """Duplicates among signed partitions, and the results of the last stage with its counts.

    With `settings.verify` off the texts of `partitions` are not read.
    """
    signs, signatures = ([result.files[name] for result in signed] for name in ("signs.arrow", "signatures.arrow"))
    compared = [result.counts["compared"] for result in signed]
    groups = group_partitions(compared, settings)
    texts = Texts(partitions=tuple(partitions), signatures=tuple(signatures), earlier=earlier, dedupe=settings)
    candidates = find_candidates(engine, signatures, compared, groups, settings, earlier)
    edges, num_edges = list(candidates.edges), candidates.num_edges
    if settings.near:
        alike, num_alike = verify_candidates(engine, candidates, groups, texts)
        edges, num_edges = edges + alike, num_edges + num_alike
    together, parts = bring_together(engine, edges, num_edges)
    settled = settle_components(engine, together, parts, signs, texts, groups)
    files = tuple(result.files["duplicates.arrow"] for result in settled)
    return Duplicates(files=files, groups=groups), settled


def duplicates_of(attempt: Attempt, duplicates: Duplicates, partition: int) -> pa.RecordBatch:
    """The duplicates among one partition's documents, by document."""
    group = int(duplicates.groups.of(np.array([partition]))[0])
    found = []
    for file in duplicates.files:
        with pa.OSFile(attempt.input(file)) as source:
            batch = pa.ipc.open_file(source).get_batch(group)
        numbers = batch["document"].to_numpy()
        start = int(np.searchsorted(numbers, np.uint64(partition << 32), "left"))
        stop = int(np.searchsorted(numbers, np.uint64((partition + 1) << 32), "left"))
        found.append(batch.slice(start, stop - start))
    table = pa.Table.from_batches(found, DUPLICATE_SCHEMA).sort_by("document").combine_chunks()
    return table.to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], schema=DUPLICATE_SCHEMA)


def surviving_rows(
    attempt: Attempt, signs: pa.RecordBatch, duplicates: Duplicates, partition: int
) -> npt.NDArray[np.int64]:
    """Rows of a partition that are still wanted after language and duplicates."""
    alive = np.array(signs["outcome"]) == Outcome.KEPT
    alive[number_parts(duplicates_of(attempt, duplicates, partition)["document"].to_numpy())[1]] = False
    return np.flatnonzero(alive)
