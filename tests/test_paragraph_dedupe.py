"""Lines that many documents share: found, counted and cut as a plain reading of the rules does, and in whole builds."""

import collections
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from building import contents, ledger, run
from corpora import document, write_jsonl, write_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from progress import Stops
from shingled import TEXTS, kind_of, units_of

from glmdata.dedupe.cutting import cut
from glmdata.dedupe.paragraphs import (
    Paragraphs,
    are_members,
    count_documents,
    find_paragraphs,
    lengths_of,
    merge_counts,
    repeated_runs,
)
from glmdata.pipelines.build import Built
from glmdata.pipelines.engine import Attempt, FileRef
from glmdata.pipelines.paragraphs import (
    JoinArguments,
    RepeatedArguments,
    join_ranges,
    repeated_in_range,
    repeated_members,
)
from glmdata.pipelines.partitions import write_columns
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.tokenization import Tokenizer

DOCUMENTS = st.lists(TEXTS.map(lambda text: text.replace("\n", " ")), max_size=8).map("\n".join)
PIECES = st.lists(
    st.tuples(st.text(" \n\t\r", min_size=1, max_size=5), st.sampled_from(["a", "汉字", "—。", "𠀀x"]), st.booleans()),
    max_size=9,
)


def letters_of(text: str) -> int:
    """Letters without digits, Han and kana twice, astral characters as Han."""
    total = 0
    for character in text:
        code = ord(character)
        if code < 0x10000:
            units = units_of(character)
            kind = kind_of(units[0][0]) if units else "none"
            total += {"word": 1, "single": 2}.get(kind, 0) if units not in ([digit] for digit in "0123456789") else 0
        elif code >> 16 != 14:
            total += 2
    return total


def lines_of(text: str) -> list[tuple[tuple[str, ...], int, int, int]]:
    """Units, letters, begin and end in bytes of each paragraph."""
    found, at = [], 0
    for line in text.split("\n"):
        size = len(line.encode())
        if units_of(line):
            found.append((tuple(units_of(line)), letters_of(line), at, at + size))
        at += size + 1
    return found


def runs_of(lines: list[tuple[bool, int, bool]], min_characters: int) -> list[tuple[int, int]]:
    """First and last of each run that is cut, of lines as (repeated, letters, below a blank line)."""
    found, at = [], 0
    for repeated, group in groupby(lines, key=lambda line: line[0]):
        size = len(list(group))
        first, last, at = at, at + size, at + size
        short = size > 1 and last < len(lines) and lines[last - 1][1] < min_characters
        if repeated and short and (lines[last - 1][2] or lines[last - 2][1] >= min_characters):
            last -= 1
        if repeated and sum(letters for _, letters, _ in lines[first:last] if letters >= 4) >= min_characters:
            found.append((first, last))
    return found


@given(st.lists(DOCUMENTS, max_size=5))
@settings(deadline=None)
def test_paragraphs_are_lines_with_units(texts: list[str]) -> None:
    found = find_paragraphs(pa.array(texts, pa.string()))
    expected = [line for text in texts for line in lines_of(text)]
    assert np.diff(found.offsets).tolist() == [len(lines_of(text)) for text in texts]
    actual = zip(found.lengths.tolist(), found.begins.tolist(), found.ends.tolist(), strict=True)
    assert [line[1:] for line in expected] == list(actual)
    hashes = collections.defaultdict(set)
    for line, value in zip(expected, found.hashes.tolist(), strict=True):
        hashes[line[0]].add(value)
    assert all(len(values) == 1 for values in hashes.values())
    assert len({value for values in hashes.values() for value in values}) == len(hashes)
    assert lengths_of(pa.array(texts, pa.string())).tolist() == [
        sum(line[1] for line in lines_of(text)) for text in texts
    ]


@given(
    st.lists(st.lists(st.sampled_from(("天", "地", "a", "A", "ab", "!")), max_size=6), max_size=6), st.integers(1, 5)
)
@settings(deadline=None)
def test_a_document_counts_once_for_a_paragraph(documents: list[list[str]], parts: int) -> None:
    texts = ["\n".join(lines) for lines in documents]
    expected = collections.Counter(unit for lines in documents for unit in {u for u in lines if units_of(u)})
    expected["a"] = sum(bool({"a", "A"} & set(lines)) for lines in documents)
    expected.pop("A", None)
    whole = count_documents(find_paragraphs(pa.array(texts, pa.string())))
    assert sorted(whole[1].tolist()) == sorted(count for count in expected.values() if count)
    assert (np.diff(whole[0].astype(object)) > 0).all()
    pieces = [count_documents(find_paragraphs(pa.array(texts[at::parts], pa.string()))) for at in range(parts)]
    merged = merge_counts(*(np.concatenate(column) for column in zip(*pieces, strict=True)))
    assert [column.tolist() for column in merged] == [column.tolist() for column in whole]


