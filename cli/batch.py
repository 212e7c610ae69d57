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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """The order of a stream over some of a build's rows."""

    seed: int
    shuffle: bool
    remask: bool
    window: "Window | None"
    first_row: int
    size: int


def show_batch(
    folder: str, step: int, ranks: Ranks, seed: int, remask: bool, state_file: Path | None, as_json: bool
) -> None:
    """The samples that a rank gets at a step of a stream, as ShardStream would give them."""
    from glmdata.streaming.state import read_state

    state = read_state(state_file) if state_file is not None else None
    shards = _shards(folder)
    if state is not None:
        state.check_fits(shards)
    order = _order(shards, state, seed, remask=remask)
    first = ranks.first(step * ranks.world * ranks.batch_size)
    found, epoch = _batch(shards, order, first, ranks.batch_size), first // order.size
    if as_json:
        place = {"step": step, **ranks.as_json(), "seed": order.seed, "shuffle": order.shuffle, "epoch": epoch}
        place["remask"] = order.remask
        click.echo(json.dumps({**place, "samples": found}, ensure_ascii=False))
        return
    from glmdata.cli.render import make_console

    console = make_console()
    told = f"seed {order.seed}" if order.shuffle else "in the shards' order"
    told += f", epoch {epoch}" + (", masks anew each epoch" if order.remask else "")
    console.print(f"step {step}, rank {ranks.rank} of {ranks.world}, batch {ranks.batch_size}, {told}")
    console.print(sample_table(console, found))


def show_state(folder: str, state_file: Path, ranks: Ranks, as_json: bool) -> None:
    """Where a saved stream stands, and the batch that comes next; exit 1 where it belongs to another build."""
    from glmdata.streaming.state import read_state

    state, shards = read_state(state_file), _shards(folder)
    fits = state.fingerprint == shards.manifest.fingerprint
    first = ranks.first(state.samples_consumed)
    order = _order(shards, state) if fits else None
    if as_json:
        upcoming = _batch(shards, order, first, ranks.batch_size) if order else None
        found = {
            "state": state.as_json(),
            "fits": fits,
            "build_fingerprint": shards.manifest.fingerprint,
            "samples": order and order.size,
            "epoch": order and state.samples_consumed // order.size,
            "samples_in_epoch": order and state.samples_consumed % order.size,
            "next": {**ranks.as_json(), "samples": upcoming} if upcoming is not None else None,
        }
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        _print_state(shards, state_file, state, order, ranks)
    if not fits:
        raise SystemExit(1)


def _print_state(
    shards: "Shards", state_file: Path, state: "StreamState", order: "_Order | None", ranks: Ranks
) -> None:
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import make_console

    folder, fingerprint = shards.folder, shards.manifest.fingerprint
    told = f"seed {state.seed}, version {state.order_version}" if state.shuffle else "the shards' own"
    console, table = make_console(), Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("state", Text(str(state_file)))
    if order is None:
        other = f"another one: saved with {state.fingerprint}, {folder} is {fingerprint}"
        table.add_row("build", Text(other, "bold red"))
    else:
        table.add_row("build", Text(f"{folder}, fingerprint {fingerprint}: the one it was saved with"))
    table.add_row("stands", f"{state.samples_consumed:,} samples consumed")
    if order is not None:
        epoch, place = divmod(state.samples_consumed, order.size)
        table.add_row("", f"epoch {epoch}, {place:,} of {order.size:,} samples of it ({place / order.size:.1%})")
        if order.size < shards.rows:
            table.add_row("rows", f"{order.first_row:,} to {order.first_row + order.size - 1:,} of {shards.rows:,}")
    table.add_row("order", told + (", masks anew each epoch" if state.remask else ""))
    console.print(table)
    if order is not None:
        console.print(f"\nnext batch of rank {ranks.rank} of {ranks.world}, {ranks.batch_size} a rank")
        upcoming = _batch(shards, order, ranks.first(state.samples_consumed), ranks.batch_size)
        console.print(sample_table(console, upcoming))


def _shards(folder: str) -> "Shards":
    """A build with samples. Raises ConfigError for one without."""
    from glmdata.shards.reader import Shards

    shards = Shards(folder)
    if not shards.rows:
        raise ConfigError(f"{shards.folder} holds no samples")
    return shards


def _order(shards: "Shards", state: "StreamState | None", seed: int = 0, *, remask: bool = False) -> _Order:
    """As in the state, or as ShardStream would choose it for a seed."""
    from glmdata.streaming.window import default_window

    if state is None:
        window = default_window(shards)
        return _Order(seed=seed, shuffle=True, remask=remask, window=window, first_row=0, size=shards.rows)
    first, end = state.row_range(shards)
    return _Order(
        seed=state.seed,
        shuffle=state.shuffle,
        remask=state.remask,
        window=state.window,
        first_row=first,
        size=end - first,
    )


def _batch(shards: "Shards", order: _Order, first: int, count: int) -> list[dict[str, Any]]:
    """Samples at positions of the order."""
    import numpy as np

    from glmdata.samples import SampleReader
    from glmdata.streaming.order import rows_at

    positions = np.arange(first, first + count)
    rows = rows_at(positions, seed=order.seed, size=order.size, shuffle=order.shuffle, window=order.window)
    epochs = positions // order.size if order.remask else np.zeros_like(positions)
    reader = SampleReader(shards)
    numbers = (rows + order.first_row).tolist()
    return [summarise(reader.read(*at)) for at in zip(numbers, epochs.tolist(), strict=True)]


def summarise(sample: "Sample") -> dict[str, Any]:
    """A sample in one line."""
    return {
        "sample": sample.number,
        "sample_id": sample.sample_id,
        "objective": sample.objective,
        "language": sample.language,
        "length": sample.length,
        "context_length": sample.context_length,
        "spans": sample.restored.spans.tolist(),
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
