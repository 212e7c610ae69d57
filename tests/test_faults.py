"""Killed, stopped, crowded, out of room: on one machine without Ray. Names begin with the fault's number.

A: crashes and resumes. B: resources and hosts. What is asked each time is the bytes of a quiet build, and no litter.
"""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from building import OPTIONS, run
from faults import Running, is_like, our_processes, records_of, start_build, wait_until
from progress import Stops

from glmdata.errors import BuildRunningError, ShardError, StorageError, TaskFailedError
from glmdata.pipelines import lock
from glmdata.pipelines.build import Built, build
from glmdata.pipelines.engine import Call, Result
from glmdata.pipelines.folder import BuildFolder
from glmdata.pipelines.local import ThreadExecutor
from glmdata.recipe import load_recipe
from glmdata.shards.reader import Shards

# --- A7, A9, A12: whole builds ---------------------------------------------------------------------------------------


def kill_when(running: Running, true: Callable[[], object]) -> bool:
    """Kill the driver as soon as something is true; whether it still ran."""
    wait_until(lambda: true() or running.process.poll() is not None)
    alive = running.process.poll() is None
    running.kill()
    return alive


def test_a7_a_build_killed_again_and_again_runs_no_committed_partition_twice(
    corpus: Path, built: Built, tmp_path: Path
) -> None:
    out, before, kills = tmp_path / "out", dict[str, bytes](), 0
    for more in (1, 4, 9, 3):
        running, enough = start_build(corpus, out, "--workers", 2), len(before) + more
        kills += kill_when(running, lambda enough=enough: len(records_of(out)) >= enough)
        after = records_of(out)
        assert before.items() <= after.items()
        before = after
    assert kills >= 3
    progress = Stops()
    run(corpus, out, progress=progress)
    assert progress.resumed == len(before)
    assert is_like(out, built)


@pytest.mark.parametrize("engine", ["none", "local"])
def test_a9_a_second_interrupt_ends_at_once_and_leaves_no_process(
    corpus: Path, built: Built, tmp_path: Path, engine: str
) -> None:
    out = tmp_path / "out"
    running = start_build(corpus, out, "--workers", 2, address=engine)
    assert wait_until(lambda: len(records_of(out)) >= 2 or running.process.poll() is not None)
    children = our_processes([running.process.pid])
    for _ in range(2):
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    code, errors = running.end(10)
    assert code == 130, errors
    assert "Traceback" not in errors
    assert wait_until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children), 30)
    run(corpus, out)
    assert is_like(out, built)


