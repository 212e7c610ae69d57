"""Hostile input and damaged builds, counted: what was found or accounted for, out of how much.

    python benchmarks/hostile.py [--corpus DIR] [--flips 1000] [--seed 1]

inputs  files that are broken, misnamed, endless or bombs, one in each folder of a corpus among good documents: one
        build, then its ledger: every good record accepted, every bad one refused with a reason, or the file as a whole
flips   single bits of a build's shards and manifest, at random by bytes: found by `glmdata inspect --verify`; beside it
        what Arrow alone finds in the same files (read and validated in full, each in a process of its own)
"""

import argparse
import gzip
import io
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from text import table
from variations import Sentences

from glmdata.errors import ShardError
from glmdata.shards.verify import verify

GLMDATA = [sys.executable, "-m", "glmdata.cli"]
SMALL = ("--address", "none", "--set", "sequence_length=128", "--set", "tokenizer.vocabulary_size=4000",
         "--set", "balance.strategy=off", "--set", "dedupe.near=false")  # fmt: skip
REFUSED = ("quarantined", "empty")


@dataclass(frozen=True)
class Case:
    """A file: how many of its records are good and bad, and whether it is told as a whole besides."""

    name: str
    data: bytes
    good: int = 0
    bad: int = 0
    file: bool = False

    def verdict(self, rows: list[dict[str, object]]) -> tuple[bool, str]:
        """Whether the ledger is as it should be, and what it says."""
        refused = [row for row in rows if row["outcome"] in REFUSED]
        whole = [row for row in refused if row["record"] == -1]
        told = all(row["detail"] for row in refused if row["outcome"] == "quarantined")
        counts = (len(rows) - len(refused), len(refused) - len(whole), bool(whole))
        reason = next((str(row["detail"]) for row in refused if row["detail"]), "empty" if refused else "")
        return told and counts == (self.good, self.bad, self.file), reason


def line(text: str, **more: object) -> bytes:
    """One record."""
    return json.dumps({"text": text, **more}, ensure_ascii=False).encode() + b"\n"


