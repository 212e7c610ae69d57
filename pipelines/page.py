"""report.html: one file that a person reads, with all that it needs inside; no scripts, no network.

Everything in it but the seconds of the stages is a function of the build. Histograms are of MAX_BATCHES record batches
at most, so that a large build does not wait for its page; `glmdata inspect --stats` counts all.
Measured for 16,000 samples of 512 tokens: 0.3 s at the end of a build, 90 KB.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from glmdata.histograms import Histogram, histograms
from glmdata.ledger import Ledger
from glmdata.pipelines.charts import attention_svg, columns_svg, share_svg
from glmdata.pipelines.folder import PAGE_NAME
from glmdata.pipelines.places import open_place
from glmdata.pipelines.stages import DOING, IN_BYTES, UNITS
from glmdata.samples import Part, Sample, SampleReader
from glmdata.shards.manifest import Manifest
from glmdata.shards.reader import Shards
from glmdata.shards.statistics import shard_statistics
from glmdata.shares import OTHERS, UNKNOWN, Tally, count_shares
from glmdata.streaming.order import rows_at
from glmdata.text.visible import visible

__all__ = ["render_page", "write_page"]

MAX_BATCHES = 64
NUM_SAMPLES = 20
MAX_CHARACTERS = 4000
"""Of one sample; with the marks of its spans that keeps the page below 1 MB."""
MAX_REASONS = 20
MAX_LANGUAGES = 8
MAX_SOURCES_OF_SAMPLE = 6
SPAN_COLOURS = 6

# Why records leave, in the order of the stages.
_REASONS = {
    "quarantined": "could not be read",
    "empty": "empty",
    "language": "in other languages",
    "quality": "of low quality",
    "exact_duplicate": "exact duplicates",
    "near_duplicate": "near duplicates",
    "contaminated": "contaminated by benchmarks",
    "too_short": "too short once cut",
    "balance": "left out by the balance",
    "tie": "with two equal answers",
}

# What of an answer or before it had no room, by the names of report.json.
_CUTS = {
    "history_cut": "with earlier turns cut",
    "source_cut": "with the prompt cut",
    "target_cut": "with the answer cut",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One line of the funnel."""

    name: str
    why: str
    gone: int
    left: int
    bar: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A language or a source, before and after."""

    name: str
    tally: Tally
    records: Markup
    tokens: Markup
    records_share: float
    tokens_share: float
    asked: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Text of a sample: visible, or of the span with that number in Part B."""

    text: str
    span: int | None = None

    @property
    def colour(self) -> int:
        return (self.span or 0) % SPAN_COLOURS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A sample as it is drawn."""

    sample: Sample
    parts: tuple[tuple[Part, tuple[_Piece, ...]], ...]
    left_out: int
    """Characters that are not shown."""
    attention: Markup
    places: tuple[str, ...]
    more_places: int


def write_page(folder: str | Path) -> str:
    """Make report.html of a finished build, by its path or URI; where it lies.

    Raises ShardError, ShardCorruptError, StorageError.
    """
    page = render_page(folder).encode("utf-8", "replace")
    place = open_place(folder)
    place.write(PAGE_NAME, page)
    return f"{place.name}/{PAGE_NAME}"


def render_page(folder: str | Path) -> str:
    """The text of report.html. Raises ShardError, ShardCorruptError where the build cannot be read."""
    import jinja2

    shards, ledger = Shards(folder), Ledger(folder)
    manifest, report = shards.manifest, _report(folder)
    statistics = shard_statistics(shards, MAX_BATCHES)
    shares = count_shares(ledger)
    charts = {chart.key: chart for chart in histograms(statistics, shares, manifest)}
    source = (resources.files("glmdata.pipelines") / "templates" / "report.html.jinja").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    asked = dict(zip(charts["languages"].labels, charts["languages"].expected, strict=False))
    return environment.from_string(source).render(
        manifest=manifest,
        report=report,
        statistics=statistics,
        outcomes={name: count for name, count in _outcomes(manifest).items() if count},
        funnel=_funnel(manifest),
        reasons=report.get("quarantined", [])[:MAX_REASONS],
        notes=[visible(str(hint)) for hint in report.get("hints", [])],
        tokens=sum(tally.tokens for tally in shares.languages.values()),
        languages=_rows(_fold_languages(shares.languages, manifest), asked),
        sources=_rows(shares.sources, {}),
        objectives=_objectives(report, charts["objectives"]),
        answers=_answers(report),
        figures=[(chart, columns_svg(chart)) for chart in charts.values() if chart.ordered and any(chart.counts)],
        stages=_stages(report.get("stages", [])),
        samples=_samples(shards, ledger),
        recipe=yaml.safe_dump(manifest.recipe, sort_keys=False, allow_unicode=True, width=100),
        visible=visible,
    )  # fmt: skip


def _report(folder: str | Path) -> dict[str, Any]:
    """report.json, which a page can do without."""
    try:
        found = json.loads(open_place(folder).read("report.json") or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _outcomes(manifest: Manifest) -> dict[str, int]:
    prefix = "outcome_"
    return {name.removeprefix(prefix): n for name, n in manifest.counts.items() if name.startswith(prefix)}


def _funnel(manifest: Manifest) -> list[_Step]:
    """From records to documents that are kept, a line for every reason for which some left."""
    counts = _outcomes(manifest)
    total = left = manifest.counts.get("records_in", sum(counts.values()))
    names = [*_REASONS, *(name for name in counts if name not in _REASONS and name != "kept")]
    found = [_Step(name="records read", why="", gone=0, left=left, bar=share_svg(1.0 if total else 0.0))]
    for name in names:
        gone = counts.get(name, 0)
        if gone:
            left -= gone
            bar = share_svg(left / total, gone=gone / total)
            told = _REASONS.get(name, name)
            found.append(_Step(name=told, why=_why(name, manifest.recipe), gone=gone, left=left, bar=bar))
    return found


def _why(name: str, recipe: Mapping[str, Any]) -> str:
    """What a reason means under this recipe."""
    balance, dedupe = recipe.get("balance", {}), recipe.get("dedupe", {})
    languages = " : ".join(f"{code} {weight:g}" for code, weight in balance.get("languages", {}).items())
    return {
        "quarantined": "the first of each kind is named below",
        "language": f"the recipe takes {', '.join(balance.get('languages', {}))}",
        "exact_duplicate": "case, width, spaces and punctuation aside",
        "near_duplicate": f"{dedupe.get('jaccard_threshold', 0):.0%} and more of the shingles of another",
        "balance": f"{languages} by {balance.get('unit', 'token')}",
    }.get(name, "")


def _fold_languages(languages: Mapping[str, Tally], manifest: Manifest) -> dict[str, Tally]:
    """Those of the recipe, then those of most records, the rest as one; what could not be read last."""
    names = [name for name in languages if name in manifest.languages]
    names += [name for name in languages if name not in manifest.languages and name != UNKNOWN]
    found = {name: languages[name] for name in names[:MAX_LANGUAGES]}
    for name in names[MAX_LANGUAGES:]:
        found.setdefault(OTHERS, Tally()).add(languages[name])
    if UNKNOWN in languages:
        found[UNKNOWN] = languages[UNKNOWN]
    return found


def _rows(tallies: Mapping[str, Tally], asked: Mapping[str, float]) -> list[_Row]:
    records = max(1, sum(tally.records for tally in tallies.values()))
    tokens = max(1, sum(tally.tokens for tally in tallies.values()))
    return [
        _Row(
            name=visible(name),
            tally=tally,
            records=share_svg(tally.records / records, kind="before"),
            tokens=share_svg(tally.tokens / tokens, asked=asked.get(name)),
            records_share=tally.records / records,
            tokens_share=tally.tokens / tokens,
            asked=asked.get(name),
        )
        for name, tally in tallies.items()
    ]


def _objectives(report: Mapping[str, Any], chart: Histogram) -> list[dict[str, Any]]:
    """By objective the figures of report.json, which are of all samples."""
    asked = dict(zip(chart.labels, chart.expected, strict=False))
    found = report.get("objectives", {})
    rows = max(1, sum(one["rows"] for one in found.values()))
    return [
        {
            "name": name,
            "share": one["rows"] / rows,
            "asked": asked.get(name),
            "bar": share_svg(one["rows"] / rows, asked=asked.get(name)),
            "mean": one.get("masked_tokens", 0) / max(1, one.get("spans", 0)),
            **one,
        }
        for name, one in found.items()
    ]


def _answers(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of a build of fine-tuning rows what became of the answers; what was cut as a share of them."""
    found = report.get("finetune")
    if found is None:
        return None
    answers = found.get("answers", report.get("rows", 0))
    lines = [
        {"name": name, "count": count, "share": None, "bar": ""}
        for name, count in (
            ("answers", answers),
            ("rows that hold them", report.get("rows", 0)),
            ("tokens to be learnt", found.get("target_tokens", 0)),
        )
    ]
    for column, told in _CUTS.items():
        count = found.get(f"answers_with_{column}", 0)
        share = count / max(1, answers)
        lines.append({"name": told, "count": count, "share": share, "bar": share_svg(1 - share, gone=share)})
    return {"task": found.get("task", ""), "lines": lines}


