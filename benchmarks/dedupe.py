"""Duplicates: speed beside peers, and what is found beside what there is to find.

    python benchmarks/dedupe.py [--corpus DIR] [--only signatures stage quality] [--hostile] [--json FILE]

signatures  MB/s of one core with 128 permutations, best of three by processor time, beside datasketch and rensa
stage       seconds of the stages from sign to settle in whole builds, beside datatrove's MinHash
quality     ledgers of builds beside the true similarity of all pairs of documents
hostile     whole builds of corpora made to be slow, at half and at full size

Peers run under this Python, or under $PEER_PYTHON where that has them and this one has not:

    python3 -m venv peers && peers/bin/pip install rensa "datatrove[io,processing]" spacy jieba
    PEER_PYTHON=peers/bin/python python benchmarks/dedupe.py

Each table tells the load of the machine in the minute before it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from build import GLMDATA, run
from dedupe_hostile import CORPORA, write
from dedupe_peers import DATATROVE, PEER_SIGNATURES, peer_python, peer_script
from dedupe_truth import LEAST, Judged, Truth
from text import table

from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.dedupe.minhash import sign_texts
from glmdata.dedupe.shingles import shingle_sets
from glmdata.recipe import DedupeSettings, Recipe
from glmdata.text.normalization import Normalizer

STAGES = ("sign", "gather", "match", "verify", "spread", "large", "small", "route", "settle")
COMPARED = ("kept", "balance", "exact_duplicate", "near_duplicate", "too_short", "contaminated")
REMOVED = ("exact_duplicate", "near_duplicate")
EVERY = 3
"""Signatures are measured on every third document: peers take minutes for all."""
QUALITY: dict[str, dict[str, Any]] = {"default": {}, "verify=false": {"verify": False}, "num_perm=64": {"num_perm": 64}}


@dataclass
class Bench:
    """What the sections share. `found` is what --json writes."""

    corpus: Path
    folder: Path
    workers: int
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """A tokenizer, from a first build that compiles the kernels too."""
        out = self.folder / "first"
        if not out.is_dir():
            self.build(self.corpus, out)
        return out / "tokenizer.model"

    def build(self, corpus: Path, out: Path, *options: str) -> tuple[float, int]:
        """Seconds and peak bytes of a build in threads, everything that is left taken."""
        shutil.rmtree(out, ignore_errors=True)
        return run([*GLMDATA, "build", "--corpus", str(corpus), "--out", str(out), "--address", "none", "--workers",
                    str(self.workers), "--set", "balance.strategy=off", *options])  # fmt: skip

    def told(
        self, section: str, title: str, head: tuple[str, ...], rows: list[tuple[object, ...]], load: float
    ) -> None:
        """Print a table and keep it."""
        table(f"{title} (load {load:.2f})", head, rows)
        self.found[section] = {"load": load, "rows": [dict(zip(head, row, strict=True)) for row in rows]}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections: dict[str, Callable[[Bench], None]] = {"signatures": signatures, "stage": stage, "quality": quality}
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections))
    parser.add_argument("--hostile", action="store_true", help="the hostile corpora alone")
    parser.add_argument("--share", type=float, default=1.0, help="of the size of the hostile corpora")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, help="a folder on a disk with room; default: the temporary one")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    if not args.corpus.is_dir():
        sys.exit(f"no corpus at {args.corpus}: give --corpus DIR")
    with tempfile.TemporaryDirectory(prefix="glmdata-bench-", dir=args.work) as name:
        bench = Bench(args.corpus, Path(name), args.workers)
        if args.hostile:
            hostile(bench, args.share)
        for section in () if args.hostile else args.only:
            sections[section](bench)
    if args.json:
        args.json.write_text(json.dumps(bench.found, indent=2) + "\n")


def load() -> float:
    """Of the machine, over the last minute."""
    return os.getloadavg()[0]


def read_corpus(folder: Path) -> tuple[list[str], pa.StringArray]:
    """File and text, normalised, of each record, in the order of the ledger."""
    settings, uris, texts = Recipe().corpus, list[str](), []
    normalize = Normalizer(Recipe().normalization)
    for split in plan_splits(find_files([str(folder.absolute())]).files, settings):
        for batch in read_split(split, settings, normalize):
            uris += [split.uri] * batch.num_rows
            texts.append(batch["text"])
    return uris, pa.concat_arrays(texts)


# ------------------------------------------------------------------------------------------------------ signatures


def signatures(bench: Bench) -> None:
    """MB/s of a core: shingling and signing, beside peers that are given the shingles' hashes or shingle in Python."""
    before = load()
    texts = read_corpus(bench.corpus)[1]
    texts = texts.take(pa.array(np.arange(0, len(texts), EVERY)))
    plain = texts.to_pylist()
    size = sum(len(text.encode()) for text in plain)
    values, offsets = shingle_sets(texts, np.arange(len(texts)))
    np.save(bench.folder / "values.npy", values)
    np.save(bench.folder / "offsets.npy", offsets)
    (bench.folder / "texts.json").write_text(json.dumps(plain), "utf-8")
    signed = sign_texts(texts)[0]
    rows: list[tuple[object, ...]] = [
        ("glmdata", "Arrow text", rate(size, least(lambda: sign_texts(texts))), ""),
        ("glmdata", "Python strings", rate(size, least(lambda: sign_texts(plain))), ""),
        ("glmdata", "Arrow text, one permutation", rate(size, least(lambda: sign_texts(texts, 1))), ""),
    ]
    script = peer_script(bench.folder, "peer_signatures.py", PEER_SIGNATURES)
    for peer in ("datasketch", "rensa"):
        python = peer_python(peer)
        if python is None:
            rows.append((peer, "not installed", "", ""))
            continue
        done = subprocess.run([python, script, bench.folder, peer], stdout=subprocess.PIPE, check=True)
        for given, seconds in json.loads(done.stdout).items():
            same = ""
            if peer == "datasketch" and given == "shingle hashes given":
                same = "equal" if (np.load(bench.folder / "datasketch.npy") == signed).all() else "DIFFERENT"
            rows.append((peer, given, rate(size, seconds), same))
    title = f"signatures, {len(texts):,} documents, {size / 1e6:.1f} MB, {len(values):,} shingles, one core"
    bench.told("signatures", title, ("", "from", "MB/s", "signatures"), rows, before)


