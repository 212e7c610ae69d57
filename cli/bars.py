"""Histograms of block characters, with a mark where an expected distribution has its value."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

__all__ = ["Bar", "print_bars"]

_EIGHTHS = " ▏▎▍▌▋▊▉"
MAX_WIDTH = 48
"""Columns of the longest bar."""
LABEL = 32
"""Columns of a label at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line of a histogram."""

    label: str
    share: float
    """Of one."""
    told: str
    """The number behind it."""
    expected: float | None = None


def print_bars(console: Console, title: str, bars: Sequence[Bar], note: str = "") -> None:
    """Print bars under a title, one a line, to one scale.

    Where there is an expectation, a bar has a mark at it: `│` in what is empty or full.
    """
    heading = Text.assemble((title, "bold"), (f"   {note}" if note else "", "dim"))
    console.print(heading)
    labels = [_shortened(bar.label) for bar in bars]
    head = max((cell_len(label) for label in labels), default=0)
    figures = [f"{bar.share:7.2%}" + (f" / {bar.expected:6.2%}" if bar.expected is not None else "") for bar in bars]
    tail = max((len(figure) + len(bar.told) + 3 for figure, bar in zip(figures, bars, strict=True)), default=0)
    width = max(8, min(MAX_WIDTH, console.width - head - tail - 5))
    most = max([max(bar.share, bar.expected or 0.0) for bar in bars], default=0.0) or 1.0
    told = max((len(bar.told) for bar in bars), default=0)
    for label, bar, figure in zip(labels, bars, figures, strict=True):
        line = Text("  " + " " * (head - cell_len(label)) + label + " ", no_wrap=True)
        line.append_text(_drawn(bar, width, most))
        line.append(f" {bar.told:>{told}} ").append(figure, "dim")
        console.print(line, crop=False, soft_wrap=True)
    console.print()


def _shortened(label: str) -> str:
    """The end of a label that is too long: of a path it says more than the beginning."""
    while cell_len(label) > LABEL:
        label = "…" + label[2:]
    return label


def _drawn(bar: Bar, width: int, most: float) -> Text:
    eighths = round(8 * width * bar.share / most)
    if bar.share > 0:
        eighths = max(1, eighths)
    cells = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    text = Text(cells.ljust(width), "cyan")
    if bar.expected is not None:
        at = min(width - 1, int(width * bar.expected / most))
        text = text[:at] + Text("│", "bold yellow") + text[at + 1 :]
    return text
