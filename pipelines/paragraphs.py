"""Which paragraphs many documents share.

paragraphs  a run of partitions -> hashes of their paragraphs, with the number of documents that hold each
repeated    a range of hashes, from all runs -> those of more documents than max_documents
join        all ranges, if there are several -> one file, a record batch a range

The runs keep the number of files, which every range opens, at about a thousand, or one for 512 MB of text; memory is
that of a run's hashes (200 MB at most), of a range's (270 MB), of a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.dedupe.paragraphs import are_members, count_documents, find_paragraphs, merge_counts
from glmdata.pipelines.dedupe import Deduplicated, Duplicates, surviving_rows
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import (
    Partition,
    read_columns,
    read_documents,
    row_pieces,
    write_batches,
    write_columns,
)

__all__ = ["find_repeated", "repeated_members"]

RUNS = 1024
PARTITIONS_PER_RUN = 64
"""At most; 512 MB of text at the default partition_bytes."""
HASHES_PER_RANGE = 4_000_000
REPEATED_SCHEMA = pa.schema([pa.field("hash", pa.uint64(), nullable=False)])

_Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountArguments:
    """A run of partitions, and what is known of them."""

    partitions: tuple[Partition, ...]
    signs: tuple[FileRef, ...]
    duplicates: Duplicates


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedArguments:
    """Part `part` of `parts` equal parts of the 64-bit numbers."""

    part: int
    parts: int
    counts: tuple[FileRef, ...]
    max_documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinArguments:
    """All ranges, in their order."""

    ranges: tuple[FileRef, ...]


def find_repeated(
    engine: Engine, partitions: Sequence[Partition], deduplicated: Deduplicated, max_documents: int
) -> FileRef:
    """Run the stages over the survivors; returns repeated.arrow."""
    size = min(PARTITIONS_PER_RUN, -(-len(partitions) // RUNS) or 1)
    runs = [slice(at, at + size) for at in range(0, len(partitions), size)]
    counted = engine.run(
        "paragraphs",
        [
            Job(
                function=count_run,
                arguments=CountArguments(
                    partitions=tuple(partitions[run]),
                    signs=tuple(deduplicated.signs[run]),
                    duplicates=deduplicated.duplicates,
                ),
                weight=max(1, sum(partition.text_bytes for partition in partitions[run])),
            )
            for run in runs
        ],
    )
    counts = tuple(result.files["paragraphs.arrow"] for result in counted)
    hashes = sum(result.counts["hashes"] for result in counted)
    parts = max(1, -(-hashes // HASHES_PER_RANGE))
    found = engine.run(
        "repeated",
        [
            Job(
                function=repeated_in_range,
                arguments=RepeatedArguments(part=part, parts=parts, counts=counts, max_documents=max_documents),
                weight=max(1, hashes // parts),
            )
            for part in range(parts)
        ],
    )
    ranges = tuple(result.files["repeated.arrow"] for result in found)
    if len(ranges) == 1:
        return ranges[0]
    return engine.run("join", [Job(function=join_ranges, arguments=JoinArguments(ranges=ranges))])[0].files[
        "repeated.arrow"
    ]


def count_run(arguments: CountArguments, attempt: Attempt) -> dict[str, Any]:
    """Paragraphs of the survivors of some partitions. Writes paragraphs.arrow: hash, ascending, and documents."""
    hashes, counts, documents = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)], 0
    for partition, file in zip(arguments.partitions, arguments.signs, strict=True):
        signs = read_columns(attempt, file)
        rows = surviving_rows(attempt, signs, arguments.duplicates, partition.number)
        texts = read_documents(attempt, partition)["text"]
        for piece in row_pieces(attempt, signs["length"].to_numpy()[rows]):
            found, held = count_documents(find_paragraphs(texts.take(pa.array(rows[piece]))))
            hashes.append(found)
            counts.append(held)
        documents += len(rows)
    found, held = merge_counts(np.concatenate(hashes), np.concatenate(counts))
    write_columns(attempt.output("paragraphs.arrow"), {"hash": found, "documents": held})
    return {"records": documents, "hashes": len(found)}


def repeated_in_range(arguments: RepeatedArguments, attempt: Attempt) -> dict[str, Any]:
    """Paragraphs of more than max_documents documents. Writes repeated.arrow: their hashes, ascending."""
    low = np.uint64(arguments.part * (1 << 64) // arguments.parts)
    last = np.uint64((arguments.part + 1) * (1 << 64) // arguments.parts - 1)
    hashes, counts = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
    for file in arguments.counts:
        columns = read_columns(attempt, file)
        found = columns["hash"].to_numpy()
        inside = slice(int(np.searchsorted(found, low, "left")), int(np.searchsorted(found, last, "right")))
        hashes.append(found[inside].copy())  # so that the file does not stay mapped: a process may map 65,530
        counts.append(columns["documents"].to_numpy()[inside].copy())
    found, documents = merge_counts(np.concatenate(hashes), np.concatenate(counts))
    repeated = found[documents > arguments.max_documents]
    write_batches(attempt.output("repeated.arrow"), REPEATED_SCHEMA, [_batch(repeated)])
    return {"hashes": len(repeated)}


def join_ranges(arguments: JoinArguments, attempt: Attempt) -> dict[str, Any]:
    """Write repeated.arrow with a record batch of ascending hashes a range."""
    batches = (read_columns(attempt, file) for file in arguments.ranges)
    write_batches(attempt.output("repeated.arrow"), REPEATED_SCHEMA, batches)
    return {}


def _batch(hashes: _Hashes) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(hashes, pa.uint64())], schema=REPEATED_SCHEMA)


def repeated_members(attempt: Attempt, repeated: FileRef, hashes: _Hashes) -> npt.NDArray[np.bool_]:
    """Which hashes are in repeated.arrow."""
    order = np.argsort(hashes)
    ascending = hashes[order]
    members = np.zeros(len(hashes), np.bool_)
    for held in _held(attempt, repeated):
        start, stop = np.searchsorted(ascending, held[0], "left"), np.searchsorted(ascending, held[-1], "right")
        members[order[start:stop]] = are_members(ascending[start:stop], held)
    return members


def _held(attempt: Attempt, repeated: FileRef) -> Iterator[_Hashes]:
    """The batches that are not empty."""
    reader = pa.ipc.open_file(pa.memory_map(attempt.input(repeated)))
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        if batch.num_rows:
            yield batch["hash"].to_numpy()
