"""A8: a node whose network is cut in the middle of a stage, for ever or until Ray has taken it for dead.

The disk is shared and stays within its reach, so that what it was writing is written late.
"""

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from building import contents, run
from corpora import write_corpus
from faults import cluster, litter_of, wait_until, workers_of
from namespaces import Namespace, namespace
from progress import Stops

from glmdata.pipelines.build import Built

SILENT_UNTIL_DEAD = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}
"""Ray takes a node for dead after 64 s; here after 5 to 10."""

TRIES = 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, 400)  # some 20 partitions: each node is in the middle of one now and then
    return folder


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run(corpus, tmp_path_factory.mktemp("built") / "out")


@dataclass
class Cut:
    """A node whose link is cut when a worker of it is in the middle of a partition of a stage. The worker is suspended
    until the stage is over, so that it writes when its double has been taken; then the link may heal.
    """

    far: Namespace
    node: int
    """Process id of its `ray start`."""
    folder: Path
    heals: bool
    workers: list[psutil.Process] = field(default_factory=list)
    late: set[Path] = field(default_factory=set)
    """Files that appeared when the partition was committed already."""
    over: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """In a thread, while the stage runs."""
        self.thread = threading.Thread(target=self.cut)
        self.thread.start()

    def cut(self) -> None:
        """Once a partition runs there."""
        wait_until(lambda: self.over.is_set() or self.suspend(), 60)
        self.far.cut()

    def suspend(self) -> bool:
        """Whether a worker of the node runs a partition, in the middle of which it is suspended."""
        for worker in workers_of([self.node]):
            with contextlib.suppress(psutil.Error):
                worker.suspend()
                if worker in workers_of([self.node]):
                    self.workers.append(worker)
                else:  # it came to its end just then
                    worker.resume()
        return bool(self.workers)

    def end(self) -> None:
        """The stage is over."""
        self.over.set()
        self.thread.join()
        if self.heals:
            assert wait_until(lambda: not is_alive(self.far.there)), "Ray did not take the node for dead"
        there = set(self.folder.iterdir())
        for worker in self.workers:
            worker.resume()
        wait_until(lambda: not self.workers or set(self.folder.iterdir()) - there, 10)
        self.late = set(self.folder.iterdir()) - there
        if self.heals:
            self.far.heal()


class Cuts(Stops):
    """A progress that cuts links, by the stage in which it is done."""

    def __init__(self, cuts: dict[str, Cut]) -> None:
        super().__init__()
        self.cuts = cuts

    def stage_started(self, stage: str, jobs: int, weight: int) -> None:
        if stage in self.cuts:
            self.cuts[stage].begin()

    def stage_ended(self, stage: str, seconds: float) -> None:
        if stage in self.cuts:
            self.cuts[stage].end()


def is_alive(address: str) -> bool:
    """Whether Ray takes the node there to be."""
    import ray

    return any(node["Alive"] for node in ray.nodes() if node["NodeManagerAddress"] == address)


def build_with_cuts(corpus: Path, out: Path) -> list[Cut]:
    """Build on a node here and two in namespaces, each of which is cut once; what became of the cuts."""
    cuts = dict[str, Cut]()
    with namespace(0) as first, namespace(1) as second, cluster(1, node_ip_address=first.here) as nodes:
        for stage, far, heals in (("sign", first, True), ("tokenize", second, False)):
            before = len(nodes.global_state.node_table())
            node = far.start_node(nodes.address)
            assert wait_until(lambda before=before: len(nodes.global_state.node_table()) > before)
            cuts[stage] = Cut(far, node, out / ".build" / stage, heals)
        progress = Cuts(cuts)
        run(corpus, out, address=nodes.address, workers=None, progress=progress)
    if any(cut.workers for cut in cuts.values()):
        assert any("another worker tries beside it" in message for message in progress.messages)
    return list(cuts.values())


@pytest.mark.timeout(900)
def test_a8_links_cut_until_the_node_is_taken_for_dead_and_for_ever(
    corpus: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a cut meets a worker before it has written is a matter of milliseconds, so there are some tries."""
    for name, value in SILENT_UNTIL_DEAD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GLMDATA_TASK_DEADLINE_S", "3")
    late = set[bool]()
    for number in range(TRIES):
        out = tmp_path / f"{number}"
        cuts = build_with_cuts(corpus, out)
        assert contents(out) == contents(built.folder)
        assert litter_of(out) == []
        late |= {cut.heals for cut in cuts if cut.late}
        if len(late) == len(cuts):
            return
    pytest.fail(f"no late writer in {TRIES} builds, of a link that heals or of one that does not")