def test_counts_stop_at_the_largest_number() -> None:
    hashes, counts = merge_counts(np.array([7, 7], np.uint64), np.array([2**32 - 1, 5], np.uint32))
    assert (hashes.tolist(), counts.tolist()) == ([7], [2**32 - 1])


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, 9)))
@settings(deadline=None)
def test_members_are_those_that_are_there(values: list[int], of: set[int]) -> None:
    found = are_members(np.array(values, np.uint64), np.array(sorted(of), np.uint64))
    assert found.tolist() == [value in of for value in values]


@given(
    st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.booleans()), max_size=8), max_size=4),
    st.integers(1, 20),
)
@settings(deadline=None)
def test_runs_are_long_enough_and_leave_the_heading_of_what_follows(
    documents: list[list[tuple[bool, int, bool]]], min_characters: int
) -> None:
    lines = [line for found in documents for line in found]
    offsets = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    places = np.concatenate([np.zeros(0, np.int32), *(np.arange(len(found), dtype=np.int32) for found in documents)])
    paragraphs = Paragraphs(
        hashes=np.zeros(len(lines), np.uint64),
        lengths=np.array([letters for _, letters, _ in lines], np.int32),
        begins=places * 10 + np.array([blank for _, _, blank in lines], np.int32),
        ends=places * 10 + 9,
        offsets=offsets,
    )
    sizes = np.array([len(found) * 10 for found in documents], np.int64)
    marked = np.array([repeated for repeated, _, _ in lines], np.bool_)
    stretches, stretch_offsets, numbers = repeated_runs(paragraphs, marked, sizes, min_characters)
    for place, found in enumerate(documents):
        expected = runs_of(found, min_characters)
        mine = stretches[stretch_offsets[place] : stretch_offsets[place + 1]].tolist()
        ends = [len(found) * 10 if last == len(found) else last * 10 - 1 for _, last in expected]
        begins = [first * 10 + found[first][2] if first else 0 for first, _ in expected]
        assert mine == [list(stretch) for stretch in zip(begins, ends, strict=True)]
        assert numbers[place] == sum(last - first for first, last in expected)


@given(st.lists(st.tuples(PIECES, st.text(" \n\t", max_size=3)), max_size=4))
@settings(deadline=None)
def test_a_cut_leaves_the_stronger_of_the_separations_around_it(
    documents: list[tuple[list[tuple[str, str, bool]], str]],
) -> None:
    texts, expected, stretches, offsets = [], [], [], [0]
    for pieces, tail in documents:
        text, left, open_cut = "", "", False
        before = ""  # the white space before the open cut
        for space, word, gone in pieces:
            if gone and open_cut:
                stretches[-1][1] = len((text + space + word).encode())
            elif gone:
                stretches.append([len((text + space).encode()), len((text + space + word).encode())])
                before, open_cut = space, True
            else:
                left += joined(before, space, not left) if open_cut else space
                left, open_cut = left + word, False
            text += space + word
        texts.append(text + tail)
        expected.append(left if open_cut else left + tail)
        offsets.append(len(stretches))
    found = cut(pa.array(texts, pa.string()), np.array(stretches, np.int64), np.array(offsets, np.int64))
    found.validate(full=True)
    assert found.to_pylist() == expected


def joined(before: str, after: str, at_start: bool) -> str:
    """What stands in the place of a cut."""
    _, newline, indent = after.rpartition("\n")
    indent = indent if newline else ""
    if at_start:
        return indent
    if before.count("\n") > after.count("\n"):
        return before[: before.rindex("\n") + 1] + indent
    return after


@pytest.mark.parametrize(
    "text",
    ["", "\n" * 1_000_000, "a" * 1_000_000, "。！？——\n" * 1000, "a\n" * 500_000, "\n\n  \n"],
    ids=["empty", "newlines", "one word", "punctuation", "short lines", "white space"],
)
def test_hostile_texts_are_cut_without_harm(text: str) -> None:
    texts = pa.array([text, text], pa.string())
    found = find_paragraphs(texts)
    sizes = np.array([len(text.encode())] * 2, np.int64)
    for marked in (np.zeros(len(found.hashes), np.bool_), np.ones(len(found.hashes), np.bool_)):
        left = cut(texts, *repeated_runs(found, marked, sizes, 1)[:2]).to_pylist()
        assert left == ["" if marked.any() and found.lengths.max() > 3 else text] * 2


