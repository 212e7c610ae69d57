"""Records of fine-tuning to tokens.

encode  a partition -> contexts and answers of its records, ordered by key; what became of each record
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from glmdata.corpus.documents import Outcome
from glmdata.corpus.examples import parse_example, plain_text
from glmdata.infilling.contexts import Codec, Row, rows_of
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Result
from glmdata.pipelines.partitions import Partition, read_documents, write_columns
from glmdata.pipelines.tokenize import loaded_tokenizer, order_keys
from glmdata.recipe import FinetuneSettings, Recipe
from glmdata.text.language import identify_columns

__all__ = ["CUTS", "encode"]

CUTS = ("history_cut", "source_cut", "target_cut")
"""Rows whose history, prompt or answer was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeArguments:
    """One partition."""

    partition: Partition
    tokenizer: FileRef
    settings: FinetuneSettings
    language_engine: str
    sequence_length: int
    seed: int


def encode(engine: Engine, partitions: Sequence[Partition], model: FileRef, recipe: Recipe) -> list[Result]:
    """Run the stage; of each partition tokens.arrow, records.arrow and counts."""
    return engine.run(
        "encode",
        [
            Job(
                function=encode_partition,
                arguments=EncodeArguments(
                    partition=partition,
                    tokenizer=model,
                    settings=recipe.finetune,
                    language_engine=recipe.language.engine,
                    sequence_length=recipe.sequence_length,
                    seed=recipe.seed,
                ),
                weight=partition.text_bytes,
            )
            for partition in partitions
        ],
    )


def encode_partition(arguments: EncodeArguments, attempt: Attempt) -> dict[str, Any]:
    """Encode the records of a partition. Writes tokens.arrow (a row a row) and records.arrow (a row a record)."""
    tokenizer = loaded_tokenizer(attempt, arguments.tokenizer)
    documents = read_documents(attempt, arguments.partition)
    outcomes = np.array(documents["outcome"])
    alive = np.flatnonzero(outcomes == Outcome.KEPT)
    examples = [parse_example(text) for text in documents["text"].take(pa.array(alive)).to_pylist()]
    texts = pa.array([plain_text(example) for example in examples], pa.large_string())
    codes = np.array(identify_columns(texts, arguments.language_engine).languages, object)
    codec = Codec(encode=tokenizer.encode, decode=tokenizer.decode, special=tokenizer.special)
    rows = rows_of(examples, codec, arguments.settings, arguments.sequence_length)
    rows = [row for row in rows if all(len(answer) for answer in row.answers)]
    tied = [row.example for row in rows if _is_tie(row, arguments.settings)]
    rows = [row for row in rows if not _is_tie(row, arguments.settings)]
    of = np.array([row.example for row in rows], np.int64)
    own = np.array([_own_tokens(row, tokenizer.num_pieces) for row in rows], np.int64)
    told = {name: np.zeros(len(outcomes), np.int64) for name in ("rows", "tokens", *CUTS)}
    for name, values in (("rows", np.ones(len(rows), np.int64)), ("tokens", own)):
        np.add.at(told[name], alive[of], values)
    for name in CUTS:
        np.add.at(told[name], alive[of], [getattr(row, name) > 0 for row in rows])
    outcomes[alive[told["rows"][alive] == 0]] = Outcome.EMPTY
    outcomes[alive[tied]] = Outcome.TIE
    languages = np.full(len(outcomes), None, object)
    languages[alive] = codes
    records = arguments.partition.records(documents["record"].to_numpy())
    ids = arguments.partition.document_ids(records)
    columns = {**told, "outcome": outcomes, "language": pa.array(languages, pa.string()), "document_id": ids}
    write_columns(attempt.output("records.arrow"), columns)
    table = _table(rows, tokenizer.token_dtype)
    table |= {
        "key": order_keys(_content_hashes(rows), arguments.seed),
        "row": alive[of].astype(np.uint32),
        "language": np.zeros(len(rows), np.uint8),  # one stream, whatever the language
        "code": pa.array(codes[of], pa.string()),
        "document_id": ids.take(pa.array(alive[of])),
    }
    order = pa.array(np.lexsort((table["row"], table["key"])))
    write_columns(
        attempt.output("tokens.arrow"), {name: pa.array(column).take(order) for name, column in table.items()}
    )
    refused = next((text for text in documents["detail"].to_pylist() if text), "")
    return {"records": len(outcomes), "rows": len(rows), "languages": sorted(set(codes[of])), "refused": refused}


def _is_tie(row: Row, settings: FinetuneSettings) -> bool:
    """Whether the answers of a preference are one and the same, as they are or once they are cut."""
    return settings.task == "preference" and np.array_equal(row.answers[0], row.answers[1])


def _own_tokens(row: Row, num_pieces: int) -> int:
    """Text tokens of a row, its special ones not counted."""
    return int((row.context < num_pieces).sum() + (row.silent < num_pieces).sum() + len(row.answers[row.label]))


def _content_hashes(rows: Sequence[Row]) -> npt.NDArray[np.uint64]:
    """xxh3-64 of all that a row is made of."""
    digest, found = xxhash.xxh3_64_intdigest, np.zeros(len(rows), np.uint64)
    for place, row in enumerate(rows):
        value = row.label
        for tokens in (row.context, row.silent, *row.answers):
            value = digest(np.ascontiguousarray(tokens, np.uint32).data, value)
        found[place] = value
    return found


def _table(rows: Sequence[Row], dtype: npt.DTypeLike) -> dict[str, Any]:
    """Rows as columns; the answers of a row are joined."""

    def joined(lists: Sequence[Sequence[npt.NDArray[np.int32]]]) -> pa.LargeListArray:
        sizes = [sum(map(len, parts)) for parts in lists]
        values = np.concatenate([np.zeros(0, np.int32), *(part for parts in lists for part in parts)])
        return pa.LargeListArray.from_arrays(np.cumsum([0, *sizes]), pa.array(values.astype(dtype)))

    ends = [np.cumsum([len(answer) for answer in row.answers]) for row in rows]
    counts = np.cumsum([0, *map(len, ends)])
    return {
        "context": joined([[row.context] for row in rows]),
        "silent": joined([[row.silent] for row in rows]),
        "answers": joined([row.answers for row in rows]),
        "answer_ends": pa.LargeListArray.from_arrays(
            counts, pa.array(np.concatenate([np.zeros(0, np.int64), *ends]).astype(np.uint32))
        ),
        "label": np.array([row.label for row in rows], np.uint16),
        "mask_place": np.array([row.mask_place for row in rows], np.uint16),
        "mask": np.array([row.mask for row in rows], np.uint8),
    }
