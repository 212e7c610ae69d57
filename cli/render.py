"""One sample as a person reads it: text with its spans in place, tokens with both rows of positions."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glmdata.text.visible import drawn, visible

__all__ = [
    "Token",
    "counted",
    "describe_outcomes",
    "drawn",
    "is_plain",
    "make_console",
    "span_colour",
    "token_grid",
    "tokenizer_tables",
    "visible",
]

_COLOURS = ("bright_cyan", "bright_magenta", "bright_green", "bright_yellow", "bright_blue", "bright_red")
MAX_LANGUAGES = 8
"""Languages that a table shows, those with most text."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a row with its positions; `span` is the number of its span in Part B's order, or None."""

    text: str
    position: int
    block_position: int
    span: int | None


def make_console() -> Console:
    """Where results are printed: as wide as the terminal, 120 columns in a pipe."""
    return Console(highlight=False, width=None if os.environ.get("COLUMNS") or os.isatty(1) else 120)


def is_plain(console: Console) -> bool:
    """Whether there is no colour, so that marks must tell what it would."""
    return console.color_system is None or console.no_color


def counted(number: int, name: str) -> str:
    """`1 shard`, `2 shards`."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def describe_outcomes(outcomes: Mapping[str, int]) -> str:
    """Outcomes in the order of their interest: kept first, then what left and why."""
    exact, near = outcomes.get("exact_duplicate", 0), outcomes.get("near_duplicate", 0)
    parts = [f"{outcomes.get('kept', 0):,} kept"]
    if exact + near:
        parts.append(f"{counted(exact + near, 'duplicate')} ({exact:,} exact, {near:,} near)")
    names = {
        "contaminated": "contaminated by benchmarks",
        "too_short": "too short once cut",
        "balance": "left out by the balance",
        "language": "in other languages",
        "tie": "with two equal answers",
        "empty": "empty",
    }
    for name, text in names.items():
        if outcomes.get(name):
            parts.append(f"{outcomes[name]:,} {text}")
    told = {"kept", "exact_duplicate", "near_duplicate", *names}
    parts += [f"{count:,} {name}" for name, count in outcomes.items() if name not in told and count]
    return ", ".join(parts)


def span_colour(span: int) -> str:
    """The colour of a span, the same in the text and in the grid."""
    return f"bold {_COLOURS[span % len(_COLOURS)]}"


def token_grid(console: Console, title: str, tokens: Sequence[Token | None]) -> None:
    """Print tokens over their positions (row 0) and block positions (row 1), wrapped; None is a gap."""
    head = max(cell_len(title), 5) + 2
    lines = [Text(), Text(), Text()]
    width, first = 0, True

    def flush() -> None:
        nonlocal width, first
        for line, label in zip(lines, (title if first else "", "row 0", "row 1"), strict=True):
            text = Text(no_wrap=True)
            text.append(label.ljust(head), "dim").append_text(line)
            console.print(text, crop=False, soft_wrap=True)
        console.print()
        for number in range(3):
            lines[number] = Text()
        width, first = 0, False

    for token in tokens:
        cells = ("…", "", "") if token is None else (
            drawn(token.text) or "␀", str(token.position), str(token.block_position)
        )  # fmt: skip
        size = max(cell_len(cell) for cell in cells) + 1
        if width and head + width + size > console.width:
            flush()
        for line, cell in zip(lines, cells, strict=True):
            style = span_colour(token.span) if token is not None and token.span is not None else ""
            line.append(cell + " " * (size - cell_len(cell)), style if line is lines[0] else "dim")
        width += size
    if width:
        flush()


def tokenizer_tables(name: str, found: Mapping[str, Any]) -> Iterator[Table]:
    """What `glmdata tokenizer info` found out about a model, as its JSON says it."""
    from glmdata.tokenization import SPECIAL_TEXTS

    special = found["special_tokens"]
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("tokenizer", Text(f"{name}   {found['hash']}"))
    table.add_row("ids", f"{found['vocabulary_size']:,}: {found['pieces']:,} pieces, special tokens above them")
    table.add_row("special", Text("  ".join(f"{role} {special[role]} {SPECIAL_TEXTS[role]}" for role in special)))
    table.add_row("pieces", "  ".join(f"{script} {count:,}" for script, count in found["pieces_by_script"].items()))
    for sample, pieces in found["splits"].items():
        table.add_row(f"{len(sample.encode()) / max(1, len(pieces)):.1f} bytes", Text("|".join(pieces)))
    yield table
    if "languages" in found:
        yield _usage_table(found["languages"])


def _usage_table(languages: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    kinds = list(next(iter(languages.values()))["kinds"])
    for head in ("language", "MB", "bytes/token", "characters/token", *(name.replace("_", " ") for name in kinds)):
        table.add_column(head, justify="left" if head == "language" else "right")
    for language, usage in list(languages.items())[:MAX_LANGUAGES]:
        shares = (f"{usage['kinds'][kind] / max(1, usage['tokens']):.2%}" for kind in kinds)
        table.add_row(
            language,
            f"{usage['bytes'] / 1e6:.2f}",
            f"{usage['bytes_per_token']:.2f}",
            f"{usage['characters_per_token']:.2f}",
            *shares,
        )
    if len(languages) > MAX_LANGUAGES:
        table.caption = f"{len(languages) - MAX_LANGUAGES} languages with less text: --json"
    return table
