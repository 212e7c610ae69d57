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
    from glmdata.shards.reader import Shards
    from glmdata.streaming.order import Window
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


def show_batch(folder: str, step: int, ranks: Ranks, seed: int, state_file: Path | None, as_json: bool) -> None:
    """The samples that a rank gets at a step of a stream, as ShardStream would give them."""
    from glmdata.streaming.state import read_state

    state = read_state(state_file) if state_file is not None else None
    if state is not None:
        seed, shuffle = state.seed, state.shuffle
    else:
        shuffle = True
    shards = _shards(folder)
    if state is not None:
        state.check_fits(shards)
    first = ranks.first(step * ranks.world * ranks.batch_size)
    found = _batch(shards, first, ranks.batch_size, seed, shuffle, _window(shards, state))
    epoch = first // shards.rows
    if as_json:
        place = {"step": step, **ranks.as_json(), "seed": seed, "shuffle": shuffle, "epoch": epoch}
        click.echo(json.dumps({**place, "samples": found}, ensure_ascii=False))
        return
    from glmdata.cli.render import make_console

    console = make_console()
    order = f"seed {seed}" if shuffle else "in the shards' order"
    console.print(f"step {step}, rank {ranks.rank} of {ranks.world}, batch {ranks.batch_size}, {order}, epoch {epoch}")
    console.print(sample_table(console, found))


def show_state(folder: str, state_file: Path, ranks: Ranks, as_json: bool) -> None:
    """Where a saved stream stands, and the batch that comes next; exit 1 where it belongs to another build."""
    from glmdata.streaming.state import read_state

    state, shards = read_state(state_file), _shards(folder)
    fits = state.fingerprint == shards.manifest.fingerprint
    epoch, place = divmod(state.samples_consumed, shards.rows)
    first, upcoming = ranks.first(state.samples_consumed), None
    if fits:
        upcoming = _batch(shards, first, ranks.batch_size, state.seed, state.shuffle, _window(shards, state))
    if as_json:
        found = {
            "state": state.as_json(),
            "fits": fits,
            "build_fingerprint": shards.manifest.fingerprint,
            "samples": shards.rows,
            "epoch": epoch,
            "samples_in_epoch": place,
            "next": {**ranks.as_json(), "samples": upcoming} if upcoming is not None else None,
        }
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        _print_state(shards, state_file, state, ranks, upcoming)
    if not fits:
        raise SystemExit(1)


def _print_state(
    shards: "Shards",
    state_file: Path,
    state: "StreamState",
    ranks: Ranks,
    upcoming: list[dict[str, Any]] | None,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import make_console

    folder, fingerprint, rows = shards.folder, shards.manifest.fingerprint, shards.rows
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


def _shards(folder: str) -> "Shards":
    """A build with samples. Raises ConfigError for one without."""
    from glmdata.shards.reader import Shards

    shards = Shards(folder)
    if not shards.rows:
        raise ConfigError(f"{shards.folder} holds no samples")
    return shards


def _window(shards: "Shards", state: "StreamState | None") -> "Window | None":
    """What is shuffled at a time: as in the state, or as ShardStream would choose."""
    from glmdata.streaming.window import default_window

    return state.window if state is not None else default_window(shards)


def _batch(
    shards: "Shards", first: int, count: int, seed: int, shuffle: bool, window: "Window | None"
) -> list[dict[str, Any]]:
    """Samples at positions of the order."""
    import numpy as np

    from glmdata.samples import SampleReader
    from glmdata.streaming.order import rows_at

    positions = np.arange(first, first + count)
    numbers = rows_at(positions, seed=seed, size=shards.rows, shuffle=shuffle, window=window)
    reader = SampleReader(shards)
    return [summarise(reader.read(number)) for number in numbers.tolist()]


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
