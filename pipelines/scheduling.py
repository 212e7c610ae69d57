"""Which attempt at a partition runs when.

What is in flight is bounded in number and in memory. A partition whose worker was lost is tried again, under a new
name. One that is late is given a *double*, which runs beside it: whichever ends first is taken, and since both write
the same bytes under names of their own, a worker that is only slow, suspended or cut off from us harms nothing. One
whose worker was killed for memory, or that lost two, runs again alone when the others are done, with twice the request,
and is split where its stage can be: its rows are worked on in pieces a quarter as large. Nothing here has a part in
the bytes of a build.
"""

import bisect
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol

from glmdata.errors import ConfigError, GlmdataError, TaskFailedError
from glmdata.pipelines.memory import needed_bytes
from glmdata.pipelines.stages import IN_PIECES

if TYPE_CHECKING:
    from glmdata.pipelines.engine import Call, Job, Result

__all__ = ["Executor", "KilledForMemoryError", "Limits", "LostWorkerError", "Schedule", "seconds_a_byte"]

POLL_S = 1.0
LOSSES_UNTIL_ALONE = 2
"""The system's own killer leaves no word: a partition that lost two workers may have been too large for them."""
SPLIT = 4
"""Pieces that a partition is split into when its worker may have been too small for it, and each of those again."""
MAX_PLACES_TOLD = 3
LEAST_WEIGHT = 1 << 20
"""Bytes that a partition counts for at least where deadlines are reckoned: a smaller one takes the seconds of a start,
and as seconds a byte those would give the large ones of its stage years."""
LEAST_RATE_S = 1e-7
"""A byte: no partition is late that goes at 0.5 MB/s, however fast small ones of its stage were."""
DEADLINE_VARIABLE = "GLMDATA_TASK_DEADLINE_S"


class LostWorkerError(Exception):
    """The worker of a call died; the job may be tried again."""


class KilledForMemoryError(LostWorkerError):
    """It died because the machine ran out of memory."""


class Executor(Protocol):
    """Runs calls: in threads (glmdata.pipelines.local) or as Ray tasks (glmdata.pipelines.cluster)."""

    name: str
    max_in_flight: int
    on_this_machine: bool
    """Whether all calls run on the driver's machine."""
    may_lose_calls: bool
    """Whether a call may never end and nobody say so, as when the network is cut."""
    memory_bytes: int
    """What all calls in flight may ask for together."""
    largest_bytes: int
    """What one call may ask for."""

    def start(self) -> None:
        """Begin; called once, and only if there is work."""

    def submit(self, call: "Call", memory_bytes: int) -> Any:
        """Start a call that may take so much memory; returns a handle."""

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        """The handles that have ended; at least one, unless the time is over."""

    def result(self, handle: Any) -> "Result":
        """What an ended call returned or raised; LostWorkerError where it may be tried again."""

    def cancel(self, handle: Any) -> None:
        """End a call whose result is not wanted any more, as far as that can be done."""

    def close(self) -> None:
        """Stop everything that was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When an attempt is late, and how many there are.

    A healthy one is not ended for being slow: a late one gets a double; only if that is late too, after twice the
    time, is it given up.
    """

    max_attempts: int = 4
    """At one partition, before the build gives up."""
    least_deadline_s: float = 300.0
    first_deadline_s: float = 900.0
    """Where no partition of the stage has ended yet, so that nothing is measured."""
    deadline_factor: float = 20.0
    """Times the median of the stage, in seconds a byte, times the bytes of the partition."""

    @classmethod
    def from_environment(cls) -> "Limits":
        """With $GLMDATA_TASK_DEADLINE_S as the least deadline, where it is set."""
        given = os.environ.get(DEADLINE_VARIABLE)
        if not given:
            return cls()
        try:
            seconds = float(given)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise ConfigError(f"{DEADLINE_VARIABLE}={given}: give seconds, more than 0")
        return cls(least_deadline_s=seconds, first_deadline_s=3 * seconds)

    def deadline_s(self, attempt: int, weight: int, rates: Sequence[float]) -> float:
        """Seconds for attempt 0, 1, ... at a partition; `rates` are the stage's seconds a byte so far, ascending."""
        seconds = self.first_deadline_s
        if rates:
            rate = max(LEAST_RATE_S, statistics.median(rates))
            seconds = max(self.least_deadline_s, self.deadline_factor * rate * max(LEAST_WEIGHT, weight))
        return float(seconds * 2**attempt)


def seconds_a_byte(seconds: float, weight: int) -> float:
    """What a partition of `weight` bytes tells of the speed of its stage, for `Limits.deadline_s`."""
    return seconds / max(LEAST_WEIGHT, weight)


@dataclass(slots=True)
class _Task:
    """A partition that is not committed."""

    index: int
    job: "Job"
    memory: int
    attempts: int = 0
    losses: int = 0
    piece_bytes: int = 0
    """Text to work on at a time; 0: all."""
    done: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    task: _Task
    number: int
    started: float


