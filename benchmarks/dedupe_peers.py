"""What peers run, each in an interpreter that has it: scripts that are written into a temporary folder."""

import os
import subprocess
import sys
from pathlib import Path

HAN_KANA = r"\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff"
UNIT = rf"[{HAN_KANA}]|[^\W_{HAN_KANA}]+"
"""Han and kana characters, and words."""
PEER_SIGNATURES = """
import json, re, sys, time
import numpy as np

folder, peer = sys.argv[1:]
values, offsets = np.load(folder + "/values.npy"), np.load(folder + "/offsets.npy")
texts = json.load(open(folder + "/texts.json", encoding="utf-8"))
unit = re.compile(UNIT)

def shingles(text):
    units = unit.findall(text.lower())
    return {" ".join(units[i : i + 5]) for i in range(max(1, len(units) - 4))}

if peer == "datasketch":
    from datasketch import MinHash
    ready = [(values[a:b] >> np.uint64(32)).tolist() for a, b in zip(offsets[:-1], offsets[1:])]
    given = lambda: MinHash.bulk(ready, num_perm=128, seed=1, scheme="affine32", hashfunc=int)
    python = lambda: MinHash.bulk(([s.encode() for s in shingles(text)] for text in texts), num_perm=128, seed=1)
    np.save(folder + "/datasketch.npy", np.array([minhash.digest() for minhash in given()], np.uint32))
else:
    from rensa import RMinHash
    starts = offsets.astype(np.uint64)
    given = lambda: RMinHash.digest_matrix_from_flat_token_hashes(values, starts, 128, 1)
    python = lambda: RMinHash.digest_matrix_from_token_sets([list(shingles(text)) for text in texts], 128, 1)
best = {}
for name, call, runs in (("shingle hashes given", given, 3), ("shingling in Python", python, 3)):
    for _ in range(runs):
        started = time.process_time()
        call()
        best[name] = min(best.get(name, 1e9), time.process_time() - started)
print(json.dumps(best))
"""
DATATROVE = """
import json, re, sys, time
from pathlib import Path
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.utils.word_tokenizers import WordTokenizer

class Units(WordTokenizer):
    def word_tokenize(self, text):
        return re.findall(UNIT, text)
    def sent_tokenize(self, text):
        return [text]
    def span_tokenize(self, text):
        return [(0, len(text))]

def main():
    folder, words, files, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    work = f"{folder}/{words}"
    config = MinhashConfig()
    language = {} if words == "spacy" else {"language": Units()}
    sign = MinhashDedupSignature(work + "/s", config=config, **language)
    stages = {
        "signature": (files, [JsonlReader(folder + "/in"), sign]),
        "buckets": (config.num_buckets, [MinhashDedupBuckets(work + "/s", work + "/b", config=config)]),
        "cluster": (1, [MinhashDedupCluster(work + "/b", work + "/r", config=config)]),
        "filter": (files, [JsonlReader(folder + "/in"), MinhashDedupFilter(work + "/r")]),
    }
    seconds = {}
    for name, (tasks, pipeline) in stages.items():
        started = time.perf_counter()
        LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=workers, logging_dir=f"{work}/logs/{name}").run()
        seconds[name] = time.perf_counter() - started
    removed = sum(file.stat().st_size for file in Path(work + "/r").glob("*.remove")) // 4
    Path(work + "/told.json").write_text(json.dumps({"seconds": seconds, "removed": removed}))

if __name__ == "__main__":
    main()
"""


def peer_python(module: str) -> str | None:
    """An interpreter that has a module."""
    for python in (sys.executable, os.environ.get("PEER_PYTHON", "")):
        if python and runs([python, "-c", f"import {module}"]):
            return python
    return None


def runs(command: list[str]) -> bool:
    """Whether a command ends well."""
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def peer_script(folder: Path, name: str, source: str) -> Path:
    """Write what a peer runs."""
    path = folder / name
    path.write_text(f"UNIT = {UNIT!r}\n{source}", "utf-8")
    return path
