"""Raw files to documents: read, refuse what cannot be read, normalise."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from glmdata.corpus.documents import DOCUMENT_SCHEMA
from glmdata.corpus.files import InputFile
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import TO_THE_END, Split, plan_splits
from glmdata.pipelines.engine import Attempt, Engine, Job
from glmdata.pipelines.partitions import Partition, write_batches
from glmdata.recipe import CorpusSettings, NormalizationSettings, Recipe
from glmdata.text.normalization import normalizer

__all__ = ["ingest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestArguments:
    """One split of one file. `mtime_ns` is there for resuming: a file that changed is read again."""

    split: Split
    mtime_ns: int
    corpus: CorpusSettings
    normalization: NormalizationSettings


def ingest(engine: Engine, files: Sequence[InputFile], recipe: Recipe) -> list[Partition]:
    """Run the stage; the partitions are in the order of the files and of the records in them."""
    by_uri = {file.uri: file for file in files}
    splits = plan_splits(files, recipe.corpus)
    jobs = [
        Job(
            function=ingest_split,
            arguments=IngestArguments(
                split=split,
                mtime_ns=by_uri[split.uri].mtime_ns,
                corpus=recipe.corpus,
                normalization=recipe.normalization,
            ),
            weight=max(1, _split_bytes(split, by_uri[split.uri].size)),
        )
        for split in splits
    ]
    partitions: list[Partition] = []
    seen: defaultdict[str, int] = defaultdict(int)
    for split, result in zip(splits, engine.run("ingest", jobs), strict=True):
        for batch, (rows, text_bytes) in enumerate(result.counts["batches"]):
            partitions.append(
                Partition(
                    number=len(partitions),
                    uri=split.uri,
                    file=result.files["documents.arrow"],
                    batch=batch,
                    first_record=seen[split.uri],
                    rows=rows,
                    text_bytes=text_bytes,
                )
            )
        seen[split.uri] += result.counts["numbered"]
    return partitions


def _split_bytes(split: Split, file_bytes: int) -> int:
    """Bytes of the file that a split reads, for the progress display; of a parquet file the first stands for all."""
    if split.format in ("jsonl", "txt") and split.end != TO_THE_END:
        return split.end - split.start
    return file_bytes if split.ordinal == 0 else 0


def ingest_split(arguments: IngestArguments, attempt: Attempt) -> dict[str, Any]:
    """Read one split. Writes documents.arrow, a record batch a partition."""
    batches: list[tuple[int, int]] = []
    counts = {"records": 0, "numbered": 0}

    def counted() -> Iterator[pa.RecordBatch]:
        for batch in read_split(arguments.split, arguments.corpus, normalizer(arguments.normalization)):
            batches.append((batch.num_rows, int(pc.sum(pc.binary_length(batch["text"])).as_py() or 0)))
            counts["records"] += batch.num_rows
            counts["numbered"] += int(pc.sum(pc.greater_equal(batch["record"], 0)).as_py() or 0)
            yield batch

    write_batches(attempt.output("documents.arrow"), DOCUMENT_SCHEMA, counted())
    return {**counts, "batches": batches}
