"""What a build shows while it runs: a bar a stage on a terminal, a line a stage in a pipe. Always on stderr."""

import time
from collections import defaultdict

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from glmdata.pipelines.stages import DOING, IN_BYTES, UNITS

__all__ = ["LiveProgress", "PlainProgress", "make_progress"]

WIDE = 100
"""Columns from which on there is room for words."""


class _Figures(ProgressColumn):
    """Seconds, then documents/s and MB/s of what was done in this session; time left while it runs."""

    def render(self, task: Task) -> Text:
        """The text of one bar."""
        elapsed = (task.finished_time if task.finished else task.elapsed) or 0.0
        parts = [f"{elapsed:6.1f} s"]
        if not task.finished and task.time_remaining is not None:
            parts.append(f"{task.time_remaining:.0f} s left")
        if elapsed and task.fields["records"]:
            parts.append(f"{task.fields['records'] / elapsed:,.0f} {UNITS.get(task.fields['stage'], 'documents')}/s")
        if elapsed and task.fields["weight"] and task.fields["stage"] in IN_BYTES:
            parts.append(f"{task.fields['weight'] / elapsed / 1e6:,.1f} MB/s")
        if task.fields["resumed"]:
            parts.append(f"{task.fields['resumed']} of {task.fields['jobs']} parts were done before")
        return Text("  ".join(parts), no_wrap=True, overflow="ellipsis")


class LiveProgress:
    """Bars on a terminal."""

    def __init__(self, console: Console) -> None:
        columns: list[ProgressColumn] = [TextColumn("{task.fields[stage]:<10}", table_column=Column(no_wrap=True))]
        if console.width >= WIDE:
            columns.append(TextColumn("{task.fields[doing]:<17}", style="dim", table_column=Column(no_wrap=True)))
        columns.append(BarColumn(bar_width=24 if console.width >= WIDE else 10))
        columns.append(_Figures(table_column=Column(no_wrap=True, overflow="ellipsis")))
        self._progress = Progress(*columns, console=console, refresh_per_second=8)
        self._tasks: dict[str, TaskID] = {}
        self._sums: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"weight": 0, "records": 0, "resumed": 0})
        self._progress.start()

    def message(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)

    def stage_started(self, stage: str, jobs: int, weight: int) -> None:
        """A new bar."""
        self._tasks[stage] = self._progress.add_task(
            stage,
            total=weight,
            stage=stage,
            doing=DOING.get(stage, ""),
            records=0,
            weight=0,
            resumed=0,
            jobs=jobs,
        )

    def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
        """The bar moves on."""
        sums = self._sums[stage]
        sums["resumed"] += resumed
        if not resumed:
            sums["weight"] += weight
            sums["records"] += records
        task = self._tasks[stage]
        self._progress.update(
            task, advance=weight, records=sums["records"], weight=sums["weight"], resumed=sums["resumed"]
        )

    def stage_ended(self, stage: str, seconds: float) -> None:
        """The bar is full already."""

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
        sums[0] += 0 if resumed else weight
        sums[1] += records
        sums[2] += resumed
        sums[3] += 1

    def stage_ended(self, stage: str, seconds: float) -> None:
        """One line with the stage's figures."""
        weight, records, resumed, jobs = self._sums[stage]
        parts = [f"{stage:<10} {DOING.get(stage, ''):<17} {seconds:7.2f} s"]
        if records:
            parts.append(f"{records:,} {UNITS.get(stage, 'documents')}")
        if stage in IN_BYTES and seconds > 0 and weight:
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
