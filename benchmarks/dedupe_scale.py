"""Duplicates among millions of documents: cost a document, memory, and whether the planted ones are found.

    python benchmarks/dedupe_scale.py [--documents 1000000 3000000 10000000] [--work DIR] [--workers N]

There is no text: signatures are made up, so that what is measured is bands, edges, components and survivors. Planted
are one cluster of a tenth of all documents (each two share 0.9 of a signature), chains of 10,000 documents that each
share 0.9 with the next and nothing with those 20 on, clusters of four, pairs of the same content; the rest, three
fifths, are like no other. A document's place in the corpus is scattered. Needs about 2 KB of disk a document.
"""

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glmdata.corpus.documents import Outcome
from glmdata.dedupe.candidates import pack_ranks
from glmdata.kernels import njit
from glmdata.pipelines.against import Earlier
from glmdata.pipelines.dedupe import find_duplicates
from glmdata.pipelines.engine import Attempt, Engine, Job
from glmdata.pipelines.local import ThreadExecutor
from glmdata.pipelines.partitions import write_columns
from glmdata.randomness import draw, draw_key, mix64
from glmdata.recipe import DedupeSettings

NUM_PERM, PARTITION, CHAIN = 128, 50_000, 10_000
NOISE = 0.05
"""Share of a member's signature that is its own: two members share 0.95^2 = 0.9."""
STEP = 10
"""Documents of a chain after which a place of the signature has changed: neighbours share 0.9."""


