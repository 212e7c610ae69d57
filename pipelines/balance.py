"""Which documents stay: quotas by language, from counts by range of order keys.

A quota of tokens, characters or documents cuts a language's stream (streams.py) at a sentence end or between documents,
in its first pass or in a later one. Only the sums of 2^16 key ranges and the documents of the one range in which the
cut lies are looked at, whatever the size of the build.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.balance import quotas
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import read_columns, write_columns
from glmdata.pipelines.streams import Limit, Plan, Stream, read_stream
from glmdata.pipelines.tokenize import ORDER_BINS
from glmdata.recipe import BalanceSettings, Recipe
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.alignment import character_ends

__all__ = ["balance"]

COUNTED = {"token": "tokens", "character": "characters", "document": "documents"}
"""The column of bins.arrow that a unit counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceArguments:
    """Counts and tokens of all partitions."""

    bins: tuple[FileRef, ...]
    tokens: tuple[FileRef, ...]
    tokenizer: FileRef
    settings: BalanceSettings
    longest_sentence: int


def balance(
    engine: Engine, bins: Sequence[FileRef], tokens: Sequence[FileRef], tokenizer: FileRef, recipe: Recipe
) -> Plan:
    """Run the stage."""
    arguments = BalanceArguments(
        bins=tuple(bins),
        tokens=tuple(tokens),
        tokenizer=tokenizer,
        settings=recipe.balance,
        longest_sentence=recipe.sequence_length,
    )
    result = engine.run("balance", [Job(function=plan_quotas, arguments=arguments)])[0]
    return read_plan(result.counts, tuple(recipe.balance.languages), result.files["cumulative.arrow"])


def read_plan(counts: dict[str, Any], languages: tuple[str, ...], cumulative: FileRef) -> Plan:
    """The plan from what `plan_quotas` counted."""
    return Plan(
        languages=languages,
        unit=counts["unit"],
        totals=tuple(counts["totals"]),
        lengths=tuple(counts["lengths"]),
        documents=tuple(counts["documents"]),
        passes=tuple(counts["passes"]),
        limits=tuple(Limit(**limit) if limit else None for limit in counts["limits"]),
        available=tuple(counts["available"]),
        taken=tuple(counts["taken"]),
        cumulative=cumulative,
    )


def plan_quotas(arguments: BalanceArguments, attempt: Attempt) -> dict[str, Any]:
    """Sum the counts and cut the streams. Writes cumulative.arrow: tokens before each range, by language."""
    settings = arguments.settings
    codes, counted = list(settings.languages), COUNTED[settings.unit]
    sums = {name: np.zeros(len(codes) * ORDER_BINS, np.int64) for name in {"tokens", counted}}
    documents = np.zeros(len(codes), np.int64)
    for file in arguments.bins:
        columns = read_columns(attempt, file)
        bins = columns["bin"].to_numpy()
        for name, values in sums.items():
            values[bins] += columns[name].to_numpy()
        np.add.at(documents, bins // ORDER_BINS, columns["documents"].to_numpy())
    tokens, units = (_cumulative(sums[name], len(codes)) for name in ("tokens", counted))
    there = {code: int(total) for code, total in zip(codes, units[:, -1], strict=True)}
    wanted = quotas(there, settings.languages, settings.strategy, settings.max_repeats)
    totals, passes, limits, taken = [], [], [], []
    for place, code in enumerate(codes):
        whole, rest = divmod(wanted[code], max(1, there[code]))
        cut = _cut(arguments, attempt, place, tokens[place], units[place], rest) if rest else None
        totals.append(whole * int(tokens[place, -1]) + (cut.tokens if cut else 0))
        passes.append(whole)
        limits.append(asdict(cut.limit) if cut else None)
        taken.append(whole * there[code] + (cut.units if cut else 0))
    write_columns(attempt.output("cumulative.arrow"), {code: tokens[place] for place, code in enumerate(codes)})
    return {
        "unit": settings.unit,
        "totals": totals,
        "lengths": tokens[:, -1].tolist(),
        "documents": documents.tolist(),
        "passes": passes,
        "limits": limits,
        "available": list(there.values()),
        "taken": taken,
    }


def _cumulative(sums: npt.NDArray[np.int64], languages: int) -> npt.NDArray[np.int64]:
    """Sums before each range of keys, and the total: int64[languages, ORDER_BINS + 1]."""
    cumulative = np.zeros((languages, ORDER_BINS + 1), np.int64)
    np.cumsum(sums.reshape(languages, ORDER_BINS), axis=1, out=cumulative[:, 1:])
    return cumulative


@dataclass(frozen=True, slots=True)
class _Cut:
    """Tokens and units of a stream up to its limit."""

    tokens: int
    units: int
    limit: Limit


def _cut(
    arguments: BalanceArguments,
    attempt: Attempt,
    language: int,
    tokens: npt.NDArray[np.int64],
    units: npt.NDArray[np.int64],
    quota: int,
) -> _Cut:
    """The last sentence end at or before the quota, or the last end of a document if those are counted.

    A sentence that is longer than a row is cut at the quota: the balance comes before it.
    """
    place = int(np.searchsorted(units, quota, "right")) - 1
    stream = read_stream(attempt, arguments.tokens, language, place, place + 1)
    sizes = _units(stream, arguments.settings.unit)
    starts = units[place] + np.cumsum(sizes) - sizes
    last = int(np.searchsorted(starts, quota, "right")) - 1
    rest = quota - int(starts[last])
    taken, counted = (
        (0, 0) if arguments.settings.unit == "document" else _within(arguments, attempt, stream, last, rest)
    )
    return _Cut(
        int(tokens[place] + stream.lengths[:last].sum()) + taken,
        int(starts[last]) + counted,
        Limit(key=int(stream.keys[last]), document_id=stream.ids[last].hex(), tokens=taken),
    )


def _units(stream: Stream, unit: str) -> npt.NDArray[np.int64]:
    """What each document counts; one without tokens counts nothing."""
    counted = {"token": stream.lengths, "character": stream.characters, "document": np.ones_like(stream.lengths)}[unit]
    return np.where(stream.lengths > 0, counted, 0)


def _within(
    arguments: BalanceArguments, attempt: Attempt, stream: Stream, document: int, quota: int
) -> tuple[int, int]:
    """Tokens and units of a document up to the last sentence end at or before `quota` units."""
    columns = read_columns(attempt, arguments.tokens[int(stream.sources[document])])
    row = int(stream.rows[document])
    if arguments.settings.unit == "token":
        counted = np.arange(1, stream.lengths[document] + 1)
    else:
        tokenizer = Tokenizer.load(attempt.input(arguments.tokenizer))
        ids = columns["tokens"][row].values.to_numpy()
        counted = character_ends(tokenizer, ids, int(stream.characters[document]))
    most = int(np.searchsorted(counted, quota, "right"))
    ends = columns["sentence_ends"][row].values.to_numpy()
    fitting = ends[ends <= most]
    taken = int(fitting[-1]) if len(fitting) else 0
    if most - taken > arguments.longest_sentence:
        taken = most
    return taken, int(counted[taken - 1]) if taken else 0
