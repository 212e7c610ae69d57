"""Memory of builds as the corpus grows: peaks of the driver and of each worker, stage by stage.

    python benchmarks/memory.py [--corpus DIR] [--times 1 4 16] [--engines none local] [--workers 2]
    python benchmarks/memory.py --documents 1000000 [--engines local]

The corpus is made of the sentences of --corpus, dealt out anew for each copy (variations.py). Each build is a command
of its own; its processes are looked at 50 times a second, and a stage is over when the command says so. Printed are
MB: RSS, and behind it the anonymous part, which is what a process cannot give back; the rest are mapped files (shards,
libraries), which the system drops as it needs. The last column is the largest corpus over the smallest. A worker is
one process of Ray; in process there is the driver alone.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
from text import table
from variations import Sentences

from glmdata.pipelines.stages import DOING

GLMDATA = [sys.executable, "-m", "glmdata.cli"]
EVERY_S = 0.02
WORKERS = ("ray::perform", "ray::IDLE")
"""What the processes are called that run tasks; others are Ray's own, or compile kernels."""


class Memory(NamedTuple):
    """Of a process, in bytes."""

    rss: int
    anonymous: int

    def most(self, other: "Memory") -> "Memory":
        """The larger of each."""
        return Memory(max(self.rss, other.rss), max(self.anonymous, other.anonymous))


@dataclass
class Measured:
    """One build: peaks by (role, stage), and what it was made of."""

    peaks: dict[tuple[str, str], Memory] = field(default_factory=lambda: defaultdict(lambda: Memory(0, 0)))
    stages: list[str] = field(default_factory=list)
    seconds: float = 0.0
    documents: int = 0
    kept: int = 0
    bytes_in: int = 0

    def over(self, role: str) -> Memory:
        """The peak of a role in the whole build."""
        found = Memory(0, 0)
        for (whose, _), memory in self.peaks.items():
            found = found.most(memory) if whose == role else found
        return found


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16], help="copies of the corpus")
    parser.add_argument("--documents", type=int, help="so many short documents instead of copies")
    parser.add_argument("--engines", nargs="+", default=["none", "local"], help="--address of the builds")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="options", help="as of glmdata build")
    parser.add_argument("--work", type=Path, help="folder for corpora and builds, some 10 times the largest corpus")
    args = parser.parse_args()
    if not args.corpus.is_dir():
        sys.exit(f"no corpus at {args.corpus}: give --corpus DIR")
    with tempfile.TemporaryDirectory(prefix="glmdata-memory-", dir=args.work) as name:
        corpora = dict(write_corpora(args, Path(name)))
        for engine in args.engines:
            options = ["--address", engine, "--workers", str(args.workers)]
            options += [part for option in args.options for part in ("--set", option)]
            measured = {}
            for title, corpus in corpora.items():
                with tempfile.TemporaryDirectory(prefix="build-", dir=name) as out:
                    measured[title] = measure(corpus, Path(out) / "out", options)
                tell_build(engine, title, measured[title])
            tell(measured, "driver")
            if engine != "none":
                tell(measured, "worker")


def write_corpora(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """(title, files and folders) of each corpus; larger ones hold the smaller."""
    sentences = Sentences(args.corpus)
    if args.documents:
        (folder / "short").mkdir()
        sentences.write_short(folder / "short", args.documents)
        yield f"{args.documents:,} documents", [folder / "short"]
        return
    copies = []
    for copy in range(max(args.times)):
        copies.append(folder / "copies" / f"{copy:03d}")
        copies[-1].mkdir(parents=True)
        sentences.write_copy(copies[-1], copy)
    for times in args.times:
        yield f"{times}x", copies[:times]


def measure(corpora: Sequence[Path], out: Path, options: Sequence[str]) -> Measured:
    """Run one build and watch its processes."""
    given = [part for corpus in corpora for part in ("--corpus", str(corpus))]
    command = [*GLMDATA, "build", *given, "--out", str(out), *options, "--json"]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    samples: list[tuple[float, dict[str, Memory]]] = []
    watcher = threading.Thread(target=watch, args=(process, samples), daemon=True)
    watcher.start()
    ends: list[tuple[float, str]] = []
    said = []
    for line in process.stderr:
        said.append(line)
        if (word := line.split(" ", 1)[0]) in DOING:
            ends.append((time.monotonic(), word))
    if process.wait():
        sys.exit(f"{' '.join(command)} failed:\n{''.join(said)}")
    watcher.join()
    report = json.loads((out / "report.json").read_text("utf-8"))
    measured = Measured(
        stages=[*dict.fromkeys(stage for _, stage in ends), "publish"],
        seconds=time.monotonic() - started,
        documents=report["records_in"],
        kept=report["outcomes"].get("kept", 0) + report["outcomes"].get("balance", 0),
        bytes_in=sum(path.stat().st_size for corpus in corpora for path in corpus.rglob("*") if path.is_file()),
    )
    for when, found in samples:
        stage = next((stage for end, stage in ends if when < end), "publish")
        for role, memory in found.items():
            measured.peaks[role, stage] = measured.peaks[role, stage].most(memory)
    return measured


def watch(process: subprocess.Popen[str], samples: list[tuple[float, dict[str, Memory]]]) -> None:
    """The largest process of each role, again and again."""
    top = psutil.Process(process.pid)
    while process.poll() is None:
        found: dict[str, Memory] = defaultdict(lambda: Memory(0, 0))
        with contextlib.suppress(psutil.Error):
            found["driver"] = memory_of(process.pid)
            for child in top.children(recursive=True):
                role = "worker" if "".join(child.cmdline()[:1]).startswith(WORKERS) else "other"
                found[role] = found[role].most(memory_of(child.pid))
        samples.append((time.monotonic(), dict(found)))
        time.sleep(EVERY_S)


def memory_of(pid: int) -> Memory:
    """What the system says of a process; nothing where it has ended."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return Memory(*(int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon")))
    except (OSError, KeyError):
        return Memory(0, 0)


def tell_build(engine: str, title: str, found: Measured) -> None:
    """One line about a build."""
    print(
        f"--address {engine}, {title}: {found.bytes_in / 1e6:,.0f} MB, {found.documents:,} documents "
        f"({found.kept:,} left by deduplication), {found.seconds:.0f} s, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def tell(measured: dict[str, Measured], role: str) -> None:
    """The table of one role."""
    titles, builds = list(measured), list(measured.values())
    rows = []
    for stage in builds[-1].stages:
        peaks = [build.peaks.get((role, stage), Memory(0, 0)) for build in builds]
        if any(peak.rss for peak in peaks):
            rows.append([stage, *map(shown, peaks), growth(peaks)])
    peaks = [build.over(role) for build in builds]
    rows.append(["all", *map(shown, peaks), growth(peaks)])
    table(f"{role}, MB: RSS (anonymous)", ["stage", *titles, "growth"], rows)


def shown(memory: Memory) -> str:
    """RSS and its anonymous part."""
    return f"{memory.rss / 1e6:,.0f} ({memory.anonymous / 1e6:,.0f})" if memory.rss else "-"


def growth(peaks: Sequence[Memory]) -> str:
    """The last over the first."""
    first, last = peaks[0], peaks[-1]
    if len(peaks) < 2 or not (first.rss and first.anonymous):
        return ""
    return f"{last.rss / first.rss:.2f} ({last.anonymous / first.anonymous:.2f})"


if __name__ == "__main__":
    main()
