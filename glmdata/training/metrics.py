"""What a run says of itself: a line of JSON a step, TensorBoard's events, and a curve to look at."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from glmdata.errors import ConfigError
from glmdata.storage import storage_errors, write_whole
from glmdata.training.events import open_events

__all__ = ["Metrics", "draw_curve", "read_metrics"]

METRICS_NAME = "metrics.jsonl"


class Metrics:
    """Appends to a run's metrics.jsonl; a resumed run goes on where its checkpoint was.

    Lines of steps after that checkpoint, which will be made again, are cut off, and so is a line torn by a crash.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        """Open the file of a run that stands at `step`; with `tensorboard` its event file too, if that is installed."""
        self.path = folder / METRICS_NAME
        kept = [line for line in read_metrics(folder) if line["step"] <= step]
        write_whole(self.path, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
        with storage_errors("opening"):
            self._file = self.path.open("a", encoding="utf-8")
        self._events = open_events(folder, kept) if tensorboard else None

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one step, at once."""
        with storage_errors("writing"):
            self._file.write(f"{json.dumps(line)}\n")
            self._file.flush()
            if self._events is not None:
                self._events.write(line)

    def __enter__(self) -> "Metrics":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """End the files."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, in order; a torn last line is left out."""
    path = Path(folder) / METRICS_NAME
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text("utf-8").split("\n")[:-1], 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            raise ConfigError(f"{path}, line {number}: not JSON; move the file away to go on") from None
    return found


def draw_curve(folder: str | os.PathLike[str]) -> Path | None:
    """Draw a run's losses, of all tokens and by objective, as curve.png; None where nothing has been trained yet."""
    lines = read_metrics(folder)
    series = {
        "all": [(line["step"], line["loss"]) for line in lines if "loss" in line],
        **_by(lines, "objectives"),
        "evaluation": [(line["step"], line["evaluation"]["loss"]) for line in lines if "evaluation" in line],
    }
    if not series["all"]:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, points in series.items():
        if points:
            steps, losses = zip(*points, strict=True)
            marker = "o" if name == "evaluation" else None
            axes.plot(steps, losses, label=name, linewidth=2 if name == "all" else 1, marker=marker, markersize=3)
    axes.set_xlabel("step")
    counted = next((name for name in ("pairs", "questions") if name in lines[-1]), "")
    axes.set_ylabel(f"loss a {counted[:-1]}" if counted else "loss, nats a token")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path = Path(folder) / "curve.png"
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    write_whole(path, image.getvalue())
    return path


def _by(lines: list[dict[str, Any]], kind: str) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, loss in line.get(kind, {}).items():
            found.setdefault(name, []).append((line["step"], loss))
    return found
