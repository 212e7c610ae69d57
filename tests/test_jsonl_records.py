"""JSON lines: what is a record, what is none and why; any splits give the records of the whole."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import (
    EMPTY,
    KEPT,
    QUARANTINED,
    SMALL,
    all_rows,
    batches_of,
    by_splits,
    details,
    lines,
    read,
    rows,
    texts,
    whole,
)

from glmdata.corpus.files import find_files
from glmdata.corpus.splits import plan_splits
from glmdata.recipe import CorpusSettings, NormalizationSettings
from glmdata.text.normalization import Normalizer


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


DIRTY = ["clean", "干净。", "e\u0301", "a\x00b", "\x00", "a\r\nb", "", " \u3000", "\ufeff标题", "𠮷😀", "각\u11a8"]


@given(values=st.lists(st.sampled_from(DIRTY) | st.text(max_size=20).filter(lambda text: text.isprintable())))
def test_texts_left_at_a_glance_and_texts_normalised_one_by_one_give_the_same_rows(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("glance") / "a.jsonl"
    path.write_bytes(lines(*values))
    normalize = Normalizer(NormalizationSettings())
    assert rows(path, normalize=normalize) == rows(path, normalize=lambda text: normalize(text))
