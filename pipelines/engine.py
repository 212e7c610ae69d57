"""Runs the partitions of a stage: in process or as Ray tasks, with the same bytes.

A stage is a list of jobs; a job is a module-level function and its arguments, and writes files. The list depends on
content only, never on the number of workers. What a job wrote is *committed* by a small record that the driver alone
writes; it holds the digest of the job (function, arguments, digests of its inputs) and of every file. A job whose
record matches is not run again. Attempts write under names of their own, so one that ends late, or was cut off
from the driver, changes nothing that is listed.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import xxhash
from pydantic import BaseModel

from glmdata.errors import TaskFailedError
from glmdata.pipelines.compiling import Compilation
from glmdata.pipelines.scheduling import Executor, Limits, Schedule
from glmdata.pipelines.work import Attempt, FileRef, open_work
from glmdata.storage import storage_errors
from glmdata.versions import versions

__all__ = [
    "Attempt",
    "Call",
    "Engine",
    "FileRef",
    "Job",
    "Progress",
    "Result",
    "perform",
]

TOLD_START_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One partition of a stage. `arguments` is a dataclass; all that the output depends on is in it."""

    function: "Callable[[Any, Attempt], dict[str, Any]]"
    arguments: Any
    weight: int = 1
    """Bytes of text it works on, for the progress display."""

    def digest(self) -> str:
        """Hex digest of the function, the arguments and the content of the inputs; not of where those lie."""
        name = f"{self.function.__module__}:{self.function.__qualname__}"
        plain = json.dumps([versions(), name, _plain(self.arguments)], sort_keys=True)
        return xxhash.xxh3_128_hexdigest(plain.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a job left: its files by name, and counts (JSON)."""

    files: dict[str, FileRef]
    counts: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One attempt at a job, as it travels to a worker."""

    function: Callable[[Any, Attempt], dict[str, Any]]
    arguments: Any
    work: str = field(repr=False)  # may hold secrets
    stage: str
    index: int
    attempt: str
    session: str = ""
    piece_bytes: int = 0
    """Text to hold at a time, where a whole partition is too much for the memory there; 0: all of it."""
    versions: dict[str, str] = field(default_factory=versions)
    """The driver's, of what the bytes depend on."""


def perform(call: Call) -> Result:
    """Run one attempt; called in a thread of the driver or in a Ray worker."""
    mine = versions()
    if call.versions != mine:
        differ = [name for name in mine if call.versions.get(name) != mine[name]]
        told = ", ".join(f"{name} {mine[name]}, the driver {call.versions.get(name, 'none')}" for name in differ)
        raise TaskFailedError(f"a worker has {told}; install the same on all nodes ({socket.gethostname()} was asked)")
    work = open_work(call.work)
    work.check_session(call.session)
    started = time.monotonic()
    with (
        storage_errors(f"stage {call.stage}, partition {call.index}"),
        work.attempt(call.stage, call.index, call.attempt) as attempt,
    ):
        attempt.piece_bytes = call.piece_bytes
        counts = call.function(call.arguments, attempt)
        files = attempt.keep()
    return Result(files=files, counts=counts, seconds=time.monotonic() - started)


class Progress(Protocol):
    """What a build tells while it runs; the command line draws it."""

    def message(self, text: str) -> None:
        """A line for the reader."""

    def stage_started(self, stage: str, jobs: int, weight: int) -> None:
        """A stage of so many jobs and bytes begins."""

    def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
        """One job is committed."""

    def stage_ended(self, stage: str, seconds: float) -> None:
        """All jobs of the stage are committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """Figures of one stage for report.json."""

    name: str
    seconds: float
    bytes_in: int
    bytes_out: int
    records: int


class Engine:
    """Runs stages one after the other in a work folder, resuming what is committed there."""

    def __init__(
        self,
        work: str | Path,
        executor: Executor,
        progress: Progress,
        compilation: Compilation | None = None,
        check: Callable[[], None] = lambda: None,
        limits: Limits | None = None,
    ) -> None:
        """`work` is a path or URI; `compilation` is started with the executor; `check` raises where the work is not
        ours any more; `limits` are those of the environment if not given.
        """
        self.reports = list[StageReport]()
        self._work, self._session, self._check = open_work(work), uuid.uuid4().hex[:12], check
        self._limits = limits or Limits.from_environment()
        self._executor, self._progress, self._started = executor, progress, False
        self._compilation = compilation

    def run(self, stage: str, jobs: Sequence[Job], *, kernels: bool = True) -> list[Result]:
        """Run or resume all jobs of a stage; the results are in the order of the jobs.

        kernels: whether the jobs run any, so that they wait until those are compiled.
        """
        self._work.begin(stage)
        digests = [job.digest() for job in jobs]
        records = self._work.records(stage, len(jobs))
        committed = [self._committed(record, digest) for record, digest in zip(records, digests, strict=True)]
        if not all(committed):
            if not self._started:
                self._start()
            if kernels:
                self._await_kernels()
        started = time.monotonic()
        self._progress.stage_started(stage, len(jobs), sum(job.weight for job in jobs))
        results: dict[int, Result] = {}
        missing: dict[int, Job] = {}
        for index, (job, found) in enumerate(zip(jobs, committed, strict=True)):
            if found is None:
                missing[index] = job
            else:
                results[index] = found
                self._progress.job_done(stage, job.weight, int(found.counts.get("records", 0)), True)
        self._sweep(stage, results.values())
        schedule = Schedule(self._executor, self._limits, stage, self._progress.message)
        for index, result in schedule.run(missing, lambda index, piece: self._call(stage, index, jobs[index], piece)):
            self._commit(stage, index, digests[index], result)
            results[index] = result
            self._progress.job_done(stage, jobs[index].weight, int(result.counts.get("records", 0)), False)
        ordered = [results[index] for index in range(len(jobs))]
        if missing:
            self._sweep(stage, ordered)
        seconds = time.monotonic() - started
        self.reports.append(
            StageReport(
                name=stage,
                seconds=round(seconds, 3),
                bytes_in=sum(job.weight for job in jobs),
                bytes_out=sum(file.bytes for result in ordered for file in result.files.values()),
                records=sum(int(result.counts.get("records", 0)) for result in ordered),
            )
        )
        self._progress.stage_ended(stage, seconds)
        return ordered

    def path(self, file: FileRef) -> Path:
        """Where a committed file lies."""
        return self._work.path(file)

    def _await_kernels(self) -> None:
        if self._compilation is not None:
            started = time.monotonic()
            self._compilation.wait()
            seconds = time.monotonic() - started
            if seconds > TOLD_START_S:
                self._progress.message(f"waited {seconds:.1f} s more for kernels to be compiled, once for this machine")

    def _start(self) -> None:
        if self._compilation is not None:
            self._compilation.start()
        self._work.open_session(self._session)
        started = time.monotonic()
        self._executor.start()
        self._started = True
        seconds = time.monotonic() - started
        if seconds > TOLD_START_S:
            self._progress.message(f"{self._executor.name} started in {seconds:.1f} s")

    def _call(self, stage: str, index: int, job: Job, piece_bytes: int) -> Call:
        return Call(
            function=job.function,
            arguments=job.arguments,
            work=self._work.place,
            stage=stage,
            index=index,
            attempt=uuid.uuid4().hex[:12],
            session=self._session,
            piece_bytes=piece_bytes,
        )

    def _commit(self, stage: str, index: int, digest: str, result: Result) -> None:
        self._check()
        text = json.dumps({"job": digest, "result": asdict(result)}, sort_keys=True)
        self._work.commit(stage, index, f"{text}\n{xxhash.xxh3_64_hexdigest(text.encode())}\n".encode())

    def _sweep(self, stage: str, results: Iterable[Result]) -> None:
        """Remove the files of attempts that died or came too late; they may be as large as those that are listed."""
        self._work.sweep(stage, {file.path for result in results for file in result.files.values()})

    def _committed(self, found: bytes | None, digest: str) -> Result | None:
        """The committed result of the very same job, if its files are whole."""
        try:
            text, _, check = (found or b"").decode().partition("\n")
        except UnicodeDecodeError:
            return None
        if check.strip() != xxhash.xxh3_64_hexdigest(text.encode()):
            return None
        record = json.loads(text)
        if record["job"] != digest:
            return None
        result = record["result"]
        files = {name: FileRef(**file) for name, file in result["files"].items()}
        if not all(self._work.whole(file) for file in files.values()):
            return None
        return Result(files=files, counts=result["counts"], seconds=result["seconds"])


def _plain(value: Any) -> Any:
    """JSON of arguments; a committed file is known by its content."""
    if isinstance(value, FileRef):
        return {"bytes": value.bytes, "xxh3": value.xxh3}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value) if "place" not in item.metadata}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"an argument of a job is a {type(value).__name__}")


def default_workers() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
