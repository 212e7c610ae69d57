"""Hostile input files, by the ids of the plan (C1 to C13): refused with a reason and a place, and nothing else is lost.

More of the ids are in the names of tests in test_corpus_readers.py, test_build.py, test_tokenizer.py and others.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from corpora import document, write_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import damaged, refusal, write_build
from test_build import Stops, ledger, run
from test_corpus_readers import KEPT, QUARANTINED, details, lines, read, rows, texts, whole_file, write_parquet

from glmdata.corpus.benchmarks import find_benchmarks, read_benchmark
from glmdata.errors import ConfigError, InputError, ShardCorruptError
from glmdata.recipe import CorpusSettings, load_recipe
from glmdata.shards.reader import Shards
from glmdata.tokenization import Tokenizer

MIB = 1 << 20


def packed(ending: str, data: bytes) -> bytes:
    return gzip.compress(data, mtime=0) if ending == "gz" else zstandard.ZstdCompressor(level=3).compress(data)


def cuts(size: int) -> list[int]:
    """Every 64th of a length, and each of the last 64 bytes."""
    return sorted({size * part // 64 for part in range(1, 64)} | set(range(size - 64, size)))


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_c1_every_cut_of_a_compressed_file_is_found(tmp_path: Path, ending: str) -> None:
    """Without a checksum in the frame, which is what `zstd` writes through many libraries."""
    values = [document("zh" if index % 2 else "en", index) for index in range(60)]
    data = packed(ending, lines(*values))
    for cut in cuts(len(data)):
        found = read(tmp_path, f"a.jsonl.{ending}", data[:cut])
        whole_file(found)
        kept = texts(found)
        assert kept == values[: len(kept)], cut
        assert len(found) == len(kept) + 1, cut


def test_c1_every_cut_of_a_table_is_found(tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "a.parquet", [document("en", index) for index in range(60)]).read_bytes()
    for cut in cuts(len(data)):
        found = read(tmp_path, "a.parquet", data[:cut])
        assert whole_file(found)["detail"].startswith("cannot be read as parquet"), cut
        assert len(found) == 1, cut


@pytest.mark.parametrize("tail", [b"garbage", bytes(1), bytes(100), b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_c2_what_stands_behind_the_end_is_told_and_costs_no_record(tmp_path: Path, ending: str, tail: bytes) -> None:
    """Zeros behind gzip are padding (RFC 1952 has none, but tapes and tools write it) and no fault."""
    found = read(tmp_path, f"a.jsonl.{ending}", packed(ending, lines("a", "b")) + tail)
    assert texts(found) == ["a", "b"]
    if ending == "gz" and not tail.strip(b"\0"):
        assert len(found) == 2
    else:
        assert whole_file(found)["byte_offset"] == len(lines("a", "b"))


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80"])
@pytest.mark.parametrize("place", [0, 500, 999])
def test_c3_bytes_that_are_no_utf8_cost_one_line_of_a_thousand(tmp_path: Path, bad: bytes, place: int) -> None:
    """0xFF, overlong forms, a surrogate, past U+10FFFF, a lone continuation."""
    made = [b'{"text": "%d"}\n' % number for number in range(1000)]
    made[place] = b'{"text": "' + bad + b'"}\n'
    found = read(tmp_path, "a.jsonl", b"".join(made))
    assert len(texts(found)) == 999
    (row,) = (row for row in found if row["outcome"] == QUARANTINED)
    assert (row["record"], row["byte_offset"]) == (place, sum(map(len, made[:place])))
    assert "invalid UTF-8" in row["detail"]


@pytest.mark.parametrize("character", ["\x00", "\ufeff", "\x1c", "\x0b", "\x85", "\u2028", "\u2029"])
def test_c4_odd_characters_inside_a_text_end_no_line(tmp_path: Path, character: str) -> None:
    text = f"left{character}right"
    escaped = (json.dumps({"text": text}) + "\n").encode()
    assert texts(read(tmp_path, "a.jsonl", escaped + lines("after"))) == [text, "after"]
    if character >= " ":
        assert texts(read(tmp_path, "b.jsonl", lines(text, "after"))) == [text, "after"]


PEAK = """
import json, re, sys
from pathlib import Path
from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.recipe import CorpusSettings
settings = CorpusSettings()
found = []
for split in plan_splits(find_files([sys.argv[1]]).files, settings):
    for batch in read_split(split, settings, str):
        found += [[row["outcome"], row["detail"], row["byte_length"]] for row in batch.to_pylist()]
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss is that of the parent too
print(json.dumps([int(peak[1]) * 1024, found]))
"""


def read_apart(path: Path) -> tuple[int, list[list]]:
    """Peak memory of a process that reads a file, and (outcome, detail, byte_length) of its records."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    peak, found = json.loads(done.stdout)
    return peak, found


