"""A8: a node whose network is cut in the middle of a stage, for ever or until Ray has taken it for dead.

The disk is shared and stays within its reach, so that what it was writing is written late.
"""

import threading
from pathlib import Path

import psutil
import pytest
from corpora import write_corpus
from faults import cluster, litter_of, wait_until, workers_of
from namespaces import Namespace, namespace
from test_build import Stops, contents, run

from glmdata.pipelines.build import Built

STAGE = "tokenize"
SILENT_UNTIL_DEAD = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}
"""Ray takes a node for dead after 64 s; here after 5 to 10."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, 120)
    return folder


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run(corpus, tmp_path_factory.mktemp("built") / "out")


class Cuts(Stops):
    """Cuts a node off when a worker of it is in the middle of a partition. The worker is suspended until the stage is
    over, so that it writes when its double has been taken; then the link may heal.
    """

    def __init__(self, far: Namespace, node: int, out: Path, *, heals: bool) -> None:
        super().__init__()
        self.far, self.node, self.folder, self.heals = far, node, out / ".build" / STAGE, heals
        self.workers: list[psutil.Process] = []
        self.late: set[Path] = set()
        self.cutting = threading.Thread(target=self.cut)

    def cut(self) -> None:
        """Once a partition runs there."""
        wait_until(self.suspend, 20)
        self.far.cut()

    def suspend(self) -> bool:
        """Whether a worker of the node ran a partition, which is suspended."""
        self.workers = workers_of([self.node])
        for worker in self.workers:
            worker.suspend()
        return bool(self.workers)

    def stage_started(self, stage: str, jobs: int, weight: int) -> None:
        if stage == STAGE:
            self.cutting.start()

    def stage_ended(self, stage: str, seconds: float) -> None:
        if stage != STAGE:
            return
        self.cutting.join()
        if self.heals:
            assert wait_until(lambda: alive_nodes() == 1), "Ray did not take the node for dead"
        there = set(self.folder.iterdir())
        for worker in self.workers:
            worker.resume()
        wait_until(lambda: set(self.folder.iterdir()) - there, 10)
        self.late = set(self.folder.iterdir()) - there
        if self.heals:
            self.far.heal()


def alive_nodes() -> int:
    import ray

    return sum(node["Alive"] for node in ray.nodes())


@pytest.mark.parametrize("heals", [False, True], ids=["for_ever", "until_it_is_taken_for_dead"])
def test_a8_a_node_whose_link_is_cut_is_done_without(
    heals: bool, corpus: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SILENT_UNTIL_DEAD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GLMDATA_TASK_DEADLINE_S", "2")
    out = tmp_path / "out"
    with namespace(heals) as far, cluster(1, node_ip_address=far.here) as nodes:
        node = far.start_node(nodes.address)
        assert wait_until(lambda: len(nodes.global_state.node_table()) == 2)
        progress = Cuts(far, node.pid, out, heals=heals)
        run(corpus, out, address=nodes.address, workers=None, progress=progress)
        node.kill()
        node.wait()
    assert progress.workers
    assert progress.late
    assert any("another worker tries beside it" in message for message in progress.messages)
    assert contents(out) == contents(built.folder)
    assert litter_of(out) == []
