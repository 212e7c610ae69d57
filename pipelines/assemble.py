"""Tokens to shards: finished samples, languages taking turns, a fixed number of rows a file.

assemble  a stretch of every language's stream, the same share of each -> rows
shards    a range of rows -> a shard
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.balance import take_turns
from glmdata.infilling.segments import find_segments
from glmdata.infilling.style import Style, style_of
from glmdata.infilling.windows import Rows, fill_rows
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Result
from glmdata.pipelines.partitions import read_columns
from glmdata.pipelines.streams import Plan, Stretch, stretch_of
from glmdata.recipe import CHOICE_TASKS, ObjectiveWeights, Recipe, ShardSettings, SpanSettings
from glmdata.shards.compact import compact_batch
from glmdata.shards.schema import OBJECTIVES, SEGMENT_COLUMNS, make_batch, shard_schema
from glmdata.shards.writer import write_shard
from glmdata.tokenization import SpecialTokens

__all__ = ["assemble", "cut_into_shards", "segment_lists"]

TOKENS_PER_BUCKET = 1 << 19
"""Tokens of the largest language in one assemble job, padding of one-document rows counted: about 1,150 rows of 512
and 20 MB of memory a language."""
SAMPLE_ID_STRIDE = 1_000_000
"""Sample ids of a bucket's language begin at a multiple of this. A bucket has fewer rows: each holds a token at least,
and a bucket has TOKENS_PER_BUCKET and a sixteenth at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembleArguments:
    """Bucket `bucket` of `buckets`: that share of each language's stream."""

    bucket: int
    buckets: int
    plan: Plan
    tokens: tuple[FileRef, ...]
    special: SpecialTokens
    vocabulary_size: int
    sequence_length: int
    packing: Literal["concat", "document", "segments"]
    objectives: ObjectiveWeights
    spans: SpanSettings
    seed: int
    layout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardArguments:
    """Rows of one shard: from each file the rows [start, stop)."""

    pieces: tuple[tuple[FileRef, int, int], ...]
    sequence_length: int
    vocabulary_size: int
    segments: bool
    settings: ShardSettings
    choices: bool

    @property
    def schema(self) -> pa.Schema:
        """Of the shard and of the files that its rows come from."""
        size, layout = self.vocabulary_size, self.settings.layout
        return shard_schema(self.sequence_length, size, layout, segments=self.segments, choices=self.choices)