def test_c5_a_line_of_one_gibibyte_is_refused_in_little_memory_and_the_next_is_kept(tmp_path: Path) -> None:
    """In a file with a hole, so that the disk has nothing to write."""
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"text": "')
        file.seek(1 << 30)
        file.write(b"\n" + lines("next"))
    peak, found = read_apart(tmp_path / "a.jsonl")
    told = "record of 1,073,741,824 bytes is longer than max_record_bytes"
    assert found == [[QUARANTINED, told, 1 << 30], [KEPT, None, len(lines("next")) - 1]]
    assert peak < 512 * MIB


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "a", "id": 1' + b"0" * 4000 + b"}", "not JSON"),
        (b'{"text": "a", "id": null}', None),
        (b'{"text": "a", "id": 7}', None),
        (b'{"text": "first", "text": "second"}', None),
        (b"[" * 100_000, "not JSON"),
        (b'{"text": ' + b'{"a":' * 100_000, "not JSON"),
        (b'{"text": -Infinity}', "not JSON"),
    ],
)
def test_c6_numbers_ids_and_depth(tmp_path: Path, line: bytes, reason: str | None) -> None:
    """Ids have no part: a document is known by file and record. Of a key given twice the last counts, as in JSON."""
    found = read(tmp_path, "a.jsonl", lines("before") + line + b"\n" + lines("after"))
    assert [found[0]["text"], found[2]["text"]] == ["before", "after"]
    assert found[1]["outcome"] == (QUARANTINED if reason else KEPT)
    assert (reason or "") in (found[1]["detail"] or "")
    if b"second" in line:
        assert found[1]["text"] == "second"


def test_c7_equal_ids_mean_nothing_and_equal_texts_are_one(tmp_path: Path) -> None:
    """And every record read is kept, or has a reason: in a build of hostile files among good ones."""
    write_corpus(tmp_path / "corpus", 20)
    same = [json.dumps({"id": "x", "text": document("en", n, 12)}) for n in (900, 901, 900)]
    (tmp_path / "corpus" / "ids.jsonl").write_text("\n".join(same), "utf-8")
    (tmp_path / "corpus" / "cut.jsonl.zst").write_bytes(packed("zst", lines(*map(str, range(999))))[:-9])
    (tmp_path / "corpus" / "bad.parquet").write_bytes(b"PAR1" + bytes(99) + b"PAR1")
    (tmp_path / "corpus" / "odd.jsonl").write_bytes(b'{"text": "\xff"}\n[]\n{"text": " "}\n' + b"[" * 10_000)
    made = run(tmp_path / "corpus", tmp_path / "out")
    outcomes = [row["outcome"] for row in ledger(made) if row["uri"] == "ids.jsonl"]
    assert outcomes.count("exact_duplicate") == 1
    report = made.report
    assert report["records_in"] == sum(report["outcomes"].values()) == len(ledger(made))
    assert all(row["detail"] for row in ledger(made) if row["outcome"] == "quarantined")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"{\n", b'{"text": " "}\n', b'{"text": "7"}\n'])
