"""One read of every text: language, content, signature.

sign  a partition -> what is known of each record, and the signatures of those that go on

Documents of languages that the build does not want leave here, before duplicates are looked for, so that a survivor is
always a document that is wanted.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.corpus.documents import Outcome
from glmdata.dedupe.candidates import pack_ranks
from glmdata.dedupe.minhash import sign_texts
from glmdata.dedupe.survivors import content_hashes
from glmdata.pipelines.engine import Attempt, Engine, Job, Result
from glmdata.pipelines.partitions import Partition, read_documents, row_pieces, write_columns
from glmdata.recipe import DedupeSettings, LanguageSettings, Recipe
from glmdata.text.language import LanguageColumns, identify_columns

__all__ = ["sign", "sign_partitions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignArguments:
    """One partition."""

    partition: Partition
    languages: tuple[str, ...]
    language: LanguageSettings
    dedupe: DedupeSettings


def sign_partitions(engine: Engine, partitions: Sequence[Partition], recipe: Recipe) -> list[Result]:
    """Run the stage: of each partition signs.arrow and signatures.arrow."""
    languages = tuple(recipe.balance.languages)
    jobs = [
        Job(
            function=sign,
            arguments=SignArguments(
                partition=partition, languages=languages, language=recipe.language, dedupe=recipe.dedupe
            ),
            weight=partition.text_bytes,
        )
        for partition in partitions
    ]
    return engine.run("sign", jobs)


def sign(arguments: SignArguments, attempt: Attempt) -> dict[str, Any]:
    """One read of a partition's text.

    Writes signs.arrow, a row a record, and signatures.arrow, a row for each that may be a duplicate: row uint32, rank
    uint64 (`glmdata.dedupe.candidates.pack_ranks`, priority from 1 on), content_high and content_low uint64, signature.
    """
    documents = read_documents(attempt, arguments.partition)
    texts = documents["text"]
    outcomes = np.array(documents["outcome"])
    lengths = pc.binary_length(texts).to_numpy().astype(np.int64)
    guesses = _guesses(texts, arguments.language.engine, row_pieces(attempt, lengths))
    languages = guesses.languages
    outcomes[(outcomes == Outcome.KEPT) & ~_wanted(guesses, arguments.languages, arguments.language)] = Outcome.LANGUAGE
    alive = np.flatnonzero(outcomes == Outcome.KEPT)
    hashes = content_hashes(texts)
    records = arguments.partition.records(documents["record"].to_numpy())
    priorities = _priorities(arguments.partition, arguments.dedupe.source_priority)
    settings = arguments.dedupe
    compared = alive if settings.exact or settings.near else alive[:0]
    signed, contents = _signatures(texts, compared, settings, row_pieces(attempt, lengths[compared]))
    content = np.zeros((documents.num_rows, 2), np.uint64)
    content[compared] = contents
    write_columns(
        attempt.output("signs.arrow"),
        {
            "outcome": outcomes,
            "language": pa.array(languages, pa.string()),
            "variant": pa.array(guesses.variants, pa.string()),
            "score": np.asarray(guesses.scores, np.float32),
            "share": guesses.shares,
            "length": lengths,
            "priority": priorities.astype(np.uint8),
            "hash_high": np.ascontiguousarray(hashes[:, 0]),
            "hash_low": np.ascontiguousarray(hashes[:, 1]),
            "content_high": np.ascontiguousarray(content[:, 0]),
            "content_low": np.ascontiguousarray(content[:, 1]),
            "document_id": arguments.partition.document_ids(records),
        },
    )
    write_columns(
        attempt.output("signatures.arrow"),
        {
            "row": compared.astype(np.uint32),
            "rank": pack_ranks(priorities[compared] + 1, lengths[compared], contents[:, 0]),
            "content_high": np.ascontiguousarray(contents[:, 0]),
            "content_low": np.ascontiguousarray(contents[:, 1]),
            "signature": pa.FixedSizeListArray.from_arrays(pa.array(signed.ravel()), max(1, signed.shape[1]))
            if settings.near
            else pa.nulls(len(compared)),
        },
    )
    found: dict[str, int] = {}
    for code in arguments.languages:
        found[code] = int(lengths[alive][np.array([languages[row] == code for row in alive], bool)].sum())
    return {"records": documents.num_rows, "compared": len(compared), "language_bytes": found}


def _guesses(texts: pa.StringArray, engine: str, pieces: Iterator[slice]) -> LanguageColumns:
    """What each text is taken for, some at a time."""
    found = [identify_columns(texts[piece], engine) for piece in pieces]
    return LanguageColumns(
        languages=[language for part in found for language in part.languages],
        scores=np.concatenate([part.scores for part in found]),
        shares=np.concatenate([part.shares for part in found]),
        variants=np.concatenate([part.variants for part in found]),
    )


def _signatures(
    texts: pa.StringArray, rows: npt.NDArray[np.int64], settings: DedupeSettings, pieces: Iterator[slice]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    """Signatures and contents of some rows, as `sign_texts` gives them, some at a time."""
    permutations = settings.num_perm if settings.near else 0
    found = [
        sign_texts(texts.take(pa.array(rows[piece])), permutations, settings.seed, shingle_size=settings.shingle_size)
        for piece in pieces
    ]
    return np.concatenate([signed for signed, _ in found]), np.concatenate([contents for _, contents in found])


def _wanted(guesses: LanguageColumns, languages: Sequence[str], settings: LanguageSettings) -> npt.NDArray[np.bool_]:
    """Which documents are of a wanted language, surely enough and with enough of its letters."""
    codes = np.array(guesses.languages, dtype=object)
    wanted = np.zeros(len(codes), bool)
    for language in languages:
        wanted |= (
            (codes == language)
            & (guesses.scores >= settings.min_score_of.get(language, settings.min_score))
            & (guesses.shares >= settings.min_share_of.get(language, settings.min_share))
        )
    return wanted


def _priorities(partition: Partition, patterns: Sequence[str]) -> npt.NDArray[np.int64]:
    """The first pattern that each row's file matches, the number of patterns where none does: int64[rows]."""
    found = [
        next(
            (place for place, pattern in enumerate(patterns) if fnmatch.fnmatchcase(segment.uri, pattern)),
            len(patterns),
        )
        for segment in partition.segments
    ]
    return np.repeat(np.array(found, np.int64), [segment.rows for segment in partition.segments])
