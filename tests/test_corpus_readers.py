"""Readers: every rule about records, whatever the format; the splits of a file give what the file gives."""

import dataclasses
import gzip
import io
import itertools
import json
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from corpora import SHARED
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glmdata.corpus.documents import DOCUMENT_SCHEMA, Outcome
from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import TO_THE_END, Split, plan_splits
from glmdata.errors import StorageError
from glmdata.recipe import CorpusSettings

SETTINGS = CorpusSettings()
SMALL = CorpusSettings(max_record_bytes=1024)
CORPUS = SHARED / "corpus"
KEPT, QUARANTINED, EMPTY = Outcome.KEPT, Outcome.QUARANTINED, Outcome.EMPTY


def same(text: str) -> str:
    return text


def batches_of(path: Path, options: CorpusSettings = SETTINGS, normalize=same) -> list[pa.RecordBatch]:
    splits = plan_splits(find_files([str(path)]).files, options)
    found = [batch for split in splits for batch in read_split(split, options, normalize)]
    for batch in found:
        batch.validate(full=True)
        assert batch.schema == DOCUMENT_SCHEMA
        assert batch.num_rows > 0
    return found


def rows(path: Path, options: CorpusSettings = SETTINGS, normalize=same) -> list[dict]:
    return [row for batch in batches_of(path, options, normalize) for row in batch.to_pylist()]


def read(tmp_path: Path, name: str, data: bytes, options: CorpusSettings = SETTINGS, normalize=same) -> list[dict]:
    (tmp_path / name).write_bytes(data)
    return rows(tmp_path / name, options, normalize)


def texts(found: list[dict]) -> list[str]:
    return [row["text"] for row in found if row["outcome"] == KEPT]


def details(found: list[dict]) -> list[str]:
    return [row["detail"] for row in found if row["outcome"] == QUARANTINED]


def lines(*values: str) -> bytes:
    return b"".join(json.dumps({"text": value}, ensure_ascii=False).encode() + b"\n" for value in values)


def whole_file(found: list[dict]) -> dict:
    """The one row that stands for what cannot be read: the last, with a reason."""
    (row,) = (row for row in found if row["record"] == -1)
    assert row == found[-1]
    assert (row["outcome"], row["text"], row["byte_length"]) == (QUARANTINED, "", -1)
    assert row["detail"]
    return row


# ---------------------------------------------------------------- JSON lines


def test_jsonl_records_carry_place_and_text(tmp_path):
    first, second = lines("一 one"), lines("two")
    (tmp_path / "a.jsonl").write_bytes(first + b" \t\r\n\n" + second)
    (batch,) = batches_of(tmp_path / "a.jsonl")
    assert batch.to_pydict() == {
        "record": [0, 1],
        "text": ["一 one", "two"],
        "outcome": [KEPT, KEPT],
        "detail": [None, None],
        "byte_offset": [0, len(first) + 5],
        "byte_length": [len(first) - 1, len(second) - 1],
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"plain words", "not JSON: unexpected character"),
        (b'{"text": "no end', "not JSON: "),
        (b'{"text": "one"} {"text": "two"}', "not JSON: "),
        (b'{"score": NaN, "text": "a"}', "at column 11"),
        (b'{"text": "a\xff"}', "invalid UTF-8 at byte 11"),
        (b'{"text": "\\ud800"}', "not JSON: "),
        (b'{"text": "a\x00b"}', "not JSON: "),
        (b'{"text": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON: "),
        (b'[{"text": "a"}]', "not a JSON object but an array"),
        (b'"text"', "not a JSON object but a string"),
        (b"4.5", "not a JSON object but a number"),
        (b"null", "not a JSON object but null"),
        (b'{"Text": "x"}', 'no field "text"'),
        (b'{"text": null}', 'field "text" is null, not a string'),
        (b'{"text": 1}', 'field "text" is a number, not a string'),
        (b'{"text": true}', 'field "text" is true or false, not a string'),
        (b'{"text": {"text": "a"}}', 'field "text" is an object, not a string'),
        (b'{"text": ["a"]}', 'field "text" is an array, not a string'),
    ],
)
def test_c3_c4_c6_a_line_that_is_no_record_is_quarantined_between_good_ones(tmp_path, line, reason):
    found = read(tmp_path, "a.jsonl", lines("before") + line + b"\r\n" + lines("after"))
    assert [row["outcome"] for row in found] == [KEPT, QUARANTINED, KEPT]
    assert texts(found) == ["before", "after"]
    assert reason in found[1]["detail"]
    assert found[1]["byte_length"] == len(line) + 1


