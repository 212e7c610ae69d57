"""Survivors to the documents that are trained on: paragraphs that many share are cut, benchmarks are taken out.

clean  a partition -> its documents as they are now, and their signs

With the stages of `paragraphs` and `benchmarks` before it. All are off by default, and then none is there. They come
after duplicates: forty copies of a page would make each of its paragraphs one that forty documents share.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.corpus.documents import DOCUMENT_SCHEMA, Outcome
from glmdata.dedupe.contamination import cut_sentences, find_grams
from glmdata.dedupe.cutting import cut
from glmdata.dedupe.paragraphs import find_paragraphs, lengths_of, repeated_runs
from glmdata.pipelines.benchmarks import BenchmarkIndex, OpenIndex, open_index
from glmdata.pipelines.dedupe import Deduplicated, Duplicates, surviving_rows
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.paragraphs import find_repeated, repeated_members
from glmdata.pipelines.partitions import (
    Partition,
    read_columns,
    read_documents,
    row_pieces,
    write_batches,
    write_columns,
)
from glmdata.recipe import DecontaminationSettings, ParagraphSettings, Recipe

__all__ = ["Cleaned", "clean"]

MAX_ROUNDS = 4
"""Cutting may bring a new match together; a document that still has one after so many rounds is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What the later stages go on with."""

    partitions: list[Partition]
    deduplicated: Deduplicated
    figures: dict[str, Any] | None
    """For the report; None where nothing was to be cleaned."""
    hints: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanArguments:
    """One partition, and what to look for in it."""

    partition: Partition
    signs: FileRef
    duplicates: Duplicates
    repeated: FileRef | None
    index: FileRef | None
    paragraphs: ParagraphSettings
    decontamination: DecontaminationSettings


def clean(
    engine: Engine,
    partitions: Sequence[Partition],
    deduplicated: Deduplicated,
    benchmarks: BenchmarkIndex | None,
    recipe: Recipe,
) -> Cleaned:
    """Run the stages that the recipe asks for; a partition in which nothing changes keeps its files."""
    shared = recipe.paragraphs.max_documents
    if not shared and benchmarks is None:
        return Cleaned(partitions=list(partitions), deduplicated=deduplicated, figures=None, hints=[])
    repeated = find_repeated(engine, partitions, deduplicated, shared) if shared else None
    results = engine.run(
        "clean",
        [
            Job(
                function=clean_partition,
                arguments=CleanArguments(
                    partition=partition,
                    signs=signs,
                    duplicates=deduplicated.duplicates,
                    repeated=repeated,
                    index=benchmarks.file if benchmarks else None,
                    paragraphs=recipe.paragraphs,
                    decontamination=recipe.decontamination,
                ),
                weight=partition.text_bytes,
            )
            for partition, signs in zip(partitions, deduplicated.signs, strict=True)
        ],
    )
    cleaned, signs, gone, figures = [], [], Counter[str](), Counter[str]()
    for partition, before, result in zip(partitions, deduplicated.signs, results, strict=True):
        file = result.files.get("documents.arrow")
        size = partition.text_bytes if file is None else result.counts["text_bytes"]
        cleaned.append(partition if file is None else replace(partition, file=file, batch=0, text_bytes=size))
        signs.append(result.files.get("signs.arrow", before))
        gone.update(result.counts["gone_bytes"])
        figures.update(result.counts["figures"])
    left = {code: size - gone[code] for code, size in deduplicated.language_bytes.items()}
    return Cleaned(
        partitions=cleaned,
        deduplicated=replace(deduplicated, signs=signs, language_bytes=left),
        figures={**figures, **({"benchmarks": benchmarks.counts} if benchmarks else {})},
        hints=_hints(benchmarks, 0 if any(left.values()) else sum(result.counts["removed"] for result in results)),
    )


def _hints(benchmarks: BenchmarkIndex | None, removed_last: int) -> list[str]:
    hints = []
    if benchmarks and benchmarks.counts["ignored_texts"]:
        hints.append(f"{benchmarks.counts['ignored_texts']:,} texts of the benchmarks are too short to be looked for")
    if removed_last:
        hints.append(f"cleaning removed the last {removed_last:,} documents (paragraphs, decontamination)")
    return hints


@dataclass(slots=True, kw_only=True)
class _Survivors:
    """The documents of a partition that are still wanted, while they are cleaned."""

    texts: pa.StringArray
    outcomes: npt.NDArray[np.uint8]
    was_cut: npt.NDArray[np.bool_]
    notes: dict[int, list[str]] = field(default_factory=dict)
    """Details for the ledger, by place among the survivors."""
    figures: Counter[str] = field(default_factory=Counter)

    @classmethod
    def joined(cls, parts: "Sequence[_Survivors]") -> "_Survivors":
        """Those of some pieces, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        notes: dict[int, list[str]] = {}
        figures, start = Counter[str](), 0
        for part in parts:
            notes |= {start + place: told for place, told in part.notes.items()}
            figures.update(part.figures)
            start += len(part.texts)
        return cls(
            texts=pa.concat_arrays([part.texts for part in parts]),
            outcomes=np.concatenate([part.outcomes for part in parts]),
            was_cut=np.concatenate([part.was_cut for part in parts]),
            notes=notes,
            figures=figures,
        )

    def note(self, place: int, text: str) -> None:
        """Add to the detail of a document."""
        self.notes.setdefault(place, []).append(text)

    def put_back(self, places: npt.NDArray[np.int64], texts: pa.StringArray) -> None:
        """Replace some texts."""
        order = np.arange(len(self.texts))
        order[places] = len(order) + np.arange(len(places))
        self.texts = pa.concat_arrays([self.texts, texts]).take(pa.array(order))


