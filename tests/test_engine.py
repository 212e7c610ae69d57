"""The engine: commits, resumes, retries; with real threads and real files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from progress import Stops
from squares import Number, jobs, square

from glmdata.errors import ConfigError, InputError, StorageError, TaskFailedError
from glmdata.pipelines.engine import Attempt, Call, Engine, FileRef, Job, Result
from glmdata.pipelines.local import ThreadExecutor
from glmdata.pipelines.memory import needed_bytes
from glmdata.pipelines.scheduling import KilledForMemoryError, Limits, LostWorkerError, seconds_a_byte
from glmdata.versions import versions

MAX_ATTEMPTS = Limits().max_attempts


class Unlucky(ThreadExecutor):
    """Loses the first `losses` results, after the work was done: a worker that died, or was cut off."""

    def __init__(self, losses: int) -> None:
        super().__init__(2)
        self.losses = losses

    def result(self, handle: Any) -> Result:
        if self.losses:
            self.losses -= 1
            raise LostWorkerError("its worker was lost")
        return super().result(handle)


class Recording(ThreadExecutor):
    """Remembers what was in flight, and kills the first attempt at partition 0 for memory, or never ends it."""

    def __init__(self, *, fate: str = "", memory_bytes: int = 8 << 30, largest_bytes: int = 8 << 30) -> None:
        super().__init__(4)
        self.may_lose_calls, self.memory_bytes, self.largest_bytes = fate == "late", memory_bytes, largest_bytes
        self.fate, self.first = fate, None
        self.in_flight: dict[Any, int] = {}
        self.asked: list[tuple[int, int, int]] = []
        """(partition, bytes asked for, bytes in flight with it)"""
        self.cancelled: list[Any] = []

    def submit(self, call: Call, memory_bytes: int) -> Any:
        handle = super().submit(call, memory_bytes)
        if call.index == 0 and self.first is None:
            self.first = handle
        self.in_flight[handle] = memory_bytes
        self.asked.append((call.index, memory_bytes, sum(self.in_flight.values())))
        return handle

    def wait(self, handles: Any, timeout_s: float) -> list[Any]:
        lost = self.fate == "late" and self.first
        done = super().wait([handle for handle in handles if handle is not lost], min(timeout_s, 0.02))
        return [handle for handle in done if handle is not lost]

    def result(self, handle: Any) -> Result:
        del self.in_flight[handle]
        if handle is self.first and self.fate == "memory":
            raise KilledForMemoryError("its worker was killed")
        return super().result(handle)

    def cancel(self, handle: Any) -> None:
        self.cancelled.append(handle)
        self.in_flight.pop(handle, None)


def refuse(arguments: Number, attempt: Attempt) -> dict[str, Any]:
    raise InputError(f"{arguments.value} is no good")


def stumble(arguments: Number, attempt: Attempt) -> dict[str, Any]:
    raise ZeroDivisionError("oh")


def fill_disk(arguments: Number, attempt: Attempt) -> dict[str, Any]:
    raise OSError(28, "No space left on device", attempt.output("big"))


def engine(tmp_path: Path, executor: ThreadExecutor | None = None) -> tuple[Engine, Stops]:
    progress = Stops()
    return Engine(tmp_path, executor or ThreadExecutor(2), progress), progress


def test_results_come_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    runner, _ = engine(tmp_path)
    results = runner.run("squares", jobs(20))
    assert [result.counts["value"] for result in results] == list(range(20))
    assert [runner.path(result.files["square.txt"]).read_text() for result in results] == [
        str(n * n) for n in range(20)
    ]


def test_a_committed_job_is_not_run_again(tmp_path: Path) -> None:
    first = engine(tmp_path)[0].run("squares", jobs(5))
    again, progress = engine(tmp_path)
    assert again.run("squares", jobs(5)) == first
    assert progress.resumed == 5


def test_a_job_with_other_arguments_is_run_again(tmp_path: Path) -> None:
    engine(tmp_path)[0].run("squares", jobs(3))
    again, progress = engine(tmp_path)
    results = again.run("squares", [Job(function=square, arguments=Number(value)) for value in (0, 7, 2)])
    assert progress.resumed == 2
    assert again.path(results[1].files["square.txt"]).read_text() == "49"


def test_a_job_is_known_by_the_content_of_its_inputs_not_by_their_place() -> None:
    here = FileRef(path="a/1", bytes=3, xxh3="abc")
    same = [Job(function=square, arguments=Number(1, dataclasses.replace(here, path=path))) for path in ("a/1", "b/2")]
    other = Job(function=square, arguments=Number(1, dataclasses.replace(here, xxh3="abd")))
    assert same[0].digest() == same[1].digest() != other.digest()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "torn record", "no record"])
def test_what_is_torn_is_made_again(tmp_path: Path, damage: str) -> None:
    results = engine(tmp_path)[0].run("squares", jobs(3))
    file, record = tmp_path / results[1].files["square.txt"].path, tmp_path / "squares" / "000001.json"
    if damage == "flip":
        file.write_text("2")
    elif damage == "cut":
        file.write_text("")
    elif damage == "remove":
        file.unlink()
    elif damage == "torn record":
        record.write_bytes(record.read_bytes()[:-30])
    else:
        record.unlink()
    again, progress = engine(tmp_path)
    results = again.run("squares", jobs(3))
    assert progress.resumed == 2
    assert again.path(results[1].files["square.txt"]).read_text() == "1"


def test_a_record_that_was_edited_is_not_believed(tmp_path: Path) -> None:
    engine(tmp_path)[0].run("squares", jobs(1))
    path = tmp_path / "squares" / "000000.json"
    text, check = path.read_text().splitlines()
    record = json.loads(text)
    record["result"]["counts"]["value"] = 99
    path.write_text(f"{json.dumps(record, sort_keys=True)}\n{check}\n")
    assert engine(tmp_path)[0].run("squares", jobs(1))[0].counts["value"] == 0


@pytest.mark.parametrize("losses", [1, MAX_ATTEMPTS - 1])
def test_a_lost_worker_is_replaced_and_its_late_files_change_nothing(tmp_path: Path, losses: int) -> None:
    runner, progress = engine(tmp_path, Unlucky(losses))
    results = runner.run("squares", jobs(1))
    assert runner.path(results[0].files["square.txt"]).read_text() == "0"
    assert len(progress.messages) == losses
    assert len(list((tmp_path / "squares").glob("*.txt"))) == 1  # what the lost attempts wrote is swept up


def test_a_job_that_loses_every_worker_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(TaskFailedError, match=rf"stage squares, partition 0: .*{MAX_ATTEMPTS} attempts"):
        engine(tmp_path, Unlucky(MAX_ATTEMPTS))[0].run("squares", jobs(1))


def test_an_error_for_the_user_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^0 is no good$"):
        engine(tmp_path)[0].run("refusals", jobs(1, refuse))


def test_a_defect_names_stage_and_partition(tmp_path: Path) -> None:
    with pytest.raises(TaskFailedError, match=r"stage stumbles, partition 0: ZeroDivisionError: oh"):
        engine(tmp_path)[0].run("stumbles", jobs(1, stumble))


def test_a_full_disk_is_told_with_the_file_and_the_cure(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"stage big, partition 0 .*big: no space is left on the device; make room"):
        engine(tmp_path)[0].run("big", jobs(1, fill_disk))


def test_work_done_before_a_failure_is_kept(tmp_path: Path) -> None:
    runner, _ = engine(tmp_path, ThreadExecutor(1))
    with pytest.raises(InputError):
        runner.run("mixed", [*jobs(3), Job(function=refuse, arguments=Number(3))])
    again, progress = engine(tmp_path)
    again.run("mixed", jobs(3))
    assert progress.resumed == 3


@pytest.mark.parametrize("package", ["glmdata", "pyarrow"])
def test_a_worker_of_another_version_is_refused(tmp_path: Path, package: str) -> None:
    from glmdata.pipelines.engine import perform

    call = Call(
        function=square, arguments=Number(1), work=str(tmp_path), stage="s", index=0, attempt="a",
        versions={**versions(), package: "0.0.0"},
    )  # fmt: skip
    with pytest.raises(TaskFailedError, match=rf"has {package} .*, the driver 0\.0\.0; install the same on all nodes"):
        perform(call)


def test_a11_a_partition_killed_for_memory_runs_alone_at_last_with_twice_the_request(
    tmp_path: Path,
) -> None:
    executor = Recording(fate="memory")
    results = engine(tmp_path, executor)[0].run("squares", jobs(9))
    assert [result.counts["value"] for result in results] == list(range(9))
    needed = needed_bytes("squares", 1)
    assert [index for index, _, _ in executor.asked] == [*range(9), 0]
    assert executor.asked[-1] == (0, 2 * needed, 2 * needed)


@pytest.mark.parametrize("room", [1, 3])
def test_what_is_in_flight_is_bounded_by_memory(tmp_path: Path, room: int) -> None:
    needed = needed_bytes("squares", 1)
    executor = Recording(memory_bytes=room * needed + 1, largest_bytes=needed)
    engine(tmp_path, executor)[0].run("squares", jobs(20))
    assert max(in_flight for _, _, in_flight in executor.asked) <= room * needed


def test_a_partition_larger_than_any_node_asks_for_the_largest(tmp_path: Path) -> None:
    executor = Recording(memory_bytes=1000, largest_bytes=1000)
    engine(tmp_path, executor)[0].run("squares", jobs(3))
    assert executor.asked == [(index, 1000, 1000) for index in range(3)]


def test_a8_a_late_partition_is_doubled_and_the_first_to_end_is_taken(tmp_path: Path) -> None:
    executor, progress = Recording(fate="late"), Stops()
    limits = Limits(least_deadline_s=0.05, first_deadline_s=0.05, deadline_factor=0)
    results = Engine(tmp_path, executor, progress, limits=limits).run("squares", jobs(3))
    assert [result.counts["value"] for result in results] == [0, 1, 2]
    assert executor.cancelled == [executor.first]
    assert ["another worker tries beside it" in message for message in progress.messages] == [True]


def test_deadlines_follow_what_is_measured_and_double() -> None:
    limits = Limits()
    assert limits.deadline_s(0, 10, []) == 900
    assert limits.deadline_s(0, 10, [1e-6, 2e-6, 3e-6]) == 300
    assert limits.deadline_s(0, 1 << 26, [1e-6, 2e-6, 9e-5]) == 20 * 2e-6 * (1 << 26)
    assert limits.deadline_s(3, 10, [1e-6]) == 2400


def test_a_partition_next_to_a_tiny_one_is_not_waited_for_for_years() -> None:
    limits = Limits()
    assert limits.deadline_s(0, 1 << 20, [seconds_a_byte(0.5, 1)]) == 300
    assert limits.deadline_s(0, 1 << 30, [seconds_a_byte(0.5, 1)]) == 20 * 0.5 * 1024
    # Nor is a large one late because the tiny one took no time.
    assert limits.deadline_s(0, 10**10, [seconds_a_byte(0.0, 1)]) == pytest.approx(20_000)


@pytest.mark.parametrize("given", ["0", "-3", "soon", "inf", "nan"])
def test_a_deadline_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("GLMDATA_TASK_DEADLINE_S", given)
    with pytest.raises(ConfigError, match="give seconds, more than 0"):
        Limits.from_environment()