def test_c8_a_corpus_without_documents_is_an_error_with_its_cause(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_bytes(data)
    with pytest.raises(
        InputError, match=r"no record in the corpus: its file is empty" if not data.strip() else r"zh|en"
    ):
        run(tmp_path / "corpus", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def zstd_bomb() -> bytes:
    """1 GiB of zeros in one frame, 32,000 : 1."""
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    return b"".join([*(packer.compress(bytes(16 * MIB)) for _ in range(64)), packer.flush()])


def test_c10_bombs_are_refused_in_little_memory(tmp_path: Path) -> None:
    bomb = zstd_bomb()
    assert len(bomb) < 1 << 16
    for name, data in {
        "a.jsonl.zst": bomb,
        "b.txt.zst": bomb,
        "c.jsonl.zst": packed("zst", bomb),
        "d.jsonl.gz": packed("gz", bomb),
    }.items():
        (tmp_path / name).write_bytes(data)
    peak, found = read_apart(tmp_path)
    assert [row[0] for row in found] == [QUARANTINED] * 4
    assert ["bomb" in row[1] for row in found] == [True, True, False, False]
    assert all("compressed twice" in row[1] for row in found[2:])
    assert peak < 512 * MIB


def test_c10_wrong_sizes_and_huge_windows_are_refused(tmp_path: Path) -> None:
    whole = bytearray(zstandard.ZstdCompressor().compress(lines("a" * 5000)))
    for size in (1, 1 << 15, (1 << 16) + 255):  # two bytes behind magic and descriptor: the size less 256
        whole[5:7] = (size - 256 & 0xFFFF).to_bytes(2, "little")
        whole_file(read(tmp_path, "size.jsonl.zst", bytes(whole)))
    window = b"\x28\xb5\x2f\xfd" + bytes([0, (31 - 10) << 3]) + (1 | 5 << 3).to_bytes(3, "little") + b"hello"
    assert "memory" in whole_file(read(tmp_path, "window.jsonl.zst", window))["detail"]


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_c10_the_recipe_says_how_much_a_file_may_expand_to(tmp_path: Path, ending: str) -> None:
    data = packed(ending, lines(*["many words of text " * 50] * 3000))
    options = CorpusSettings(max_expanded_bytes=1 << 20)
    found = read(tmp_path, f"a.jsonl.{ending}", data, options)
    assert "corpus.max_expanded_bytes" in whole_file(found)["detail"]
    assert 0 < len(texts(found)) < 3000
    assert len(texts(rows(tmp_path / f"a.jsonl.{ending}"))) == 3000


@pytest.mark.parametrize("options", [["corpus.max_expansion=5"], ["corpus.max_expanded_bytes=9"]])
def test_c10_limits_that_would_refuse_all_are_refused(options: list[str]) -> None:
    with pytest.raises(ConfigError, match=options[0].split("=")[0]):
        load_recipe("glm", options)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_corpus(folder / "corpus", 20)
    return Tokenizer.load(run(folder / "corpus", folder / "out").folder / "tokenizer.model")


def test_c11_every_code_point_comes_back_and_is_no_special_token(tokenizer: Tokenizer) -> None:
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    texts_ = ["".join(map(chr, points[at : at + 4096])) for at in range(0, len(points), 4096)]
    for text, ids in zip(texts_, tokenizer.encode(texts_), strict=True):
        assert ids.max() < tokenizer.num_pieces
        assert tokenizer.decode(ids) == text


def test_c12_a_tokenizer_that_was_changed_is_not_loaded(tmp_path: Path) -> None:
    write_build(tmp_path / "b")
    path = tmp_path / "b" / "tokenizer.model"
    assert Shards(tmp_path / "b").file("tokenizer.model") == path
    for data in (path.read_bytes()[:-1], path.read_bytes()[:-1] + b"x", b""):
        path.write_bytes(data)
        with pytest.raises(ShardCorruptError, match=r"tokenizer\.model: its bytes are not those"):
            Shards(tmp_path / "b").file("tokenizer.model")


# ---------------------------------------------------------------- C13: fuzzing


PIECES = st.sampled_from(
    [b'{"text": "', b'"}', b"\n", b"\r\n", b"\xff", b"\xef\xbb\xbf", b"\\ud800", b"[" * 2000, b"\x00", b" ",
     b"{}", b'"',
     b'{"text": "good"}\n', b"\n\n", "中".encode(), b"1e999", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"x" * 1500]
)  # fmt: skip
ANY_BYTES = st.lists(PIECES | st.binary(max_size=20), max_size=30).map(b"".join)


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.jsonl.gz", "a.txt.zst", "a.parquet", "a.arrow"])
@given(data=ANY_BYTES)
@settings(max_examples=60)
def test_c13_readers_take_any_bytes(tmp_path_factory, name: str, data: bytes) -> None:
    """Whatever a file holds: records in order, a reason for each that is refused, at most one row for the rest."""
    found = read(tmp_path_factory.getbasetemp(), name, data, CorpusSettings(max_record_bytes=1024))
    numbers = [row["record"] for row in found if row["record"] >= 0]
    assert numbers == list(range(len(numbers)))
    assert len(found) - len(numbers) <= 1
    assert len(details(found)) == sum(bool(row["detail"]) for row in found)


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.jsonl.gz", "a.parquet", "a.arrow"])
@given(data=ANY_BYTES)
@settings(max_examples=25)
def test_c13_benchmarks_are_read_or_refused(tmp_path_factory, name: str, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    found: list[str] = []

    def read_all() -> None:
        for benchmark in find_benchmarks([str(path)]):
            for record in read_benchmark(benchmark, ()):
                found.extend(record)

    told = refusal(read_all, InputError)
    assert told is None or name in told
    assert all(isinstance(text, str) for text in found)


WORDS = st.sampled_from(
    ["seed:", "\n", " ", "recipe", "{", "}", "[", "]", "&a", "*a", "\"", "'", "!!python/name:os.system", "|", ">", "-",
     "?", "%", "@", "\t", "1", "spans:", "mask_ratio: 0.5", "<<:", "---", "...", "0x", "1:59", "=", "#"]
)  # fmt: skip


@given(data=st.lists(WORDS | st.text(max_size=8)))
@settings(max_examples=60)
def test_c13_recipes_are_read_or_refused(tmp_path_factory, data: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(" ".join(data), "utf-8", newline="")
    told = refusal(lambda: load_recipe(str(path)), ConfigError)
    assert told is None or "any.yaml" in told


def test_c13_a_recipe_that_would_take_minutes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text("".join(f"k{number}: 1\n" for number in range(80_000)), "utf-8")
    with pytest.raises(ConfigError, match="a recipe is at most"):
        load_recipe(str(tmp_path / "long.yaml"))


@given(data=st.data())
@settings(max_examples=60)
def test_c13_tokenizer_files_are_read_or_refused(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """SentencePiece's own parser, then ours."""
    model = data.draw(damaged(tokenizer.model))
    told = refusal(lambda: Tokenizer(model, "any.model").encode(["春天 x ▁"]), InputError)
    assert told is None or "any.model" in told


# ---------------------------------------------------------------- files that change


@pytest.mark.parametrize("change", ["grows", "shrinks", "is replaced", "vanishes", "becomes a folder"])
def test_a_file_that_changes_while_the_corpus_is_read_ends_the_build(tmp_path: Path, change: str) -> None:
    write_corpus(tmp_path / "corpus", 20)
    path = tmp_path / "corpus" / "bad.jsonl"

    class Changes(Stops):
        def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
            if not path.is_file() or stage != "ingest":
                return
            data = path.read_bytes()
            if change in ("is replaced", "vanishes", "becomes a folder"):
                path.unlink()
            if change == "becomes a folder":
                path.mkdir()
            elif change != "vanishes":
                path.write_bytes({"grows": data + b"\n", "shrinks": data[:-1], "is replaced": bytes(len(data))}[change])

    told = r"bad\.jsonl was there when the build began" if change == "vanishes" else r"bad\.jsonl changed while"
    with pytest.raises(InputError, match=told):
        run(tmp_path / "corpus", tmp_path / "out", progress=Changes())
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_table_of_an_extension_type_is_refused_and_its_code_not_run(tmp_path: Path) -> None:
    """E5 for corpora: the type's own description is a pickle that would touch a file."""
    harm = tmp_path / "harmed"
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": f"cos\nsystem\n(S'touch {harm}'\ntR.".encode(),
    }
    schema = pa.schema([pa.field("text", pa.string(), metadata=metadata)])
    table = pa.table({"text": ["a"]}).cast(schema)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "b.arrow", schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "b.arrow"):
        found = rows(tmp_path / name)
        assert len(found) == 1, found
    assert not harm.exists()