def clean_partition(arguments: CleanArguments, attempt: Attempt) -> dict[str, Any]:
    """Clean the survivors. Writes documents.arrow and signs.arrow if anything changes: same rows, same columns."""
    signs = read_columns(attempt, arguments.signs)
    documents = read_documents(attempt, arguments.partition)
    rows = surviving_rows(attempt, signs, arguments.duplicates, arguments.partition.number)
    opened = None if arguments.index is None else open_index(attempt, arguments.index)
    pieces = row_pieces(attempt, signs["length"].to_numpy()[rows])
    survivors = _Survivors.joined(
        [_survivors(documents["text"].take(pa.array(rows[piece])), arguments, attempt, opened) for piece in pieces]
    )
    if not survivors.notes:
        return {"records": len(rows), "removed": 0, "gone_bytes": {}, "figures": {}}
    sizes = _write(attempt, documents, signs, rows, survivors)
    gone: Counter[str] = Counter()
    before = signs["length"].to_numpy()[rows]
    for code, size in zip(signs["language"].take(pa.array(rows)).to_pylist(), (before - sizes).tolist(), strict=True):
        gone[code] += size
    survivors.figures["bytes_cut"] = int((before - sizes)[survivors.outcomes == Outcome.KEPT].sum())
    survivors.figures["documents_cut"] = int((survivors.was_cut & (survivors.outcomes == Outcome.KEPT)).sum())
    return {
        "records": len(rows),
        "removed": int((survivors.outcomes != Outcome.KEPT).sum()),
        "text_bytes": int(sizes.sum()),
        "gone_bytes": dict(sorted(gone.items())),
        "figures": dict(sorted(survivors.figures.items())),
    }


def _survivors(
    texts: pa.StringArray, arguments: CleanArguments, attempt: Attempt, opened: OpenIndex | None
) -> _Survivors:
    """Clean some documents."""
    survivors = _Survivors(texts=texts, outcomes=np.zeros(len(texts), np.uint8), was_cut=np.zeros(len(texts), np.bool_))
    if arguments.repeated is not None:
        _cut_paragraphs(survivors, attempt, arguments.repeated, arguments.paragraphs)
    if opened is not None and arguments.decontamination.action == "remove":
        _remove_contaminated(survivors, opened)
    elif opened is not None:
        _cut_contaminated(survivors, opened)
    _remove_too_short(survivors, arguments.paragraphs.min_left)
    return survivors


