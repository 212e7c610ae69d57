"""What happened to every record of fine-tuning data, and the figures of the build.

ledger  a run of partitions -> one ledger file, one quarantine file
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from glmdata.corpus.documents import Outcome
from glmdata.corpus.examples import parse_example
from glmdata.pipelines.encode import CUTS
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Result
from glmdata.pipelines.partitions import Partition, read_columns, read_documents
from glmdata.pipelines.report import LEDGER_SCHEMA, groups_of, record_figures, stage_figures, write_ledger_files
from glmdata.recipe import Recipe

__all__ = ["answers_report", "write_answers_ledger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerArguments:
    """Some partitions, with what became of their records."""

    partitions: tuple[Partition, ...]
    records: tuple[FileRef, ...]


def write_answers_ledger(engine: Engine, partitions: Sequence[Partition], encoded: Sequence[Result]) -> list[Result]:
    """Run the stage; each result has ledger.parquet, quarantine.parquet and its counts."""
    jobs = []
    for group in groups_of(partitions):
        arguments = LedgerArguments(
            partitions=tuple(partitions[number] for number in group),
            records=tuple(encoded[number].files["records.arrow"] for number in group),
        )
        jobs.append(
            Job(function=finetune_ledger, arguments=arguments, weight=sum(p.rows for p in arguments.partitions))
        )
    return engine.run("ledger", jobs)


def finetune_ledger(arguments: LedgerArguments, attempt: Attempt) -> dict[str, Any]:
    """What became of every record. Writes ledger.parquet and quarantine.parquet."""
    cuts: Counter[str] = Counter()
    tokens: Counter[str] = Counter()

    def tables() -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        for partition, file in zip(arguments.partitions, arguments.records, strict=True):
            documents, told = read_documents(attempt, partition), read_columns(attempt, file)
            cuts.update({name: int(told[name].to_numpy().sum()) for name in CUTS})
            for code, count in zip(told["language"].to_pylist(), told["tokens"].to_pylist(), strict=True):
                if count:
                    tokens[code] += count
            yield documents, _partition_ledger(partition, documents, told)

    counts = write_ledger_files(attempt, tables())
    return {**counts, "cuts": dict(cuts), "tokens": dict(sorted(tokens.items()))}


def _partition_ledger(partition: Partition, documents: pa.RecordBatch, told: pa.RecordBatch) -> pa.RecordBatch:
    details = [
        detail or _told(rows, *cut)
        for detail, rows, cut in zip(
            documents["detail"].to_pylist(),
            told["rows"].to_pylist(),
            zip(*(told[name].to_pylist() for name in CUTS), strict=True),
            strict=True,
        )
    ]
    for place in np.flatnonzero(told["outcome"].to_numpy() == Outcome.TIE).tolist():
        chosen, rejected = parse_example(documents["text"][place].as_py()).choices
        details[place] = f"chosen and rejected are the same{'' if chosen == rejected else ' up to where they are cut'}"
    rows = documents.num_rows
    columns = {
        "document_id": told["document_id"],
        "uri": partition.uris(),
        "record": pa.array(partition.records(documents["record"].to_numpy())),
        "outcome": pa.array([Outcome(code).label for code in told["outcome"].to_pylist()], pa.string()),
        "survivor_id": pa.nulls(rows, pa.binary(16)),
        "survivor_build": pa.nulls(rows, pa.string()),
        "language": told["language"],
        "variant": pa.nulls(rows, pa.string()),
        "share": pa.nulls(rows, pa.float32()),
        "tokens": told["tokens"],
        "detail": pa.array(details, pa.string()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in LEDGER_SCHEMA.names], schema=LEDGER_SCHEMA)


def _told(rows: int, history: int, source: int, target: int) -> str | None:
    """The answers of a record where they are several, and what was cut of them or before them."""
    parts = [f"{rows} answers"] if rows > 1 else []
    for count, what in ((history, "history"), (source, "prompt"), (target, "answer")):
        if count:
            parts.append(f"{what} cut" + (f" for {count} of them" if rows > 1 else ""))
    return "; ".join(parts) or None


def answers_report(
    engine: Engine,
    assembled: Sequence[Result],
    ledgers: Sequence[Result],
    languages: Sequence[str],
    recipe: Recipe,
    not_read: Mapping[str, int],
) -> dict[str, Any]:
    """The figures of a build for report.json; `stages` are those that ran in this session."""
    rows, answers = (sum(result.counts[name] for result in assembled) for name in ("rows", "answers"))
    real = sum(result.counts["real_tokens"] for result in assembled)
    cuts = {name: sum(result.counts["cuts"].get(name, 0) for result in ledgers) for name in CUTS}
    names = dict(zip(CUTS, ("history", "prompt", "answer"), strict=True))
    told = [f"{names[name]} cut for {count:,} of {answers:,} answers" for name, count in cuts.items() if count]
    task = recipe.finetune.task
    return {
        **record_figures(ledgers),
        "files_not_read": dict(not_read),
        "hints": told,
        "tokens": {code: sum(result.counts["tokens"].get(code, 0) for result in ledgers) for code in languages},
        "samples": {task: rows},
        "finetune": {
            "task": task,
            "answers": answers,
            "target_tokens": sum(result.counts["target_tokens"] for result in assembled),
            **{f"answers_with_{name}": count for name, count in cuts.items()},
        },
        "rows": rows,
        "padding": round(1 - real / max(1, rows * recipe.sequence_length), 6),
        "stages": stage_figures(engine),
    }
