"""Plain text: paragraphs, whatever the splits and the blocks that are read."""

import gzip
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from readings import EMPTY, QUARANTINED, SMALL, all_rows, by_splits, details, plain_paragraphs, read, texts, whole

from glmdata.recipe import CorpusSettings

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
