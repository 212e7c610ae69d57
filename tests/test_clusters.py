"""Clusters of several Ray nodes on this machine, and what dies in them. Names begin with the fault's number.

What is asked each time is the bytes of a quiet build, and no litter.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from building import run
from corpora import write_corpus
from faults import (
    Hungry,
    cluster,
    devour,
    is_like,
    kill_one,
    pids_of,
    records_of,
    start_build,
    wait_until,
    workers_of,
)
from progress import Stops

from glmdata.errors import TaskFailedError
from glmdata.pipelines.build import Built
from glmdata.pipelines.cluster import RayExecutor
from glmdata.pipelines.engine import Engine, Job
from glmdata.pipelines.scheduling import Limits

NODES = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, 120)
    return folder


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run(corpus, tmp_path_factory.mktemp("built") / "out")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with cluster(NODES) as made:
        yield made


def all_pids(nodes: Any) -> list[int]:
    return [pid for node in [nodes.head_node, *nodes.worker_nodes] for pid in pids_of(node)]


class Harms(Stops):
    """A progress that does something a moment after some stages began, while their partitions run."""

    def __init__(self, stages: tuple[str, ...], harm: Callable[[], None]) -> None:
        super().__init__()
        self.stages, self.harm, self.timers = stages, harm, list[threading.Timer]()

    def stage_started(self, stage: str, jobs: int, weight: int) -> None:
        if stage in self.stages:
            self.timers.append(threading.Timer(0.05, self.harm))
            self.timers[-1].start()

    def stage_ended(self, stage: str, seconds: float) -> None:
        while self.timers:
            self.timers.pop().join()


def test_b7_nodes_and_workers_never_change_a_byte(corpus: Path, built: Built, nodes: Any, tmp_path: Path) -> None:
    for workers in (None, 3):
        run(corpus, tmp_path / f"{workers}", address=nodes.address, workers=workers)
        assert is_like(tmp_path / f"{workers}", built)


def test_a4_workers_killed(corpus: Path, built: Built, nodes: Any, tmp_path: Path) -> None:
    rng, killed = random.Random(4), []

    def harm() -> None:
        wait_until(lambda: workers_of(all_pids(nodes)), 2)
        killed.append(kill_one(workers_of(all_pids(nodes)), rng))

    progress = Harms(("ingest", "sign", "train", "tokenize", "assemble"), harm)
    run(corpus, tmp_path / "out", address=nodes.address, workers=None, progress=progress)
    assert any(killed)
    assert any("its worker was lost" in message for message in progress.messages)
    assert is_like(tmp_path / "out", built)


def test_a5_a_node_killed_in_the_middle_of_stages_and_another_added(
    corpus: Path, built: Built, nodes: Any, tmp_path: Path
) -> None:
    gone = []

    def harm() -> None:
        node = max(nodes.worker_nodes, key=lambda node: len(workers_of(pids_of(node))))
        gone.append(bool(workers_of(pids_of(node))))
        nodes.remove_node(node, allow_graceful=False)

    class Replaces(Harms):
        def stage_ended(self, stage: str, seconds: float) -> None:
            super().stage_ended(stage, seconds)
            if stage in self.stages:
                nodes.add_node(**nodes.one)  # sets signal handlers, so not in the timer's thread

    progress = Replaces(("ingest", "sign", "tokenize", "assemble"), harm)
    run(corpus, tmp_path / "out", address=nodes.address, workers=None, progress=progress)
    assert len(gone) == 4
    assert is_like(tmp_path / "out", built)


def test_a10_a_suspended_worker_is_doubled_and_its_late_files_change_nothing(
    corpus: Path, built: Built, nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMDATA_TASK_DEADLINE_S", "1")
    stopped: list[psutil.Process] = []

    def harm() -> None:
        if wait_until(lambda: workers_of(all_pids(nodes)), 2):
            stopped.extend(workers_of(all_pids(nodes))[:1])
            for process in stopped:
                process.send_signal(signal.SIGSTOP)

    progress = Harms(("tokenize",), harm)
    try:
        run(corpus, tmp_path / "out", address=nodes.address, workers=None, progress=progress)
    finally:
        for process in stopped:
            if process.is_running():
                process.send_signal(signal.SIGCONT)
    assert stopped
    assert any("another worker tries beside it" in message for message in progress.messages)
    wait_until(lambda: not workers_of(all_pids(nodes)), 10)  # the late one has written, or has found no folder
    assert is_like(tmp_path / "out", built)


def test_a3_drivers_killed(corpus: Path, built: Built, nodes: Any, tmp_path: Path) -> None:
    rng, out, before = random.Random(3), tmp_path / "out", dict[str, bytes]()
    for _ in range(2):
        running = start_build(corpus, out, address=nodes.address)
        enough = len(before) + rng.randrange(1, 6)
        wait_until(lambda enough=enough, running=running: len(records_of(out)) >= enough or running.process.poll())
        running.kill()
        after = records_of(out)
        assert before.items() <= after.items()
        before = after
    progress = Stops()
    run(corpus, out, address=nodes.address, workers=None, progress=progress)
    assert progress.resumed == len(before)
    assert is_like(out, built)


def test_a6_without_its_head_the_driver_says_so_and_the_build_goes_on_elsewhere(
    corpus: Path, built: Built, tmp_path: Path
) -> None:
    with cluster(1) as lonely:
        running = start_build(corpus, tmp_path / "out", address=lonely.address)
        assert wait_until(lambda: len(records_of(tmp_path / "out")) >= 2)
        lonely.head_node.kill_gcs_server(check_alive=False)
        for process in workers_of(pids_of(lonely.head_node), idle=True):
            process.send_signal(signal.SIGSTOP)  # so that the build cannot just come to its end
        started = time.monotonic()
        code, errors = running.end(100)
    assert code == 1, errors
    assert "was lost" in errors
    assert "Traceback" not in errors
    assert time.monotonic() - started < 90
    run(corpus, tmp_path / "out")
    assert is_like(tmp_path / "out", built)


def test_a11_a_partition_killed_for_memory_again_and_again_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = psutil.virtual_memory()
    if memory.available < 6 << 30:
        pytest.skip("needs 6 GB of free memory")
    share = 1 - (memory.available - (1 << 30)) / memory.total  # Ray kills workers when 1 GB more is taken than now
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{share:.4f}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    executor, progress = RayExecutor("local", 2), Stops()
    engine = Engine(tmp_path / "work", executor, progress, limits=Limits(max_attempts=2))
    hungry = Hungry(uri="zh/b.jsonl", tries=str(tmp_path / "tries"), times=99, bytes=4 << 30)
    try:
        with pytest.raises(TaskFailedError, match=r"0 \(zh/b\.jsonl\): .*memory ran out; given up after 2"):
            engine.run("devour", [Job(function=devour, arguments=hungry)], kernels=False)
    finally:
        executor.close()
    # Where others fill the memory meanwhile, the second attempt is killed before it begins.
    assert len((tmp_path / "tries").read_text().splitlines()) in (1, 2)
    assert any("trying again alone, with" in message for message in progress.messages)
