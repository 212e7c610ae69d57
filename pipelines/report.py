"""What happened to every record: the ledger, the quarantine, and the figures of the build.

ledger  a run of partitions -> one ledger file, one quarantine file, and the signatures of what is kept
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from glmdata.corpus.documents import Outcome
from glmdata.pipelines.against import Earlier
from glmdata.pipelines.dedupe import Deduplicated, Duplicates, duplicates_of
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Result
from glmdata.pipelines.index import write_signatures
from glmdata.pipelines.partitions import Partition, number_parts, read_columns, read_documents
from glmdata.pipelines.streams import Plan
from glmdata.recipe import DedupeSettings
from glmdata.shards.schema import OBJECTIVES

__all__ = [
    "LEDGER_SCHEMA",
    "QUARANTINE_SCHEMA",
    "build_report",
    "groups_of",
    "record_figures",
    "stage_figures",
    "write_ledger",
    "write_ledger_files",
]

ROWS_PER_LEDGER_FILE = 500_000
MAX_REFUSALS = 20
"""Kinds of refusals counted in report.json, the most frequent of each part of the ledger."""

LEDGER_SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.binary(16), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("survivor_id", pa.binary(16)),
        pa.field("survivor_build", pa.string()),  # fingerprint of the earlier build that holds it; null: this one
        pa.field("language", pa.string()),
        pa.field("variant", pa.string()),  # of Chinese: hans, hant
        pa.field("share", pa.float32()),  # of the letters, those in the scripts of the language
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.binary(16), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
        pa.field("byte_offset", pa.int64(), nullable=False),
        pa.field("byte_length", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerArguments:
    """Some partitions, with what the stages wrote for each."""

    partitions: tuple[Partition, ...]
    signs: tuple[FileRef, ...]
    tokens: tuple[FileRef, ...]
    duplicates: Duplicates
    plan: Plan
    signatures: tuple[FileRef, ...]
    """Empty where the build keeps none."""
    dedupe: DedupeSettings
    sources: tuple[str, ...]
    """Fingerprint of the earlier build that each file of `--against` belongs to."""


def write_ledger(
    engine: Engine,
    partitions: Sequence[Partition],
    deduplicated: Deduplicated,
    tokens: Sequence[FileRef],
    plan: Plan,
    dedupe: DedupeSettings,
    earlier: Earlier,
) -> list[Result]:
    """Run the stage; each result has ledger.parquet, quarantine.parquet, its outcomes as counts, and, if the recipe
    wants an index, signatures.arrow.
    """
    indexed = dedupe.index and dedupe.near
    jobs = []
    for group in groups_of(partitions):
        arguments = LedgerArguments(
            partitions=tuple(partitions[number] for number in group),
            signs=tuple(deduplicated.signs[number] for number in group),
            tokens=tuple(tokens[number] for number in group),
            duplicates=deduplicated.duplicates,
            plan=plan,
            signatures=tuple(deduplicated.signatures[number] for number in group) if indexed else (),
            dedupe=dedupe,
            sources=earlier.sources,
        )
        jobs.append(Job(function=ledger, arguments=arguments, weight=sum(p.rows for p in arguments.partitions)))
    return engine.run("ledger", jobs)


def groups_of(partitions: Sequence[Partition]) -> Iterator[list[int]]:
    """Numbers of the partitions whose records share a ledger file."""
    group: list[int] = []
    rows = 0
    for number, partition in enumerate(partitions):
        group.append(number)
        rows += partition.rows
        if rows >= ROWS_PER_LEDGER_FILE:
            yield group
            group, rows = [], 0
    if group:
        yield group


def ledger(arguments: LedgerArguments, attempt: Attempt) -> dict[str, Any]:
    """Join the stages' columns, row by row. Writes ledger.parquet, quarantine.parquet and signatures.arrow."""

    def tables() -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        for partition, signs, tokens in zip(arguments.partitions, arguments.signs, arguments.tokens, strict=True):
            documents, signed = read_documents(attempt, partition), read_columns(attempt, signs)
            yield documents, _partition_ledger(arguments, attempt, partition, documents, signed, tokens)

    counts = write_ledger_files(attempt, tables())
    if arguments.signatures:
        kept = pc.equal(pq.read_table(attempt.output("ledger.parquet"), columns=["outcome"])["outcome"], "kept")
        write_signatures(attempt, arguments.signs, arguments.signatures, np.asarray(kept), arguments.dedupe)
    return counts