def _cut_paragraphs(survivors: _Survivors, attempt: Attempt, repeated: FileRef, settings: ParagraphSettings) -> None:
    found = find_paragraphs(survivors.texts)
    marked = repeated_members(attempt, repeated, found.hashes)
    sizes = pc.binary_length(survivors.texts).to_numpy().astype(np.int64)
    stretches, offsets, numbers = repeated_runs(found, marked, sizes, settings.min_characters)
    survivors.texts = cut(survivors.texts, stretches, offsets)
    for place in np.flatnonzero(numbers).tolist():
        plural = "s" if numbers[place] > 1 else ""
        survivors.note(
            place, f"cut: {numbers[place]} paragraph{plural} seen in more than {settings.max_documents} documents"
        )
    survivors.was_cut |= numbers > 0
    survivors.figures["paragraphs_cut"] += int(numbers.sum())


def _remove_contaminated(survivors: _Survivors, opened: OpenIndex) -> None:
    counts, records = find_grams(survivors.texts, opened.index)
    for place in np.flatnonzero(counts).tolist():
        _refuse(survivors, place, opened.name(records[place]), counts[place])


def _refuse(survivors: _Survivors, place: int, name: str, count: int) -> None:
    survivors.outcomes[place] = Outcome.CONTAMINATED
    survivors.note(place, f"benchmark {name}, {count} gram{'s' if count > 1 else ''}")


def _cut_contaminated(survivors: _Survivors, opened: OpenIndex) -> None:
    counts, records = find_grams(survivors.texts, opened.index)
    places = np.flatnonzero(counts)
    records, left = records[places], counts[places]
    texts, passages = survivors.texts.take(pa.array(places)), np.zeros(len(places), np.int64)
    for _ in range(MAX_ROUNDS):
        if not left.any():
            break
        texts, taken = cut_sentences(texts, opened.index, left)
        passages += taken
        left, _ = find_grams(texts, opened.index)
    survivors.put_back(places, texts)
    for at, place in enumerate(places.tolist()):
        name = opened.name(records[at])
        if left[at]:
            _refuse(survivors, place, name, counts[place])
            continue
        of = f"1 passage of benchmark {name}" if passages[at] == 1 else f"{passages[at]} passages, first of {name}"
        survivors.note(place, f"cut: {of}")
        survivors.was_cut[place] = True
        survivors.figures["passages_cut"] += int(passages[at])


def _remove_too_short(survivors: _Survivors, min_left: int) -> None:
    places = np.flatnonzero(survivors.was_cut & (survivors.outcomes == Outcome.KEPT))
    lengths = lengths_of(survivors.texts.take(pa.array(places)))
    for place, length in zip(places.tolist(), lengths.tolist(), strict=True):
        if length < min_left:
            survivors.outcomes[place] = Outcome.TOO_SHORT
            survivors.notes[place].insert(0, f"{length} characters left")


def _write(
    attempt: Attempt, documents: pa.RecordBatch, signs: pa.RecordBatch, rows: npt.NDArray[np.int64], done: _Survivors
) -> npt.NDArray[np.int64]:
    """Write both files; texts that are not trained on are left out. Returns the bytes of the survivors' texts."""
    kept = done.outcomes == Outcome.KEPT
    places = np.zeros(documents.num_rows, np.int64)
    places[rows[kept]] = 1 + np.flatnonzero(kept)
    texts = pa.concat_arrays([pa.array([""], pa.string()), done.texts]).take(pa.array(places))
    sizes = pc.binary_length(texts).to_numpy().astype(np.int64)
    columns = {name: documents[name] for name in DOCUMENT_SCHEMA.names}
    outcomes, lengths = np.array(documents["outcome"]), np.array(signs["length"])
    outcomes[rows] = done.outcomes
    detail = columns["detail"].to_pylist()
    for place, notes in done.notes.items():
        detail[rows[place]] = "; ".join(notes)
    columns |= {"text": texts, "outcome": pa.array(outcomes), "detail": pa.array(detail, pa.string())}
    batch = pa.RecordBatch.from_arrays([columns[name] for name in DOCUMENT_SCHEMA.names], schema=DOCUMENT_SCHEMA)
    write_batches(attempt.output("documents.arrow"), DOCUMENT_SCHEMA, [batch])
    signed = np.array(signs["outcome"])
    signed[rows], lengths[rows] = done.outcomes, sizes[rows]
    known = dict(zip(signs.schema.names, signs.columns, strict=True))
    write_columns(attempt.output("signs.arrow"), known | {"outcome": signed, "length": lengths})
    return sizes[rows]
