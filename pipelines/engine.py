"""Runs the partitions of a stage: in process or as Ray tasks, with the same bytes.

A stage is a list of jobs; a job is a module-level function and its arguments, and writes files. The list depends on
content only, never on the number of workers. What a job wrote is *committed* by a small record that the driver alone
writes; it holds the digest of the job (function, arguments, digests of its inputs) and of every file. A job whose
record matches is not run again. Attempts write under names of their own, so one that ends late, or was cut off
from the driver, changes nothing that is listed.
"""

import contextlib
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
from glmdata.storage import file_digest, storage_errors, sync_file, sync_folder, write_whole
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
class FileRef:
    """A committed file: where (relative to the work folder), how long, its xxh3-64 in hex."""

    path: str
    bytes: int
    xxh3: str


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


class Attempt:
    """Where one run of a job reads and writes."""

    def __init__(self, work: Path, stage: str, index: int, name: str) -> None:
        self._work, self._stage, self._index, self._name = work, stage, index, name
        self.files: dict[str, Path] = {}

    def input(self, file: FileRef) -> str:
        """Path of a committed file."""
        return str(self._work / file.path)

    def output(self, name: str) -> str:
        """Path to write the file `name` of this job to."""
        path = self._work / self._stage / f"{self._index:06d}-{self._name}-{name}"
        self.files[name] = path
        return str(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One attempt at a job, as it travels to a worker."""

    function: Callable[[Any, Attempt], dict[str, Any]]
    arguments: Any
    work: str
    stage: str
    index: int
    attempt: str
    versions: dict[str, str] = field(default_factory=versions)
    """The driver's, of what the bytes depend on."""


def perform(call: Call) -> Result:
    """Run one attempt; called in a thread of the driver or in a Ray worker."""
    mine = versions()
    if call.versions != mine:
        differ = [name for name in mine if call.versions.get(name) != mine[name]]
        told = ", ".join(f"{name} {mine[name]}, the driver {call.versions.get(name, 'none')}" for name in differ)
        raise TaskFailedError(f"a worker has {told}; install the same on all nodes ({socket.gethostname()} was asked)")
    attempt = Attempt(Path(call.work), call.stage, call.index, call.attempt)
    started = time.monotonic()
    with storage_errors(f"stage {call.stage}, partition {call.index}"):
        counts = call.function(call.arguments, attempt)
        files = {}
        for name, path in attempt.files.items():
            size, digest = file_digest(path)
            sync_file(path)
            files[name] = FileRef(path=str(path.relative_to(call.work)), bytes=size, xxh3=digest)
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
        work: Path,
        executor: Executor,
        progress: Progress,
        compilation: Compilation | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`compilation` is started with the executor; `limits` are those of the environment if not given."""
        self.work, self.reports = work, list[StageReport]()
        self._limits = limits or Limits.from_environment()
        self._executor, self._progress, self._started = executor, progress, False
        self._compilation = compilation

    def run(self, stage: str, jobs: Sequence[Job], *, kernels: bool = True) -> list[Result]:
        """Run or resume all jobs of a stage; the results are in the order of the jobs.

        kernels: whether the jobs run any, so that they wait until those are compiled.
        """
        folder = self.work / stage
        with storage_errors("making the work folder"):
            folder.mkdir(parents=True, exist_ok=True)
        digests = [job.digest() for job in jobs]
        committed = [self._committed(stage, index, digest) for index, digest in enumerate(digests)]
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
        for index, result in schedule.run(missing, lambda index: self._call(stage, index, jobs[index])):
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
        return self.work / file.path

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
        started = time.monotonic()
        self._executor.start()
        self._started = True
        seconds = time.monotonic() - started
        if seconds > TOLD_START_S:
            self._progress.message(f"{self._executor.name} started in {seconds:.1f} s")

    def _call(self, stage: str, index: int, job: Job) -> Call:
        return Call(
            function=job.function,
            arguments=job.arguments,
            work=str(self.work),
            stage=stage,
            index=index,
            attempt=uuid.uuid4().hex[:12],
        )

    def _record(self, stage: str, index: int) -> Path:
        return self.work / stage / f"{index:06d}.json"

    def _commit(self, stage: str, index: int, digest: str, result: Result) -> None:
        record = {"job": digest, "result": asdict(result)}
        text = json.dumps(record, sort_keys=True)
        with storage_errors(f"committing stage {stage}, partition {index}"):
            sync_folder(self.work / stage)  # the files' entries, before the record that names them
            write_whole(self._record(stage, index), f"{text}\n{xxhash.xxh3_64_hexdigest(text.encode())}\n".encode())

    def _sweep(self, stage: str, results: Iterable[Result]) -> None:
        """Remove the files of attempts that died or came too late; they may be as large as those that are listed."""
        listed = {file.path for result in results for file in result.files.values()}
        for path in (self.work / stage).iterdir():
            if path.suffix != ".json" and path.relative_to(self.work).as_posix() not in listed:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _committed(self, stage: str, index: int, digest: str) -> Result | None:
        """The committed result of the very same job, if its files are whole."""
        try:
            text, _, check = self._record(stage, index).read_text("utf-8").partition("\n")
        except (OSError, UnicodeDecodeError):
            return None
        if check.strip() != xxhash.xxh3_64_hexdigest(text.encode()):
            return None
        record = json.loads(text)
        if record["job"] != digest:
            return None
        result = record["result"]
        files = {name: FileRef(**file) for name, file in result["files"].items()}
        for file in files.values():
            try:
                if file_digest(self.work / file.path) != (file.bytes, file.xxh3):
                    return None
            except OSError:
                return None
        return Result(files=files, counts=result["counts"], seconds=result["seconds"])


def _plain(value: Any) -> Any:
    """JSON of arguments; a committed file is known by its content."""
    if isinstance(value, FileRef):
        return {"bytes": value.bytes, "xxh3": value.xxh3}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
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
