"""The stage graph of fine-tuning: records with a context and its answers to a finished build.

encode    a partition -> contexts and answers of its records, ordered by key; what became of each record
merge     a run of partitions -> one file, where there are many
layout    a range of keys -> finished rows
shards    a range of rows -> a shard
ledger    a run of partitions -> one ledger file, one quarantine file

The order of rows is a hash of their content, scrambled by the seed: names of files and their splits have no part in it.
Nothing is balanced and no duplicates are looked for: the data is taken as it was put together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.errors import InputError
from glmdata.infilling.answers import Answers, lay_out_answers, pack_rows
from glmdata.infilling.layout import Page
from glmdata.infilling.style import style_of
from glmdata.pipelines.answers_report import answers_report, write_answers_ledger
from glmdata.pipelines.assemble import TOKENS_PER_BUCKET, cut_into_shards, segment_lists
from glmdata.pipelines.encode import encode
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Result
from glmdata.pipelines.merge import merge
from glmdata.pipelines.partitions import Partition, read_columns
from glmdata.recipe import CHOICE_TASKS, Recipe, SpanSettings
from glmdata.shards.schema import OBJECTIVES, make_batch, shard_schema
from glmdata.shards.writer import write_shard
from glmdata.tokenization import SpecialTokens, Tokenizer

__all__ = ["Finetuned", "finetune"]

SAMPLE_ID_BITS = 32
"""Sample ids of a bucket begin at a multiple of 2^32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What the stages left: shards, ledgers, the languages that rows are of, and the report."""

    shards: list[Result]
    ledgers: list[Result]
    languages: tuple[str, ...]
    report: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutArguments:
    """Bucket `bucket` of `buckets`: that range of keys."""

    bucket: int
    buckets: int
    tokens: tuple[FileRef, ...]
    languages: tuple[str, ...]
    special: SpecialTokens
    vocabulary_size: int
    sequence_length: int
    spans: SpanSettings
    packing: Literal["concat", "document", "segments"]
    task: str


def finetune(
    engine: Engine,
    partitions: Sequence[Partition],
    tokenizer: Tokenizer,
    model: FileRef,
    recipe: Recipe,
    not_read: Mapping[str, int],
) -> Finetuned:
    """Run the stages behind ingest. Raises InputError where no record has a row."""
    encoded = encode(engine, partitions, model, recipe)
    count = sum(result.counts["rows"] for result in encoded)
    if not count:
        raise InputError(_nothing_found(encoded, recipe))
    languages = tuple(sorted({code for result in encoded for code in result.counts["languages"]}))
    tokens = merge(engine, [result.files["tokens.arrow"] for result in encoded])
    buckets = max(1, count * recipe.sequence_length // TOKENS_PER_BUCKET)
    assembled = engine.run(
        "layout",
        [
            Job(
                function=lay_out_bucket,
                arguments=LayoutArguments(
                    bucket=bucket,
                    buckets=buckets,
                    tokens=tuple(tokens),
                    languages=languages,
                    special=tokenizer.special,
                    vocabulary_size=tokenizer.vocabulary_size,
                    sequence_length=recipe.sequence_length,
                    spans=recipe.spans,
                    packing=recipe.packing,
                    task=recipe.finetune.task,
                ),
                weight=max(1, count * recipe.sequence_length // buckets),
            )
            for bucket in range(buckets)
        ],
    )
    shards = cut_into_shards(engine, assembled, tokenizer.vocabulary_size, recipe)
    ledgers = write_answers_ledger(engine, partitions, encoded)
    report = answers_report(engine, assembled, ledgers, languages, recipe, not_read)
    return Finetuned(shards=shards, ledgers=ledgers, languages=languages, report=report)


def _nothing_found(encoded: Sequence[Result], recipe: Recipe) -> str:
    first = next((result.counts["refused"] for result in encoded if result.counts["refused"]), "")
    told = f"; the first that was refused: {first}" if first else ""
    return f"no record of the corpus has a row for finetune.task {recipe.finetune.task}{told}"


def lay_out_bucket(arguments: LayoutArguments, attempt: Attempt) -> dict[str, Any]:
    """Lay out the rows of a bucket. Writes rows.arrow in the shards' schema."""
    table = _read_bucket(arguments, attempt)
    encoded = _read_answers(table)
    style = style_of(arguments.special.by_role(), arguments.spans, arguments.sequence_length, arguments.packing)
    pages, context_length, length = lay_out_answers(encoded.rows, style, arguments.sequence_length)
    codes = {code: place for place, code in enumerate(arguments.languages)}
    language = np.array([codes[code] for code in table["code"].to_pylist()], np.uint8)
    row = np.arange(len(length))
    if style.apart:
        pages, row, start = pack_rows(pages, length, language, style.pad)
        length = np.bincount(row, length, len(pages.input_ids)).astype(np.uint16)
        first = np.flatnonzero(start == 0)
        first = first[np.argsort(row[first])]
        language, context_length = language[first], context_length[first]
        table = table.take(pa.array(np.lexsort((start, row))))
    columns = _columns(arguments, pages, length, language, context_length)
    if style.apart:
        columns |= segment_lists(columns, style)
    choices = arguments.task in CHOICE_TASKS
    if choices:
        columns |= encoded.choices(columns["input_ids"].dtype)
    offsets = np.append(0, np.cumsum(np.bincount(row))).astype(np.int32)
    ids = pa.concat_arrays(table["document_id"].chunks)
    schema = shard_schema(arguments.sequence_length, arguments.vocabulary_size, segments=style.apart, choices=choices)
    batch = make_batch(schema, **columns, document_ids=pa.ListArray.from_arrays(offsets, ids))
    write_shard(attempt.output("rows.arrow"), schema, [batch])
    return {
        "records": batch.num_rows,
        "rows": batch.num_rows,
        "answers": table.num_rows,
        "real_tokens": int(length.sum(dtype=np.int64)),
        "target_tokens": int(pages.loss_mask.sum(dtype=np.int64)),
    }