def test_the_cells_of_a_table_are_no_run_but_menus_are() -> None:
    table = "Table of results\nA\n1\n2\n7\n19\n2024\nNo\n0\n3\n是\n4\n5\n6\nNot seen before."
    menu = "Home\nNews\nAbout us\n首页\n新闻中心\n\nContents\nNot seen before."
    texts = pa.array([table, menu], pa.string())
    found = find_paragraphs(texts)
    marked = np.ones(len(found.hashes), np.bool_)
    marked[found.offsets[1:] - 1] = False
    sizes = np.array([len(table), len(menu.encode())], np.int64)
    left = cut(texts, *repeated_runs(found, marked, sizes, 25)[:2])
    assert left.to_pylist() == [table, "Contents\nNot seen before."]


def test_ranges_give_what_one_range_gives(tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    random = np.random.default_rng(3)
    drawn = [np.unique(random.integers(0, 2**64, 300, dtype=np.uint64)) for _ in range(3)]
    drawn[1][:100] = drawn[0][:100]
    hashes = [np.sort(found) for found in drawn]
    extremes = np.array([0, 2**64 - 1], np.uint64)
    hashes = [np.union1d(found, extremes) for found in hashes]
    files = []
    for place, found in enumerate(hashes):
        writer = Attempt(tmp_path, "stage", place, "count")
        write_columns(
            writer.output("paragraphs.arrow"), {"hash": found, "documents": np.full(len(found), 2, np.uint32)}
        )
        files.append(committed(writer, "paragraphs.arrow", tmp_path))
    expected = [value for value, n in collections.Counter(np.concatenate(hashes).tolist()).items() if 2 * n > 3]
    for parts in (1, 2, 7, 40):
        ranges = []
        for part in range(parts):
            writer = Attempt(tmp_path, "stage", part, f"range{parts}")
            arguments = RepeatedArguments(part=part, parts=parts, counts=tuple(files), max_documents=3)
            repeated_in_range(arguments, writer)
            ranges.append(committed(writer, "repeated.arrow", tmp_path))
        writer = Attempt(tmp_path, "stage", 0, f"join{parts}")
        join_ranges(JoinArguments(ranges=tuple(ranges)), writer)
        every = np.concatenate([*hashes, random.integers(0, 2**64, 50, dtype=np.uint64)])
        random.shuffle(every)
        found = repeated_members(writer, committed(writer, "repeated.arrow", tmp_path), every)
        assert set(every[found].tolist()) == set(expected)
        assert found.tolist() == [value in set(expected) for value in every.tolist()]


def committed(attempt: Attempt, name: str, work: Path) -> FileRef:
    return FileRef(path=str(attempt.files[name].relative_to(work)), bytes=0, xxh3="")


MENU = ("首页", "新闻中心", "关于我们", "联系方式", "会员登录", "下载专区", "网站地图")
FOOTER = "版权所有，未经书面许可，任何人不得转载、摘编或以其他方式使用上述作品，违者必究。"
LICENCE = "Licensed to the readers of this page.\nYou may copy it and give it away\nas long as this stays.\n"
OPTIONS = ("paragraphs.max_documents=20", "paragraphs.min_left=60", "dedupe.near=false")


def texts_of_build() -> dict[str, list[str]]:
    """Chinese pages with menu and footer, English ones with a licence, and a few that are hardly more than that."""
    zh = [document("zh", index) for index in range(60)]
    en = [document("en", index) for index in range(60)]
    menu = "\n".join(MENU)
    pages = [f"{menu}\n{text}\n\n{FOOTER}" if place % 2 else text for place, text in enumerate(zh)]
    licensed = [f"{LICENCE.upper() if place % 3 else LICENCE}\n{text}" for place, text in enumerate(en[:40])]
    return {
        "zh.jsonl": [*pages, f"{menu}\n雨停了。\n{FOOTER}", f"{FOOTER}\n\n{menu}"],
        "en.jsonl": [*licensed, *en[40:], f"{LICENCE}\nRain."],
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("corpus"), texts_of_build())


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run(corpus, tmp_path_factory.mktemp("built") / "out", *OPTIONS)


def test_what_is_shared_is_cut_and_what_is_left_too_short_leaves(built: Built) -> None:
    rows = {(row["uri"], row["record"]): row for row in ledger(built)}
    assert sum(built.report["outcomes"].values()) == built.report["records_in"] == len(rows)
    assert {place for place, row in rows.items() if row["outcome"] == "too_short"} == {
        ("zh.jsonl", 60),
        ("zh.jsonl", 61),
        ("en.jsonl", 60),
    }
    assert rows["zh.jsonl", 60]["detail"] == "6 characters left; cut: 8 paragraphs seen in more than 20 documents"
    assert rows["zh.jsonl", 61]["detail"].startswith("0 characters left")
    assert all(row["tokens"] == 0 for row in rows.values() if row["outcome"] == "too_short")
    for record in range(60):
        cut_here = rows["zh.jsonl", record]["detail"] or ""
        assert ("cut: 8 paragraphs" in cut_here) == (record % 2 == 1)
        assert ("cut: 3 paragraphs" in (rows["en.jsonl", record]["detail"] or "")) == (record < 40)
    assert built.report["cleaning"] == {
        "bytes_cut": 30 * (len(f"{FOOTER}\n\n".encode()) + len("\n".join(MENU).encode()) + 1) + 40 * (len(LICENCE) + 1),
        "documents_cut": 70,
        "paragraphs_cut": 30 * 8 + 40 * 3 + 8 + 8 + 3,
    }
    assert built.manifest["counts"]["outcome_too_short"] == 3


def test_no_row_holds_what_was_cut_and_the_rest_is_whole(built: Built) -> None:
    assert list(verify(str(built.folder))) == []
    tokenizer = Tokenizer.load(built.folder / "tokenizer.model")
    shards = Shards(str(built.folder))
    held = "".join(
        tokenizer.decode([token for token in shards.row(number)["input_ids"].tolist() if token < tokenizer.num_pieces])
        for number in range(shards.rows)
    )
    assert "版权所有" not in held
    assert "新闻中心" not in held
    assert "icensed to" not in held
    for row in ledger(built):
        if row["outcome"] == "kept" and "its first" not in (row["detail"] or ""):
            index, language = row["record"], row["uri"][:2]
            assert row["tokens"] == len(tokenizer.encode([document(language, index)])[0])


@pytest.mark.parametrize(("address", "workers"), [("none", 1), ("ray", 2)], indirect=["address"])
def test_engine_and_workers_never_change_a_byte(
    corpus: Path, built: Built, tmp_path: Path, address: str, workers: int
) -> None:
    other = run(corpus, tmp_path / "out", *OPTIONS, address=address, workers=workers)
    assert contents(other.folder) == contents(built.folder)


@pytest.mark.parametrize("stage", ["paragraphs", "repeated", "clean"])
@pytest.mark.parametrize("after", ["start", "job"])
def test_a_build_stopped_while_cleaning_goes_on_to_the_same_bytes(
    corpus: Path, built: Built, tmp_path: Path, stage: str, after: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path / "out", *OPTIONS, progress=Stops(stage, after))
    progress = Stops()
    again = run(corpus, tmp_path / "out", *OPTIONS, progress=progress)
    assert progress.resumed > 0
    assert contents(again.folder) == contents(built.folder)


def test_names_and_splits_of_files_have_no_part(built: Built, tmp_path: Path) -> None:
    texts = [text for found in texts_of_build().values() for text in found]
    for place in range(5):
        write_jsonl(tmp_path / "corpus" / f"{9 - place}.jsonl", texts[place::5][::-1])
    other = run(tmp_path / "corpus", tmp_path / "out", *OPTIONS, "corpus.partition_bytes=131072")
    assert {name: other.report[name] for name in ("outcomes", "tokens", "cleaning")} == {
        name: built.report[name] for name in ("outcomes", "tokens", "cleaning")
    }
    rows = [Shards(str(made.folder)) for made in (built, other)]
    assert rows[0].rows == rows[1].rows
    for number in range(rows[0].rows):
        assert np.array_equal(*(shards.row(number)["input_ids"] for shards in rows))


def test_off_is_the_build_without_the_stages(corpus: Path, tmp_path: Path) -> None:
    plain = run(corpus, tmp_path / "plain", "dedupe.near=false")
    loose = run(corpus, tmp_path / "loose", "dedupe.near=false", "paragraphs.max_documents=1000")
    names = [stage["name"] for stage in plain.report["stages"]]
    assert not {"benchmarks", "paragraphs", "repeated", "clean"} & set(names)
    assert "cleaning" not in plain.report
    assert loose.report["cleaning"] == {}
    assert loose.manifest["fingerprint"] == plain.manifest["fingerprint"]
