"""Streams beside their peers: samples a second, starts, resumes, memory, and whether every sample comes once.

    python benchmarks/stream.py --build DIR [--seconds 3] [--python NAME=PYTHON ...]
    python benchmarks/stream.py --build DIR --memory     # peak memory of one epoch, the build 1, 4 and 16 times over
    python benchmarks/stream.py --build DIR --consumer   # batches made ahead of a consumer that computes

All read the same rows of a finished build (five matrices, context_length, sample_id), shuffled, in batches of 16 and
64, on one core with the page cache warm:

* the limit: a bare numpy gather of the same rows from the mapped columns into the same dtypes;
* ShardStream, the same in windows as of an object store, MixedStream of the build with itself;
* peers that are installed, each in a process of its own: MosaicML streaming, LitData, Hugging Face datasets. Their
  formats are written first. `--python litdata=/venv/bin/python` says where one is installed. They hand out int32, half
  the bytes of our int64; samples that come more than once within the time measured are counted.

Then our order: its hash for worlds 1, 2, 3, 4, 6, 8 and for 0, 1, 2, 5 DataLoader workers, and the duplicates and
losses of an epoch.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

COLUMNS = ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids")
BATCHES = (16, 64)
WORLDS = (1, 2, 3, 4, 6, 8)
WORKERS = (0, 1, 2, 5)
GLOBAL = 48

FRESH = """
import json, sys, time
import numpy, pyarrow, torch
from glmdata.streaming import ShardStream
start = time.perf_counter()
stream = ShardStream(sys.argv[1], 16, epochs=1)
rows = stream.plan()["samples"]
if sys.argv[2] == "resume":
    stream.load_state_dict(stream.state_dict() | {"samples_consumed": rows * 95 // 100})
next(iter(stream))
print(time.perf_counter() - start)
"""

PEAK = """
import sys, torch
from glmdata.streaming import ShardStream
torch.set_num_threads(1)
peak = {}
for step, _ in enumerate(ShardStream(sys.argv[1], 64, epochs=1, prefetch=0)):
    if step % 50 == 49:
        for line in open("/proc/self/smaps_rollup"):
            name, size = line.split()[:2]
            if name in ("Anonymous:", "Pss:", "Rss:"):
                peak[name] = max(peak.get(name, 0), int(size))
print(*(f"{name} {size / 1e3:.0f} MB" for name, size in sorted(peak.items())))
"""

WRITE = """
import glob, json, os, sys, time
import numpy as np, pyarrow as pa
rows, folder, batch, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
columns = ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids")
def rate(batches, key):
    seen, start = [], None
    for b in batches:
        if start is None:
            start = time.perf_counter()  # the first batch is not counted: workers and caches start
            continue
        seen.append(np.asarray(b[key]).ravel())
        if time.perf_counter() - start > seconds:
            break
    took = time.perf_counter() - start
    ids = np.concatenate(seen)
    pss = sum(int(l.split()[1]) for l in open("/proc/self/smaps_rollup") if l.startswith("Pss_Anon:"))
    print(json.dumps({"rate": len(ids) / took, "repeated": len(ids) - len(np.unique(ids)), "anonymous_mb": pss / 1e3}))
def table():
    files = sorted(glob.glob(rows + "/[0-9]*.arrow"))
    return pa.concat_tables([pa.ipc.open_stream(pa.memory_map(f)).read_all() for f in files])
def arrays(t):
    found = {k: t[k].combine_chunks().flatten().to_numpy().reshape(len(t), -1) for k in columns}
    return found | {k: t[k].to_numpy() for k in ("context_length", "sample_id")}
"""

PEERS = {
    "datasets": WRITE
    + """
import datasets
d = datasets.concatenate_datasets([datasets.Dataset.from_file(f) for f in sorted(glob.glob(rows + "/[0-9]*.arrow"))])
d = d.shuffle(seed=0).with_format("numpy")
rate(d.iter(batch), "sample_id")
""",
    "litdata": WRITE
    + """
import torch, litdata
if __name__ == "__main__":
    a = arrays(table())
    if not os.path.exists(folder):
        w = litdata.streaming.cache.Cache(folder, chunk_bytes="64MB")
        for i in range(len(a["sample_id"])):
            w[i] = {k: torch.from_numpy(a[k][i].copy()) for k in columns} | {"sample_id": int(a["sample_id"][i])}
        w.done(); w.merge(1)
    rate(litdata.StreamingDataLoader(litdata.StreamingDataset(folder, shuffle=True), batch_size=batch), "sample_id")
""",
    "streaming": WRITE
    + """
os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", MASTER_ADDR="127.0.0.1",
                  MASTER_PORT="29555")
import torch
from streaming import MDSWriter, StreamingDataset
a = arrays(table())
if not os.path.exists(folder):
    kinds = {k: f"ndarray:int32:{a[k].shape[1]}" for k in columns} | {"sample_id": "int"}
    with MDSWriter(out=folder, columns=kinds, size_limit="64mb") as w:
        for i in range(len(a["sample_id"])):
            w.write({k: a[k][i] for k in columns} | {"sample_id": int(a["sample_id"][i])})
d = StreamingDataset(local=folder, shuffle=True, batch_size=batch, num_canonical_nodes=1)
rate(torch.utils.data.DataLoader(d, batch_size=batch), "sample_id")
""",
}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder of a finished build, materialised, uncompressed")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement; there are three, in turns")
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PYTHON", help="where a peer is installed"
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--memory", action="store_true", help="only memory by the size of the build")
    only.add_argument("--consumer", action="store_true", help="only prefetch beside a consumer that computes")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    told(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    if args.memory:
        memory(args.build)
        return
    if args.consumer:
        consumer(args.build, args.seconds)
        return
    for batch in BATCHES:
        speeds(args.build, batch, args.seconds)
    starts(args.build)
    orders(args.build)
    with tempfile.TemporaryDirectory() as folder:
        peers(args.build, Path(folder), args.seconds, dict(place.split("=", 1) for place in args.python))


def told(*parts: object) -> None:
    print(*parts, flush=True)


def speeds(build: str, batch: int, seconds: float) -> None:
    """The limit and our streams, by turns, so that noise meets all alike."""
    from glmdata.streaming import MixedStream, ShardStream

    gather = Gather(build)
    running: dict[str, Iterator[int]] = {
        "bare numpy gather": gather.batches(batch),
        "ShardStream": sizes_of(ShardStream(build, batch)),
        "MixedStream, two builds": sizes_of(MixedStream([(build, 7), (build, 3)], batch)),
        "ShardStream, window of 4 x 8,192": sizes_of(ShardStream(build, batch, window=(8192, 4))),
    }
    best = dict.fromkeys(running, 0.0)
    for batches in running.values():
        next(batches)
    for _ in range(3):
        for name, batches in running.items():
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < seconds:
                done += sum(next(batches) for _ in range(16))
            best[name] = max(best[name], done / (time.perf_counter() - start))
    for name, rate in best.items():
        told(f"batch {batch}: {name}: {rate:,.0f} samples/s, {rate / best['bare numpy gather']:.2f} of the gather")
    told(f"batch {batch}: anonymous memory {anonymous_mb():.0f} MB after {3 * seconds:.0f} s of each")


def sizes_of(stream: Any) -> Iterator[int]:
    for batch in stream:
        yield len(batch["sample_id"])


class Gather:
    """Rows copied one by one from the mapped columns into ready arrays; nothing else is done."""

    def __init__(self, build: str) -> None:
        self.parts, starts, self.rows = [], [], 0
        manifest = json.loads(Path(build, "manifest.json").read_text("utf-8"))
        for shard in manifest["shards"]:
            reader = pa.ipc.open_file(pa.memory_map(str(Path(build, shard["path"]))))
            for number in range(reader.num_record_batches):
                part = reader.get_batch(number)
                views = [part.column(name).flatten().to_numpy().reshape(part.num_rows, -1) for name in COLUMNS]
                self.parts.append(
                    (views, part.column("context_length").to_numpy(), part.column("sample_id").to_numpy())
                )
                starts.append(self.rows)
                self.rows += part.num_rows
        self.starts, self.length = np.array(starts), manifest["sequence_length"]

    def batches(self, size: int) -> Iterator[int]:
        dtypes = (np.int64, np.int64, np.float32, np.int64, np.int64)
        while True:
            order = np.random.default_rng(0).permutation(self.rows)
            for first in range(0, self.rows - size + 1, size):
                picked = order[first : first + size]
                at = np.searchsorted(self.starts, picked, "right") - 1
                out = [np.empty((size, self.length), dtype) for dtype in dtypes]
                context, names = np.empty(size, np.int64), np.empty(size, np.int64)
                for to, (part, row) in enumerate(zip(at.tolist(), (picked - self.starts[at]).tolist(), strict=True)):
                    views, contexts, sample_ids = self.parts[part]
                    for target, view in zip(out, views, strict=True):
                        target[to] = view[row]
                    context[to], names[to] = contexts[row], sample_ids[row]
                yield size


def starts(build: str) -> None:
    """First batch and resume in a fresh process, imports not counted."""
    for kind in ("start", "resume"):
        times = [float(run([sys.executable, "-c", FRESH, build, kind]).stdout) for _ in range(3)]
        told(f"first batch, {'at 95 % of the epoch' if kind == 'resume' else 'at the start'}: {min(times):.3f} s")


def orders(build: str) -> None:
    """Hashes of the global order by worlds and workers; duplicates and losses of one epoch."""
    import warnings

    import torch

    from glmdata.streaming import ShardStream

    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more than there are cores
    hashes = {}
    for world in WORLDS:
        ranks = [ShardStream(build, GLOBAL // world, dp_rank=rank, dp_world=world, epochs=1) for rank in range(world)]
        steps = zip(*ranks, strict=True)
        hashes[f"world {world}"] = hashed(batch["sample_id"].numpy() for step in steps for batch in step)
    for workers in WORKERS:
        loader = torch.utils.data.DataLoader(
            ShardStream(build, GLOBAL, epochs=1), batch_size=None, num_workers=workers, multiprocessing_context=None
        )
        hashes[f"{workers} workers"] = hashed(batch["sample_id"].numpy() for batch in loader)
    for name, digest in hashes.items():
        told(f"order, {name}: {digest}")
    told("one order" if len(set(hashes.values())) == 1 else "ORDERS DIFFER")
    stream = ShardStream(build, GLOBAL, epochs=1)
    rows = stream.plan()["samples"]
    names = np.concatenate([batch["sample_id"].numpy() for batch in stream])[:rows]
    told(f"an epoch: {rows} samples, {rows - len(np.unique(names))} duplicates, {rows - len(np.unique(names))} losses")


def hashed(parts: Iterator[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.astype(np.int64).tobytes())
    return digest.hexdigest()[:16]


def memory(build: str) -> None:
    """Peak memory of a process that streams one epoch of builds of the same shards, 1, 4 and 16 times over."""
    from glmdata.shards.manifest import Manifest, fingerprint_of

    manifest = Manifest.load(build)
    for times in (1, 4, 16):
        with tempfile.TemporaryDirectory() as folder:
            shards = []
            (Path(folder) / "shards").mkdir()
            for number in range(times):
                for shard in manifest.shards:
                    name = f"shards/{number:02d}-{Path(shard.path).name}"
                    shutil.copy(Path(build, shard.path), Path(folder, name))
                    shards.append(shard.model_copy(update={"path": name}))
            fingerprint = fingerprint_of([shard.xxh3 for shard in shards])
            larger = manifest.model_copy(update={"shards": tuple(shards), "fingerprint": fingerprint})
            Path(folder, "manifest.json").write_text(larger.dumps(), "utf-8")
            size = sum(shard.bytes for shard in shards)
            told(f"shards of {size / 1e6:,.0f} MB: {run([sys.executable, '-c', PEAK, folder]).stdout.strip()}")


def consumer(build: str, seconds: float) -> None:
    """Batches of 64 taken by a loop that multiplies matrices for about 5 ms each, made ahead and not, by turns."""
    import torch

    from glmdata.streaming import ShardStream

    matrix = torch.rand(512, 512)

    def compute() -> None:
        for _ in range(products):
            torch.mm(matrix, matrix)

    products, start = 8, time.perf_counter()
    compute()
    compute_s = time.perf_counter() - start
    products = max(1, round(products * 0.005 / compute_s))
    ways: dict[str, Iterator[Any] | None] = {
        "computing alone": None,
        "prefetch=0": iter(ShardStream(build, 64, prefetch=0)),
        "prefetch=2": iter(ShardStream(build, 64, prefetch=2)),
    }
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(4):  # the first one warms up
        for name, batches in ways.items():
            start, steps = time.perf_counter(), 0
            while time.perf_counter() - start < seconds:
                if batches is not None:
                    next(batches)
                compute()
                steps += 1
            if turn:
                best[name] = min(best[name], (time.perf_counter() - start) / steps)
    for name, took in best.items():
        told(f"consumer of 64 rows, {name}: {1e3 * took:.2f} ms a step")


def peers(build: str, folder: Path, seconds: float, pythons: dict[str, str]) -> None:
    """Each peer that can be imported, on the same rows."""
    rows = folder / "rows"
    rows.mkdir()
    manifest = json.loads(Path(build, "manifest.json").read_text("utf-8"))
    for number, shard in enumerate(manifest["shards"]):
        table = pa.ipc.open_file(pa.memory_map(str(Path(build, shard["path"])))).read_all()
        table = table.select([*COLUMNS, "context_length", "sample_id"])
        matrix = pa.list_(pa.int32(), manifest["sequence_length"])
        schema = pa.schema([(name, matrix if name in COLUMNS else pa.int64()) for name in table.schema.names])
        with pa.ipc.new_stream(str(rows / f"{number:05d}.arrow"), schema) as writer:
            writer.write_table(table.cast(schema))
    for name, script in PEERS.items():
        python = pythons.get(name, sys.executable)
        if run([python, "-c", f"import {name}"]).returncode:
            told(f"{name}: not installed")
            continue
        (folder / f"{name}_peer.py").write_text(script)
        for batch in BATCHES:
            command = [python, folder / f"{name}_peer.py", rows, folder / name, batch, 3 * seconds]
            done = run([str(part) for part in command])
            if done.returncode:
                told(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
                break
            found = json.loads(done.stdout.strip().splitlines()[-1])
            told(
                f"batch {batch}: {name}: {found['rate']:,.0f} samples/s, {found['repeated']} repeated, "
                f"anonymous memory {found['anonymous_mb']:.0f} MB"
            )


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, env=environment)


def anonymous_mb() -> float:
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1e3


if __name__ == "__main__":
    main()
