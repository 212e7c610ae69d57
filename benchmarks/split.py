"""What splitting a partition saves: peak memory of each stage of text, by how much text it works on at a time.

    python benchmarks/split.py [--corpus DIR] [--times N] [--partition-bytes N] [--pieces 1 4 16 64]

The sentences of --corpus, dealt out anew for each of --times copies (variations.py), are built as often as there are
numbers in --pieces, each partition in so many pieces, by a process of its own for each job. Printed is the largest peak
of resident memory of a stage (ru_maxrss). All builds must have one fingerprint.
"""

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import resource
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from text import table
from variations import Sentences

from glmdata.pipelines.build import build
from glmdata.pipelines.engine import Call, Result, perform
from glmdata.recipe import load_recipe

STAGES = ("sign", "tokenize")


class Measuring:
    """An executor that gives each call a process, and remembers the largest peak of each stage, in bytes."""

    name, max_in_flight, on_this_machine, may_lose_calls = "a process for each job", 1, False, False
    memory_bytes = largest_bytes = 1 << 40

    def __init__(self, pieces: int, partition_bytes: int) -> None:
        self.piece_bytes = partition_bytes // pieces if pieces > 1 else 0
        self.peaks: defaultdict[str, int] = defaultdict(int)

    def start(self) -> None:
        """Nothing to start."""

    def submit(self, call: Call, memory_bytes: int) -> Any:
        """Run it to its end."""
        del memory_bytes
        call = dataclasses.replace(call, piece_bytes=self.piece_bytes)
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
            found, peak = pool.submit(measured, call).result()
        self.peaks[call.stage] = max(self.peaks[call.stage], peak)
        return Ended(found)

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        """All have ended."""
        del timeout_s
        return list(handles)

    def result(self, handle: "Ended") -> Result:
        """What the call returned."""
        return handle.result

    def cancel(self, handle: Any) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing to stop."""


class Ended:
    """A call and its result."""

    def __init__(self, result: Result) -> None:
        self.result = result


def measured(call: Call) -> tuple[Result, int]:
    """The result of a call, and the most memory that this process has had."""
    return perform(call), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Silent:
    """A build that tells nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def main() -> None:
    """Parse, build, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--times", type=int, default=4, help="copies of the corpus")
    parser.add_argument("--partition-bytes", type=int, default=256 << 20)
    parser.add_argument("--pieces", type=int, nargs="+", default=[1, 4, 16, 64])
    args = parser.parse_args()
    size = args.partition_bytes
    options = [f"corpus.partition_bytes={size}", f"corpus.split_bytes={size}", "tokenizer.vocabulary_size=8000"]
    peaks, fingerprints = [], set()
    with tempfile.TemporaryDirectory(prefix="glmdata-split-") as folder:
        corpus, sentences = Path(folder) / "corpus", Sentences(args.corpus)
        for copy in range(args.times):
            (corpus / f"{copy}").mkdir(parents=True)
            sentences.write_copy(corpus / f"{copy}", copy)
        for pieces in args.pieces:
            executor = Measuring(pieces, size)
            made = build(
                [str(corpus)],
                Path(folder) / str(pieces),
                load_recipe("glm", options),
                make_executor=lambda _, executor=executor: executor,
                progress=Silent(),  # type: ignore[arg-type]
            )
            fingerprints.add(made.manifest["fingerprint"])
            peaks.append(executor.peaks)
    if len(fingerprints) != 1:
        sys.exit(f"the builds differ: {', '.join(sorted(fingerprints))}")
    rows = [[stage, *(f"{found[stage] / 1e6:,.0f}" for found in peaks)] for stage in STAGES]
    table(f"peak MB, partitions of {size >> 20} MiB", ["stage", *(f"1/{pieces}" for pieces in args.pieces)], rows)


if __name__ == "__main__":
    main()