def test_c4_lines_end_at_the_newline_byte_only(tmp_path):
    odd = "a\u2028b\u2029c\u0085d"
    found = read(tmp_path, "a.jsonl", lines(odd) + lines("crlf").replace(b"\n", b"\r\n") + lines("end").rstrip(b"\n"))
    assert texts(found) == [odd, "crlf", "end"]


def test_c4_a_byte_order_mark_is_dropped_at_the_head_only(tmp_path):
    found = read(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + lines("a") + b"\xef\xbb\xbf" + lines("b"))
    assert [(r["outcome"], r["byte_offset"]) for r in found] == [(KEPT, 3), (QUARANTINED, 3 + len(lines("a")))]
    assert texts(read(tmp_path, "a.txt", b"\xef\xbb\xbfa\n\nb")) == ["a", "b"]


def test_c4_white_space_only_texts_are_empty_before_and_after_normalising(tmp_path):
    found = read(tmp_path, "a.jsonl", lines("", " \n\t", "\u3000\u00a0", "x", "yy"), normalize=lambda t: t.strip("x"))
    assert [(row["outcome"], row["text"]) for row in found] == [(EMPTY, "")] * 4 + [(KEPT, "yy")]
    assert details(found) == []


def test_the_text_field_is_a_setting(tmp_path):
    options = CorpusSettings(text_field="content")
    assert texts(read(tmp_path, "a.jsonl", b'{"content": "a", "text": "b"}\n', options)) == ["a"]


@pytest.mark.parametrize("length", [1024, 1025, 3 << 20])
def test_c5_a_line_longer_than_the_limit_is_quarantined_by_its_length(tmp_path, length):
    long = b'{"text": "' + b"x" * (length - 12) + b'"}'
    found = read(tmp_path, "a.jsonl", lines("a") + long + b"\n" + lines("b"), SMALL)
    assert [row["record"] for row in found] == [0, 1, 2]
    if length == 1024:
        assert [row["outcome"] for row in found] == [KEPT] * 3
    else:
        assert details(found) == [f"record of {length:,} bytes is longer than max_record_bytes"]
        assert (found[1]["byte_offset"], found[1]["byte_length"]) == (len(lines("a")), length)
        assert found[2]["byte_offset"] == len(lines("a")) + length + 1
    found = read(tmp_path, "a.jsonl", lines("a") + long, SMALL)
    assert len(found) == 2


def test_a_long_line_of_white_space_is_blank_all_the_same(tmp_path):
    assert texts(read(tmp_path, "a.jsonl", b" " * (3 << 20) + b"\n" + lines("b"), SMALL)) == ["b"]


def test_c5_an_endless_line_is_not_held_in_memory(tmp_path):
    with (tmp_path / "a.jsonl").open("wb") as out:
        for _ in range(64):
            out.write(b"x" * (1 << 20))
    options = CorpusSettings(max_record_bytes=1 << 20)
    tracemalloc.start()
    try:
        found = rows(tmp_path / "a.jsonl", options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 1
    assert peak < 16 << 20


def test_a_text_that_normalising_makes_too_long_is_quarantined(tmp_path):
    found = read(tmp_path, "a.jsonl", lines("a", "b" * 600), SMALL, normalize=lambda t: t * 2)
    assert [row["outcome"] for row in found] == [KEPT, QUARANTINED]


JSON_PIECES = st.sampled_from(
    [lines("a"), lines("中" * 30), b"\n", b"\r\n", b"  \n", b"broken\n", b"x" * 2000 + b"\n", b" " * 1500 + b"\n", b"{"]
)


def all_rows(split: Split, options: CorpusSettings) -> list[tuple]:
    found = [row for batch in read_split(split, options, same) for row in batch.to_pylist()]
    assert [row.pop("record") for row in found] == list(range(len(found)))
    return [tuple(row.values()) for row in found]


def whole(path: Path, form: str) -> Split:
    place = {"uri": "a", "path": str(path), "format": form, "compression": None}
    return Split(**place, start=0, end=TO_THE_END, ordinal=0, last=True, problem=None)


def by_splits(path: Path, form: str, cuts: list[int], size: int, options: CorpusSettings) -> list[tuple]:
    edges = [0, *sorted({cut % (size + 1) for cut in cuts} - {0, size}), size]
    found = []
    for ordinal, (start, end) in enumerate(itertools.pairwise(edges)):
        last = ordinal == len(edges) - 2
        split = dataclasses.replace(whole(path, form), start=start, end=end, ordinal=ordinal, last=last)
        found += all_rows(split, options)
    return found


@given(st.lists(JSON_PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 1 << 20), max_size=20))
def test_any_splits_of_jsonl_give_the_records_of_the_whole(tmp_path_factory, data, cuts):
    path = tmp_path_factory.getbasetemp() / "split.jsonl"
    path.write_bytes(data)
    expected = all_rows(whole(path, "jsonl"), SMALL)
    assert by_splits(path, "jsonl", cuts, len(data), SMALL) == expected
    plain = [line for line in data.split(b"\n") if line.strip()]
    assert [row[4] for row in expected] == [len(line) for line in plain]
    assert all(data[row[3] :].startswith(line) for row, line in zip(expected, plain, strict=True))