def write_ledger_files(attempt: Attempt, tables: Iterable[tuple[pa.RecordBatch, pa.RecordBatch]]) -> dict[str, Any]:
    """Write ledger.parquet and quarantine.parquet; returns their counts.

    `tables`: of each partition its documents, and their rows in LEDGER_SCHEMA.
    """
    outcomes: Counter[str] = Counter()
    refusals: dict[str, tuple[int, str]] = {}
    with (
        pq.ParquetWriter(attempt.output("ledger.parquet"), LEDGER_SCHEMA, compression="zstd") as ledger_file,
        pq.ParquetWriter(attempt.output("quarantine.parquet"), QUARANTINE_SCHEMA, compression="zstd") as refused_file,
    ):
        for documents, table in tables:
            ledger_file.write_batch(table)
            outcomes.update(table["outcome"].to_pylist())
            refused = np.flatnonzero(documents["outcome"].to_numpy() == Outcome.QUARANTINED)
            if len(refused):
                rows = _quarantine(documents.take(pa.array(refused)), table.take(pa.array(refused)))
                refused_file.write_batch(rows)
                _add_refusals(refusals, [(kind_of(row["reason"]), 1, place_of(row)) for row in rows.to_pylist()])
    most = sorted(((kind, *found) for kind, found in refusals.items()), key=lambda r: (-r[1], r[0]))
    return {
        "records": sum(outcomes.values()),
        "outcomes": dict(sorted(outcomes.items())),
        "refusals": most[:MAX_REFUSALS],
    }


def kind_of(reason: str) -> str:
    """A reason without its numbers, quotes and remarks, so that alike ones can be counted."""
    return re.sub(r"\s+", " ", re.sub(r"(?<![\w-])\d[\d,]*", "N", reason.partition(";")[0])).strip()


def place_of(row: dict[str, Any]) -> str:
    """A record as a reader looks for it: uri:record, or the uri of a whole file."""
    return row["uri"] if row["record"] < 0 else f"{row['uri']}:{row['record']}"


def _add_refusals(sums: dict[str, tuple[int, str]], found: Iterable[Sequence[Any]]) -> None:
    """Add counts of refusals; each kind keeps the first place it was seen at."""
    for kind, count, place in found:
        before, first = sums.get(kind, (0, place))
        sums[kind] = (before + count, first)


def _partition_ledger(
    arguments: LedgerArguments,
    attempt: Attempt,
    partition: Partition,
    documents: pa.RecordBatch,
    signed: pa.RecordBatch,
    tokens: FileRef,
) -> pa.RecordBatch:
    rows = documents.num_rows
    outcome = np.array(signed["outcome"])
    duplicates = duplicates_of(attempt, arguments.duplicates, partition.number)
    gone = number_parts(duplicates["document"].to_numpy())[1]
    outcome[gone] = duplicates["outcome"].to_numpy()
    survivors = np.full(rows, -1, np.int64)
    survivors[gone] = np.arange(len(gone))
    counts, lengths, left_out = _token_counts(arguments.plan, read_columns(attempt, tokens), rows)
    outcome[(outcome == Outcome.KEPT) & (counts == 0) & (lengths > 0)] = Outcome.BALANCE

    detail = documents["detail"].to_pylist()
    scores, shares = signed["score"].to_numpy(), signed["share"].to_numpy()
    for row in np.flatnonzero(outcome == Outcome.LANGUAGE):
        detail[row] = f"score {scores[row]:.2f}, share {shares[row]:.2f}"
    builds: list[str | None] = [None] * rows
    for row, same, source in zip(
        gone, duplicates["same_bytes"].to_pylist(), duplicates["source"].to_pylist(), strict=True
    ):
        if source >= 0:
            builds[row] = arguments.sources[source]
            detail[row] = f"held by the earlier build {builds[row][:16]}"
        elif outcome[row] == Outcome.EXACT_DUPLICATE and not same:
            detail[row] = "differs in case, width, white space or punctuation"
    for row in np.flatnonzero((counts != lengths) & (outcome == Outcome.KEPT)):
        taken = _times(int(counts[row]), int(lengths[row]))
        detail[row] = f"{detail[row]}; {taken}" if detail[row] else taken
    for row in np.flatnonzero(left_out):
        detail[row] = "left out by balance.source_weights"
    labels = [Outcome(code).label for code in range(max(Outcome) + 1)]
    unread = np.isin(outcome, [Outcome.QUARANTINED, Outcome.EMPTY])
    columns = {
        "document_id": signed["document_id"],
        "uri": partition.uris(),
        "record": pa.array(partition.records(documents["record"].to_numpy())),
        "outcome": pa.array([labels[code] for code in outcome], pa.string()),
        "survivor_id": duplicates["survivor_id"].take(pa.array(survivors, mask=survivors < 0)),
        "survivor_build": pa.array(builds, pa.string()),
        "language": pc.if_else(pa.array(unread), None, signed["language"]),
        "variant": pc.if_else(pa.array(unread), None, signed["variant"]),
        "share": pa.array(shares, mask=unread),
        "tokens": pa.array(np.where(outcome == Outcome.KEPT, counts, lengths)),
        "detail": pa.array(detail, pa.string()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in LEDGER_SCHEMA.names], schema=LEDGER_SCHEMA)


