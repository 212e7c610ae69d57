"""gzip and zstd: members and frames, streams that are cut or damaged, bombs, and names that lie."""

import gzip
import io
import struct

import numpy as np
import pytest
import zstandard
from readings import lines, read, squeezed, texts, whole_file

from glmdata.recipe import CorpusSettings


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("zst", squeezed)])
def test_c2_members_and_frames_are_one_stream(tmp_path, ending, pack):
    one, two = lines("first"), lines("second", "third")
    data = pack(one[:7]) + pack(b"") + pack(one[7:] + two)
    found = read(tmp_path, f"a.jsonl.{ending}", data)
    assert texts(found) == ["first", "second", "third"]
    assert [row["byte_offset"] for row in found] == [0, len(one), len(one) + len(lines("second"))]
    assert read(tmp_path, f"b.jsonl.{ending}", b"") == []
    assert texts(read(tmp_path, f"a.txt.{ending}", pack(b"one\n\ntwo"))) == ["one", "two"]


def test_c2_skippable_frames_and_frames_of_unknown_size_are_fine(tmp_path):
    skip = struct.pack("<II", 0x184D2A50, 5) + b"hello"
    sink = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(sink, closefd=False) as out:
        out.write(lines("a", "b"))
    assert texts(read(tmp_path, "a.jsonl.zst", skip + sink.getvalue() + skip)) == ["a", "b"]


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("zst", squeezed)])
def test_c1_a_stream_cut_anywhere_keeps_whole_records_and_one_row_for_the_rest(tmp_path, ending, pack):
    noise = np.random.default_rng(1)
    values = [noise.bytes(300).hex() for _ in range(400)]
    data = lines(*values)
    packed = pack(data)
    for cut in (1, 3, 8, 9, len(packed) // 3, len(packed) - 5):
        found = read(tmp_path, f"a.jsonl.{ending}", packed[:-cut])
        row = whole_file(found)
        kept = texts(found)
        assert kept == values[: len(kept)]
        assert len(kept) == len(found) - 1
        assert row["detail"].endswith(f"; {len(kept):,} complete records before it were read")
        assert "ends inside a frame after" in row["detail"] or not kept
        if ending == "gz" and cut == 8:
            assert len(kept) == 400  # the data were whole, only their checksum is missing


def test_c1_the_cut_record_is_not_one_even_if_it_would_parse(tmp_path):
    data = b'{"text": "a"}\n{"text": "b"}'
    found = read(tmp_path, "a.jsonl.gz", gzip.compress(data)[:-8])
    assert texts(found) == ["a"]
    assert whole_file(found)["byte_offset"] == len(data)
    found = read(tmp_path, "a.txt.gz", gzip.compress(b"one\n\ntwo")[:-8])
    assert texts(found) == ["one"]
    frames = squeezed(b'{"text": "a"}\n{"text":') + squeezed(b' "b"}\n')[:-6]
    found = read(tmp_path, "a.jsonl.zst", frames)
    assert texts(found) == ["a"]
    whole_file(found)


def test_c2_damage_checksums_garbage_and_wrong_names_are_told(tmp_path):
    packed, packed_zst = gzip.compress(lines("a")), squeezed(lines("a" * 3000, "b"))
    cases = {
        "checksum.jsonl.gz": packed[:-8] + b"\0\0\0\0" + packed[-4:],
        "garbage.jsonl.gz": packed + b"garbage",
        "plain.jsonl.gz": lines("a"),
        "damaged.jsonl.zst": packed_zst[:12] + b"\xff\xff" + packed_zst[14:],
        "checksum.jsonl.zst": packed_zst[:-4] + bytes(4),
        "garbage.jsonl.zst": packed_zst + b"garbage",
        "plain.jsonl.zst": lines("a"),
        "twice.jsonl.gz": gzip.compress(packed),
    }
    told = {name: whole_file(read(tmp_path, name, data))["detail"] for name, data in cases.items()}
    assert "CRC" in told["checksum.jsonl.gz"]
    assert "damaged after 14 bytes" in told["garbage.jsonl.gz"]
    assert "cannot be decompressed as gzip" in told["plain.jsonl.gz"]
    assert "cannot be decompressed as zstd" in told["plain.jsonl.zst"]
    assert "compressed twice" in told["twice.jsonl.gz"]


def test_c10_a_bomb_is_refused_and_an_honest_good_ratio_is_not(tmp_path):
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0) as out:
        out.write(lines("a"))
        for _ in range(300):
            out.write(bytes(1 << 20))
    row = whole_file(found := read(tmp_path, "a.jsonl.gz", sink.getvalue()))
    assert "bomb" in row["detail"]
    assert texts(found) == ["a"]
    found = read(tmp_path, "b.jsonl.gz", gzip.compress(lines("a" * (20 << 20), "b")))
    assert len(texts(found)) == 2


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\x1f\x8b\x08", "rename the file to end in .gz"),
        (b"\x28\xb5\x2f\xfd", "rename the file to end in .zst"),
        ("a".encode("utf-16"), "UTF-16: convert the file to UTF-8"),
        ("a".encode("utf-32"), "UTF-32: convert the file to UTF-8"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "txt"])
def test_another_format_under_a_plain_name_is_one_row_in_all_splits(tmp_path, form, head, words):
    found = read(tmp_path, f"a.{form}", head + lines("a" * 100) * 2000, CorpusSettings(split_bytes=1 << 16))
    assert len(found) == 1
    assert words in whole_file(found)["detail"]