def test_planned_splits_of_a_larger_file_give_the_records_of_the_whole(tmp_path):
    data = b"".join(lines(f"{i} " + "文" * (i * 7919 % 900)) + b"\n" * (i % 3) for i in range(2000))
    (tmp_path / "a.jsonl").write_bytes(data)
    options = CorpusSettings(split_bytes=1 << 16)
    splits = plan_splits(find_files([str(tmp_path)]).files, options)
    assert len(splits) > 20
    assert [row for s in splits for row in all_rows(s, options)] == all_rows(
        whole(tmp_path / "a.jsonl", "jsonl"), options
    )


# ---------------------------------------------------------------- plain text


def plain_paragraphs(data: bytes) -> list[str]:
    text = data.decode().replace("\r\n", "\n")
    return [part.strip("\n") for part in re.split(r"\n(?:[ \t]*\n)+", text) if part.strip()]


TEXT_PIECES = st.sampled_from(
    [b"a", b"\xe4\xb8\xad", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\n\n", b"\n \n", b"\r\n\t\r\n", b"word " * 9, b"\x0b"]
)


@settings(max_examples=300)
@given(st.lists(TEXT_PIECES, max_size=40).map(b"".join), st.lists(st.integers(0, 1 << 10), max_size=12))
@example(b"\n\nabc", [1])
@example(b" \nabc", [1, 2])
@example(b"a\n\r\n \t\n\nb\r\n\r\nc\n  ", list(range(20)))
@example(b"\n \n \nabc\n\n", list(range(12)))
def test_any_splits_of_txt_give_the_paragraphs_of_the_whole(tmp_path_factory, data, cuts):
    path = tmp_path_factory.getbasetemp() / "split.txt"
    path.write_bytes(data)
    expected = all_rows(whole(path, "txt"), SMALL)
    assert [row[0] for row in expected] == plain_paragraphs(data)
    for text, _, _, offset, length in expected:
        assert data[offset : offset + length].replace(b"\r\n", b"\n").decode() == text
    assert by_splits(path, "txt", cuts, len(data), SMALL) == expected


LONG_PIECES = st.sampled_from(
    [
        b"\n",
        b"\n\n",
        b"\r\n\r\n",
        b"a" * 700,
        b"b\n" * 400,
        b" " * 1500,
        b"\t" * 600,
        b"c",
        b"\xff",
        b"\n" + b" " * 1100,
    ]
)


@given(st.lists(LONG_PIECES, max_size=16).map(b"".join), st.lists(st.integers(0, 1 << 14), max_size=12))
def test_any_splits_of_txt_agree_on_long_and_broken_paragraphs(tmp_path_factory, data, cuts):
    path = tmp_path_factory.getbasetemp() / "long.txt"
    path.write_bytes(data)
    expected = all_rows(whole(path, "txt"), SMALL)
    assert by_splits(path, "txt", cuts, len(data), SMALL) == expected
    parts = re.split(rb"\n(?:[ \t]*\n)+", data.replace(b"\r\n", b"\n"))
    plain = [part.strip(b"\n") for part in parts if part.strip()]
    assert len(expected) == len(plain)
    for row, part in zip(expected, plain, strict=True):
        assert (row[1] == QUARANTINED) == (len(part) > 1024 or b"\xff" in part) or b"\n" in part


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1500])
@given(data=st.lists(LONG_PIECES | TEXT_PIECES, max_size=16).map(b"".join))
def test_paragraphs_do_not_depend_on_how_a_file_is_read_in_blocks(size, data):
    from glmdata.corpus.paragraphs import read_paragraphs

    def found(step):
        blocks = (data[at : at + step] for at in range(0, len(data), step))
        groups = read_paragraphs(blocks, begin=0, end=1 << 40, at_head=True, inside=False, limit=1024)
        return [
            (text, int(offset), int(length) if text is not None else 0)
            for group in groups
            for text, offset, length in zip(group.texts, group.offsets, group.lengths, strict=True)
        ]

    assert found(size) == found(1 << 20)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@given(data=st.lists(JSON_PIECES, max_size=12).map(b"".join))