def _times(taken: int, length: int) -> str:
    """How much of a document the build takes, where that is not all of it once."""
    whole, rest = divmod(taken, length)
    if not whole:
        return f"its first {rest} of {length} tokens: the balance ends here"
    last = f", then its first {rest} of {length} tokens: the balance ends here" if rest else ""
    return f"taken {whole} time{'s' if whole > 1 else ''}{last}"


def _token_counts(
    plan: Plan, tokens: pa.RecordBatch, rows: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """For each row of the partition: tokens the build takes, in all copies and passes; tokens the document has; whether
    the weight of its source left it out.
    """
    taken, lengths = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    places, length = tokens["row"].to_numpy(), tokens["length"].to_numpy()
    lengths[places] = length
    languages, keys = tokens["language"].to_numpy(), tokens["key"].to_numpy()
    for language, limit in enumerate(plan.limits):
        mine = np.flatnonzero(languages == language)
        np.add.at(taken, places[mine], plan.passes[language] * length[mine])
        if limit is None:
            continue
        before = mine[keys[mine] < np.uint64(limit.key)]
        np.add.at(taken, places[before], length[before])
        for place in mine[keys[mine] == np.uint64(limit.key)]:
            here, last = tokens["document_id"][int(place)].as_py(), bytes.fromhex(limit.document_id)
            taken[places[place]] += length[place] if here < last else limit.tokens if here == last else 0
    left_out = np.zeros(rows, np.bool_)
    left_out[places[languages == len(plan.languages)]] = True
    return taken, lengths, left_out


def _quarantine(documents: pa.RecordBatch, table: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        table["document_id"], table["uri"], table["record"],
        documents["byte_offset"], documents["byte_length"], documents["detail"],
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=QUARANTINE_SCHEMA)


def build_report(
    engine: Engine,
    plan: Plan,
    assembled: Sequence[Result],
    ledgers: Sequence[Result],
    sequence_length: int,
    not_read: Mapping[str, int],
    hints: Sequence[str],
    cleaning: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The figures of a build for report.json; `stages` are those that ran in this session."""
    rows = sum(result.counts["rows"] for result in assembled)
    real = sum(result.counts["real_tokens"] for result in assembled)
    objectives: dict[str, Counter[str]] = {}
    for result in assembled:
        for name, counts in result.counts["objectives"].items():
            objectives.setdefault(name, Counter()).update(counts)
    objectives = {name: objectives[name] for name in OBJECTIVES if name in objectives}
    by_language = {
        code: sum(result.counts["text_tokens"][place] for result in assembled)
        for place, code in enumerate(plan.languages)
    }
    return {
        **record_figures(ledgers),
        **({} if cleaning is None else {"cleaning": dict(cleaning)}),
        "files_not_read": dict(not_read),
        "hints": list(hints),
        "tokens": by_language,
        "balance": {
            "unit": plan.unit,
            "available": dict(zip(plan.languages, plan.available, strict=True)),
            "taken": dict(zip(plan.languages, plan.taken, strict=True)),
        },
        "times_taken": {
            code: round(total / max(1, length), 6)
            for code, total, length in zip(plan.languages, plan.totals, plan.lengths, strict=True)
        },
        "samples": {name: counts["rows"] for name, counts in objectives.items()},
        "objectives": {name: dict(counts) for name, counts in objectives.items()},
        "rows": rows,
        "padding": round(1 - real / max(1, rows * sequence_length), 6),
        "stages": stage_figures(engine),
    }


def record_figures(ledgers: Sequence[Result]) -> dict[str, Any]:
    """What became of the records, for report.json."""
    outcomes: Counter[str] = Counter()
    refusals: dict[str, tuple[int, str]] = {}
    for result in ledgers:
        outcomes.update(result.counts["outcomes"])
        _add_refusals(refusals, result.counts["refusals"])
    return {
        "records_in": sum(outcomes.values()),
        "outcomes": dict(sorted(outcomes.items())),
        "quarantined": [
            {"reason": kind, "count": count, "first": place}
            for kind, (count, place) in sorted(refusals.items(), key=lambda item: (-item[1][0], item[0]))
        ],
    }


def stage_figures(engine: Engine) -> list[dict[str, Any]]:
    """The stages that ran in this session, for report.json."""
    return [
        {
            "name": stage.name,
            "seconds": stage.seconds,
            "bytes_in": stage.bytes_in,
            "bytes_out": stage.bytes_out,
            "records": stage.records,
        }
        for stage in engine.reports
    ]
