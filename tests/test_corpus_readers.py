"""Readers: batches, files and disks that fail, and the records of real text."""

import dataclasses
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from corpora import SHARED
from hypothesis import given
from hypothesis import strategies as st
from readings import (
    KEPT,
    SETTINGS,
    batches_of,
    lines,
    plain_paragraphs,
    same,
    whole,
    whole_file,
)

from glmdata.corpus.documents import Outcome
from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.errors import StorageError
from glmdata.recipe import CorpusSettings

CORPUS = SHARED / "corpus"


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=300),
    st.lists(st.integers(1, 50), min_size=1, max_size=10),
)
def test_batches_close_when_their_text_reaches_the_partition_size(sizes, groups):
    from glmdata.corpus.batches import DocumentBatches, RecordGroup

    builder = DocumentBatches(CorpusSettings(partition_bytes=1 << 16), same)
    found, at = [], 0
    while at < len(sizes):
        part = sizes[at : at + groups[at % len(groups)]]
        where = np.arange(at, at + len(part))
        group = RecordGroup(texts=["x" * n for n in part], reasons={}, offsets=where, lengths=where)
        found += builder.add(group)
        at += len(part)
    found += builder.finish()
    expected, held = [[]], 0
    for size in sizes:
        if held >= 1 << 16:
            expected.append([])
            held = 0
        expected[-1].append(size)
        held += size
    assert [[len(t) for t in batch["text"].to_pylist()] for batch in found] == expected
    assert np.concatenate([b["record"].to_numpy() for b in found]).tolist() == list(range(len(sizes)))


def test_a_batch_holds_at_most_65536_records(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines("a") * 100_000 + b"{\n" * 50_000)
    found = batches_of(tmp_path / "a.jsonl")
    assert [batch.num_rows for batch in found] == [65_536, 65_536, 18_928]


def test_problems_and_files_that_cannot_be_opened_are_one_row(tmp_path):
    split = dataclasses.replace(whole(tmp_path / "gone.jsonl", "jsonl"), end=100)
    (batch,) = read_split(split, SETTINGS, same)
    assert "No such file" in whole_file(batch.to_pylist())["detail"]
    (batch,) = read_split(dataclasses.replace(split, problem="for a reason"), SETTINGS, same)
    assert whole_file(batch.to_pylist())["detail"] == "for a reason"


def test_a_split_among_several_that_has_gone_is_a_storage_error(tmp_path):
    split = dataclasses.replace(whole(tmp_path / "gone.jsonl", "jsonl"), ordinal=1, start=10, end=100)
    with pytest.raises(StorageError, match=r"gone\.jsonl: cannot be opened any more"):
        list(read_split(split, SETTINGS, same))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and then fails to be read")
@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
@pytest.mark.parametrize("form", ["jsonl", "txt"])
def test_a_disk_that_fails_is_a_storage_error_naming_file_and_place(form, compression):
    split = dataclasses.replace(whole(Path("/proc/self/mem"), form), compression=compression)
    with pytest.raises(StorageError, match="/proc/self/mem: reading failed at byte 0"):
        list(read_split(split, SETTINGS, same))


def plain_reading(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return pq.read_table(path, columns=["text"])["text"].to_pylist()
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    if ".txt" in path.name:
        return plain_paragraphs(data)
    return [json.loads(line)["text"] for line in data.split(b"\n") if line.strip()]


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS} (set GLMDATA_SHARED_DATA)")
def test_the_shared_corpus_reads_as_a_plain_reading_of_it():
    options = CorpusSettings(split_bytes=1 << 18, partition_bytes=1 << 17)
    files = find_files([str(CORPUS)]).files
    assert {file.format for file in files} == {"jsonl", "txt", "parquet"}
    for file in files:
        found = []
        for split in plan_splits([file], options):
            for batch in read_split(split, options, same):
                assert set(batch["outcome"].to_pylist()) == {KEPT}
                assert max(batch.num_rows, 1) == len(batch)
                found += batch["text"].to_pylist()
        assert found == plain_reading(Path(file.path))


@pytest.mark.parametrize("form", ["lines", "paragraphs", "file"])
def test_one_record_is_read_as_all_of_them_are(tmp_path: Path, form: str) -> None:
    """In every format, over splits and batches, refused and empty records among them."""
    from glmdata.corpus.one_record import read_bytes, read_text

    texts = [f"{number} \r\n" + "春天 spring " * (number % 100) for number in range(600)]
    lines = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]
    lines[7], lines[70], lines[500] = b"{", b'{"text": " "}', b'{"text": "\xff"}'
    data = b"\n".join([*lines[:3], b"", *lines[3:]])
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(data)[:-9])
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(data))
    (tmp_path / "d.txt").write_bytes(b"\xef\xbb\xbf" + "\n\n".join(texts).encode())
    (tmp_path / "f.arrow").write_bytes(b"no")
    pq.write_table(pa.table({"text": [*texts[:9], None, *texts[9:]]}), tmp_path / "e.parquet", row_group_size=50)
    chosen = CorpusSettings(txt_documents=form, split_bytes=1 << 16, partition_bytes=1 << 16)
    compared = refused = 0
    for file in find_files([str(tmp_path)]).files:
        before = 0
        for split in plan_splits([file], chosen):
            rows = [row for batch in read_split(split, chosen, str.strip) for row in batch.to_pylist()]
            numbered = [row for row in rows if row["record"] >= 0]
            for row in numbered:
                if row["record"] % 13 and row["outcome"] == Outcome.KEPT:
                    continue
                compared += 1
                assert (row["text"] or None) == read_text(file, before + row["record"], chosen, str.strip)
                if row["outcome"] == Outcome.QUARANTINED and row["byte_offset"] >= 0:
                    refused += 1
                    assert read_bytes(file, row["byte_offset"], row["byte_length"]) in (lines[7], lines[500])
            before += len(numbered)
        assert read_text(file, before, chosen, str.strip) is None
    assert compared > 100
    assert refused == 6
