"""`glmdata diff`."""

import json
from typing import TYPE_CHECKING, Any

import click

from glmdata.cli.options import json_option
from glmdata.remote import without_secrets

if TYPE_CHECKING:
    from rich.console import Console

    from glmdata.comparison import Comparison, Documents

__all__ = ["command"]

MAX_KEYS = 40
"""Settings and counts shown; --json has all."""


@click.command("diff", no_args_is_help=True)
@click.argument("left", metavar="DIR_A")
@click.argument("right", metavar="DIR_B")
@json_option
def command(left: str, right: str, as_json: bool) -> None:
    """Show in what two finished builds differ.

    Settings of the recipe, tokenizer, counts, the first sample that is not the same, and the documents that only one of
    them kept, with what became of them in the other. Documents are the same where file and record are.
    """
    from glmdata.comparison import compare_builds

    found = compare_builds(left, right)
    if as_json:
        click.echo(json.dumps(_as_object(found, left, right), ensure_ascii=False))
    else:
        _show(found, left, right)


def _texts(left: str, right: str, number: int) -> list[str | None]:
    """The text of a sample in both builds, None where there is no such sample."""
    from glmdata.samples import SampleReader
    from glmdata.shards.reader import Shards

    every = [Shards(folder) for folder in (left, right)]
    return [SampleReader(shards).read(number).text if number < shards.rows else None for shards in every]


def _as_object(found: "Comparison", left: str, right: str) -> dict[str, Any]:
    first = found.first
    return {
        "same": found.same,
        "fingerprints": found.fingerprints,
        "rows": found.rows,
        "recipe": found.recipe,
        "tokenizer": found.tokenizer,
        "versions": found.versions,
        "counts": found.counts,
        "rows_comparable": found.rows_comparable,
        "first_difference": first
        and {
            "sample": first.sample,
            "columns": first.columns,
            "place": first.place,
            "texts": _texts(left, right, first.sample),
        },
        "documents": [
            {
                "outcomes": pair,
                "count": count,
                "examples": [
                    {"document_id": one.document_id.hex(), "uri": one.uri, "record": one.record}
                    for one in found.documents.examples.get(pair, ())
                ],
            }
            for pair, count in found.documents.outcomes.items()
        ],
    }


def _show(found: "Comparison", left: str, right: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import counted, make_console

    console = make_console()
    head = Table.grid(padding=(0, 3))
    for name, folder, fingerprint, rows in zip("AB", (left, right), found.fingerprints, found.rows, strict=True):
        head.add_row(
            Text(name, "bold"), Text(without_secrets(folder)), Text(fingerprint), Text(counted(rows, "sample"))
        )
    console.print(head)
    console.print()
    if found.same:
        console.print(Text("The shards are the same, byte by byte.\n", "bold green"))
    pairs = {**found.recipe, **{f"versions.{key}": pair for key, pair in found.versions.items()}}
    pairs |= {f"tokenizer.{key}": pair for key, pair in found.tokenizer.items()}
    _table(console, "settings", {key: tuple(map(_spelled, pair)) for key, pair in pairs.items()}, "left")
    counts = {key: tuple("" if n is None else f"{n:,}" for n in pair) for key, pair in found.counts.items()}
    _table(console, "counts", counts, "right")
    _documents(console, found.documents)
    _first(console, found, left, right)


def _spelled(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(console: "Console", title: str, pairs: dict[str, tuple[str, ...]], side: Any) -> None:
    """Keys with both values; nothing where none differs."""
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import visible

    if not pairs:
        return
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    for name in (title, "A", "B"):
        table.add_column(name, justify="left" if name == title else side, overflow="fold")
    for key, (a, b) in list(pairs.items())[:MAX_KEYS]:
        table.add_row(Text(key), Text(visible(a)), Text(visible(b)))
    console.print(table)
    if len(pairs) > MAX_KEYS:
        console.print(Text(f"and {len(pairs) - MAX_KEYS} more: --json", "dim"))
    console.print()


def _documents(console: "Console", found: "Documents") -> None:
    """What became of the documents, and some of those that only one build kept."""
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import visible

    changed = found.changed
    same = sum(count for pair, count in found.outcomes.items() if pair[0] == pair[1])
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column("documents", justify="right")
    for name in ("A", "B", "such as"):
        table.add_column(name, overflow="fold")
    table.add_row(f"{same:,}", Text("the same in both"), "", "")
    for pair, count in changed.items():
        examples = Text("\n".join(visible(f"{one.uri}:{one.record}") for one in found.examples.get(pair, ())), "dim")
        table.add_row(f"{count:,}", *(Text(name, "bold" if name == "kept" else "") for name in pair), examples)
    console.print(table)
    console.print()


def _first(console: "Console", found: "Comparison", left: str, right: str) -> None:
    """The first sample that differs, both texts side by side."""
    from rich.text import Text

    from glmdata.cli.difference import excerpt, side_by_side
    from glmdata.cli.render import visible
    from glmdata.text.difference import compare

    first = found.first
    if not found.rows_comparable:
        console.print("Samples are not compared: their rows have different lengths.")
    if first is None:
        if found.rows_comparable and not found.same:
            console.print(f"All {found.rows[0]:,} samples are the same; only the files that hold them differ.")
        return
    if not first.columns:
        shorter = "A" if found.rows[0] < found.rows[1] else "B"
        console.print(f"The first {first.sample:,} samples are the same; {shorter} ends there.")
        return
    console.print(Text(f"sample {first.sample} is the first to differ", "bold"))
    console.print(Text(f"in {', '.join(first.columns)}, from token {first.place} on\n", "dim"))
    a, b = _texts(left, right, first.sample)
    if a == b and a is not None:
        console.print(Text("the text of both", "bold"))
        excerpt(console, visible(a))
    elif a is not None and b is not None:
        side_by_side(console, compare(a, b), f"A: sample {first.sample}", f"B: sample {first.sample}")
