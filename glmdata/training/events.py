"""TensorBoard's event files of a run: what metrics.jsonl says, as scalars.

They are made anew from it whenever a run goes on, so that no step is in them twice, or missing because the process was
killed before it was written. Their clock is the seconds that steps took.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from glmdata.storage import storage_errors

__all__ = ["Events", "open_events"]


class Events:
    """The one event file of a run's folder."""

    def __init__(self, folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write `lines`, all that the run has done so far, in place of the files that are there.

        Raises ImportError where tensorboard is not installed, and StorageError.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._seconds = 0.0
        with storage_errors("writing event files"):
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
            self._writer = SummaryWriter(str(folder))
            for line in lines:
                self.write(line)
            self._writer.flush()

    def write(self, line: Mapping[str, Any]) -> None:
        """One step: each of its numbers, under its name or, inside another, `evaluation/objectives/token`."""
        self._seconds += line.get("seconds", 0.0)
        for name, value in _scalars(line):
            if name != "step":
                self._writer.add_scalar(name, value, line["step"], walltime=self._seconds)

    def close(self) -> None:
        """End the file."""
        self._writer.close()


def open_events(folder: Path, lines: Iterable[Mapping[str, Any]]) -> Events | None:
    """The events of a run; None where tensorboard is not installed."""
    try:
        return Events(folder, lines)
    except ImportError:
        return None


def _scalars(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value
