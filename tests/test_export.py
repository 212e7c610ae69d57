"""`glmdata export`, and the snippets of docs/format.md that read shards without glmdata."""

import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import build_small, glmdata
from synthetic import LENGTH, random_row, write_build

from glmdata.errors import BuildExistsError, BuildRunningError, ConfigError, ShardError
from glmdata.infilling.restore import restore
from glmdata.infilling.segments import split_segments
from glmdata.shards import export as export_module
from glmdata.shards.export import export
from glmdata.shards.manifest import Manifest
from glmdata.shards.reader import Shards
from glmdata.tokenization import Tokenizer

ROWS = 100


@pytest.fixture(scope="module")
def real(corpus, tmp_path_factory):
    """Small builds with a tokenizer, by packing."""
    folder = tmp_path_factory.mktemp("real")
    for packing in ("concat", "segments"):
        build_small(corpus, folder / packing, "--set", f"packing={packing}")
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class IndexedDataset:
    """Megatron's reader, by what is published of the format."""

    def __init__(self, prefix: Path) -> None:
        data = prefix.with_suffix(".idx").read_bytes()
        magic, version, code, count, documents = struct.unpack_from("<9sQBQQ", data)
        assert (magic, version) == (b"MMIDIDX\x00\x00", 1)
        self.dtype = {4: np.dtype(np.int32), 8: np.dtype(np.uint16)}[code]
        at = struct.calcsize("<9sQBQQ")
        self.sizes = np.frombuffer(data, np.int32, count, at)
        self.pointers = np.frombuffer(data, np.int64, count, at + 4 * count)
        self.documents = np.frombuffer(data, np.int64, documents, at + 12 * count)
        assert len(data) == at + 12 * count + 8 * documents
        self.bin = prefix.with_suffix(".bin").read_bytes()

    def __getitem__(self, number: int) -> list[int]:
        return np.frombuffer(self.bin, self.dtype, self.sizes[number], self.pointers[number]).tolist()


# ---------------------------------------------------------------- formats


def test_parquet_has_the_columns_and_rows_of_the_shards(build, tmp_path):
    done = export(build, "parquet", tmp_path / "out")
    files = sorted((tmp_path / "out").glob("*.parquet"))
    rows = pa.concat_tables([pq.read_table(path) for path in files]).to_pylist()

    assert (done.rows, len(files)) == (ROWS, 3)
    assert rows == [random_row(number) for number in range(ROWS)]


