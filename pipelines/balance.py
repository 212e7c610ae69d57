"""Which documents stay: token quotas by language, from counts by range of order keys.

Every language is one long stream of tokens, its documents in the order of their keys. A quota cuts the stream at a
sentence end; a bucket of the next stage is a stretch of it. Only the sums of 2^16 key ranges and the documents of
the one range in which the cut lies are looked at, whatever the size of the build.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.balance import quotas
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import read_columns, write_columns
from glmdata.pipelines.tokenize import ORDER_BINS
from glmdata.recipe import BalanceSettings, Recipe

__all__ = ["Limit", "Plan", "Stream", "balance", "read_stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a language's stream ends: this document is the last, and only so many of its tokens are taken."""

    key: int
    document_id: str
    tokens: int

    def order(self) -> tuple[int, bytes]:
        """Comparable with (key, document id) of documents."""
        return self.key, bytes.fromhex(self.document_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Tokens taken of each language, where the stream is cut (None: nowhere), and cumulative.arrow."""

    languages: tuple[str, ...]
    totals: tuple[int, ...]
    documents: tuple[int, ...]
    """Documents there are of each language, those beyond the limits included."""
    limits: tuple[Limit | None, ...]
    cumulative: FileRef


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceArguments:
    """Counts and tokens of all partitions."""

    bins: tuple[FileRef, ...]
    tokens: tuple[FileRef, ...]
    settings: BalanceSettings
    longest_sentence: int


@dataclass(frozen=True, slots=True)
class Stream:
    """Documents of one language in a range of order keys, in their order."""

    keys: npt.NDArray[np.uint64]
    ids: list[bytes]
    lengths: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]


def balance(engine: Engine, bins: Sequence[FileRef], tokens: Sequence[FileRef], recipe: Recipe) -> Plan:
    """Run the stage."""
    arguments = BalanceArguments(
        bins=tuple(bins), tokens=tuple(tokens), settings=recipe.balance, longest_sentence=recipe.sequence_length
    )
    result = engine.run("balance", [Job(function=plan_quotas, arguments=arguments)])[0]
    return Plan(
        languages=tuple(recipe.balance.languages),
        totals=tuple(result.counts["totals"]),
        documents=tuple(result.counts["documents"]),
        limits=tuple(Limit(**limit) if limit else None for limit in result.counts["limits"]),
        cumulative=result.files["cumulative.arrow"],
    )


def plan_quotas(arguments: BalanceArguments, attempt: Attempt) -> dict[str, Any]:
    """Sum the counts and cut the streams. Writes cumulative.arrow: tokens before each range, by language."""
    codes = list(arguments.settings.languages)
    counts = np.zeros(len(codes) * ORDER_BINS, np.int64)
    documents = np.zeros(len(codes), np.int64)
    for file in arguments.bins:
        columns = read_columns(attempt, file)
        bins = columns["bin"].to_numpy()
        counts[bins] += columns["tokens"].to_numpy()
        np.add.at(documents, bins // ORDER_BINS, columns["documents"].to_numpy())
    cumulative = np.zeros((len(codes), ORDER_BINS + 1), np.int64)
    np.cumsum(counts.reshape(len(codes), ORDER_BINS), axis=1, out=cumulative[:, 1:])
    there = {code: int(total) for code, total in zip(codes, cumulative[:, -1], strict=True)}
    wanted = quotas(there, arguments.settings.languages, arguments.settings.strategy)
    totals, limits = [], []
    for place, code in enumerate(codes):
        total, limit = there[code], None
        if wanted[code] < there[code]:
            total, limit = _cut(arguments, attempt, place, cumulative[place], wanted[code])
        totals.append(total)
        limits.append({"key": limit.key, "document_id": limit.document_id, "tokens": limit.tokens} if limit else None)
    write_columns(attempt.output("cumulative.arrow"), {code: cumulative[place] for place, code in enumerate(codes)})
    return {"totals": totals, "limits": limits, "documents": documents.tolist()}


def _cut(
    arguments: BalanceArguments, attempt: Attempt, language: int, cumulative: npt.NDArray[np.int64], quota: int
) -> tuple[int, Limit]:
    """Tokens up to the last sentence end at or before the quota, and the document that holds it.

    A sentence that is longer than a row is cut at the quota: the balance comes before it.
    """
    tokens = arguments.tokens
    place = int(np.searchsorted(cumulative, quota, "right")) - 1
    stream = read_stream(attempt, tokens, language, place, place + 1)
    starts = cumulative[place] + np.cumsum(stream.lengths) - stream.lengths
    last = int(np.searchsorted(starts, quota, "right")) - 1
    columns = read_columns(attempt, tokens[int(stream.sources[last])])
    ends = columns["sentence_ends"][int(stream.rows[last])].values.to_numpy()
    fitting = ends[ends <= quota - starts[last]]
    taken = int(fitting[-1]) if len(fitting) else 0
    if quota - int(starts[last]) - taken > arguments.longest_sentence:
        taken = quota - int(starts[last])
    limit = Limit(key=int(stream.keys[last]), document_id=stream.ids[last].hex(), tokens=taken)
    return int(starts[last]) + taken, limit


def read_stream(attempt: Attempt, tokens: Sequence[FileRef], language: int, first_bin: int, last_bin: int) -> Stream:
    """Documents of a language whose keys lie in the ranges [first_bin, last_bin), from all partitions, in order."""
    keys, lengths, ids = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], list[bytes]()
    sources, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for source, file in enumerate(tokens):
        columns = read_columns(attempt, file)
        languages = columns["language"].to_numpy()
        start, stop = np.searchsorted(languages, [language, language + 1])
        found = columns["key"].to_numpy()[start:stop]
        bins = found >> np.uint64(48)
        low, high = start + np.searchsorted(bins, np.array([first_bin, last_bin], np.uint64))
        # Copies, so that no file stays mapped: a process may map 65,530 of them.
        keys.append(columns["key"].to_numpy()[low:high].copy())
        lengths.append(columns["length"].to_numpy()[low:high].copy())
        ids += columns["document_id"].slice(int(low), int(high - low)).to_pylist()
        sources.append(np.full(high - low, source, np.int64))
        rows.append(np.arange(low, high, dtype=np.int64))
    joined = np.concatenate(keys)
    halves = np.frombuffer(b"".join(ids), ">u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0], joined))
    return Stream(
        keys=joined[order],
        ids=[ids[place] for place in order],
        lengths=np.concatenate(lengths)[order],
        sources=np.concatenate(sources)[order],
        rows=np.concatenate(rows)[order],
    )