def least(call: Callable[[], object]) -> float:
    """Processor seconds, best of three."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        call()
        best = min(best, time.process_time() - started)
    return best


def rate(size: int, seconds: float) -> str:
    """MB/s."""
    return f"{size / 1e6 / seconds:.1f}"


# ----------------------------------------------------------------------------------------------------------- stage


def stage(bench: Bench) -> None:
    """Seconds of the dedupe stages, median of three builds, beside datatrove on the documents that are compared."""
    model, before = str(bench.model), load()
    out, runs = bench.folder / "stage", []
    for _ in range(3):
        bench.build(bench.corpus, out, "--tokenizer", model)
        runs.append(dedupe_seconds(out))
    ours = statistics.median(sum(seconds.values()) for seconds in runs)
    each = {name: statistics.median(seconds[name] for seconds in runs) for name in runs[0]}
    texts = read_corpus(bench.corpus)[1]
    outcomes = pq.read_table(out / "ledger")["outcome"].to_pylist()
    compared = [text for text, outcome in zip(texts.to_pylist(), outcomes, strict=True) if outcome in COMPARED]
    all_bytes, size = int(pc.sum(pc.binary_length(texts)).as_py()), sum(map(utf8_length, compared))
    removed = sum(outcome in REMOVED for outcome in outcomes)
    rows: list[tuple[object, ...]] = [
        (
            "glmdata, all texts read, languages told",
            f"{ours:.2f}",
            f"{all_bytes / 1e6 / ours:.1f}",
            removed,
            "",
            told(each),
        )
    ]
    python = peer_python("datatrove")
    for words in ("spacy", "units") if python else ():
        seconds, peer_removed = datatrove(bench, str(python), compared, words)
        total = sum(seconds.values())
        name = (
            "datatrove, as it comes (spaCy's English words)"
            if words == "spacy"
            else "datatrove, given a plain splitter"
        )
        ratio = f"{total / ours:.0f} x as fast"
        rows.append((name, f"{total:.2f}", f"{size / 1e6 / total:.2f}", peer_removed, ratio, told(seconds)))
    if python is None:
        rows.append(("datatrove is not installed", "", "", "", "", ""))
    title = (
        f"stage, {bench.workers} workers: glmdata {len(texts):,} documents, {all_bytes / 1e6:.1f} MB; "
        f"datatrove those of wanted languages, {len(compared):,}, {size / 1e6:.1f} MB"
    )
    bench.told("stage", title, ("", "seconds", "MB/s", "removed", "glmdata is", "each stage"), rows, before)


def dedupe_seconds(out: Path) -> dict[str, float]:
    """Seconds of each stage that finds duplicates, from a build's report."""
    stages = json.loads((out / "report.json").read_text())["stages"]
    return {stage["name"]: stage["seconds"] for stage in stages if stage["name"].split("-")[0] in STAGES}


def utf8_length(text: str) -> int:
    """Bytes of a text."""
    return len(text.encode())


def told(seconds: dict[str, float]) -> str:
    """Stages and their seconds in a line."""
    return "  ".join(f"{name} {value:.2f}" for name, value in seconds.items())


