"""Survivors to tokens: train a tokenizer if none is given, encode, find sentence ends.

sample    a partition -> words of the texts to train on, which are chosen by content hash, in the languages' ratio
train     all words, counted -> tokenizer.model
tokenize  a partition -> tokens of its survivors, ordered by language and order key, and their counts by key range;
          a document is there as often as the weight of its source says
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.balance import copies_of, source_weight
from glmdata.errors import InputError
from glmdata.pipelines.dedupe import Deduplicated, Duplicates, surviving_rows
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import (
    Partition,
    joined_columns,
    read_columns,
    read_documents,
    row_pieces,
    write_columns,
)
from glmdata.randomness import mix64, purpose_key
from glmdata.recipe import Recipe, TokenizerSettings
from glmdata.remote import without_secrets
from glmdata.storage import PLACE
from glmdata.text.sentences import sentence_ends
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.alignment import sentence_token_ends
from glmdata.tokenization.training import MAX_TRAINING_BYTES, train_on_words
from glmdata.tokenization.training_words import count_words, merge_words

__all__ = ["ORDER_BINS", "order_keys", "tokenize", "tokenizer_file", "trained_tokenizer"]

EXCERPT_BYTES = 4096
"""Text is sampled in pieces of this size, so that a few large documents do not make up the whole sample."""
ORDER_BINS = 1 << 16
"""Ranges of order keys whose token counts are added up; a range of the default 2^16 holds 500k tokens of 3.4e10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleArguments:
    """One partition; `shares` are the part of each language's text to take, in units of 2^-64."""

    partition: Partition
    signs: FileRef
    duplicates: Duplicates
    shares: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainArguments:
    """All samples."""

    samples: tuple[FileRef, ...]
    settings: TokenizerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepArguments:
    """A given tokenizer."""

    model: str = field(metadata=PLACE, repr=False)
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeArguments:
    """One partition."""

    partition: Partition
    signs: FileRef
    duplicates: Duplicates
    tokenizer: FileRef
    languages: tuple[str, ...]
    source_weights: dict[str, float]
    seed: int


def trained_tokenizer(
    engine: Engine, partitions: Sequence[Partition], deduplicated: Deduplicated, recipe: Recipe
) -> FileRef:
    """Train on a sample of the survivors; returns tokenizer.model."""
    weights = recipe.balance.languages
    shares = {}
    for code, weight in weights.items():
        wanted = recipe.tokenizer.sample_bytes * weight / sum(weights.values())
        there = deduplicated.language_bytes[code]
        shares[code] = min((1 << 64) - 1, int(wanted / max(1, there) * (1 << 64)))
    samples = engine.run(
        "sample",
        [
            Job(
                function=sample,
                arguments=SampleArguments(
                    partition=partition, signs=signs, duplicates=deduplicated.duplicates, shares=shares
                ),
                weight=partition.text_bytes,
            )
            for partition, signs in zip(partitions, deduplicated.signs, strict=True)
        ],
    )
    arguments = TrainArguments(
        samples=tuple(result.files["sample.arrow"] for result in samples), settings=recipe.tokenizer
    )
    return engine.run("train", [Job(function=train, arguments=arguments)])[0].files["tokenizer.model"]


def tokenizer_file(engine: Engine, tokenizer: Tokenizer, path: str) -> FileRef:
    """A given tokenizer as a file of the build; returns tokenizer.model."""
    arguments = KeepArguments(model=path, hash=tokenizer.hash)
    return engine.run("tokenizer", [Job(function=keep, arguments=arguments)])[0].files["tokenizer.model"]


def tokenize(
    engine: Engine,
    partitions: Sequence[Partition],
    deduplicated: Deduplicated,
    tokenizer: FileRef,
    recipe: Recipe,
) -> tuple[list[FileRef], list[FileRef]]:
    """Run the stage; returns tokens.arrow and bins.arrow of each partition."""
    results = engine.run(
        "tokenize",
        [
            Job(
                function=tokenize_partition,
                arguments=TokenizeArguments(
                    partition=partition,
                    signs=signs,
                    duplicates=deduplicated.duplicates,
                    tokenizer=tokenizer,
                    languages=tuple(recipe.balance.languages),
                    source_weights=recipe.balance.source_weights,
                    seed=recipe.seed,
                ),
                weight=partition.text_bytes,
            )
            for partition, signs in zip(partitions, deduplicated.signs, strict=True)
        ],
    )
    return [result.files["tokens.arrow"] for result in results], [result.files["bins.arrow"] for result in results]


