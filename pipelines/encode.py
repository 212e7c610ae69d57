"""Records of fine-tuning to tokens.

encode  a partition -> contexts and answers of its records, ordered by key; what became of each record
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from glmdata.corpus.documents import Outcome
from glmdata.corpus.examples import parse_example, plain_text
from glmdata.infilling.contexts import Codec, Row, rows_of
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Result
from glmdata.pipelines.partitions import Partition, joined_columns, read_documents, row_pieces, write_columns
from glmdata.pipelines.tokenize import order_keys
from glmdata.recipe import FinetuneSettings, Recipe
from glmdata.text.language import identify_columns
from glmdata.tokenization import Tokenizer

__all__ = ["CUTS", "encode"]

CUTS = ("history_cut", "source_cut", "target_cut")
"""Rows whose history, prompt or answer was cut."""
TOLD = ("rows", "tokens", *CUTS)
"""What the ledger says of a record: sums over its rows."""


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
    tokenizer = Tokenizer.load(attempt.input(arguments.tokenizer))
    documents = read_documents(attempt, arguments.partition)
    outcomes = np.array(documents["outcome"])
    alive = np.flatnonzero(outcomes == Outcome.KEPT)
    texts, sizes = documents["text"], pc.binary_length(documents["text"]).to_numpy().astype(np.int64)
    pieces = [alive[piece] for piece in row_pieces(attempt, sizes[alive])]
    parts = [_encoded(texts.take(pa.array(rows)), rows, tokenizer, arguments) for rows in pieces]
    table = joined_columns([part.table for part in parts])
    of = table["row"].to_numpy()
    told = {name: np.zeros(len(outcomes), np.int64) for name in TOLD}
    for name in TOLD:
        np.add.at(told[name], of, table.pop(name).to_numpy())
    outcomes[alive[told["rows"][alive] == 0]] = Outcome.EMPTY
    outcomes[np.concatenate([part.tied for part in parts])] = Outcome.TIE
    languages = np.full(len(outcomes), None, object)
    languages[alive] = [code for part in parts for code in part.languages]
    records = arguments.partition.records(documents["record"].to_numpy())
    ids = arguments.partition.document_ids(records)
    columns = {**told, "outcome": outcomes, "language": pa.array(languages, pa.string()), "document_id": ids}
    write_columns(attempt.output("records.arrow"), columns)
    order = pa.array(np.lexsort((of, table["key"].to_numpy())))
    table["document_id"] = ids.take(pa.array(of))
    write_columns(attempt.output("tokens.arrow"), {name: column.take(order) for name, column in table.items()})
    refused = next((text for text in documents["detail"].to_pylist() if text), "")
    codes = sorted(set(table["code"].to_pylist()))
    return {"records": len(outcomes), "rows": len(of), "languages": codes, "refused": refused}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    """Some records of a partition."""

    table: dict[str, pa.Array]
    """tokens.arrow without `document_id`, with the columns TOLD beside it."""
    tied: npt.NDArray[np.int64]
    """Records without a row, since their answers are equal."""
    languages: list[str]
    """Of each record."""


def _encoded(
    texts: pa.StringArray, records: npt.NDArray[np.int64], tokenizer: Tokenizer, arguments: EncodeArguments
) -> _Encoded:
    """Encode some records; `records` are their places in the partition."""
    examples = [parse_example(text) for text in texts.to_pylist()]
    plain = pa.array([plain_text(example) for example in examples], pa.large_string())
    languages = identify_columns(plain, arguments.language_engine).languages
    codec = Codec(encode=tokenizer.encode, decode=tokenizer.decode, special=tokenizer.special)
    made = rows_of(examples, codec, arguments.settings, arguments.sequence_length)
    made = [row for row in made if all(len(answer) for answer in row.answers)]
    ties = [_is_tie(row, arguments.settings) for row in made]
    rows = [row for row, tie in zip(made, ties, strict=True) if not tie]
    told = {
        "rows": np.ones(len(rows), np.int64),
        "tokens": np.array([_own_tokens(row, tokenizer.num_pieces) for row in rows], np.int64),
        **{name: np.array([getattr(row, name) > 0 for row in rows], np.int64) for name in CUTS},
    }
    of = np.array([row.example for row in rows], np.int64)
    table = _table(rows, tokenizer.token_dtype) | told
    table |= {
        "key": order_keys(_content_hashes(rows), arguments.seed),
        "row": records[of].astype(np.uint32),
        "language": np.zeros(len(rows), np.uint8),  # one stream, whatever the language
        "code": pa.array([languages[place] for place in of.tolist()], pa.string()),
    }
    tied = [row.example for row, tie in zip(made, ties, strict=True) if tie]
    return _Encoded(
        table={name: pa.array(column) for name, column in table.items()},
        tied=records[np.array(tied, np.int64)],
        languages=languages,
    )


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
