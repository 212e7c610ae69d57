"""Grams of benchmarks in texts: found as by a plain reading, cut by whole sentences, read from every format."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import QUESTION, RIDDLE, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st
from shingled import TEXTS, grams_of, units_of, weight_of

from glmdata.corpus.benchmarks import find_benchmarks, read_benchmark
from glmdata.dedupe.contamination import (
    SHORTEST,
    GramIndex,
    cut_sentences,
    find_grams,
    gram_spans,
    index_texts,
    join_indexed,
)
from glmdata.errors import ConfigError, InputError
from glmdata.text.sentences import split_sentences

UNITS = st.lists(st.sampled_from(["a ", "b,", "天", "c-", "地"]), max_size=30).map("".join)


class PlainIndex:
    """The index as dictionaries."""

    def __init__(self, texts: list[str], owners: list[int], size: int) -> None:
        self.size, self.grams, self.shorts, self.too_short = size, dict[tuple, int](), dict[tuple, int](), 0
        for text, owner in zip(texts, owners, strict=True):
            units = units_of(text)
            grams = grams_of(units, size)
            for gram in grams:
                self.grams[gram] = min(owner, self.grams.get(gram, owner))
            if not grams and sum(map(weight_of, units)) >= SHORTEST:
                whole = tuple(units)
                self.shorts[whole] = min(owner, self.shorts.get(whole, owner))
            elif not grams and units:
                self.too_short += 1

    def matches(self, text: str) -> list[tuple[int, int, int]]:
        """First unit, unit after, record."""
        units, found = units_of(text), []
        grams = grams_of(units, self.size)
        for first in range(len(units)):
            if first < len(grams) and grams[first] in self.grams:
                found.append((first, first + len(grams[first]), self.grams[grams[first]]))
                continue
            for last in range(first + 1, len(units) + 1):
                if tuple(units[first:last]) in self.shorts:
                    found.append((first, last, self.shorts[tuple(units[first:last])]))
                    break
        return found


def index_of(texts: list[str], size: int, owners: list[int] | None = None) -> GramIndex:
    numbers = np.array(range(len(texts)) if owners is None else owners, np.int64)
    return join_indexed([index_texts(texts, numbers, size)], size)


@given(st.lists(UNITS, max_size=5), st.lists(UNITS, max_size=4), st.integers(4, 12), st.data())
@settings(deadline=None, max_examples=200)
def test_grams_are_found_as_by_a_plain_reading(
    benchmarks: list[str], documents: list[str], size: int, data: st.DataObject
) -> None:
    owners = [data.draw(st.integers(0, 3)) for _ in benchmarks]
    texts = [
        f"{text}{benchmarks[place % len(benchmarks)] if benchmarks else ''}b" for place, text in enumerate(documents)
    ]
    plain, index = PlainIndex(benchmarks, owners, size), index_of(benchmarks, size, owners)
    assert (len(index.grams), len(index.shorts)) == (len(plain.grams), len(plain.shorts))
    counts, records = find_grams(pa.array(texts, pa.string()), index)
    for text, count, record in zip(texts, counts.tolist(), records.tolist(), strict=True):
        expected = plain.matches(text)
        assert count == len(expected)
        assert record == (expected[0][2] if expected else -1)


@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=3), st.sampled_from([4, 10]))
@settings(deadline=None)
def test_any_text_is_read_as_its_units(benchmarks: list[str], others: list[str], size: int) -> None:
    plain = PlainIndex(benchmarks, list(range(len(benchmarks))), size)
    part = index_texts(benchmarks, np.arange(len(benchmarks)), size)
    assert part.too_short == plain.too_short
    texts = [*benchmarks, *others, "".join(benchmarks)]
    counts, _ = find_grams(pa.array(texts, pa.string()), join_indexed([part], size))
    assert counts.tolist() == [len(plain.matches(text)) for text in texts]


@given(st.lists(UNITS, min_size=1, max_size=6), st.integers(4, 12), st.integers(1, 4))
@settings(deadline=None)
def test_parts_make_the_index_of_the_whole(texts: list[str], size: int, parts: int) -> None:
    numbers = np.arange(len(texts))
    pieces = [index_texts(texts[at::parts], numbers[at::parts], size) for at in range(parts)]
    whole, joined = index_of(texts, size), join_indexed(pieces, size)
    for name in ("grams", "gram_owners", "filter", "shorts", "short_owners", "pair_filter"):
        assert getattr(whole, name).tolist() == getattr(joined, name).tolist()


@given(UNITS, UNITS, UNITS, st.integers(4, 10))
@settings(deadline=None)
def test_spans_hold_the_matching_units_and_nothing_else(before: str, shared: str, after: str, size: int) -> None:
    plain, index = PlainIndex([shared], [0], size), index_of([shared], size)
    text = f"{before}。{shared}!{after}"
    texts = pa.array(["", text], pa.string())
    counts, _ = find_grams(texts, index)
    spans, offsets = gram_spans(texts, index, counts)
    assert offsets.tolist() == [0, 0, len(spans)]
    covered = {unit for first, last, _ in plain.matches(text) for unit in range(first, last)}
    encoded, seen = text.encode(), 0
    for begin, end in spans.tolist():
        head, inside = (units_of(encoded[a:b].decode()) for a, b in ((0, begin), (begin, end)))
        assert set(range(len(head), len(head) + len(inside))) <= covered
        seen += len(inside)
    assert seen == len(covered)


@pytest.mark.parametrize("size", [4, 8, 13])
@pytest.mark.parametrize("passage", [QUESTION, RIDDLE])
def test_cutting_takes_whole_sentences_and_every_match(passage: str, size: int) -> None:
    index = index_of([passage], size)
    text = f"今天下雨。{passage}明天晴。\n\nIt rained. {passage} It stopped.\n{passage}"
    texts = pa.array([text, "今天下雨。", passage], pa.string())
    counts, _ = find_grams(texts, index)
    left, passages = cut_sentences(texts, index, counts)
    assert passages.tolist() == [3, 0, 1]
    assert left.to_pylist() == ["今天下雨。明天晴。\n\nIt rained. It stopped.", "今天下雨。", ""]
    assert not find_grams(left, index)[0].any()


@given(
    st.lists(st.sampled_from(["天地玄黄宇宙洪荒日月。", "a b c d e.\n", "x y! ", "寒来暑往？", "\n\n"]), max_size=12)
)
@settings(deadline=None)
def test_what_a_cut_leaves_are_sentences_of_the_text(pieces: list[str]) -> None:
    index = index_of(["天地玄黄宇宙洪荒日月", "a b c d"], 4)
    text = "".join(pieces)
    texts = pa.array([text], pa.string())
    left, passages = cut_sentences(texts, index, find_grams(texts, index)[0])
    left.validate(full=True)
    kept = [s.strip() for s in split_sentences(text) if not find_grams(pa.array([s]), index)[0].any() and s.strip()]
    if not any(find_grams(left, index)[0]):
        assert [word for sentence in kept for word in units_of(sentence)] == units_of(left[0].as_py())
    assert (passages[0] > 0) == (left[0].as_py() != text)


def test_thirteen_characters_are_not_thirteen_words() -> None:
    name = "中华人民共和国教育部办公厅关于"
    assert len(name) > 13
    index = index_of([name + "做好二零一九年全国普通高等学校招生工作的通知"], 13)
    assert find_grams(pa.array([f"{name}印发管理办法"]), index)[0].tolist() == [0]
    assert find_grams(pa.array([f"{name}做好二零一九年全国普通高等学校来源"]), index)[0][0] > 0


def test_short_texts_are_found_whole_or_not_at_all() -> None:
    question = "Who wrote the novel about the white whale?"
    index = index_of([question, "What is it?", "", "！？"], 13)
    assert (len(index.grams), len(index.shorts)) == (0, 1)
    assert index_texts([question, "What is it?", "", "！？"], np.arange(4), 13).too_short == 1
    texts = [f"Quiz: {question.upper()} Melville.", "Who wrote the novel about the white dog?", "What is it?", question]
    assert find_grams(pa.array(texts), index)[0].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "text",
    ["", "\n" * 1_000_000, "a" * 1_000_000, "a " * 500_000, "！？——" * 1000, "天" * 300_000],
    ids=["empty", "newlines", "one word", "one word again and again", "punctuation", "one character"],
)
def test_hostile_texts_are_scanned_without_harm(text: str) -> None:
    index = index_of([text, RIDDLE], 13)
    texts = pa.array([text, f"{text} {RIDDLE}"], pa.string())
    counts, _ = find_grams(texts, index)
    assert counts[0] == len(grams_of(units_of(text)[:100], 13)) + max(0, len(units_of(text)) - 100)
    assert counts[1] > 0
    left, _ = cut_sentences(texts, index, counts)
    assert not find_grams(left, index)[0].any()


def test_every_string_of_a_record_is_read_from_every_format(tmp_path: Path) -> None:
    records = [
        {"q": "one", "choices": ["two", "three"], "more": {"deep": [["four"], {"x": "five"}]}, "n": 6, "none": None},
        {"q": "six", "choices": [], "more": {"deep": []}, "n": 7, "none": None},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines + b"\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.txt").write_text("one\ntwo\n\nthree\n")
    table = pa.table({"q": ["one", "six"], "choices": [["two", "three"], []], "n": [6, 7]})
    pq.write_table(table, tmp_path / "d.parquet")
    with pa.OSFile(str(tmp_path / "e.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "f.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found = {file.uri: list(read_benchmark(file, ())) for file in find_benchmarks([str(tmp_path)])}
    whole, flat = [["one", "two", "three", "four", "five"], ["six"]], [["one", "two", "three"], ["six"]]
    assert found == {
        "a.jsonl": whole,
        "b.jsonl.gz": whole,
        "c.txt": [["one\ntwo"], ["three"]],
        "d.parquet": flat,
        "e.arrow": flat,
        "f.arrow": flat,
    }
    chosen = find_benchmarks([str(tmp_path / "a.jsonl")])[0]
    assert list(read_benchmark(chosen, ["choices", "q"])) == [["two", "three", "one"], ["six"]]
    with pytest.raises(InputError, match=r'a\.jsonl, record 0: no field "answer"'):
        list(read_benchmark(chosen, ["answer"]))
    (tmp_path / "a.jsonl").write_bytes(lines[:-1])
    with pytest.raises(InputError, match="changed since the build began"):
        list(read_benchmark(chosen, ()))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"q": "one"}\n{"q": \n', "line 2 is not JSON"),
        ("a.jsonl.gz", gzip.compress(b'{"q": "one"}\n', mtime=0)[:-5], "ends inside a frame"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as parquet"),
        ("a.arrow", b"ARROW1 and no more", "cannot be read as arrow"),
        ("a.txt", b"\xff\xfe", "byte order mark of UTF-16"),
        ("a.txt", b"text\n\n\xff", "invalid UTF-8"),
        ("a.jsonl", b"\x1f\x8b", "begins like gzip"),
    ],
)
def test_a_benchmark_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"decontamination\.benchmarks: .*{message}"):
        [list(read_benchmark(file, ())) for file in find_benchmarks([str(tmp_path)])]


def test_a_place_without_benchmarks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"decontamination\.benchmarks: .*nowhere: no such file"):
        find_benchmarks([str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match=r"decontamination\.benchmarks: no \.jsonl"):
        find_benchmarks([str(tmp_path)])
    (tmp_path / "a.csv").write_text("q")
    with pytest.raises(InputError, match=r"decontamination\.benchmarks: .*a\.csv: cannot be read"):
        find_benchmarks([str(tmp_path / "a.csv")])
    for folder in ("one", "two"):
        write_jsonl(tmp_path / folder / "test.jsonl", ["text"])
    with pytest.raises(InputError, match=r"are both called test\.jsonl"):
        find_benchmarks([str(tmp_path / "one"), str(tmp_path / "two")])
    assert [file.uri for file in find_benchmarks([str(tmp_path), str(tmp_path)])] == [
        "one/test.jsonl",
        "two/test.jsonl",
    ]