def _read_bucket(arguments: LayoutArguments, attempt: Attempt) -> pa.Table:
    """Rows whose keys lie in the bucket, in the order of their keys."""
    edges = [(bucket << 64) // arguments.buckets for bucket in (arguments.bucket, arguments.bucket + 1)]
    parts = []
    for file in arguments.tokens:
        columns = read_columns(attempt, file)
        keys = columns["key"].to_numpy()
        low, high = (len(keys) if edge >> 64 else int(np.searchsorted(keys, np.uint64(edge))) for edge in edges)
        parts.append(columns.slice(low, high - low))
    table = pa.Table.from_batches(parts)
    halves = np.frombuffer(b"".join(table["document_id"].to_pylist()), ">u8").reshape(-1, 2)
    return table.take(pa.array(np.lexsort((halves[:, 1], halves[:, 0], table["key"].to_numpy()))))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    """Rows of a bucket before their layout; all their answers joined, row i's from answer_offsets[i] on."""

    rows: Answers
    answers: npt.NDArray[Any]
    answer_offsets: npt.NDArray[np.int64]
    ends: npt.NDArray[np.uint32]
    end_offsets: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]

    def choices(self, dtype: npt.DTypeLike) -> dict[str, Any]:
        """CHOICE_COLUMNS."""
        tokens = pa.array(self.answers.astype(dtype))
        return {
            "choices": pa.ListArray.from_arrays(self.answer_offsets.astype(np.int32), tokens),
            "choice_ends": pa.ListArray.from_arrays(self.end_offsets.astype(np.int32), pa.array(self.ends)),
            "label": self.label.astype(np.uint16),
        }


def _read_answers(table: pa.Table) -> _Encoded:
    """Of each row its context, and of its answers the right one, behind what stands before it in Part B."""
    context, contexts = _lists(table["context"])
    silent, silents = _lists(table["silent"])
    answers, answer_offsets = _lists(table["answers"])
    ends, end_offsets = _lists(table["answer_ends"])
    label = table["label"].to_numpy().astype(np.int64)
    edges = np.append(0, ends.astype(np.int64))
    last = end_offsets[:-1] + label
    starts = answer_offsets[:-1] + np.where(label > 0, edges[last], 0)
    stops = answer_offsets[:-1] + edges[last + 1]
    bounds = zip(silents[:-1].tolist(), silents[1:].tolist(), starts.tolist(), stops.tolist(), strict=True)
    parts = [part for a, b, c, d in bounds for part in (silent[a:b], answers[c:d])]
    rows = Answers(
        context=context.astype(np.uint32),
        context_offsets=contexts,
        mask_place=table["mask_place"].to_numpy().astype(np.int64),
        mask=table["mask"].to_numpy().astype(np.int64),
        answer=np.concatenate([np.zeros(0, np.uint32), *parts]).astype(np.uint32),
        answer_offsets=np.append(0, np.cumsum(np.diff(silents) + stops - starts)),
        silent=np.diff(silents),
    )
    return _Encoded(
        rows=rows, answers=answers, answer_offsets=answer_offsets, ends=ends, end_offsets=end_offsets, label=label
    )


def _lists(column: pa.ChunkedArray) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Joined values, and offsets from 0 on."""
    lists = pa.concat_arrays(column.chunks)
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return lists.flatten().to_numpy(), offsets - offsets[0]


def _columns(
    arguments: LayoutArguments,
    pages: Page,
    length: npt.NDArray[np.uint16],
    language: npt.NDArray[np.uint8],
    context_length: npt.NDArray[np.uint16],
) -> dict[str, Any]:
    """Columns of finished rows by name, all but the lists that are of some builds or name the documents."""
    count = len(length)
    token = np.uint16 if arguments.vocabulary_size <= 1 << 16 else np.uint32
    return {
        "sample_id": np.uint64(arguments.bucket << SAMPLE_ID_BITS) + np.arange(count, dtype=np.uint64),
        **pages._asdict(),
        "input_ids": pages.input_ids.astype(token, copy=False),
        "target_ids": pages.target_ids.astype(token, copy=False),
        "context_length": context_length,
        "length": length,
        "objective": np.full(count, OBJECTIVES.index(arguments.task), np.uint8),
        "language": language,
        "sentence_ends": pa.ListArray.from_arrays(np.zeros(count + 1, np.int32), pa.array([], pa.uint16())),
    }
