"""The distributions of a build in few bins, beside what its recipe asks for: what terminal and report.html draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.shards.manifest import Manifest
from glmdata.shards.statistics import (
    RATIO_BINS,
    ObjectiveStatistics,
    Statistics,
    expected_shares,
    expected_span_lengths,
)
from glmdata.shares import LedgerShares, Tally

__all__ = ["Histogram", "histograms"]

SHOWN_LENGTHS = 14
"""Token-level spans longer than this are in one bin."""
BINS = 12
RATIO_STEP = 5
"""Of RATIO_BINS bins so many are drawn as one: a tenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts by label."""

    key: str
    title: str
    note: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    expected: tuple[float, ...] = ()
    """Shares, or nothing where the recipe does not say."""
    ordered: bool = True
    """Whether the labels are bins of a scale rather than names."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Counts as shares of one."""
        total = max(1, sum(self.counts))
        return tuple(count / total for count in self.counts)


def histograms(statistics: Statistics, shares: LedgerShares, manifest: Manifest) -> list[Histogram]:
    """All that there is to draw of a build, in the order in which it is read."""
    recipe, found = manifest.recipe, statistics.objectives
    charts = [
        _objectives(statistics, recipe.get("objectives", {})),
        _languages(shares.languages, _balance(recipe)),
        _sources(shares.sources),
        _lengths(statistics),
    ]
    if "token" in found:
        charts.append(_token_spans(found["token"], expected_span_lengths(recipe["spans"])))
    if "sentence" in found:
        charts.append(_binned_spans("sentence", found["sentence"]))
    if "document" in found:
        charts.append(_document_shares(statistics, float(recipe["spans"]["document_min_ratio"])))
    for name, one in found.items():
        if name not in ("token", "sentence", "document") and one.spans:
            charts.append(_binned_spans(name, one))
    charts += [_mask_ratios(name, one) for name, one in found.items()]
    charts.append(_documents(statistics))
    return charts


def _objectives(statistics: Statistics, weights: Mapping[str, float]) -> Histogram:
    names = tuple(statistics.objectives)
    asked = expected_shares(weights) if sum(weights.values()) > 0 else {}
    return Histogram(
        key="objectives",
        title="samples by objective",
        note="",
        labels=names,
        counts=tuple(one.rows for one in statistics.objectives.values()),
        expected=tuple(asked.get(name, 0.0) for name in names) if set(names) <= set(asked) else (),
        ordered=False,
    )


def _balance(recipe: Mapping[str, Any]) -> Mapping[str, object]:
    """The settings of the balance; none where rows of fine-tuning are taken as they come."""
    finetune = recipe.get("finetune", {})
    return {} if finetune.get("task", "none") != "none" else recipe.get("balance", {})


def _level(name: str) -> str:
    """`token-level`, `sft`."""
    return f"{name}-level" if name in ("token", "sentence", "document") else name


def _languages(languages: Mapping[str, Tally], balance: Mapping[str, object]) -> Histogram:
    weights = balance.get("languages")
    kept = {name: tally.tokens for name, tally in languages.items() if tally.tokens}
    names = tuple(kept)
    by_token = isinstance(weights, dict) and balance.get("unit") == "token" and balance.get("strategy") != "off"
    asked = expected_shares(weights) if by_token and isinstance(weights, dict) else {}
    return Histogram(
        key="languages",
        title="text tokens by language",
        note="" if asked else "the recipe does not balance them by token",
        labels=names,
        counts=tuple(kept.values()),
        expected=tuple(asked.get(name, 0.0) for name in names) if asked else (),
        ordered=False,
    )


def _sources(sources: Mapping[str, Tally]) -> Histogram:
    sources = dict(sorted(sources.items(), key=lambda item: (-item[1].tokens, item[0])))
    return Histogram(
        key="sources",
        title="text tokens by source",
        note="",
        labels=tuple(sources),
        counts=tuple(tally.tokens for tally in sources.values()),
        ordered=False,
    )