class Twice(ThreadExecutor):
    """Runs each call twice, the second time under another name, and takes one of the results by a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(2)
        self.rng, self.doubles = random.Random(seed), {}

    def submit(self, call: Call, memory_bytes: int) -> Any:
        import dataclasses

        handle = super().submit(call, memory_bytes)
        self.doubles[handle] = super().submit(dataclasses.replace(call, attempt=f"{call.attempt}x"), memory_bytes)
        return handle

    def result(self, handle: Any) -> Result:
        first, second = super().result(handle), super().result(self.doubles.pop(handle))
        return self.rng.choice((first, second))


def test_a12_every_partition_done_twice(corpus: Path, built: Built, tmp_path: Path) -> None:
    build(
        [str(corpus)], tmp_path / "out", load_recipe("glm", OPTIONS), make_executor=lambda _: Twice(3),
        progress=Stops(),
    )  # fmt: skip
    assert is_like(tmp_path / "out", built)


# --- B1, B2: storage -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(place: Path, *options: str) -> Iterator[Callable[..., bool]]:
    """A tmpfs; yields what mounts it anew with other options."""

    def mount(*given: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(given), "tmpfs", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    place.mkdir()
    if os.geteuid() or not mount(*options):
        pytest.skip("cannot mount a tmpfs here: not root")
    try:
        yield lambda *given: mount("remount", *given)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("percent", [10, 50, 90, 99])
def test_b1_a_full_disk_is_told_and_the_build_goes_on_when_there_is_room(
    corpus: Path, built: Built, tmp_path: Path, percent: int
) -> None:
    """Percent of the peak: the work of the stages and the build itself, shards linked to it."""
    peak = 4 * sum(path.stat().st_size for path in built.folder.rglob("*") if path.is_file())
    with small_disk(tmp_path / "disk", f"size={peak * percent // 400}") as remount:
        out = tmp_path / "disk" / "out"
        with pytest.raises(StorageError, match=r"no space is left on the device; make room and run the same"):
            run(corpus, out)
        with pytest.raises(ShardError):
            Shards(str(out))
        remount("size=256m")
        run(corpus, out)
        assert is_like(out, built)


def test_b1_too_few_inodes(corpus: Path, built: Built, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "nr_inodes=20") as remount:
        with pytest.raises(StorageError, match="no space is left"):
            run(corpus, tmp_path / "disk" / "out")
        remount("nr_inodes=0")
        run(corpus, tmp_path / "disk" / "out")
        assert is_like(tmp_path / "disk" / "out", built)


def test_b2_a_disk_that_became_read_only(corpus: Path, built: Built, tmp_path: Path) -> None:
    out = tmp_path / "disk" / "out"
    with small_disk(tmp_path / "disk", "size=256m") as remount:
        with pytest.raises(KeyboardInterrupt):
            run(corpus, out, progress=Stops("tokenize", "start"))
        assert remount("ro")
        with pytest.raises(StorageError, match="the file system is read-only; choose another folder"):
            run(corpus, out)
        assert remount("rw")
        run(corpus, out)
        assert is_like(out, built)


def test_b2_a_folder_that_is_removed_midway(corpus: Path, built: Built, tmp_path: Path) -> None:
    class Removes(Stops):
        def stage_ended(self, stage: str, seconds: float) -> None:
            if stage == "sign":
                shutil.rmtree(tmp_path / "out")

    with pytest.raises((StorageError, TaskFailedError), match=str(tmp_path / "out")):
        run(corpus, tmp_path / "out", progress=Removes())
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    run(corpus, tmp_path / "out")
    assert is_like(tmp_path / "out", built)


# --- B5, B6: several at once -----------------------------------------------------------------------------------------


def test_b5_of_builds_started_at_once_one_goes_on(corpus: Path, built: Built, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ends = [running.end() for running in [start_build(corpus, out, "--workers", 1) for _ in range(3)]]
    assert 0 in [code for code, _ in ends]
    for code, errors in ends:
        assert code == 0 or (code == 1 and "is building here" in errors), errors
    assert is_like(out, built)


def test_b6_a_reader_sees_no_build_or_a_whole_one(corpus: Path, built: Built, tmp_path: Path) -> None:
    out, seen, torn, done = tmp_path / "out", Counter[str](), list[str](), threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                shards = Shards(str(out))
                rows = [shards.row(number)["sample_id"] for number in range(0, shards.rows, 17)]
            except ShardError as error:
                seen["none"] += 1
                if "no finished build" not in str(error):
                    torn.append(str(error))
            else:
                seen["whole"] += 1
                if shards.rows != built.report["rows"] or len(set(rows)) != len(rows):
                    torn.append(f"{shards.rows} rows")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for stage in ("tokenize", "shards", ""):
            with contextlib.suppress(KeyboardInterrupt):
                run(corpus, out, progress=Stops(stage, "job"))
        assert wait_until(lambda: seen["whole"])
    finally:
        done.set()
        reader.join()
    assert torn == []
    assert seen["none"]


# --- the lock --------------------------------------------------------------------------------------------------------


def owner(**changes: Any) -> str:
    there = {"pid": 1, "host": "elsewhere", "machine": "another", "token": "t", "beat": "000000000000"}
    return json.dumps(there | changes)


def locked_by(tmp_path: Path, content: str) -> BuildFolder:
    folder = BuildFolder(tmp_path / "out")
    folder.work.mkdir(parents=True)
    (folder.work / "lock").write_text(content)
    return folder


def test_the_lock_of_a_process_that_died_here_is_broken_at_once(tmp_path: Path) -> None:
    folder = locked_by(tmp_path, owner(machine=lock._machine(), pid=os.getpid()))
    told: list[str] = []
    with folder.locked(told.append):
        assert told == []


def test_another_machine_that_is_silent_is_waited_for_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SILENCE_S", 0.3)
    folder, told = locked_by(tmp_path, owner(pid=77)), list[str]()
    with folder.locked(told.append):
        assert "process 77 on elsewhere did not take its leave; waiting" in told[0]
    with folder.locked(told.append):
        assert len(told) == 2  # we took our leave


def test_another_machine_whose_heart_beats_keeps_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SILENCE_S", 30)
    folder, beats = locked_by(tmp_path, owner(pid=77)), itertools.count(1)

    def beat(_: str) -> None:
        (folder.work / "lock").write_text(owner(pid=77, beat=f"{next(beats):012d}"))

    with pytest.raises(BuildRunningError, match="process 77 on elsewhere is building here"), folder.locked(beat):
        pass


def test_an_owner_that_was_replaced_does_not_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    folder = BuildFolder(tmp_path / "out")
    with folder.locked():
        path = folder.work / "lock"
        first = path.read_bytes()
        assert wait_until(lambda: path.read_bytes() not in (first, b""))
        path.write_text(owner(pid=77))
        with pytest.raises(BuildRunningError, match="process 77 on elsewhere took this build over"):
            folder.finish("{}")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert json.loads(path.read_text())["pid"] == 77
