"""Histograms as inline SVG: bars for what was found, a line with dots for what the recipe asks for.

Colours come from the page's style sheet, so that one drawing serves light, dark and paper.
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from glmdata.histograms import Histogram
from glmdata.samples import Part

__all__ = ["attention_svg", "columns_svg", "share_svg"]

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 40, 6, 8, 20
MAX_LABELS = 13


class _Frame(NamedTuple):
    """Where the bars of a histogram stand."""

    step: float
    most: float

    def left(self, place: int) -> float:
        return LEFT + place * self.step

    def top(self, share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share / self.most


def columns_svg(chart: Histogram) -> Markup:
    """A histogram of upright bars, shares on its axis, counts where the pointer rests."""
    shares, count = chart.shares, max(1, len(chart.labels))
    most = max([*shares, *chart.expected, 0.0])
    frame = _Frame((WIDTH - LEFT - RIGHT) / count, _round_up(most))
    parts = [_axis(frame)]
    for place, (label, share, found) in enumerate(zip(chart.labels, shares, chart.counts, strict=True)):
        asked = f", asked {chart.expected[place]:.2%}" if chart.expected else ""
        told = escape(f"{label}: {found:,} ({share:.2%}{asked})")
        left, top = frame.left(place) + 0.08 * frame.step, frame.top(share)
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{0.84 * frame.step:.1f}" '
            f'height="{HEIGHT - BOTTOM - top:.1f}"><title>{told}</title></rect>'
        )
    parts += _labels(chart.labels, frame)
    if chart.expected:
        places = [(frame.left(at) + frame.step / 2, frame.top(share)) for at, share in enumerate(chart.expected)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="asked" points="{line}"/>')
        parts += [f'<circle class="asked" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in places]
    title = escape(f"{chart.title}; {chart.note}".rstrip("; "))
    return Markup(  # noqa: S704  (numbers, and labels that were escaped)
        f'<svg class="columns" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    )


def _round_up(share: float) -> float:
    """The top of an axis: the least round share that is not below."""
    steps = (0.02, 0.04, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    return next((step for step in steps if step >= share), 1.0)


def _axis(frame: _Frame) -> str:
    """Lines at nothing, half and all of the axis."""
    parts = []
    for share in (0, frame.most / 2, frame.most):
        y = frame.top(share)
        kind = "base" if share == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{share:.0%}</text>')
    return "".join(parts)


def _labels(labels: Sequence[str], frame: _Frame) -> list[str]:
    """Under the bars, of a range its beginning; of many every other, third, ..."""
    every = -(-len(labels) // MAX_LABELS)
    return [
        f'<text x="{frame.left(place) + frame.step / 2:.1f}" y="{HEIGHT - BOTTOM + 14}" '
        f'text-anchor="middle">{escape(_beginning(label))}</text>'
        for place, label in enumerate(labels)
        if place % every == 0
    ]


def _beginning(label: str) -> str:
    low, dash, high = label.partition("–")
    return f"{low}{'%' if high.endswith('%') else ''}" if dash else label


def share_svg(share: float, *, gone: float = 0.0, asked: float | None = None, kind: str = "bar") -> Markup:
    """A lying bar as wide as a share of its cell, what is `gone` pale behind it, a mark where it was asked to end."""
    parts = [f'<rect class="{kind}" width="{100 * min(1.0, share):.3f}%" height="100%"/>']
    if gone:
        parts.append(f'<rect class="gone" x="{100 * share:.3f}%" width="{100 * gone:.3f}%" height="100%"/>')
    if asked is not None:
        parts.append(f'<rect class="mark" x="{100 * asked:.3f}%" width="3" height="100%"/>')
    return Markup(f'<svg class="share" aria-hidden="true">{"".join(parts)}</svg>')  # noqa: S704  (numbers)


def attention_svg(parts: Sequence[Part], length: int, size: int = 72) -> Markup:
    """What sees what in a row: of each part all of Part A, and in Part B what comes before."""
    scale = size / max(1, length)
    shapes = []
    for part in parts:
        top, left = part.start * scale, part.start * scale
        end, context = (part.start + part.length) * scale, (part.start + part.context_length) * scale
        shapes.append(f"M{left:.1f} {top:.1f}H{context:.1f}V{context:.1f}L{end:.1f} {end:.1f}H{left:.1f}Z")
    return Markup(  # noqa: S704  (numbers)
        f'<svg class="attention" width="{size}" height="{size}" viewBox="0 0 {size} {size}" role="img" '
        f'aria-label="attention"><title>A row is a query, a column a key: all see Part A, Part B what comes before.'
        f'</title><rect class="ground" width="{size}" height="{size}"/><path d="{"".join(shapes)}"/></svg>'
    )