def assemble(
    engine: Engine,
    plan: Plan,
    tokens: Sequence[FileRef],
    special: SpecialTokens,
    vocabulary_size: int,
    recipe: Recipe,
) -> list[Result]:
    """Run the stage; each result has rows.arrow and the counts of its rows."""
    apart = recipe.packing == "document"
    cells = [
        max(total, documents * (passes + (limit is not None)) * recipe.sequence_length if apart else 0)
        for total, documents, passes, limit in zip(plan.totals, plan.documents, plan.passes, plan.limits, strict=True)
    ]
    buckets = max(1, -(-max(cells) // TOKENS_PER_BUCKET))
    return engine.run(
        "assemble",
        [
            Job(
                function=assemble_bucket,
                arguments=AssembleArguments(
                    bucket=bucket,
                    buckets=buckets,
                    plan=plan,
                    tokens=tuple(tokens),
                    special=special,
                    vocabulary_size=vocabulary_size,
                    sequence_length=recipe.sequence_length,
                    packing=recipe.packing,
                    objectives=recipe.objectives,
                    spans=recipe.spans,
                    seed=recipe.seed,
                    layout=recipe.shards.layout,
                ),
                weight=max(1, sum(plan.totals) // buckets),
            )
            for bucket in range(buckets)
        ],
    )


def cut_into_shards(engine: Engine, assembled: Sequence[Result], vocabulary_size: int, recipe: Recipe) -> list[Result]:
    """Run the stage; each result has shard.arrow, and its rows and hashes as counts."""
    jobs = []
    for pieces in _cut_rows([(r.files["rows.arrow"], r.counts["rows"]) for r in assembled], recipe.shards.rows):
        arguments = ShardArguments(
            pieces=tuple(pieces),
            sequence_length=recipe.sequence_length,
            vocabulary_size=vocabulary_size,
            segments=recipe.packing == "segments",
            settings=recipe.shards,
            choices=recipe.finetune.task in CHOICE_TASKS,
        )
        token_bytes = 9 if recipe.shards.layout == "materialised" else 2
        weight = sum(stop - start for _, start, stop in pieces) * recipe.sequence_length * token_bytes
        jobs.append(Job(function=write_rows, arguments=arguments, weight=weight))
    return engine.run("shards", jobs)


def _cut_rows(files: Sequence[tuple[FileRef, int]], rows: int) -> Iterator[list[tuple[FileRef, int, int]]]:
    """Cut the joined rows of files into runs of `rows`."""
    pieces: list[tuple[FileRef, int, int]] = []
    room = rows
    for file, count in files:
        start = 0
        while start < count:
            stop = min(count, start + room)
            pieces.append((file, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield pieces
                pieces, room = [], rows
    if pieces:
        yield pieces


def assemble_bucket(arguments: AssembleArguments, attempt: Attempt) -> dict[str, Any]:
    """Lay out the rows of a bucket. Writes rows.arrow in the shards' schema."""
    stretches = [
        stretch_of(attempt, arguments.tokens, arguments.plan, place, arguments.bucket, arguments.buckets)
        for place in range(len(arguments.plan.languages))
    ]
    filled = [_fill(arguments, place, stretch) for place, stretch in enumerate(stretches)]
    language, row = take_turns([rows.text_tokens for rows in filled])
    first = np.cumsum([0] + [len(rows.length) for rows in filled])
    order = first[language] + row
    write_rows_file(arguments, attempt, filled, stretches, language, order)
    lengths = np.concatenate([rows.length for rows in filled]).astype(np.int64)
    objectives = np.concatenate([rows.objective for rows in filled])
    per_objective = {
        name: {
            "rows": int((objectives == code).sum()),
            "spans": sum(int(rows.spans[code]) for rows in filled),
            "masked_tokens": sum(int(rows.masked_tokens[code]) for rows in filled),
            "reduced_tokens": sum(int(rows.reduced_tokens[code]) for rows in filled),
        }
        for code, name in enumerate(OBJECTIVES[:3])
    }
    return {
        "records": len(order),
        "rows": len(order),
        "real_tokens": int(lengths.sum()),
        "text_tokens": [int(rows.text_tokens.sum(dtype=np.int64)) for rows in filled],
        "language_rows": [len(rows.length) for rows in filled],
        "objectives": per_objective,
    }


def _fill(arguments: AssembleArguments, language: int, stretch: Stretch) -> Rows:
    place = arguments.bucket * len(arguments.plan.languages) + language
    return fill_rows(
        stretch.tokens,
        stretch.offsets,
        stretch.sentence_ends,
        continued=stretch.continued,
        complete=stretch.complete,
        special=arguments.special,
        sequence_length=arguments.sequence_length,
        packing=arguments.packing,
        objectives=arguments.objectives,
        spans=arguments.spans,
        seed=arguments.seed,
        first_sample_id=place * SAMPLE_ID_STRIDE,
        token_dtype=np.uint16 if arguments.vocabulary_size <= 1 << 16 else np.uint32,
    )


def write_rows_file(
    arguments: AssembleArguments,
    attempt: Attempt,
    filled: Sequence[Rows],
    stretches: Sequence[Stretch],
    language: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
) -> None:
    """Write the rows of all languages in mixed order as one record batch."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(rows, name) for rows in filled])[order]
        for name in (
            "sample_id", "input_ids", "target_ids", "position_ids", "block_position_ids", "loss_mask",
            "context_length", "length", "objective",
        )
    }  # fmt: skip
    style = style_of(arguments.special.by_role(), arguments.spans, arguments.sequence_length, arguments.packing)
    size, length = arguments.vocabulary_size, arguments.sequence_length
    schema = shard_schema(length, size, segments=style.apart)
    if style.apart:
        columns |= segment_lists(columns, style)
    ends, end_offsets, documents, document_offsets = [], [0], list[bytes](), [0]
    for rows, stretch in zip(filled, stretches, strict=True):
        ends.append(rows.sentence_ends)
        end_offsets += (rows.sentence_end_offsets[1:] + end_offsets[-1]).tolist()
        for first, last in zip(rows.document_first.tolist(), rows.document_last.tolist(), strict=True):
            documents += stretch.ids[first:last]
            document_offsets.append(len(documents))
    sentence_ends = pa.ListArray.from_arrays(np.array(end_offsets, np.int32), pa.array(np.concatenate(ends)))
    document_ids = pa.ListArray.from_arrays(np.array(document_offsets, np.int32), pa.array(documents, pa.binary(16)))
    batch = make_batch(
        schema,
        **columns,
        language=language.astype(np.uint8),
        sentence_ends=sentence_ends.take(pa.array(order)),
        document_ids=document_ids.take(pa.array(order)),
    )
    if arguments.layout == "compact":
        schema = shard_schema(length, size, arguments.layout, segments=style.apart)
        batch = compact_batch(batch, schema, style)
    write_shard(attempt.output("rows.arrow"), schema, [batch])


def segment_lists(columns: dict[str, npt.NDArray[Any]], style: Style) -> dict[str, pa.ListArray]:
    """SEGMENT_COLUMNS of finished rows."""
    found = find_segments(columns["input_ids"], columns["block_position_ids"], columns["length"], style)
    offsets = np.append(np.searchsorted(found.row, np.arange(len(columns["length"]))), len(found.row))
    lists = (pa.array(values.astype(np.uint16)) for values in (found.start, found.context_length))
    made = (pa.ListArray.from_arrays(offsets.astype(np.int32), values) for values in lists)
    return dict(zip(SEGMENT_COLUMNS, made, strict=True))


def write_rows(arguments: ShardArguments, attempt: Attempt) -> dict[str, Any]:
    """Gather the rows of one shard. Writes shard.arrow."""
    schema = arguments.schema
    pieces = [read_columns(attempt, file).slice(start, stop - start) for file, start, stop in arguments.pieces]
    rows = pa.Table.from_batches(pieces, schema)  # views of the files: a record batch at a time is copied
    step = arguments.settings.rows_per_record_batch
    batches = (rows.slice(start, step).combine_chunks().to_batches()[0] for start in range(0, rows.num_rows, step))
    compression: Literal["zstd"] | None = None if arguments.settings.compression == "none" else "zstd"
    written = write_shard(attempt.output("shard.arrow"), schema, batches, compression=compression)
    return {
        "records": written.rows,
        "rows": written.rows,
        "record_batches": list(written.record_batches),
    }