def test_lines_do_not_depend_on_how_a_file_is_read_in_blocks(size, data):
    from glmdata.corpus.lines import read_json_lines

    def found(step):
        blocks = (data[at : at + step] for at in range(0, len(data), step))
        groups = read_json_lines(blocks, begin=0, end=1 << 40, field="text", limit=1024)
        return [
            (text, int(offset), int(length))
            for group in groups
            for text, offset, length in zip(group.texts, group.offsets, group.lengths, strict=True)
        ]

    assert found(size) == found(1 << 20)


def test_c3_invalid_utf8_costs_one_paragraph(tmp_path):
    found = read(tmp_path, "a.txt", b"one\n\ntwo \xff\n\nthree")
    assert texts(found) == ["one", "three"]
    assert details(found) == ["invalid UTF-8 at byte 4 of the paragraph"]
    assert (found[1]["byte_offset"], found[1]["byte_length"]) == (5, 5)


def test_a_paragraph_longer_than_the_limit_is_quarantined_by_its_length(tmp_path):
    long = b"word\n" * 700_000
    found = read(tmp_path, "a.txt", b"one\n\n" + long + b"\ntwo", SMALL)
    assert texts(found) == ["one", "two"]
    assert found[1]["byte_offset"] == 5
    assert found[1]["byte_length"] == len(long) - 1


def test_a_file_of_blank_lines_has_no_records(tmp_path):
    assert read(tmp_path, "a.txt", b"\n \n" * 300_000) == []


def test_a_whole_file_may_be_the_document(tmp_path):
    options = CorpusSettings(txt_documents="file", max_record_bytes=1024)
    assert texts(read(tmp_path, "a.txt", b"\xef\xbb\xbfone\n\ntwo\n", options)) == ["one\n\ntwo\n"]
    assert [row["outcome"] for row in read(tmp_path, "a.txt", b"", options)] == [EMPTY]
    assert details(read(tmp_path, "a.txt", b"a\xff", options)) == ["invalid UTF-8 at byte 1 of the file"]
    assert "longer than max_record_bytes" in details(read(tmp_path, "a.txt", b"a" * 1025, options))[0]
    (row,) = read(tmp_path, "a.txt.gz", gzip.compress(b"one\n\ntwo" * 9)[:-9], options)
    assert row["record"] == -1


# ---------------------------------------------------------------- compression


def squeezed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


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


# ---------------------------------------------------------------- tables


def write_parquet(path: Path, column, **options) -> Path:
    pq.write_table(pa.table({"id": range(len(column)), "text": column}), path, **options)
    return path


def write_arrow(path: Path, column, *, stream: bool = False) -> Path:
    table = pa.table({"id": range(len(column)), "text": column})
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return path


def write_stream(path: Path, column) -> Path:
    return write_arrow(path, column, stream=True)


WRITERS = [(write_parquet, "a.parquet"), (write_arrow, "a.arrow"), (write_stream, "a.arrow")]
VALUES = ["中文", None, "b", "", "e" * 2000]


@pytest.mark.parametrize(("write", "name"), WRITERS)
@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
)
def test_tables_of_any_text_type_give_rows(tmp_path, write, name, kind):
    column = pa.array(VALUES, kind.value_type if pa.types.is_dictionary(kind) else kind).cast(kind)
    found = rows(write(tmp_path / name, column), SMALL)
    assert [row["record"] for row in found] == [0, 1, 2, 3, 4]
    assert [row["outcome"] for row in found] == [KEPT, QUARANTINED, KEPT, EMPTY, QUARANTINED]
    assert texts(found) == ["中文", "b"]
    assert details(found) == ["text is null", "record of 2,000 bytes is longer than max_record_bytes"]
    assert [row["byte_offset"] for row in found] == [-1] * 5
    assert [row["byte_length"] for row in found] == [6, -1, 1, 0, 2000]


@pytest.mark.parametrize(("write", "name"), WRITERS)
@pytest.mark.parametrize("dictionary", [False, True])
def test_bytes_that_a_table_calls_strings_are_checked_value_by_value(tmp_path, write, name, dictionary):
    column = pa.array([b"good", b"bad \xff", b"fine"]).view(pa.string())
    if dictionary:
        column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int8()), column)
    found = rows(write(tmp_path / name, column))
    if (
        dictionary and write is write_parquet
    ):  # pyarrow refuses the row group's dictionary; its rows are told all the same
        assert details(found) == ["row group 0 cannot be decoded: Invalid UTF8 payload"] * 3
        return
    assert texts(found) == ["good", "fine"]
    assert details(found) == ["invalid UTF-8 at byte 4 of text"]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_a_column_of_nulls_is_a_row_each(tmp_path, write, name):
    assert details(rows(write(tmp_path / name, pa.nulls(3)))) == ["text is null"] * 3
    assert rows(write(tmp_path / name, pa.array([], pa.string()))) == []


