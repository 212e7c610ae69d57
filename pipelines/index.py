"""Signature indexes of builds and of corpora.

index  a run of partitions -> the signatures of their survivors
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.corpus.files import find_files
from glmdata.dedupe.signature_index import index_batches, index_schema
from glmdata.errors import BuildExistsError, ConfigError, InputError
from glmdata.pipelines.against import INDEX_FILE, SIGNATURES, describe_index, fetch_earlier, open_earlier
from glmdata.pipelines.dedupe import Deduplicated, Duplicates, deduplicate, surviving_rows
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Progress
from glmdata.pipelines.ingest import ingest
from glmdata.pipelines.partitions import Partition, read_columns, write_batches
from glmdata.pipelines.scheduling import Executor
from glmdata.recipe import DedupeSettings, Recipe
from glmdata.storage import absolute, storage_errors, sync_folder, write_whole

__all__ = ["index_corpus", "write_signatures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexArguments:
    """Partitions first, first + 1, ..."""

    first: int
    signs: tuple[FileRef, ...]
    signatures: tuple[FileRef, ...]
    duplicates: Duplicates
    dedupe: DedupeSettings


def index_corpus(
    corpora: Sequence[str],
    out: Path,
    recipe: Recipe,
    *,
    make_executor: Callable[[int], Executor],
    progress: Progress,
    against: Sequence[str] = (),
) -> int:
    """Write the signatures of the documents of `corpora` that a build by `recipe` would tokenize; how many there are.

    `out` becomes a folder for `--against`: signatures/*.arrow, and index.json, which is written last.
    """
    if not recipe.dedupe.near:
        raise ConfigError("an index holds signatures: dedupe.near must be true")
    earlier = open_earlier(against, recipe.dedupe)
    listing = find_files([absolute(corpus) for corpus in corpora], exclude=[str(out)])
    if not listing.files:
        raise InputError(f"no .jsonl, .txt, .parquet or .arrow file in {', '.join(corpora)}")
    with storage_errors("making the folder of the index"):
        if out.exists() and any(out.iterdir()):
            raise BuildExistsError(f"--out {out} is not empty; choose another folder")
        (out / SIGNATURES).mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent)
    with work as folder:
        executor = make_executor(sum(file.size for file in listing.files))
        try:
            engine = Engine(Path(absolute(folder)), executor, progress)
            earlier = fetch_earlier(engine, earlier)
            partitions = ingest(engine, listing.files, recipe)
            deduplicated = deduplicate(engine, partitions, recipe, earlier)
            results = engine.run("index", list(_jobs(partitions, deduplicated, recipe.dedupe)))
        finally:
            executor.close()
        names, files = [], []
        with storage_errors("writing the index"):
            for number, result in enumerate(results):
                names.append(f"{SIGNATURES}/part-{number:05d}-of-{len(results):05d}.arrow")
                files.append(result.files["signatures.arrow"])
                engine.path(files[-1]).replace(out / names[-1])
            sync_folder(out / SIGNATURES)
            write_whole(out / INDEX_FILE, describe_index(files, names).encode())
    return sum(result.counts["records"] for result in results)


def _jobs(partitions: Sequence[Partition], deduplicated: Deduplicated, dedupe: DedupeSettings) -> Iterator[Job]:
    """A job for each group of partitions that deduplication took together."""
    firsts = deduplicated.duplicates.groups.firsts
    for first, stop in zip(firsts, (*firsts[1:], len(partitions)), strict=True):
        arguments = IndexArguments(
            first=first,
            signs=tuple(deduplicated.signs[first:stop]),
            signatures=tuple(deduplicated.signatures[first:stop]),
            duplicates=deduplicated.duplicates,
            dedupe=dedupe,
        )
        yield Job(function=index, arguments=arguments, weight=sum(p.rows for p in partitions[first:stop]))


def index(arguments: IndexArguments, attempt: Attempt) -> dict[str, Any]:
    """Writes signatures.arrow."""
    kept = []
    for place, file in enumerate(arguments.signs):
        signs = read_columns(attempt, file)
        rows = np.zeros(signs.num_rows, bool)
        rows[surviving_rows(attempt, signs, arguments.duplicates, arguments.first + place)] = True
        kept.append(rows)
    chosen = np.concatenate(kept)
    write_signatures(attempt, arguments.signs, arguments.signatures, chosen, arguments.dedupe)
    return {"records": int(chosen.sum())}


def write_signatures(
    attempt: Attempt,
    signs: Sequence[FileRef],
    signatures: Sequence[FileRef],
    kept: npt.NDArray[np.bool_],
    settings: DedupeSettings,
) -> None:
    """Write signatures.arrow: of some partitions the records that `kept` marks, a bool for each record of all."""
    schema = index_schema(settings)

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for sign_file, signature_file in zip(signs, signatures, strict=True):
            signed, columns = read_columns(attempt, sign_file), read_columns(attempt, signature_file)
            rows = columns["row"].to_numpy()
            chosen = pa.array(np.flatnonzero(kept[start : start + signed.num_rows][rows]))
            start += signed.num_rows
            found = columns.take(chosen)
            identities = signed["document_id"].take(found["row"])
            yield from index_batches(found.append_column("document_id", identities), schema)

    write_batches(attempt.output("signatures.arrow"), schema, batches())