@dataclass(frozen=True)
class Plan:
    """Identities from 0: the giant cluster, chains, clusters of four, pairs of copies, single documents."""

    documents: int

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Where each kind ends."""
        giant = self.documents // 10
        chains = giant + self.documents // 100 // CHAIN * CHAIN
        fours = chains + self.documents // 5 // 4 * 4
        return giant, chains, fours, fours + self.documents // 10 // 2 * 2

    @property
    def removed(self) -> int:
        """Documents that are to go."""
        giant, chains, fours, copies = self.bounds
        return giant - 1 + (chains - giant) // CHAIN * (CHAIN - 1) + (fours - chains) // 4 * 3 + (copies - fours) // 2

    def identity(self, place: np.ndarray) -> np.ndarray:
        """Which document lies at a place of the corpus: a bijection."""
        factor = int(self.documents * 0.6180339887) | 1
        while np.gcd(factor, self.documents) != 1:
            factor += 2
        return (place.astype(np.int64) * factor + 12345) % self.documents


@dataclass(frozen=True)
class Synthetic:
    """Documents first .. first + count - 1 of a plan."""

    plan: Plan
    first: int
    count: int


@njit(nogil=True, cache=True)
def fill_signatures(identities, giant, chains, fours, copies, signed, contents):  # type: ignore[no-untyped-def]
    """Signatures and contents of some documents."""
    for row in range(len(identities)):
        identity = identities[row]
        own = draw_key(np.uint64(1), np.uint64(identity))
        contents[row, 0], contents[row, 1] = draw(own, 1000), draw(own, 1001)
        base, chained, noisy = own, False, False
        if identity < giant:
            base, noisy = draw_key(np.uint64(2), np.uint64(0)), True
        elif identity < chains:
            base, chained = draw_key(np.uint64(3), np.uint64((identity - giant) // CHAIN)), True
        elif identity < fours:
            base, noisy = draw_key(np.uint64(4), np.uint64((identity - chains) // 4)), True
        elif identity < copies:
            base = draw_key(np.uint64(5), np.uint64((identity - fours) // 2))
            contents[row, 0], contents[row, 1] = draw(base, 1000), draw(base, 1001)
        for j in range(signed.shape[1]):
            if chained:
                place = (identity - giant) % CHAIN
                epoch = (place + np.int64(draw(base, j) % np.uint64(STEP))) // STEP
                signed[row, j] = np.uint32(mix64(draw(base, 200 + j) + np.uint64(epoch)) >> np.uint64(32))
            elif noisy and draw(own, 500 + j) < np.uint64(NOISE * 2.0**64):
                signed[row, j] = np.uint32(draw(own, j) >> np.uint64(32))
            else:
                signed[row, j] = np.uint32(draw(base, j) >> np.uint64(32))


def synthesize(arguments: Synthetic, attempt: Attempt) -> dict[str, Any]:
    """What the stage `sign` would write of some documents."""
    count = arguments.count
    identities = arguments.plan.identity(np.arange(arguments.first, arguments.first + count))
    signed, contents = np.empty((count, NUM_PERM), np.uint32), np.empty((count, 2), np.uint64)
    fill_signatures(identities, *arguments.plan.bounds, signed, contents)
    zeros = np.zeros(count, np.uint64)
    high, low = np.ascontiguousarray(contents[:, 0]), np.ascontiguousarray(contents[:, 1])
    ids = np.stack([zeros, identities.astype(np.uint64)], axis=1).byteswap().tobytes()
    write_columns(
        attempt.output("signs.arrow"),
        {
            "language": pa.array(["en"]).take(pa.array(np.zeros(count, np.int64))),
            "length": np.full(count, 4000),
            "priority": zeros.astype(np.uint8),
            "hash_high": high,
            "hash_low": low,
            "content_high": high,
            "content_low": low,
            "document_id": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(ids)]),
        },
    )
    write_columns(
        attempt.output("signatures.arrow"),
        {
            "row": np.arange(count, dtype=np.uint32),
            "rank": pack_ranks(np.ones(count, np.int64), np.full(count, 4000), high),
            "content_high": high,
            "content_low": low,
            "signature": pa.FixedSizeListArray.from_arrays(pa.array(signed.ravel()), NUM_PERM),
        },
    )
    return {"records": count, "compared": count}


class Told:
    """Prints the seconds of each stage."""

    def message(self, text: str) -> None:
        """Nothing to tell."""

    def stage_started(self, _stage: str, jobs: int, _weight: int) -> None:
        """Remember how many jobs there are."""
        self.jobs = jobs

    def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
        """Nothing to tell."""

    def stage_ended(self, stage: str, seconds: float) -> None:
        """A line a stage."""
        print(f"    {stage:<11} {self.jobs:4} jobs {seconds:7.1f} s", flush=True)


def measure(documents: int, work: Path, workers: int) -> tuple[float, float]:
    """Run once; seconds of finding duplicates, and bytes that its stages wrote."""
    plan = Plan(documents)
    executor = ThreadExecutor(workers)
    try:
        engine = Engine(work, executor, Told())
        print(f"{documents:,} documents, {workers} threads", flush=True)
        jobs = [
            Job(function=synthesize, arguments=Synthetic(plan, first, min(PARTITION, documents - first)))
            for first in range(0, documents, PARTITION)
        ]
        signed = engine.run("synthesize", jobs)
        started = time.perf_counter()
        duplicates, _ = find_duplicates(
            engine, (), signed, DedupeSettings(verify=False, num_bands=18, rows_per_band=7), Earlier()
        )
        seconds = time.perf_counter() - started
        counts = {Outcome.EXACT_DUPLICATE.value: 0, Outcome.NEAR_DUPLICATE.value: 0}
        for file in duplicates.files:
            with pa.OSFile(str(engine.path(file))) as source:
                for outcome in pa.ipc.open_file(source).read_all()["outcome"].value_counts().to_pylist():
                    counts[outcome["values"]] += outcome["counts"]
        removed = sum(counts.values())
        print(f"    removed {removed:,} of {plan.removed:,} planted ({counts[5]:,} exact)")
        if abs(removed - plan.removed) > plan.documents / 50_000:  # a pair of a four is missed with probability 8e-6
            sys.exit("the planted duplicates were not found")
        return seconds, sum(report.bytes_out for report in engine.reports[1:])
    finally:
        executor.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run each size, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--work", type=Path, help="a folder on a disk with room; default: the temporary one")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(arguments)
    rows = []
    for documents in args.documents:
        work = Path(tempfile.mkdtemp(prefix="glmdata-scale-", dir=args.work))
        try:
            seconds, written = measure(documents, work, args.workers)
        finally:
            shutil.rmtree(work)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        rows.append((documents, seconds, seconds / documents * 1e6, written / documents, peak))
    print("\n  documents    seconds   us/document   bytes written/document   peak GB (so far)")
    for documents, seconds, each, written, peak in rows:
        print(f"{documents:>11,} {seconds:>10.1f} {each:>13.1f} {written:>24.0f} {peak:>18.2f}")


if __name__ == "__main__":
    main()
