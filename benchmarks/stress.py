"""Builds killed at random, and whether it shows.

    python benchmarks/stress.py [--trials N] [--seed S]

Each trial is a build of a small made-up corpus on a Ray cluster of three nodes on this machine, hurt two or three times
at random: the driver (SIGKILL, SIGTERM, SIGINT; then the same command again), a worker, or a whole node with its raylet
(another is added). Asked of each: the quiet build's bytes, every record in the ledger, no file left over, no committed
partition done again. Then what a resume costs after a kill at half of a build, by the size of the corpus.
Needs psutil; Linux. Only processes that it started are killed.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from corpora import write_corpus
from faults import cluster, kill_one, litter_of, pids_of, records_of, start_build, wait_until, workers_of

KINDS = ("driver", "worker", "raylet")
LIMIT_S = 300.0
DRIVER_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Trials:
    """What came of them, by kind of kill."""

    def __init__(self, corpus: Path, folder: Path, seed: int) -> None:
        self.corpus, self.folder, self.rng = corpus, folder, random.Random(seed)
        self.sums: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.seconds = 0.0

    def measure(self, address: str) -> None:
        """The quiet build, and how long it takes with this engine."""
        quiet = self.folder / "quiet"
        started = time.monotonic()
        code, errors = start_build(self.corpus, quiet, address=address).end(LIMIT_S)
        if code:
            sys.exit(errors)
        self.seconds = time.monotonic() - started
        self.bytes, self.records = bytes_of(quiet), records_in(quiet)

    def trial(self, number: int, nodes: Any) -> None:
        """One build, its kills, and what is asked of it."""
        kind, out = KINDS[number % len(KINDS)], self.folder / f"{number}"
        sums, committed, again, hit = self.sums[kind], dict[str, bytes](), 0, False
        started = time.monotonic()
        running = start_build(self.corpus, out, address=nodes.address)
        for _ in range(self.rng.choice((2, 3))):
            self.pause(running)
            if running.process.poll() is not None:
                break
            if kind == "driver":
                running.process.send_signal(self.rng.choice(DRIVER_SIGNALS))
                running.end(LIMIT_S)
                hit = True
                sums["kills"] += 1
                again += sum(records_of(out).get(name) != record for name, record in committed.items())
                committed = records_of(out)
                running = start_build(self.corpus, out, address=nodes.address)
            elif kind == "worker":
                wait_until(lambda: workers_of(pids(nodes)), 3)
                if kill_one(workers_of(pids(nodes)), self.rng):
                    hit = True
                    sums["kills"] += 1
            else:
                nodes.remove_node(self.rng.choice(sorted(nodes.worker_nodes, key=id)), allow_graceful=False)
                nodes.add_node(**nodes.one)
                hit = True
                sums["kills"] += 1
        watcher = Watcher(out, committed)
        code, errors = running.end(LIMIT_S)
        again += watcher.end()
        sums["builds"] += 1
        sums["not hit"] += not hit
        if not hit:  # it was quicker than the quiet one, beside which other work may have run
            self.seconds = min(self.seconds, time.monotonic() - started)
        sums["ended"] += code == 0
        if code:
            print(f"trial {number}, {kind}: exit {code}\n{errors}")
            return
        same = bytes_of(out) == self.bytes
        lost, left = self.records - records_in(out), litter_of(out)
        sums["equal"] += same
        sums["lost"] += abs(lost)
        sums["litter"] += len(left)
        sums["again"] += again
        if not same or lost or left or again:
            print(f"trial {number}, {kind}: equal {same}, {lost} lost, left {left[:3]}, {again} done again")
        shutil.rmtree(out)

    def pause(self, running: Any) -> None:
        """A random part of a build: most of it, since the beginning is Python's."""
        with contextlib.suppress(Exception):
            running.process.wait(self.rng.uniform(0.15, 0.5) * self.seconds)


class Watcher:
    """Counts the records of committed partitions that change while a build goes on."""

    def __init__(self, out: Path, committed: dict[str, bytes]) -> None:
        self.out, self.seen, self.changed = out, dict(committed), 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self) -> None:
        """Until told to stop."""
        while not self.done.wait(0.05):
            with contextlib.suppress(OSError):  # the work is being removed
                for name, record in records_of(self.out).items():
                    self.changed += self.seen.setdefault(name, record) != record
                    self.seen[name] = record

    def end(self) -> int:
        """How many changed."""
        self.done.set()
        self.thread.join()
        return self.changed


def pids(nodes: Any) -> list[int]:
    """Of all nodes' raylets."""
    return [pid for node in [nodes.head_node, *nodes.worker_nodes] for pid in pids_of(node)]


