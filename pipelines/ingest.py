"""Raw files to documents: read, refuse what cannot be read, normalise.

ingest  a few splits of files -> their records, a record batch a partition

Small files are read together, and share partitions: a million files of one document each are a few hundred jobs.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from glmdata.corpus.documents import DOCUMENT_SCHEMA
from glmdata.corpus.files import InputFile
from glmdata.corpus.readers import read_split
from glmdata.corpus.records import converter
from glmdata.corpus.splits import TO_THE_END, Split, plan_splits
from glmdata.pipelines.engine import Attempt, Engine, Job
from glmdata.pipelines.partitions import Partition, Segment, write_batches
from glmdata.recipe import CorpusSettings, FinetuneSettings, NormalizationSettings, Recipe
from glmdata.text.normalization import Normalizer

__all__ = ["ingest"]

SPLITS_PER_JOB = 500
"""Small files in one job; each costs about 0.2 ms to open and close."""

GUESSED_RATIO = 4
"""Compressed text counts for so much when small files are put together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestArguments:
    """Some splits. `changed` (mtime_ns of their files) is there for resuming: a file that changed is read again."""

    splits: tuple[Split, ...]
    changed: tuple[int, ...]
    corpus: CorpusSettings
    normalization: NormalizationSettings
    finetune: FinetuneSettings


def ingest(engine: Engine, files: Sequence[InputFile], recipe: Recipe) -> list[Partition]:
    """Run the stage; the partitions are in the order of the files and of the records in them."""
    by_uri = {file.uri: file for file in files}
    records = recipe.finetune.task != "none"
    groups = list(_groups(plan_splits(files, recipe.corpus, records=records), by_uri, recipe.corpus.split_bytes))
    jobs = [
        Job(
            function=ingest_splits,
            arguments=IngestArguments(
                splits=tuple(group),
                changed=tuple(by_uri[split.uri].mtime_ns for split in group),
                corpus=recipe.corpus,
                normalization=recipe.normalization,
                finetune=recipe.finetune,
            ),
            weight=max(1, sum(_split_bytes(split, by_uri[split.uri].size) for split in group)),
        )
        for group in groups
    ]
    partitions: list[Partition] = []
    seen: defaultdict[str, int] = defaultdict(int)
    for group, result in zip(groups, engine.run("ingest", jobs, kernels=False), strict=True):
        before: dict[int, int] = {}  # records of the file before each split; a split may fill several partitions
        for number, batch in enumerate(result.counts["batches"]):
            segments = []
            for split, rows, numbered in batch["segments"]:
                uri = group[split].uri
                segments.append(Segment(uri=uri, first_record=before.setdefault(split, seen[uri]), rows=rows))
                seen[uri] += numbered
            partitions.append(
                Partition(
                    number=len(partitions),
                    segments=tuple(segments),
                    file=result.files["documents.arrow"],
                    batch=number,
                    rows=sum(segment.rows for segment in segments),
                    text_bytes=batch["text_bytes"],
                )
            )
    return partitions


def _groups(splits: Sequence[Split], files: dict[str, InputFile], split_bytes: int) -> Iterator[list[Split]]:
    """Consecutive splits that together are no larger than one split may be."""
    group: list[Split] = []
    held = 0
    for split in splits:
        size = _split_bytes(split, files[split.uri].size) * (GUESSED_RATIO if split.compression else 1)
        if group and (held + size > split_bytes or len(group) == SPLITS_PER_JOB):
            yield group
            group, held = [], 0
        group.append(split)
        held += size
    if group:
        yield group


def _split_bytes(split: Split, file_bytes: int) -> int:
    """Bytes of the file that a split reads; of a parquet file the first stands for all."""
    if split.format in ("jsonl", "txt") and split.end != TO_THE_END:
        return split.end - split.start
    return file_bytes if split.ordinal == 0 else 0


def ingest_splits(arguments: IngestArguments, attempt: Attempt) -> dict[str, Any]:
    """Read some splits. Writes documents.arrow, a record batch a partition."""
    told: list[dict[str, Any]] = []
    write_batches(attempt.output("documents.arrow"), DOCUMENT_SCHEMA, _partitions(arguments, told))
    rows = sum(segment[1] for batch in told for segment in batch["segments"])
    return {"records": rows, "batches": told}


def _partitions(arguments: IngestArguments, told: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Record batches of about partition_bytes of text; of each, the segments are added to `told`."""
    held: list[pa.RecordBatch] = []
    segments: list[tuple[int, int, int]] = []
    held_bytes = 0

    def closed() -> pa.RecordBatch:
        nonlocal held_bytes
        told.append({"segments": list(segments), "text_bytes": held_bytes})
        table = pa.Table.from_batches(held, DOCUMENT_SCHEMA)
        joined = held[0] if len(held) == 1 else table.combine_chunks().to_batches()[0]
        held.clear()
        segments.clear()
        held_bytes = 0
        return joined

    normalize = Normalizer(arguments.normalization)
    convert = converter(arguments.finetune, normalize)
    for place, split in enumerate(arguments.splits):
        for batch in read_split(split, arguments.corpus, normalize, convert):
            if not batch.num_rows:
                continue
            size = int(pc.sum(pc.binary_length(batch["text"])).as_py() or 0)
            if held and held_bytes + size > arguments.corpus.partition_bytes:
                yield closed()
            numbered = int(pc.sum(pc.greater_equal(batch["record"], 0)).as_py() or 0)
            held.append(batch)
            segments.append((place, batch.num_rows, numbered))
            held_bytes += size
    if held:
        yield closed()