def test_row_groups_in_splits_number_their_rows_from_each_start(tmp_path):
    values = [f"{i} " + "x" * 3000 for i in range(100)]
    path = write_parquet(tmp_path / "a.parquet", values, row_group_size=10, use_dictionary=False)
    options = CorpusSettings(split_bytes=1 << 16)
    splits = plan_splits(find_files([str(path)]).files, options)
    assert len(splits) > 2
    assert [row[0] for split in splits for row in all_rows(split, options)] == values


def test_a_row_group_that_cannot_be_decoded_loses_no_row(tmp_path):
    noise = np.random.default_rng(2)
    values = [noise.bytes(500).hex() for _ in range(60)]
    path = write_parquet(
        tmp_path / "a.parquet", values, row_group_size=20, use_dictionary=False, write_page_checksum=True
    )
    chunk = pq.read_metadata(path).row_group(1).column(1)
    data = bytearray(path.read_bytes())
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    data[middle : middle + 50] = bytes(50)
    path.write_bytes(data)
    found = rows(path)
    assert [row["record"] for row in found] == list(range(60))
    assert texts(found) == values[:20] + values[40:]
    assert all(reason.startswith("row group 1 cannot be decoded: ") for reason in details(found))


def test_c10_a_huge_value_named_by_every_row_does_not_grow_with_the_rows(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", ["x" * (4 << 20)] * 500)
    assert path.stat().st_size < 4 << 20
    (split,) = plan_splits(find_files([str(path)]).files, SETTINGS)
    before, peak, count = pa.total_allocated_bytes(), 0, 0
    for batch in read_split(split, SETTINGS, same):
        peak = max(peak, pa.total_allocated_bytes() - before)
        count += batch.num_rows
    assert count == 500
    assert peak < 400 << 20


def test_a_file_that_changes_under_its_splits_is_a_storage_error(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"something else")
    split = dataclasses.replace(whole(path, "parquet"), start=1, end=2, ordinal=1)
    with pytest.raises(StorageError, match=r"a\.parquet: changed since the build began"):
        list(read_split(split, SETTINGS, same))


def test_nested_columns_beside_the_text_do_not_confuse(tmp_path):
    table = pa.table({"meta": [{"a": [1, 2], "text": "no"}] * 2, "text": ["a", "b"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert texts(rows(tmp_path / "a.parquet")) == ["a", "b"]


@pytest.mark.parametrize("write", [write_arrow, write_stream])
def test_c13_damaged_arrow_files_are_one_row_and_never_a_crash(tmp_path, write):
    whole = write(tmp_path / "a.arrow", [f"text number {i}" for i in range(100)]).read_bytes()
    found = read(tmp_path, "a.arrow", whole[: len(whole) // 2])
    whole_file(found)
    whole_file(read(tmp_path, "a.arrow", b"not an arrow file"))
    places = np.random.default_rng(3)
    for _ in range(200):
        data = bytearray(whole)
        for at in places.integers(0, len(data), 4):
            data[at] = places.integers(256)
        found = read(tmp_path, "a.arrow", bytes(data))
        assert sum(row["record"] == -1 for row in found) <= 1
        assert all(row["detail"] for row in found if row["outcome"] == QUARANTINED)


def test_c13_damaged_parquet_files_never_crash_and_give_reasons(tmp_path):
    whole = write_parquet(tmp_path / "a.parquet", [f"text number {i}" for i in range(100)]).read_bytes()
    places = np.random.default_rng(4)
    for _ in range(200):
        data = bytearray(whole)
        for at in places.integers(0, len(data), 4):
            data[at] = places.integers(256)
        found = read(tmp_path, "a.parquet", bytes(data))
        assert found
        assert all(row["detail"] for row in found if row["outcome"] == QUARANTINED)


def test_arrow_without_a_text_column_is_told(tmp_path):
    pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("body", pa.string())])).close()
    assert 'no single column "text"; the columns are body' in whole_file(rows(tmp_path / "a.arrow"))["detail"]


# ---------------------------------------------------------------- batches, storage


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


# ---------------------------------------------------------------- real text


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
                if row["record"] % 7 and row["outcome"] == Outcome.KEPT:
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