def test_row_groups_cut_nothing_off(build, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "ROW_GROUP_ROWS", 16)
    export(build, "parquet", tmp_path / "out")
    files = [pq.ParquetFile(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]

    assert [file.metadata.num_row_groups for file in files] == [3, 3, 2]
    assert [file.metadata.num_rows for file in files] == [40, 40, 20]


@pytest.mark.parametrize("packing", ["concat", "segments"])
def test_lines_tell_text_and_spans(real, tmp_path, packing):
    export(real / packing, "jsonl", tmp_path / "out")
    files = sorted((tmp_path / "out").glob("*.jsonl"))
    lines = [json.loads(line) for path in files for line in path.read_bytes().split(b"\n")[:-1]]
    shards = Shards(real / packing)
    tokenizer = Tokenizer.load(real / packing / "tokenizer.model")

    assert [line["sample"] for line in lines] == list(range(shards.rows))
    for line in lines:
        row = shards.row(line["sample"])
        found = restore(row, shards.style)
        assert line["tokens"] == found.tokens.tolist()
        assert line["text"] == tokenizer.decode(line["tokens"])
        assert [[span["start"], span["end"]] for span in line["spans"]] == found.spans.tolist()
        assert re.findall("⟦(.*?)⟧", line["marked"], re.DOTALL) == [span["text"] for span in line["spans"]]
        assert line["document_ids"] == [name.hex() for name in row["document_ids"]]
        assert (line["sample_id"], line["length"]) == (row["sample_id"], row["length"])


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_megatron_reads_the_texts_before_masking(build, tmp_path, monkeypatch, step):
    monkeypatch.setattr(export_module, "INDEX_STEP", step)
    done = export(build, "megatron", tmp_path / "out")
    found, shards = IndexedDataset(tmp_path / "out/text"), Shards(build)

    assert found.dtype == np.uint16
    assert done.sequences == len(found.sizes) == ROWS
    assert found.documents.tolist() == list(range(ROWS + 1))
    for number in range(ROWS):
        assert found[number] == restore(shards.row(number), shards.style).tokens.tolist()
    assert len(found.bin) == 2 * int(found.sizes.sum())


def test_samples_that_share_a_row_are_sequences_of_their_own(real, tmp_path):
    done = export(real / "segments", "megatron", tmp_path / "out")
    found, shards = IndexedDataset(tmp_path / "out/text"), Shards(real / "segments")
    alone = shards.style._replace(apart=False)
    wanted = [
        restore(sample, alone).tokens.tolist()
        for number in range(shards.rows)
        for sample in split_segments(shards.row(number), shards.style)
    ]

    assert done.sequences > done.rows
    assert [found[number] for number in range(len(found.sizes))] == wanted


def test_large_vocabularies_take_four_bytes(build, tmp_path):
    manifest = Manifest.load(build)
    for size, dtype in ((65_499, np.uint16), (65_500, np.int32)):
        folder = tmp_path / str(size)
        shutil.copytree(build, folder)
        entry = manifest.tokenizer.model_copy(update={"vocabulary_size": size})
        (folder / "manifest.json").write_text(manifest.model_copy(update={"tokenizer": entry}).dumps(), "utf-8")
        export(folder, "megatron", folder / "out")
        found, shards = IndexedDataset(folder / "out/text"), Shards(build)
        assert found.dtype == dtype
        assert found[7] == restore(shards.row(7), shards.style).tokens.tolist()


# ---------------------------------------------------------------- the folder


@pytest.mark.parametrize("form", ["parquet", "megatron"])
def test_the_bytes_are_the_same_again(build, tmp_path, form):
    export(build, form, tmp_path / "a")
    export(build, form, tmp_path / "deep/er/b")

    assert contents(tmp_path / "a") == contents(tmp_path / "deep/er/b")
    record = json.loads((tmp_path / "a/export.json").read_text())
    assert record["files"].keys() | {"export.json"} == contents(tmp_path / "a").keys()
    assert record["fingerprint"] == Shards(build).manifest.fingerprint


def test_an_export_that_is_there_is_left_alone(build, tmp_path):
    done = export(build, "megatron", tmp_path / "out")
    (tmp_path / "out/text.bin").chmod(0o400)
    stamp = (tmp_path / "out/text.bin").stat()

    assert export(build, "megatron", tmp_path / "out") == done
    assert (tmp_path / "out/text.bin").stat() == stamp


def test_other_folders_are_refused(build, tmp_path):
    export(build, "megatron", tmp_path / "out")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, what in (("out", "megatron of build"), ("notes", "no export"), ("file", "no export")):
        with pytest.raises(BuildExistsError, match=f"holds .*{what}.*; choose another --out"):
            export(build, "parquet", tmp_path / out)

    assert (tmp_path / "notes/a.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert export(build, "parquet", tmp_path / "empty").rows == ROWS


def test_a_failure_leaves_nothing(tmp_path):
    write_build(tmp_path / "b")
    victim = tmp_path / "b/shards/part-00002-of-00003.arrow"
    victim.write_bytes(victim.read_bytes()[::-1])
    with pytest.raises(ShardError, match=victim.name):
        export(tmp_path / "b", "parquet", tmp_path / "out")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]


def test_what_a_killed_export_left_is_taken_over(build, tmp_path):
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new/part-00009-of-00010.parquet").write_bytes(b"half")
    export(build, "parquet", tmp_path / "out")

    assert len(contents(tmp_path / "out")) == 4
    assert not (tmp_path / ".out.new").exists()


def test_two_exports_to_one_folder_do_not_mix(build, tmp_path):
    with (
        export_module._staged(tmp_path / "out"),
        pytest.raises(BuildRunningError, match="another process is exporting"),
    ):
        export(build, "parquet", tmp_path / "out")


def test_a_format_nobody_knows_is_refused(build, tmp_path):
    with pytest.raises(ConfigError, match="--to csv: there are parquet, jsonl, megatron"):
        export(build, "csv", tmp_path / "out")


def test_the_command(real, tmp_path):
    done = glmdata("export", real / "segments", "--to", "megatron", "--out", tmp_path / "out", "--json")
    found = json.loads(done.stdout)
    shards = Shards(real / "segments")

    assert (found["rows"], found["format"]) == (shards.rows, "megatron")
    assert found["files"] == {
        name: len(data) for name, data in contents(tmp_path / "out").items() if name != "export.json"
    }
    told = glmdata("export", real / "concat", "--to", "parquet", "--out", tmp_path / "other").stdout
    assert re.fullmatch(r".*other: \d+ rows in 1 file, \d+\.\d MB\n", told)
    assert glmdata("export", real / "concat", "--to", "csv", "--out", tmp_path / "c").returncode == 2
    refused = glmdata("export", real / "concat", "--to", "jsonl", "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert "choose another --out" in refused.stderr


# ---------------------------------------------------------------- without glmdata


def test_the_documented_snippets_read_shards(build):
    text = (Path(__file__).parent.parent / "docs/format.md").read_text("utf-8")
    section = text[text.index("## Reading without glmdata") : text.index("## Other formats")]
    plain, duck, frame = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {"folder": str(build)}
    exec(plain, names)
    assert names["input_ids"].shape == (8, LENGTH)
    assert names["input_ids"].tolist() == [random_row(number)["input_ids"] for number in range(8)]

    pytest.importorskip("duckdb", reason="DuckDB is not installed: pip install duckdb")
    exec(duck, names)
    rows = [random_row(number) for number in range(ROWS)]
    assert sorted((code, count) for code, count, _ in names["lengths"]) == [
        (code, sum(row["objective"] == code for row in rows)) for code in range(3)
    ]

    pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    exec(frame, names)
    assert names["frame"]["input_ids"][42].tolist() == rows[42]["input_ids"]


def test_duckdb_and_pandas_read_the_exports(build, real, tmp_path):
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed: pip install duckdb")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    export(build, "parquet", tmp_path / "rows")
    export(real / "concat", "jsonl", tmp_path / "lines")

    wanted = [random_row(number)["input_ids"] for number in range(ROWS)]
    found = duckdb.sql(f"SELECT input_ids FROM '{tmp_path}/rows/*.parquet' ORDER BY sample_id").fetchall()
    assert [list(ids) for (ids,) in found] == wanted
    frames = [pandas.read_parquet(path) for path in sorted((tmp_path / "rows").glob("*.parquet"))]
    assert [ids.tolist() for frame in frames for ids in frame["input_ids"]] == wanted
    lines = duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/lines/*.jsonl' WHERE marked LIKE '%⟦%'").fetchall()
    assert lines == [(Shards(real / "concat").rows,)]