class Schedule:
    """Runs some jobs of a stage."""

    def __init__(self, executor: Executor, limits: Limits, stage: str, tell: Callable[[str], None]) -> None:
        self._executor, self._limits, self._stage, self._tell = executor, limits, stage, tell
        self._running: dict[Any, _Attempt] = {}
        self._rates: list[float] = []
        self._waiting: list[_Task] = []
        self._alone: list[_Task] = []
        """Tasks that run when nothing else does."""

    def run(self, jobs: dict[int, "Job"], make_call: Callable[[int, int], "Call"]) -> Iterator[tuple[int, "Result"]]:
        """Run the jobs, by their index; yields results as they come.

        make_call: takes the index of a job and `Call.piece_bytes`.
        """
        self._waiting = [
            _Task(index=index, job=job, memory=needed_bytes(self._stage, job.weight)) for index, job in jobs.items()
        ]
        self._waiting.reverse()
        self._make_call = make_call
        while self._waiting or self._alone or self._running:
            self._fill()
            for handle in self._executor.wait(list(self._running), POLL_S):
                attempt = self._running.pop(handle, None)
                result = None if attempt is None else self._result(handle, attempt)
                if attempt is not None and result is not None:
                    self._end_others(attempt.task)
                    attempt.task.done = True
                    bisect.insort(self._rates, seconds_a_byte(result.seconds, attempt.task.job.weight))
                    yield attempt.task.index, result
            if self._executor.may_lose_calls:
                self._double_late()

    def _fill(self) -> None:
        """Start what there is room for."""
        used = sum(attempt.task.memory for attempt in self._running.values())
        while self._waiting and len(self._running) < self._executor.max_in_flight:
            needed = min(self._waiting[-1].memory, self._executor.largest_bytes)
            if self._running and used + needed > self._executor.memory_bytes:
                return
            used += needed
            self._start(self._waiting.pop())
        if self._alone and not self._running and not self._waiting:
            self._start(self._alone.pop())

    def _start(self, task: _Task) -> None:
        task.memory = min(task.memory, self._executor.largest_bytes)  # nodes may have gone
        handle = self._executor.submit(self._make_call(task.index, task.piece_bytes), task.memory)
        self._running[handle] = _Attempt(task, task.attempts, time.monotonic())
        task.attempts += 1

    def _result(self, handle: Any, attempt: _Attempt) -> "Result | None":
        """What an attempt returned; nothing where it was lost."""
        task = attempt.task
        try:
            return self._executor.result(handle)
        except LostWorkerError as error:
            self._lost(task, error)
            return None
        except (GlmdataError, KeyboardInterrupt, SystemExit):
            raise
        except Exception as error:
            raise TaskFailedError(
                f"{self._name(task)}: {type(error).__name__}: {error}. "
                "This is a defect of glmdata; GLMDATA_TRACEBACK=1 shows where"
            ) from error

    def _lost(self, task: _Task, error: LostWorkerError) -> None:
        if task.done:
            return
        task.losses += 1
        for_memory = isinstance(error, KilledForMemoryError)
        if any(attempt.task is task for attempt in self._running.values()):
            self._tell(f"{self._name(task)}: {error}; its double goes on")
            return
        if task.attempts >= self._limits.max_attempts:
            raise TaskFailedError(f"{self._name(task)}{_places(task.job.arguments)}: {error}; {self._end(task, error)}")
        if for_memory or task.losses >= LOSSES_UNTIL_ALONE:
            task.memory = min(2 * task.memory, self._executor.largest_bytes)
            if self._stage in IN_PIECES:
                task.piece_bytes = max(1, (task.piece_bytes or task.job.weight) // SPLIT)
            self._alone.append(task)
            self._tell(f"{self._name(task)}: {error}; trying again {self._how(task)}")
        else:
            self._waiting.append(task)
            self._tell(f"{self._name(task)}: {error}; trying again")

    def _end(self, task: _Task, error: LostWorkerError) -> str:
        told = f"given up after {task.attempts} attempts"
        if isinstance(error, KilledForMemoryError):
            told += f", the last {self._how(task)}; give the machine more memory"
            if task.piece_bytes:
                told += ", or refuse records that are too large for it (--set corpus.max_record_bytes=N --fresh)"
        return told

    def _how(self, task: _Task) -> str:
        split = f", {task.piece_bytes:,} bytes of text at a time" if task.piece_bytes else ""
        return f"alone, with {task.memory >> 20:,} MiB{split}"

    def _double_late(self) -> None:
        """Give late tasks a double, and end the attempt before one that is late too."""
        newest: dict[int, _Attempt] = {}
        for attempt in self._running.values():
            there = newest.setdefault(attempt.task.index, attempt)
            if attempt.number > there.number:
                newest[attempt.task.index] = attempt
        now = time.monotonic()
        for attempt in newest.values():
            task = attempt.task
            deadline = self._limits.deadline_s(attempt.number, task.job.weight, self._rates)
            if now - attempt.started <= deadline:
                continue
            if task.attempts >= self._limits.max_attempts:
                where = f"{self._name(task)}{_places(task.job.arguments)}"
                raise TaskFailedError(
                    f"{where}: no result within {deadline:.0f} s in the last of {task.attempts} attempts; if it is "
                    f"only slow, set {DEADLINE_VARIABLE} higher"
                )
            self._tell(f"{self._name(task)}: no result within {deadline:.0f} s; another worker tries beside it")
            self._end_others(task, but=attempt)
            self._start(task)

    def _end_others(self, task: _Task, but: _Attempt | None = None) -> None:
        """Cancel the attempts at a task."""
        others = [handle for handle, found in self._running.items() if found.task is task and found is not but]
        for handle in others:
            del self._running[handle]
            self._executor.cancel(handle)

    def _name(self, task: _Task) -> str:
        return f"stage {self._stage}, partition {task.index}"


def _places(arguments: Any) -> str:
    """The first corpus files that the arguments of a job name."""
    found = list(dict.fromkeys(_uris(arguments)))
    more = f" and {len(found) - MAX_PLACES_TOLD} more" if len(found) > MAX_PLACES_TOLD else ""
    return f" ({', '.join(found[:MAX_PLACES_TOLD])}{more})" if found else ""


def _uris(value: Any) -> Iterator[str]:
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            inner = getattr(value, field.name)
            if field.name == "uri" and isinstance(inner, str):
                yield inner
            else:
                yield from _uris(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _uris(inner)
