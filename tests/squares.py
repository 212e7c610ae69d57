"""A stage for tests of the engine: it squares numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmdata.pipelines.engine import Attempt, FileRef, Job


@dataclass(frozen=True)
class Number:
    value: int
    source: FileRef | None = None


def square(arguments: Number, attempt: Attempt) -> dict[str, Any]:
    before = Path(attempt.input(arguments.source)).read_text() if arguments.source else ""
    Path(attempt.output("square.txt")).write_text(f"{before}{arguments.value**2}")
    return {"records": 1, "value": arguments.value}


def jobs(count: int, function: Any = square) -> list[Job]:
    return [Job(function=function, arguments=Number(value)) for value in range(count)]