def datatrove(bench: Bench, python: str, texts: list[str], words: str) -> tuple[dict[str, float], int]:
    """Seconds of its four stages, and how many documents it removes. It works file by file."""
    files = 4 * bench.workers
    source = bench.folder / "peer" / "in"
    source.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        lines = [json.dumps({"id": str(n), "text": texts[n]}) + "\n" for n in range(number, len(texts), files)]
        (source / f"{number}.jsonl").write_text("".join(lines))
    script = peer_script(bench.folder, "peer_datatrove.py", DATATROVE)
    command = [python, str(script), str(source.parent), words, str(files), str(bench.workers)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    result = json.loads((source.parent / words / "told.json").read_text())
    return result["seconds"], result["removed"]


# --------------------------------------------------------------------------------------------------------- quality


def quality(bench: Bench) -> None:
    """Recall by similarity, and the similarity of what was removed to what stays, in some settings."""
    model, before = str(bench.model), load()
    all_texts, out, truth = read_corpus(bench.corpus)[1], bench.folder / "quality", None
    rows: list[tuple[object, ...]] = []
    missed: dict[str, list[Any]] = {}
    for name, changes in QUALITY.items():
        options = [f"dedupe.{key}={json.dumps(value)}" for key, value in changes.items()]
        bench.build(bench.corpus, out, "--tokenizer", model, *(part for each in options for part in ("--set", each)))
        ledger = pq.read_table(out / "ledger")
        chosen = np.flatnonzero(pc.is_in(ledger["outcome"], pa.array(COMPARED)))
        ledger = ledger.take(pa.array(chosen))
        if truth is None:
            truth = Truth(all_texts.take(pa.array(chosen)), ledger["language"].to_pylist())
        row_of = {identity: row for row, identity in enumerate(ledger["document_id"].to_pylist())}
        survivor = np.array([row_of.get(identity, -1) for identity in ledger["survivor_id"].to_pylist()])
        gone = survivor >= 0
        if (gone != np.asarray(pc.is_in(ledger["outcome"], pa.array(REMOVED)))).any() or gone[survivor[gone]].any():
            sys.exit(f"{name}: a duplicate's survivor is not there, or is a duplicate itself")
        settings = DedupeSettings(**changes)
        for language in (None, "zh", "en"):
            judged = truth.judge(gone, survivor, settings, language)
            rows.append((name, language or "all", *quality_cells(judged)))
        places = [f"{row['uri']}:{row['record']}" for row in ledger.select(["uri", "record"]).to_pylist()]
        missed[name] = [(places[a], places[b], value, seen) for a, b, value, seen in truth.missed(gone, settings)]
    assert truth is not None
    head = ("", "language", "removed", "least alike", "below", "J = 1", "0.9 - 1", "0.8 - 0.9",
            f"{DedupeSettings().jaccard_threshold} - 0.8", "both kept", "of these share no band")  # fmt: skip
    title = f"quality, {len(truth.texts):,} documents, {len(truth.pairs):,} pairs from {LEAST} on: pairs found"
    bench.told("quality", title, head, rows, before)
    bench.found["quality"]["missed"] = missed


def quality_cells(judged: Judged) -> tuple[object, ...]:
    """A row of the table."""
    shares = [f"{found / max(1, pairs):.2%} of {pairs:,}" for _, pairs, found in judged.buckets]
    return judged.removed, f"{judged.least:.4f}", judged.below, *shares, judged.missed, judged.missed_unseen


# --------------------------------------------------------------------------------------------------------- hostile


def hostile(bench: Bench, share: float) -> None:
    """Whole builds; the stages from sign to settle and everything, at half and at full size."""
    model, before = str(bench.model), load()
    rows: list[tuple[object, ...]] = []
    for corpus in CORPORA:
        seconds = {}
        for part in (0.5, 1.0):
            source, out = bench.folder / "hostile", bench.folder / "hostile-out"
            source.mkdir(exist_ok=True)
            size = write(corpus, part * share, source / "corpus.jsonl")
            whole, peak = bench.build(source, out, "--tokenizer", model)
            each = dedupe_seconds(out)
            found, slowest = sum(each.values()), max(each, key=lambda stage: each[stage])
            seconds[part] = (found, whole)
            outcomes = json.loads((out / "report.json").read_text())["outcomes"]
            growth = [f"{seconds[1.0][k] / seconds[0.5][k]:.2f}" if part == 1.0 else "" for k in (0, 1)]
            rows.append(
                (
                    corpus.name if part == 1.0 else "  half of that",
                    f"{size / 1e6:.1f}",
                    f"{found:.2f}",
                    growth[0],
                    f"{slowest} {each[slowest]:.1f}",
                    f"{whole:.1f}",
                    growth[1],
                    f"{peak / 1e9:.2f}",
                    "  ".join(f"{name} {count:,}" for name, count in outcomes.items()),
                )
            )
            print("  ".join(map(str, rows[-1])), file=sys.stderr, flush=True)
    head = ("", "MB", "sign .. settle s", "x half", "slowest", "build s", "x half of it", "peak GB", "outcomes")
    bench.told("hostile", f"hostile corpora, {bench.workers} workers", head, rows, before)


if __name__ == "__main__":
    main()