def order_keys(hash_high: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """The order of documents in the build: their content hash, scrambled by the seed; file names have no part."""
    return _scramble(np.ascontiguousarray(hash_high), purpose_key(seed, "document order"))


def _scramble(values: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    scrambled: npt.NDArray[np.uint64] = np.empty_like(values)
    with np.errstate(over="ignore"):
        scrambled[:] = mix64.py_func(values ^ key)
    return scrambled


def sample(arguments: SampleArguments, attempt: Attempt) -> dict[str, Any]:
    """Count the words of excerpts, chosen by hash from all survivors. Writes sample.arrow."""
    signs = read_columns(attempt, arguments.signs)
    rows = surviving_rows(attempt, signs, arguments.duplicates, arguments.partition.number)
    limits = np.array(
        [arguments.shares.get(code, 0) for code in signs["language"].take(pa.array(rows)).to_pylist()], np.uint64
    )
    counts = -(-signs["length"].to_numpy()[rows] // EXCERPT_BYTES)
    owners = np.repeat(np.arange(len(rows)), counts)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The low half of the hash: the high half orders the documents, and a sample should not be their beginning.
    hashes = _scramble(signs["hash_low"].to_numpy()[rows][owners] + places.astype(np.uint64), np.uint64(0))
    chosen = np.flatnonzero(hashes < limits[owners])
    texts = read_documents(attempt, arguments.partition)["text"]
    excerpts = []
    for excerpt in chosen:
        start = int(places[excerpt]) * EXCERPT_BYTES
        data = texts[int(rows[owners[excerpt]])].as_buffer()[start : start + EXCERPT_BYTES]
        excerpts.append(bytes(data).decode("utf-8", "ignore"))  # characters cut at the ends are left out
    words = count_words(pa.array(excerpts, pa.large_string()))
    write_columns(attempt.output("sample.arrow"), {name: words[name] for name in words.schema.names})
    return {"records": len(excerpts)}


def train(arguments: TrainArguments, attempt: Attempt) -> dict[str, Any]:
    """Train on the words of all excerpts; in which files they were has no part. Writes tokenizer.model."""
    words, counts = merge_words([read_columns(attempt, file) for file in arguments.samples], MAX_TRAINING_BYTES)
    Path(attempt.output("tokenizer.model")).write_bytes(train_on_words(words, counts, arguments.settings))
    return {"words": len(words)}


def keep(arguments: KeepArguments, attempt: Attempt) -> dict[str, Any]:
    """Copy a given tokenizer into the build. Writes tokenizer.model."""
    model = Tokenizer.load(arguments.model)
    if model.hash != arguments.hash:
        raise InputError(
            f"{without_secrets(arguments.model)} changed since the build began; run the same command again"
        )
    Path(attempt.output("tokenizer.model")).write_bytes(model.model)
    return {}


def tokenize_partition(arguments: TokenizeArguments, attempt: Attempt) -> dict[str, Any]:
    """Encode the survivors of a partition. Writes tokens.arrow (a row a document) and bins.arrow."""
    tokenizer = Tokenizer.load(attempt.input(arguments.tokenizer))
    signs = read_columns(attempt, arguments.signs)
    rows = surviving_rows(attempt, signs, arguments.duplicates, arguments.partition.number)
    codes = {code: place for place, code in enumerate(arguments.languages)}
    languages = np.array([codes[code] for code in signs["language"].take(pa.array(rows)).to_pylist()], np.uint8)
    keys = order_keys(signs["hash_high"].to_numpy()[rows], arguments.seed)
    order = np.lexsort((rows, keys, languages))
    rows, languages, keys = rows[order], languages[order], keys[order]

    texts = read_documents(attempt, arguments.partition)["text"]
    known = {
        "language": languages,
        "key": keys,
        "row": rows.astype(np.uint32),
        "document_id": signs["document_id"].take(pa.array(rows)),
    }
    pieces = row_pieces(attempt, signs["length"].to_numpy()[rows])
    encoded = joined_columns([_encoded(tokenizer, texts.take(pa.array(rows[piece]))) for piece in pieces])
    columns = pa.RecordBatch.from_pydict(known | encoded)
    counts = {"records": len(rows), "tokens": int(encoded["length"].to_numpy().sum())}
    if arguments.source_weights:
        columns = _weighted(arguments, columns, signs["hash_high"].to_numpy()[rows])
    write_columns(attempt.output("tokens.arrow"), {name: columns[name] for name in columns.schema.names})
    write_columns(attempt.output("bins.arrow"), _counts_by_range(columns, len(codes)))
    return counts


def _encoded(tokenizer: Tokenizer, texts: pa.StringArray) -> dict[str, pa.Array]:
    """Columns of some documents: length, characters, tokens, sentence_ends."""
    tokens, offsets = tokenizer.encode_arrow(texts)
    lengths = np.diff(offsets)
    characters = np.where(lengths > 0, pc.utf8_length(texts).to_numpy(), 0).astype(np.int64)
    byte_lengths = pc.binary_length(texts).to_numpy().astype(np.int64)
    ends, end_offsets = sentence_token_ends(tokenizer, texts, tokens, offsets, byte_lengths, *sentence_ends(texts))
    return {
        "length": pa.array(lengths),
        "characters": pa.array(characters),
        "tokens": pa.LargeListArray.from_arrays(offsets, pa.array(tokens.astype(tokenizer.token_dtype))),
        "sentence_ends": pa.LargeListArray.from_arrays(end_offsets, pa.array(ends)),
    }


def _weighted(arguments: TokenizeArguments, columns: pa.RecordBatch, hashes: npt.NDArray[np.uint64]) -> pa.RecordBatch:
    """Documents as often as the weight of their source says, each copy with an order key of its own.

    What is left out stays, for the ledger, as language number len(languages), which no stream reads.
    """
    segments = arguments.partition.segments
    weights = np.repeat(
        np.array([source_weight(segment.uri, arguments.source_weights) for segment in segments], np.float64),
        [segment.rows for segment in segments],
    )
    draws = _scramble(np.ascontiguousarray(hashes), purpose_key(arguments.seed, "source weight"))
    copies = copies_of(weights[columns["row"].to_numpy()], draws)
    rows = np.maximum(copies, 1)
    places = np.repeat(np.arange(len(copies)), rows)
    numbers = np.arange(len(places)) - np.repeat(np.cumsum(rows) - rows, rows)
    keys = columns["key"].to_numpy()[places]
    for number in range(1, int(numbers.max(initial=0)) + 1):
        mine = numbers == number
        keys[mine] = _scramble(keys[mine], purpose_key(arguments.seed, f"copy {number}"))
    languages = np.where(copies > 0, columns["language"].to_numpy(), len(arguments.languages)).astype(np.uint8)[places]
    order = np.lexsort((columns["row"].to_numpy()[places], keys, languages))
    found = columns.take(pa.array(places[order]))
    found = found.set_column(found.schema.get_field_index("language"), "language", pa.array(languages[order]))
    return found.set_column(found.schema.get_field_index("key"), "key", pa.array(keys[order]))


def _counts_by_range(columns: pa.RecordBatch, languages: int) -> dict[str, npt.NDArray[np.int64]]:
    """What lies in each range of order keys of each language: tokens, characters, documents that have tokens."""
    kept = int(np.searchsorted(columns["language"].to_numpy(), languages))  # what is left out comes last
    names = ("language", "key", "length", "characters")
    language, keys, lengths, characters = (columns[name].to_numpy()[:kept] for name in names)
    bins = language.astype(np.int64) * ORDER_BINS + (keys >> np.uint64(48)).astype(np.int64)
    found, places = np.unique(bins, return_inverse=True)
    counted = {"tokens": lengths, "characters": characters, "documents": lengths > 0}
    sums = {name: np.bincount(places, values, len(found)).astype(np.int64) for name, values in counted.items()}
    return {"bin": found, **sums}