def parquet(columns: dict[str, object]) -> bytes:
    """A table."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def zeros(pack: Callable[[], tuple[Callable[[bytes], bytes], Callable[[], bytes]]]) -> bytes:
    """1 GiB of them."""
    compress, flush = pack()
    return b"".join([*(compress(bytes(1 << 24)) for _ in range(64)), flush()])


def cases(words: Iterator[str]) -> Iterator[Case]:
    """All of them; `words` are good texts, each given once."""
    one = lambda **more: line(next(words), **more)  # noqa: E731
    some = b"".join(one() for _ in range(20))
    yield from lines_of_all_kinds(one)
    squeezed, packed = zstandard.ZstdCompressor().compress(some), gzip.compress(some, mtime=0)
    half = len(one())
    yield Case("cut.jsonl.gz", gzip.compress(one())[:-8], good=1, file=True)
    yield Case("cut.jsonl.zst", zstandard.compress(one())[:-3], file=True)
    yield Case("cut-in-half.txt.gz", gzip.compress(random.Random(1).randbytes(half))[: half // 2], file=True)
    yield Case("crc.jsonl.gz", gzip.compress(one())[:-8] + bytes(8), good=1, file=True)
    yield Case("trailing.jsonl.gz", gzip.compress(one()) + b"garbage", good=1, file=True)
    yield Case("zeros-behind.jsonl.gz", gzip.compress(one()) + bytes(512), good=1)
    yield Case("members.jsonl.gz", gzip.compress(one()) + gzip.compress(b"") + gzip.compress(one()), good=2)
    yield Case("skippable.jsonl.zst", struct.pack("<II", 0x184D2A50, 5) + b"hello" + zstandard.compress(one()), good=1)
    yield Case("twice.jsonl.gz", gzip.compress(packed), file=True)
    yield Case("nested.jsonl.zst", zstandard.compress(squeezed), file=True)
    yield Case("plain.jsonl.gz", one(), file=True)
    yield Case("gzip-named.jsonl", packed, file=True)
    yield Case("zstd-named.txt", squeezed, file=True)
    yield Case("window.jsonl.zst", b"\x28\xb5\x2f\xfd\x00\xa8" + (41).to_bytes(3, "little") + b"hello", file=True)

    def zstd() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
        packer = zstandard.ZstdCompressor(level=19).compressobj()
        return packer.compress, packer.flush

    def gzipped() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
        import zlib

        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        return packer.compress, packer.flush

    yield Case("bomb.jsonl.zst", zeros(zstd), file=True)
    yield Case("bomb.txt.gz", zeros(gzipped), file=True)
    whole = parquet({"text": [next(words) for _ in range(20)]})
    yield Case("numbers.parquet", parquet({"text": [1, 2]}), file=True)
    yield Case("columns.parquet", parquet({"body": ["a"]}), file=True)
    yield Case("nulls.parquet", parquet({"text": [next(words), None]}), good=1, bad=1)
    yield Case("half.parquet", whole[: len(whole) // 2], file=True)
    yield Case("footer.parquet", whole[:-8] + bytes(8), file=True)
    yield Case("text.parquet", b"no table", file=True)
    yield Case("text.arrow", b"no table", file=True)
    yield Case("utf16.txt", next(words).encode("utf-16"), file=True)
    yield Case("bad-paragraph.txt", next(words).encode() + b"\n\n\xff\xfe\n\n" + next(words).encode(), good=2, bad=1)


def lines_of_all_kinds(one: Callable[..., bytes]) -> Iterator[Case]:
    """JSON lines: each bad one between two good ones."""
    bad = {
        "words": b"plain words", "quote": b'{"text": "no end', "two": b'{"text": "a"} {"text": "b"}', "list": b"[1]",
        "number": b"4.5", "null": b"null", "no-text": b'{"id": 1}', "text-null": b'{"text": null}',
        "text-number": b'{"text": 5}', "text-list": b'{"text": ["a"]}', "nan": b'{"text": "a", "x": NaN}',
        "latin1": b'{"text": "caf\xe9"}', "overlong": b'{"text": "\xc0\xaf"}', "surrogate": b'{"text": "\\ud800"}',
        "surrogate-bytes": b'{"text": "\xed\xa0\x80"}', "nul": b'{"text": "a\x00b"}', "nuls": bytes(100_000),
        "deep": b'{"text": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deeper": b"[" * 100_000,
        "digits": b'{"text": "a", "id": 1' + b"0" * 4000 + b"}", "empty": b'{"text": ""}',
        "spaces": b'{"text": " \\n "}',
        "long": b'{"text": "' + b"x" * (33 << 20) + b'"}', "bom-inside": b'\xef\xbb\xbf{"text": "a"}',
    }  # fmt: skip
    for name, data in bad.items():
        yield Case(f"{name}.jsonl", one() + data + b"\n" + one(), good=2, bad=1)
    yield Case("bom.jsonl", b"\xef\xbb\xbf" + one(), good=1)
    yield Case("crlf.jsonl", (one() + one()).replace(b"\n", b"\r\n"), good=2)
    yield Case("no-newline.jsonl", one() + one().rstrip(b"\n"), good=2)
    yield Case("separators.jsonl", one(note="\u2028\u0085\x1c"), good=1)
    yield Case("ids.jsonl", one(id=None) + one(id=1) + one(id=1), good=3)
    yield Case("nothing.jsonl", b"")


def build(corpus: Path, out: Path) -> None:
    """Run one."""
    command = [*GLMDATA, "build", "--corpus", str(corpus), "--out", str(out), *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")


def inputs(sentences: Sentences, folder: Path) -> None:
    """The build of hostile files, and its ledger."""
    sentences.write_short(folder / "good", 2000)
    texts = [json.loads(row)["text"] for row in next((folder / "good").iterdir()).read_text("utf-8").splitlines()]
    written = []
    for case in cases(text for text in reversed(texts)):
        written.append(case)
        (folder / case.name.partition(".")[0]).mkdir(exist_ok=True)
        (folder / case.name.partition(".")[0] / case.name).write_bytes(case.data)
    next((folder / "good").iterdir()).write_text("".join(line(text).decode() for text in texts[:1000]), "utf-8")
    out = folder.parent / "out"
    build(folder, out)
    ledger = [row for path in (out / "ledger").iterdir() for row in pq.read_table(path).to_pylist()]
    report = json.loads((out / "report.json").read_text("utf-8"))
    rows, right = [], 0
    for case in written:
        mine = [row for row in ledger if row["uri"].endswith("/" + case.name)]
        good, reason = case.verdict(mine)
        right += good
        outcomes = Counter(row["outcome"] for row in mine)
        rows.append(
            [
                case.name,
                "yes" if good else "NO",
                ", ".join(f"{n} {o}" for o, n in sorted(outcomes.items())),
                reason[:80],
            ]
        )
    table(f"hostile inputs: {right} of {len(written)} accounted for", ["file", "right", "ledger", "first reason"], rows)
    total = sum(report["outcomes"].values())
    print(f"  records in {report['records_in']:,} = sum of outcomes {total:,} = rows of the ledger {len(ledger):,}")


def flips(sentences: Sentences, folder: Path, count: int, seed: int) -> None:
    """Single bits of a small build."""
    (folder / "corpus").mkdir(parents=True)
    sentences.write_short(folder / "corpus", 1500)
    build(folder / "corpus", folder / "out")
    paths = [*sorted((folder / "out" / "shards").iterdir()), folder / "out" / "manifest.json"]
    sizes = [path.stat().st_size for path in paths]
    drawn = random.Random(seed)
    found, alone = Counter[str](), Counter[str]()
    for number in range(count):
        # Every tenth in the manifest, which is a thousandth of the bytes.
        path = paths[-1] if number % 10 == 9 else drawn.choices(paths[:-1], sizes[:-1])[0]
        data = path.read_bytes()
        bit = drawn.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            named = [problem.path for problem in verify(folder / "out")]
        except ShardError as error:
            named = ["manifest.json"] if "format version" in str(error) else []
        place = path.relative_to(folder / "out").as_posix()
        found["found" if place in named else "missed"] += 1
        if path.suffix == ".arrow":
            alone[by_arrow(path, pa.ipc.open_file(pa.py_buffer(data)).read_all())] += 1
        path.write_bytes(data)
    assert not list(verify(folder / "out"))
    rows = [["glmdata, shards and manifest", found["found"], found["missed"], 0, count]]
    rows.append(
        [
            "Arrow, shards, validated in full",
            alone["found"] + alone["harmless"],
            alone["missed"],
            alone["crash"],
            alone.total(),
        ]
    )
    table("single flipped bits", ["by", "found or harmless", "missed", "crashed", "of"], rows)


def by_arrow(path: Path, good: pa.Table) -> str:
    """What reading and validating a shard comes to, in a child that may crash."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = 1
        try:
            read = pa.ipc.open_file(path).read_all()
            read.validate(full=True)
            code = 2 if read.equals(good) else 3
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return "crash" if os.WIFSIGNALED(status) else {1: "found", 2: "harmless", 3: "missed"}[os.WEXITSTATUS(status)]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if not args.corpus.is_dir():
        sys.exit(f"no corpus at {args.corpus}: give --corpus DIR")
    sentences = Sentences(args.corpus)
    with tempfile.TemporaryDirectory(prefix="glmdata-hostile-") as name:
        (Path(name) / "hostile" / "good").mkdir(parents=True)
        inputs(sentences, Path(name) / "hostile")
        flips(sentences, Path(name) / "flips", args.flips, args.seed)
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
