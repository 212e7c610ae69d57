"""`glmdata inspect --at` and `--state`: the samples that a rank of a training run gets."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmdata.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from glmdata.samples import Sample
    from glmdata.streaming.state import StreamState

__all__ = ["Ranks", "sample_table", "show_batch", "show_state", "summarise"]

WIDE = 90
"""Columns from which on a batch is shown with all its figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Whose batch, of how many, how large."""

    rank: int
    world: int
    batch_size: int

    def first(self, consumed: int) -> int:
        """Position of the rank's first sample, where the global batch begins at `consumed`. Raises ConfigError."""
        if self.rank >= self.world:
            raise ConfigError(f"--rank {self.rank}: ranks of --world {self.world} are 0 to {self.world - 1}")
        return consumed + self.rank * self.batch_size

    def as_json(self) -> dict[str, int]:
        """By the names of the options."""
        return {"rank": self.rank, "world": self.world, "batch_size": self.batch_size}


def show_batch(folder: Path, step: int, ranks: Ranks, seed: int, state_file: Path | None, as_json: bool) -> None:
    """The samples that a rank gets at a step of a stream, as ShardStream would give them."""
    from glmdata.streaming.state import read_state

    state = read_state(state_file) if state_file is not None else None
    if state is not None:
        seed, shuffle = state.seed, state.shuffle
        state.check_fits(folder)
    else:
        shuffle = True
    first = ranks.first(step * ranks.world * ranks.batch_size)
    found, rows = _batch(folder, first, ranks.batch_size, seed, shuffle)
    epoch = first // rows
    if as_json:
        place = {"step": step, **ranks.as_json(), "seed": seed, "shuffle": shuffle, "epoch": epoch}
        click.echo(json.dumps({**place, "samples": found}, ensure_ascii=False))
        return
    from glmdata.cli.render import make_console

    console = make_console()
    order = f"seed {seed}" if shuffle else "in the shards' order"
    console.print(f"step {step}, rank {ranks.rank} of {ranks.world}, batch {ranks.batch_size}, {order}, epoch {epoch}")
    console.print(sample_table(console, found))


def show_state(folder: Path, state_file: Path, ranks: Ranks, as_json: bool) -> None:
    """Where a saved stream stands, and the batch that comes next; exit 1 where it belongs to another build."""
    from glmdata.shards.manifest import Manifest
    from glmdata.streaming.state import read_state

    state, manifest = read_state(state_file), Manifest.load(folder)
    if not manifest.rows:
        raise ConfigError(f"{folder} holds no samples")
    fits = state.fingerprint == manifest.fingerprint
    epoch, place = divmod(state.samples_consumed, manifest.rows)
    first = ranks.first(state.samples_consumed)
    upcoming = _batch(folder, first, ranks.batch_size, state.seed, state.shuffle)[0] if fits else None
    if as_json:
        found = {
            "state": state.as_json(),
            "fits": fits,
            "build_fingerprint": manifest.fingerprint,
            "samples": manifest.rows,
            "epoch": epoch,
            "samples_in_epoch": place,
            "next": {**ranks.as_json(), "samples": upcoming} if upcoming is not None else None,
        }
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        _print_state(folder, state_file, state, manifest.fingerprint, manifest.rows, ranks, upcoming)
    if not fits:
        raise SystemExit(1)


def _print_state(
    folder: Path,
    state_file: Path,
    state: "StreamState",
    fingerprint: str,
    rows: int,
    ranks: Ranks,
    upcoming: list[dict[str, Any]] | None,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import make_console

    epoch, place = divmod(state.samples_consumed, rows)
    order = f"seed {state.seed}, version {state.order_version}" if state.shuffle else "the shards' own"
    console, table = make_console(), Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("state", Text(str(state_file)))
    if upcoming is not None:
        table.add_row("build", Text(f"{folder}, fingerprint {fingerprint}: the one it was saved with"))
        table.add_row("stands", f"{state.samples_consumed:,} samples consumed")
        table.add_row("", f"epoch {epoch}, {place:,} of {rows:,} samples of it ({place / rows:.1%})")
    else:
        table.add_row(
            "build", Text(f"another one: saved with {state.fingerprint}, {folder} is {fingerprint}", "bold red")
        )
        table.add_row("stands", f"{state.samples_consumed:,} samples consumed")
    table.add_row("order", order + (", masks anew each epoch" if state.remask else ""))
    console.print(table)
    if upcoming is not None:
        console.print(f"\nnext batch of rank {ranks.rank} of {ranks.world}, {ranks.batch_size} a rank")
        console.print(sample_table(console, upcoming))


def _batch(folder: Path, first: int, count: int, seed: int, shuffle: bool) -> tuple[list[dict[str, Any]], int]:
    """Samples at positions of the order, and how many the build has."""
    import numpy as np

    from glmdata.samples import SampleReader
    from glmdata.shards.reader import Shards
    from glmdata.streaming.order import rows_at

    shards = Shards(str(folder))
    if not shards.rows:
        raise ConfigError(f"{folder} holds no samples")
    numbers = rows_at(np.arange(first, first + count), seed=seed, size=shards.rows, shuffle=shuffle)
    reader = SampleReader(shards)
    return [summarise(reader.read(number)) for number in numbers.tolist()], shards.rows


def summarise(sample: "Sample") -> dict[str, Any]:
    """A sample in one line."""
    return {
        "sample": sample.number,
        "sample_id": sample.sample_id,
        "objective": sample.objective,
        "language": sample.language,
        "length": sample.length,
        "context_length": sample.context_length,
        "text": sample.text,
    }


def sample_table(console: "Console", samples: "Sequence[dict[str, Any]]") -> "Table":
    """A line a sample: its figures where there is room, and the beginning of its text."""
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import visible

    wide = console.width >= WIDE
    names = ["sample", "objective", "language", *(["sample_id", "length", "context_length"] if wide else [])]
    table = Table(box=None, header_style="dim")
    for name in (*names, "text"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("objective", "language", "text") else "right")
    for sample in samples:
        text = Text(visible(" ".join(str(sample["text"]).split())))
        text.truncate(max(20, console.width - (78 if wide else 36)), overflow="ellipsis")
        table.add_row(*(str(sample[name]) for name in names), text)
    return table