def _stages(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds, and how much a second; nothing where a stage had next to nothing to do."""
    total = sum(stage["seconds"] for stage in stages) or 1.0
    return [
        {
            **stage,
            "doing": DOING.get(stage["name"], ""),
            "unit": UNITS.get(stage["name"], "documents"),
            "bar": share_svg(stage["seconds"] / total),
            "rate": stage["records"] / stage["seconds"] if stage["seconds"] and stage["records"] else None,
            "megabytes": stage["bytes_in"] / 1e6 / stage["seconds"]
            if stage["seconds"] and stage["name"] in IN_BYTES
            else None,
        }
        for stage in stages
    ]


def _samples(shards: Shards, ledger: Ledger) -> list[_Shown]:
    """Samples drawn by the build's seed, in the shards' order."""
    if not shards.rows:
        return []
    drawn = rows_at(np.arange(min(NUM_SAMPLES, shards.rows)), seed=shards.manifest.seed, size=shards.rows)
    reader = SampleReader(shards)
    samples = [reader.read(number) for number in sorted(drawn.tolist())]
    places = ledger.places(document for sample in samples for document in sample.document_ids)
    found = []
    for sample in samples:
        parts, room = [], MAX_CHARACTERS
        for part in sample.parts:
            pieces, room = _pieces(part, room)
            parts.append((part, pieces))
        written = sum(len(text) for part in sample.parts for text in (*part.texts, *(span.text for span in part.spans)))
        shown = sum(len(piece.text) for _, pieces in parts for piece in pieces)
        known = [places.get(document, ("?", -1)) for document in dict.fromkeys(sample.document_ids)]
        found.append(
            _Shown(
                sample=sample,
                parts=tuple((part, tuple(_visible(pieces))) for part, pieces in parts if pieces),
                left_out=written - shown,
                attention=attention_svg(sample.parts, sample.length),
                places=tuple(visible(f"{uri}:{record}") for uri, record in known[:MAX_SOURCES_OF_SAMPLE]),
                more_places=max(0, len(known) - MAX_SOURCES_OF_SAMPLE),
            )
        )
    return found


def _pieces(part: Part, room: int) -> tuple[list[_Piece], int]:
    """The text of a part cut at its spans, as far as there is room for it."""
    every = []
    for number, text in enumerate(part.texts):
        every.append(_Piece(text=text))
        if number < len(part.spans):
            every.append(_Piece(text=part.spans[number].text, span=part.spans[number].place))
    found = []
    for piece in every:
        if room > 0 and (piece.text or piece.span is not None):
            found.append(_Piece(text=piece.text[:room], span=piece.span))
            room -= max(1, len(piece.text))
    return found, max(0, room)


def _visible(pieces: list[_Piece]) -> list[_Piece]:
    return [_Piece(text=visible(piece.text), span=piece.span) for piece in pieces]
