"""Whole builds, timed.

    python benchmarks/build.py [--corpus DIR] [--runs N]

Prints, for each engine, seconds (least and median of the runs), MB/s and the peak memory of the process tree; the same
once more on the finished folder (nothing to do); `glmdata --help`; and the seconds of each stage. A tokenizer is
trained once before and given to all builds. With --cold the kernels' cache is empty at the start of each build.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

GLMDATA = [str(Path(sys.executable).parent / "glmdata")]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="compile the kernels anew in each build")
    parser.add_argument("--engines", default="none,local", help="--address values, with commas between")
    args = parser.parse_args()
    if not args.corpus.is_dir():
        sys.exit(f"no corpus at {args.corpus}: give --corpus DIR")
    with tempfile.TemporaryDirectory(prefix="glmdata-bench-") as name:
        folder = Path(name)
        timed("glmdata --help", lambda: run([*GLMDATA, "--help"]), args.runs)
        model = folder / "own" / "tokenizer.model"
        own = run(build(args, folder / "own", "none"), cold=None)
        print(f"{'build that trains its tokenizer':34} {own[0]:7.2f} s  {own[1] / 1e6:7.0f} MB")
        for engine in args.engines.split(","):
            out = folder / f"build-{engine}"
            cache = folder / "cache" if args.cold else None
            command = [*build(args, out, engine), "--tokenizer", str(model)]
            results = []
            for _ in range(args.runs):
                shutil.rmtree(out, ignore_errors=True)
                results.append(run(command, cold=cache))
            tell(f"--address {engine}" + (", cold" if args.cold else ""), results)
            report = json.loads((out / "report.json").read_text())
            print("   " + "  ".join(f"{stage['name']} {stage['seconds']:.2f}" for stage in report["stages"]))
            timed(f"--address {engine}, nothing to do", lambda command=command: run(command), args.runs)


def build(args: argparse.Namespace, out: Path, engine: str) -> list[str]:
    """The command line of a build."""
    return [*GLMDATA, "build", "--corpus", str(args.corpus), "--out", str(out), "--address", engine,
            "--workers", str(args.workers)]  # fmt: skip


def run(command: list[str], cold: Path | None = None) -> tuple[float, int]:
    """Seconds and peak bytes (private memory of the tree, shared memory once) of a command."""
    env = dict(os.environ)
    if cold:
        shutil.rmtree(cold, ignore_errors=True)
        env["NUMBA_CACHE_DIR"] = str(cold)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    peak = [0]
    watcher = threading.Thread(target=watch, args=(process, peak), daemon=True)
    watcher.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode()}")
    watcher.join()
    return seconds, peak[0]


def watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    """Follow the memory of a process tree."""
    while process.poll() is None:
        private = shared = 0
        try:
            top = psutil.Process(process.pid)
            members = [top, *top.children(recursive=True)]
        except psutil.Error:
            return
        for member in members:
            try:
                memory = member.memory_info()
            except psutil.Error:
                continue
            private += memory.rss - memory.shared
            shared = max(shared, memory.shared)
        peak[0] = max(peak[0], private + shared)
        time.sleep(0.05)


def timed(name: str, call: object, runs: int) -> None:
    """Run a few times and print."""
    tell(name, [call() for _ in range(runs)])  # type: ignore[operator]


def tell(name: str, results: list[tuple[float, int]]) -> None:
    """One line of figures."""
    seconds = [result[0] for result in results]
    memory = max(result[1] for result in results) / 1e6
    print(f"{name:34} {min(seconds):7.2f} s least {statistics.median(seconds):7.2f} s median {memory:7.0f} MB")


if __name__ == "__main__":
    main()