def bytes_of(out: Path) -> str:
    """A digest of all that does not tell seconds."""
    digest = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        if path.is_file() and ".build" not in path.parts and path.name not in ("report.json", "report.html"):
            digest.update(path.relative_to(out).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def records_in(out: Path) -> int:
    """Rows of the ledger."""
    return sum(pq.read_metadata(path).num_rows for path in (out / "ledger").glob("*.parquet"))


def resume_costs(corpora: dict[str, Path], folder: Path, address: str, runs: int) -> None:
    """What a build costs that is killed at half and resumed, by size of the corpus, with a tokenizer given and trained.

    Half is of the processor seconds of a whole build, and so is the cost: they are the same on an idle and on a busy
    machine, where a build of equal work takes now one time and now twice that. Seconds are told beside it.
    """
    for title, corpus in corpora.items():
        trained = folder / f"{title}-whole-0" / "tokenizer.model"
        for kind, given in (("trained", ()), ("given", ("--tokenizer", trained))):
            whole, rest = [], []
            for run in range(runs):
                out = folder / f"{title}-whole-{run}" if kind == "trained" else folder / f"{title}-given-{run}"
                whole.append(spend(corpus, out, address, *given))
                out = folder / f"{title}-{kind}-half-{run}"
                spend(corpus, out, address, *given, until_s=whole[-1][0] / 2)
                if (out / "manifest.json").exists():
                    print(f"{title}, run {run}: the build had ended before it was killed; not counted")
                    whole.pop()
                    continue
                rest.append(spend(corpus, out, address, *given))
                if bytes_of(out) != bytes_of(folder / f"{title}-{'whole' if kind == 'trained' else 'given'}-{run}"):
                    sys.exit(f"{title}, run {run}: other bytes after the kill")
                shutil.rmtree(out)
            if rest:
                told = " ".join(f"{median(rest, n) / median(whole, n):.0%} ({median(whole, n):.1f} s)" for n in (0, 1))
                print(f"{title}, tokenizer {kind}: processor seconds, seconds: {told}; load {os.getloadavg()[0]:.1f}")


def median(pairs: list[tuple[float, float]], place: int) -> float:
    """Of one of both."""
    return statistics.median(pair[place] for pair in pairs)


def spend(corpus: Path, out: Path, address: str, *options: object, until_s: float = 1e9) -> tuple[float, float]:
    """Build with the default settings; its processor seconds and seconds. Killed when it has spent `until_s`."""
    command = [sys.executable, "-m", "glmdata.cli", "build", "--corpus", str(corpus), "--out", str(out)]
    command += ["--address", address, "--workers", "2", *map(str, options)]
    started, spent = time.monotonic(), 0.0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        spent = max(spent, spent_by(process))
        if spent >= until_s:
            process.kill()
        time.sleep(0.02)
    if process.returncode and spent < until_s:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}")
    return spent, time.monotonic() - started


def spent_by(process: psutil.Process) -> float:
    """Processor seconds of a process and those below it, the ended ones too."""
    spent = 0.0
    with contextlib.suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                spent += sum(one.cpu_times()[:4])
    return spent


def write_copies(corpus: Path, sizes: list[int], folder: Path) -> dict[str, Path]:
    """Corpora of so many copies of one, their sentences dealt out anew."""
    from variations import Sentences

    made, sentences = {}, Sentences(corpus)
    for size in sizes:
        there = folder / f"copies-{size}"
        there.mkdir()
        for copy in range(size):
            sentences.write_copy(there, copy)
        made[f"{sum(path.stat().st_size for path in there.iterdir()) / 1e6:.0f} MB"] = there
    return made


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no more trials after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--documents", type=int, default=200, help="Chinese ones of the corpus; twice as many English")
    parser.add_argument("--resume-runs", type=int, default=3, help="of each kind of resume; 0 for none")
    parser.add_argument("--resume-corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--resume-times", type=int, nargs="+", default=[1, 4], help="copies of that corpus")
    parser.add_argument("--resume-address", default="none", help="none, or local for a Ray")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glmdata-stress-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        write_corpus(folder / "corpus", args.documents)
        trials = Trials(folder / "corpus", folder, args.seed)
        if args.trials:
            with cluster(3) as nodes:
                trials.measure(nodes.address)
                print(f"quiet build: {trials.seconds:.1f} s, {trials.records:,} records", flush=True)
                until = time.monotonic() + 60 * args.minutes
                try:
                    for number in range(args.trials):
                        if time.monotonic() < until:
                            trials.trial(number, nodes)
                finally:  # stopped by hand too
                    tell(trials)
        if args.resume_runs:
            if not args.resume_corpus.is_dir():
                sys.exit(f"no corpus at {args.resume_corpus}: give --resume-corpus DIR, or --resume-runs 0")
            copies = write_copies(args.resume_corpus, args.resume_times, folder)
            resume_costs(copies, folder, args.resume_address, args.resume_runs)


def tell(trials: Trials) -> None:
    """The table."""
    names = ("builds", "kills", "not hit", "ended", "equal", "lost", "litter", "again")
    print(f"{'killed':8}" + "".join(f"{name:>9}" for name in names))
    total: defaultdict[str, int] = defaultdict(int)
    for kind, sums in trials.sums.items():
        print(f"{kind:8}" + "".join(f"{sums[name]:9}" for name in names))
        for name in names:
            total[name] += sums[name]
    print(f"{'all':8}" + "".join(f"{total[name]:9}" for name in names))
    print(f"with no failure in {total['builds']} builds, fewer than {3 / max(1, total['builds']):.1%} fail (95 %)")


if __name__ == "__main__":
    main()
