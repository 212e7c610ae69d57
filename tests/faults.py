"""Builds that are hurt: started as processes, looked at, killed. Only processes of ours are, by their id."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from building import OPTIONS, contents

from glmdata.pipelines.build import Built
from glmdata.pipelines.engine import Attempt

__all__ = [
    "RAY",
    "Hungry",
    "Running",
    "cluster",
    "devour",
    "is_like",
    "litter_of",
    "our_processes",
    "records_of",
    "start_build",
    "wait_until",
    "workers_of",
]

RAY = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
"""The command `ray`, for this very Python: `python -c RAY start ...`."""
CONTRACT = {"manifest.json", "report.json", "report.html", "tokenizer.model"}
FOLDERS = {"shards", "ledger", "quarantine", "signatures"}
KEPT = {".build/lock", ".build/identity.json", ".build/corpus.json"}


@dataclass(slots=True)
class Running:
    """A build in a process of its own."""

    process: subprocess.Popen[str]
    out: Path

    def end(self, timeout_s: float = 120) -> tuple[int, str]:
        """Its exit code and what it said on stderr."""
        try:
            _, errors = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return self.process.returncode, errors

    def kill(self) -> None:
        """SIGKILL to it alone, as the system would."""
        self.process.kill()
        self.process.communicate()


def start_build(corpus: Path, out: Path, *options: object, address: str = "none", **environment: str) -> Running:
    """Begin a build with the settings above."""
    command = [sys.executable, "-m", "glmdata.cli", "build", "--corpus", str(corpus), "--out", str(out)]
    command += ["--address", address, *(part for setting in OPTIONS for part in ("--set", setting))]
    process = subprocess.Popen(
        [*command, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    return Running(process, out)


def wait_until(true: Callable[[], object], timeout_s: float = 60) -> bool:
    """Whether it became true in time."""
    until = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def records_of(out: Path) -> dict[str, bytes]:
    """The records of the committed partitions of an unfinished build; each names the attempt that was taken."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.glob(".build/*/*.json"))
        if not path.name.startswith(".")
    }


def litter_of(out: Path) -> list[str]:
    """Files in a finished build that belong to none, and the like beside it."""
    found = [path.name for path in out.parent.glob(f".{out.name}*")]
    for path in out.rglob("*"):
        name = path.relative_to(out)
        listed = name.as_posix() in CONTRACT | KEPT or (name.parts[0] in FOLDERS and name.name.startswith("part-"))
        if path.is_file() and not listed:
            found.append(name.as_posix())
    return sorted(found)


def is_like(out: Path, built: Built) -> bool:
    """Whether a build has the bytes of a quiet one, and no litter."""
    return contents(out) == contents(built.folder) and litter_of(out) == []


def our_processes(parents: Sequence[int]) -> list[psutil.Process]:
    """What descends from some processes."""
    found = []
    for parent in parents:
        with contextlib.suppress(psutil.Error):
            found += psutil.Process(parent).children(recursive=True)
    return found


def workers_of(parents: Sequence[int], *, idle: bool = False) -> list[psutil.Process]:
    """Ray workers below some processes that run a partition now, or with `idle` all of them."""
    found, names = [], ("ray::perform", "ray::IDLE") if idle else ("ray::perform",)
    for process in our_processes(parents):
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()[:1]).startswith(names):
                found.append(process)
    return found


def pids_of(node: Any) -> list[int]:
    """Process ids of a node's raylet and head, as Ray's own cluster for tests knows them."""
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


@contextlib.contextmanager
def cluster(nodes: int, **options: Any) -> Iterator[Any]:
    """A Ray cluster of some one-processor nodes on this machine, with our token; all its processes end with it."""
    from glmdata.pipelines.cluster import _own_token

    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_worker_niceness", "PYTHONPATH")
    kept = {name: os.environ.get(name) for name in names}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _own_token()}  # Ray reads it once in a process
    # Ray's 15 would have the machine's other work decide how long a test takes.
    os.environ |= {"RAY_worker_niceness": "0"}
    root = Path(__file__).resolve().parent
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(root), str(root.parent), *filter(None, [kept["PYTHONPATH"]])]
    )  # for jobs of tests
    import ray.cluster_utils
    from ray._common.utils import get_default_ray_temp_dir

    # Ray's cluster for tests notes its address there, and fails where no Ray ever ran with the default.
    Path(get_default_ray_temp_dir()).mkdir(parents=True, exist_ok=True)
    made = ray.cluster_utils.Cluster()
    seen: set[psutil.Process] = set()
    one = {"num_cpus": 1, "memory": 2 << 30, "object_store_memory": 80 << 20, "include_dashboard": False, **options}
    made.one, folder = one, tempfile.mkdtemp(prefix="glmdata-test-ray-")
    try:
        for number in range(nodes):
            made.add_node(**one, **({} if number else {"temp_dir": folder}))
        yield made
    finally:
        for node in [*made.worker_nodes, *filter(None, [made.head_node])]:
            pids = pids_of(node)
            seen |= {process for pid in pids for process in [*our_processes([pid]), *_process(pid)]}
        with contextlib.suppress(Exception):
            made.shutdown()
        for process in seen:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(list(seen), timeout=10)
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _process(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [psutil.Process(pid)]
    return []


def kill_one(processes: Sequence[psutil.Process], rng: random.Random, number: int = signal.SIGKILL) -> bool:
    """Send a signal to one of them, if there is any."""
    if not processes:
        return False
    with contextlib.suppress(psutil.Error):
        rng.choice(processes).send_signal(number)
        return True
    return False


@dataclass(frozen=True)
class Hungry:
    """A partition that takes `bytes` of memory in its first `times` attempts; `uri` stands for its file."""

    uri: str
    tries: str
    times: int
    bytes: int


def devour(arguments: Hungry, attempt: Attempt) -> dict[str, Any]:
    """Take memory until killed, or write how often it was tried."""
    with Path(arguments.tries).open("a") as file:
        file.write(f"{os.getpid()}\n")
    tries = len(Path(arguments.tries).read_text().splitlines())
    taken = []
    while tries <= arguments.times and len(taken) << 26 < arguments.bytes:
        taken.append(bytearray(b"x") * (1 << 26))
        time.sleep(0.01)
    if tries <= arguments.times:
        time.sleep(20)  # the killer looks four times a second
        raise RuntimeError("nobody killed it")
    Path(attempt.output("tries.txt")).write_text(str(tries))
    return {"records": 1}