def _lengths(statistics: Statistics) -> Histogram:
    size = statistics.sequence_length
    few = int(np.searchsorted(np.cumsum(statistics.lengths), 0.005 * statistics.rows))  # shorter than nearly all
    low = few // 4 * 4 if few > size // 2 else 0
    edges = np.unique(np.linspace(low, size, BINS + (low == 0)).astype(np.int64))
    if low:
        edges = np.concatenate([[0], edges])
    real = int((statistics.lengths * np.arange(size + 1)).sum())
    return _in_bins(
        "lengths",
        "samples by length",
        f"mean {real / max(1, statistics.rows):.1f} of {size} tokens",
        statistics.lengths,
        edges + 1,
        ends="",
    )


def _token_spans(found: ObjectiveStatistics, asked: npt.NDArray[np.float64]) -> Histogram:
    counts, top = found.span_lengths, SHOWN_LENGTHS
    mean = float((asked * np.arange(1, len(asked) + 1)).sum())
    return Histogram(
        key="token_spans",
        title="token-level spans by length",
        note=f"mean {found.masked / max(1, found.spans):.3f}, zero-truncated Poisson {mean:.3f}",
        labels=(*map(str, range(1, top + 1)), f"{top + 1}+"),
        counts=(*counts[1 : top + 1].tolist(), *[0] * max(0, top + 1 - len(counts)), int(counts[top + 1 :].sum())),
        expected=(*asked[:top].tolist(), float(asked[top:].sum())),
    )


def _binned_spans(name: str, found: ObjectiveStatistics) -> Histogram:
    """Bins of one round width, so that nearly all spans lie in the first of them."""
    counts = found.span_lengths
    cumulative = np.cumsum(counts)
    most = int(np.searchsorted(cumulative, 0.98 * cumulative[-1])) if cumulative[-1] else 1
    step = next(step for step in (1, 2, 4, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
                if step * (BINS - 1) >= most)  # fmt: skip
    edges = np.minimum(1 + step * np.arange(BINS), len(counts))
    return _in_bins(
        f"{name}_spans",
        f"{_level(name)} spans by length",
        f"mean {found.masked / max(1, found.spans):.1f}",
        counts,
        np.unique(np.append(edges, len(counts))),
        ends="+",
    )


def _in_bins(
    key: str, title: str, note: str, counts: npt.NDArray[np.int64], edges: npt.NDArray[np.int64], ends: str
) -> Histogram:
    """Counts of the numbers from each edge to below the next; `ends` marks a last bin that is open."""
    labels, sums = [], []
    pairs = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    for number, (low, high) in enumerate(pairs):
        last = ends and number == len(pairs) - 1 and len(pairs) > 1
        labels.append(f"{low}{ends}" if last else str(low) if high == low + 1 else f"{low}–{high - 1}")
        sums.append(int(counts[low:high].sum()))
    return Histogram(key=key, title=title, note=note, labels=tuple(labels), counts=tuple(sums))


def _tenths(counts: npt.NDArray[np.int64]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    step = 100 // (RATIO_BINS // RATIO_STEP)
    labels = tuple(f"{low}–{low + step} %" for low in range(0, 100, step))
    return labels, tuple(counts.reshape(-1, RATIO_STEP).sum(1).tolist())


def _document_shares(statistics: Statistics, least: float) -> Histogram:
    labels, counts = _tenths(statistics.document_shares)
    width = 1 / len(labels)
    above = [max(0.0, (place + 1) * width - max(least, place * width)) for place in range(len(labels))]
    return Histogram(
        key="document_spans",
        title="document-level spans by their share of the document",
        note=f"uniform from {least:g}",
        labels=labels,
        counts=counts,
        expected=tuple(part / max(1e-9, 1 - least) for part in above) if least < 1 else (),
    )


def _mask_ratios(name: str, found: ObjectiveStatistics) -> Histogram:
    labels, counts = _tenths(found.mask_ratios)
    return Histogram(
        key=f"{name}_mask_ratios",
        title=f"{_level(name)} samples by the share of their text that is masked",
        note=f"{found.masked / max(1, found.tokens):.1%} of all their tokens",
        labels=labels,
        counts=counts,
    )


def _documents(statistics: Statistics) -> Histogram:
    counts: Sequence[int] = statistics.documents.tolist()
    last = max((place for place, count in enumerate(counts) if count), default=1)
    labels = [f"{place}+" if place == len(counts) - 1 else str(place) for place in range(1, last + 1)]
    return Histogram(
        key="documents",
        title="samples by the documents in them",
        note="",
        labels=tuple(labels),
        counts=tuple(counts[1 : last + 1]),
    )
