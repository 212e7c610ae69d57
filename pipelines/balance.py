"""Which documents stay: token quotas by language, from counts by range of order keys.

A quota cuts a language's stream (streams.py) at a sentence end, in its first pass or in a later one. Only the sums of
2^16 key ranges and the documents of the one range in which the cut lies are looked at, whatever the size of the build.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.balance import quotas
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import read_columns, write_columns
from glmdata.pipelines.streams import Limit, Plan, read_stream
from glmdata.pipelines.tokenize import ORDER_BINS
from glmdata.recipe import BalanceSettings, Recipe

__all__ = ["balance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceArguments:
    """Counts and tokens of all partitions."""

    bins: tuple[FileRef, ...]
    tokens: tuple[FileRef, ...]
    settings: BalanceSettings
    longest_sentence: int


def balance(engine: Engine, bins: Sequence[FileRef], tokens: Sequence[FileRef], recipe: Recipe) -> Plan:
    """Run the stage."""
    arguments = BalanceArguments(
        bins=tuple(bins), tokens=tuple(tokens), settings=recipe.balance, longest_sentence=recipe.sequence_length
    )
    result = engine.run("balance", [Job(function=plan_quotas, arguments=arguments)])[0]
    return Plan(
        languages=tuple(recipe.balance.languages),
        totals=tuple(result.counts["totals"]),
        lengths=tuple(result.counts["lengths"]),
        documents=tuple(result.counts["documents"]),
        passes=tuple(result.counts["passes"]),
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
    settings = arguments.settings
    wanted = quotas(there, settings.languages, settings.strategy, settings.max_repeats)
    totals, passes, limits = [], [], []
    for place, code in enumerate(codes):
        whole, rest = divmod(wanted[code], max(1, there[code]))
        total, limit = whole * there[code], None
        if rest:
            part, limit = _cut(arguments, attempt, place, cumulative[place], rest)
            total += part
        totals.append(total)
        passes.append(whole)
        limits.append({"key": limit.key, "document_id": limit.document_id, "tokens": limit.tokens} if limit else None)
    write_columns(attempt.output("cumulative.arrow"), {code: cumulative[place] for place, code in enumerate(codes)})
    return {
        "totals": totals,
        "lengths": list(there.values()),
        "documents": documents.tolist(),
        "passes": passes,
        "limits": limits,
    }


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
