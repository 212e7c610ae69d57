"""The commit code of a build alone, for strace: a process that forks a child for each folder it is given.

A child stops until strace has hold of it, then runs two stages in its only thread, publishes, and ends with OK,
REFUSED (a StorageError that names a file, or stage and partition), or WRONG.
"""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from progress import Stops

from glmdata.errors import StorageError
from glmdata.pipelines.engine import Attempt, Call, Engine, Job, Result, perform
from glmdata.pipelines.folder import BuildFolder

OK, REFUSED, WRONG = 0, 3, 4


@dataclass(frozen=True)
class Text:
    value: str


class Inline:
    """Runs a call where it is submitted: strace counts the calls of each thread by themselves."""

    name, max_in_flight, on_this_machine, may_lose_calls = "inline", 1, False, False
    memory_bytes = largest_bytes = 1 << 30

    def __init__(self) -> None:
        self.results: list[Result] = []

    def start(self) -> None:
        pass

    def submit(self, call: Call, memory_bytes: int) -> int:
        self.results.append(perform(call))
        return len(self.results) - 1

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        return list(handles)

    def result(self, handle: int) -> Result:
        return self.results[handle]

    def cancel(self, handle: Any) -> None:
        pass

    def close(self) -> None:
        pass


def write_text(arguments: Text, attempt: Attempt) -> dict[str, Any]:
    Path(attempt.output("text.txt")).write_text(arguments.value * 1000)
    return {"records": 1}


def commit(place: Path) -> None:
    """A build of two stages, and its publication; or nothing, where it is finished."""
    folder = BuildFolder(place)
    with folder.locked():
        folder.claim({"recipe": {}, "versions": {}})
        if folder.finished():
            folder.remove_work()
            return
        engine = Engine(folder.work, Inline(), Stops())
        for stage in ("one", "two"):
            results = engine.run(stage, [Job(function=write_text, arguments=Text(f"{stage} {n}")) for n in range(2)])
        files = [result.files["text.txt"] for result in results]
        folder.publish({f"shards/part-{number:05d}-of-00002.arrow": file for number, file in enumerate(files)})
        folder.finish("{}")


def tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """For each line of stdin, a folder: fork, print the child's process id, and when it ended its exit code."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.stdin.close()
            os.kill(os.getpid(), signal.SIGSTOP)
            place = Path(line.rstrip("\n"))
            try:
                commit(place)
            except StorageError as error:
                os._exit(REFUSED if str(place.parent) in str(error) or "stage " in str(error) else WRONG)
            except BaseException:
                traceback.print_exc()
                os._exit(WRONG)
            os._exit(OK)
        tell(child)
        _, status = os.waitpid(child, 0)
        tell(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
