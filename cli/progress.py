"""What a build shows while it runs: a bar a stage on a terminal, a line a stage in a pipe. Always on stderr."""

import time
from collections import defaultdict

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["LiveProgress", "PlainProgress", "make_progress"]

# What each stage does, in the user's words.
_DOING = {
    "ingest": "read files",
    "sign": "language, hashes",
    "match": "find duplicates",
    "cluster": "choose survivors",
    "sample": "sample text",
    "train": "train tokenizer",
    "tokenizer": "take tokenizer",
    "tokenize": "tokenize",
    "balance": "balance languages",
    "assemble": "mask spans",
    "shards": "write shards",
    "ledger": "write ledger",
}
_IN_BYTES = {"ingest", "sign", "sample", "tokenize", "shards"}
"""Stages whose jobs are weighed in bytes, so that MB/s mean something."""


class _Rates(ProgressColumn):
    """Documents/s and MB/s so far."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        if not elapsed:
            return Text("")
        parts = []
        if task.fields["records"]:
            parts.append(f"{task.fields['records'] / elapsed:,.0f} documents/s")
        if task.fields["in_bytes"]:
            parts.append(f"{task.completed / elapsed / 1e6:,.1f} MB/s")
        return Text("  ".join(parts), style="dim")


class LiveProgress:
    """Bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[stage]:<9}"),
            TextColumn("{task.fields[doing]:<17}", style="dim"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[seconds]:>7}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=False),
            _Rates(),
            console=console,
            refresh_per_second=8,
        )
        self._tasks: dict[str, int] = {}
        self._records: defaultdict[str, int] = defaultdict(int)
        self._progress.start()

    def message(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)

    def stage_started(self, stage: str, jobs: int, weight: int) -> None:
        """A new bar."""
        del jobs
        self._tasks[stage] = self._progress.add_task(
            stage,
            total=weight,
            stage=stage,
            doing=_DOING.get(stage, ""),
            seconds="",
            records=0,
            in_bytes=stage in _IN_BYTES,
        )

    def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
        """The bar moves on."""
        self._records[stage] += 0 if resumed else records
        self._progress.update(self._tasks[stage], advance=weight, records=self._records[stage])  # type: ignore[arg-type]

    def stage_ended(self, stage: str, seconds: float) -> None:
        """The bar is full."""
        self._progress.update(self._tasks[stage], seconds=f"{seconds:.1f} s")  # type: ignore[arg-type]

    def close(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()


class PlainProgress:
    """A line a stage, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started: dict[str, float] = {}
        self._sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])

    def message(self, text: str) -> None:
        """A line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stage_started(self, stage: str, jobs: int, weight: int) -> None:
        """Nothing yet: a stage is one line, when it ends."""
        del jobs, weight
        self._started[stage] = time.monotonic()

    def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
        """Add up."""
        sums = self._sums[stage]
        sums[0] += weight
        sums[1] += records
        sums[2] += resumed
        sums[3] += 1

    def stage_ended(self, stage: str, seconds: float) -> None:
        """One line with the stage's figures."""
        weight, records, resumed, jobs = self._sums[stage]
        parts = [f"{stage:<9} {_DOING.get(stage, ''):<17} {seconds:7.2f} s"]
        if records:
            parts.append(f"{records:,} records")
        if stage in _IN_BYTES and seconds > 0:
            parts.append(f"{weight / 1e6:,.1f} MB, {weight / seconds / 1e6:,.1f} MB/s")
        if resumed:
            parts.append(f"{resumed} of {jobs} parts were done before")
        self.message("  ".join(parts))

    def close(self) -> None:
        """Nothing to end."""


def make_progress() -> LiveProgress | PlainProgress:
    """Bars where stderr is a terminal, else lines."""
    console = Console(stderr=True)
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
