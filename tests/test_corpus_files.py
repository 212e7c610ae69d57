"""Files of a corpus: which are found, what they are called, how they are cut in splits."""

import dataclasses
import json
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from glmdata.corpus.documents import DOCUMENT_SCHEMA, WHOLE_FILE, Outcome, document_ids
from glmdata.corpus.files import ENDINGS, InputFile, find_files
from glmdata.corpus.splits import TO_THE_END, Split, plan_splits
from glmdata.errors import ConfigError, InputError
from glmdata.recipe import CorpusSettings

SETTINGS = CorpusSettings()


def write(path: Path, data: bytes = b'{"text": "a"}\n') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def uris(*corpora: Path, **options) -> list[str]:
    return [file.uri for file in find_files([str(c) for c in corpora], **options).files]


def test_outcome_labels_are_those_of_the_ledger():
    labels = ["kept", "quarantined", "empty", "language", "quality", "exact_duplicate", "near_duplicate", "balance"]
    labels += ["too_short", "contaminated", "tie"]
    assert [outcome.label for outcome in Outcome] == labels
    assert [int(outcome) for outcome in Outcome] == list(range(11))


def test_document_schema_has_text_that_is_never_null():
    assert DOCUMENT_SCHEMA.names == ["record", "text", "outcome", "detail", "byte_offset", "byte_length"]
    assert [field.name for field in DOCUMENT_SCHEMA if field.nullable] == ["detail"]


@given(st.text(), st.lists(st.integers(-1, 2**63 - 1)))
def test_document_ids_hash_uri_and_record(uri, records):
    expected = [xxhash.xxh3_128_digest(uri.encode() + b"\0" + r.to_bytes(8, "little", signed=True)) for r in records]
    ids = document_ids(uri, np.array(records, np.int64))
    ids.validate(full=True)
    assert ids.type == pa.binary(16)
    assert ids.to_pylist() == expected


def test_document_ids_stay_as_they_are():
    ids = document_ids("zh/a.jsonl", np.array([WHOLE_FILE, 0, 1]))
    expected = [
        "6b795c803401f97644a8a0bdd28dc638",
        "9d88542ef1af8abe78464650c5270126",
        "ebe322fbef307ed45d706ee630cf8268",
    ]
    assert [i.hex() for i in ids.to_pylist()] == expected


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_is_found_whatever_the_case_of_its_ending(tmp_path, ending):
    write(tmp_path / f"a{ending}")
    write(tmp_path / f"b{ending.upper()}")
    found = find_files([str(tmp_path)]).files
    assert [(f.format, f.compression) for f in found] == [ENDINGS[ending]] * 2
    assert all(f.problem is None and f.size == 14 and f.mtime_ns > 0 for f in found)


def test_folders_are_read_recursively_sorted_by_uri_and_others_counted(tmp_path):
    for name in (
        "b.jsonl",
        "a/z.txt",
        "a/b/c.parquet",
        "a.jsonl",
        "文/件.jsonl",
        "é.txt",
        "x.csv",
        "a/README",
        "a.json",
    ):
        write(tmp_path / name)
    listing = find_files([str(tmp_path)])
    expected = ["a.jsonl", "a/b/c.parquet", "a/z.txt", "b.jsonl", "é.txt", "文/件.jsonl"]
    assert [f.uri for f in listing.files] == expected
    assert sorted(expected, key=str.encode) == expected
    assert listing.ignored == {".csv": 1, ".json": 1, "no ending": 1}


def test_hidden_files_folders_pipes_and_empty_folders_give_nothing(tmp_path):
    write(tmp_path / ".hidden.jsonl")
    write(tmp_path / ".folder/a.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "empty.jsonl").mkdir()
    assert find_files([str(tmp_path)]).files == ()
    assert find_files([str(tmp_path)]).ignored == {}


def test_odd_names_are_escaped_where_needed_and_can_be_opened(tmp_path):
    names = {
        b"caf\xe9.jsonl": "caf%E9.jsonl",
        b"line\nbreak\x7f.jsonl": "line%0Abreak%7F.jsonl",
        b"line%0Abreak\x7f.jsonl": "line%250Abreak%7F.jsonl",
        b"a%20b 100%.jsonl": "a%20b 100%.jsonl",
        b"q?a=1&b#[1]*\\c:d.jsonl": "q?a=1&b#[1]*\\c:d.jsonl",
        "文件：一.jsonl".encode(): "文件：一.jsonl",
    }
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as out:  # noqa: PTH118, PTH123
            out.write(name)
    found = find_files([str(tmp_path)]).files
    assert sorted(f.uri for f in found) == sorted(names.values())
    for file in found:
        assert names[Path(file.path).read_bytes()] == file.uri


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=2, max_size=2, unique=True))
def test_different_names_have_different_uris(pair):
    from glmdata.corpus.files import uri_of

    first, second = (uri_of(os.fsdecode(name.replace(b"\0", b"%0"))) for name in pair)
    if pair[0].replace(b"\0", b"%0") != pair[1].replace(b"\0", b"%0"):
        assert first != second
    first.encode()
    assert first.isprintable() or not any(c < " " or c == "\x7f" for c in first)


def test_links_inside_the_corpus_are_followed_and_others_not(tmp_path):
    root = tmp_path / "root"
    write(root / "data/a.jsonl")
    write(tmp_path / "outside.jsonl")
    write(tmp_path / "root-sibling/b.jsonl")
    (root / "file.jsonl").symlink_to("data/a.jsonl")
    (root / "folder").symlink_to(root / "data")
    (root / "out.jsonl").symlink_to(tmp_path / "outside.jsonl")
    (root / "out").symlink_to(tmp_path / "root-sibling")
    (root / "gone.jsonl").symlink_to("nowhere.jsonl")
    (root / "zero.jsonl").symlink_to("/dev/zero")
    (root / "knot.jsonl").symlink_to("knot.jsonl")
    assert uris(root) == ["data/a.jsonl", "file.jsonl", "folder/a.jsonl"]


def test_links_in_circles_end(tmp_path):
    write(tmp_path / "a/a.jsonl")
    write(tmp_path / "b/b.jsonl")
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/other").symlink_to("../b")
    (tmp_path / "b/other").symlink_to("../a")
    assert uris(tmp_path) == ["a/a.jsonl", "a/other/b.jsonl", "b/b.jsonl", "b/other/a.jsonl"]


def test_a_corpus_may_itself_be_a_link(tmp_path):
    write(tmp_path / "real/a.jsonl")
    (tmp_path / "link").symlink_to("real")
    assert uris(tmp_path / "link") == ["a.jsonl"]


def test_excluded_folders_are_not_entered_not_even_through_links(tmp_path):
    write(tmp_path / "a.jsonl")
    write(tmp_path / "out/shards/b.arrow")
    (tmp_path / "link").symlink_to("out")
    (tmp_path / "c.arrow").symlink_to("out/shards/b.arrow")
    (tmp_path / "elsewhere").symlink_to("out")
    assert uris(tmp_path, exclude=[str(tmp_path / "elsewhere")]) == ["a.jsonl"]


def test_a_single_file_is_called_by_its_name_and_file_uris_are_paths(tmp_path):
    path = write(tmp_path / "some folder/ä.jsonl")
    assert uris(path) == ["ä.jsonl"]
    listing = find_files([path.as_uri()])
    assert [(f.uri, f.path) for f in listing.files] == [("ä.jsonl", str(path))]
    assert [f.uri for f in find_files([path.parent.as_uri()]).files] == ["ä.jsonl"]


def test_wrong_corpora_are_refused_by_name(tmp_path):
    write(tmp_path / "x.csv")
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("nowhere", "x.csv", "pipe.jsonl"):
        with pytest.raises(InputError, match=name):
            find_files([str(tmp_path / name)])
    with pytest.raises(ConfigError, match="file://"):
        find_files(["file://host/x"])
    with pytest.raises(ConfigError, match="odd://host/x: cannot be read: Protocol not known"):
        find_files(["odd://host/x"])


def test_one_uri_in_two_corpora_is_refused_naming_both(tmp_path):
    write(tmp_path / "one/a.jsonl")
    write(tmp_path / "two/a.jsonl")
    with pytest.raises(InputError, match=r"one and .*two both hold a\.jsonl.*folder that holds both"):
        find_files([str(tmp_path / "one"), str(tmp_path / "two")])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_a_problem_not_an_error(tmp_path):
    write(tmp_path / "shut/a.jsonl")
    (tmp_path / "shut").chmod(0)
    try:
        (file,) = find_files([str(tmp_path)]).files
    finally:
        (tmp_path / "shut").chmod(0o700)
    assert (file.uri, file.format) == ("shut", "folder")
    assert file.problem is not None
    (split,) = plan_splits([file], SETTINGS)
    assert split.problem == file.problem


def test_a_corpus_deeper_than_pythons_stack_is_read(tmp_path):
    depth = (3500 - len(str(tmp_path))) // 2
    start = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("a.jsonl").write_bytes(b"")
        assert uris(tmp_path) == ["d/" * depth + "a.jsonl"]
        Path("a.jsonl").unlink()
        for _ in range(depth):  # too deep for pytest to remove
            os.chdir("..")
            Path("d").rmdir()
    finally:
        os.chdir(start)


# ---------------------------------------------------------------- splits


def input_file(path: Path, **changes) -> InputFile:
    (file,) = find_files([str(path)]).files
    return dataclasses.replace(file, **changes)


@given(st.integers(0, 1 << 40), st.integers(1 << 16, 1 << 30))
def test_byte_ranges_cover_a_file_in_equal_parts(size, split_bytes):
    size = min(size, split_bytes * 1000)
    file = InputFile(
        uri="a.jsonl", path="/dev/null", size=size, mtime_ns=0, format="jsonl", compression=None, problem=None
    )
    splits = plan_splits([file], CorpusSettings(split_bytes=split_bytes))
    lengths = [s.end - s.start for s in splits]
    assert splits[0].start == 0
    assert splits[-1].end == size
    assert [s.end for s in splits[:-1]] == [s.start for s in splits[1:]]
    assert max(lengths) <= split_bytes
    assert max(lengths) - min(lengths) <= 1
    assert [s.ordinal for s in splits] == list(range(len(splits)))
    assert [s.last for s in splits] == [False] * (len(splits) - 1) + [True]


def test_what_cannot_be_entered_in_the_middle_is_one_split(tmp_path):
    for name in ("a.jsonl.gz", "a.jsonl.zst", "a.txt.gz", "a.txt.zst", "a.arrow", "a.txt"):
        file = input_file(write(tmp_path / name), size=1 << 40)
        (split,) = plan_splits([file], CorpusSettings(txt_documents="file"))
        assert (split.start, split.end, split.ordinal, split.last) == (0, TO_THE_END, 0, True)


def test_a_large_file_that_cannot_be_opened_is_one_problem(tmp_path):
    file = dataclasses.replace(input_file(write(tmp_path / "a.jsonl"), size=1 << 30), path=str(tmp_path / "gone.jsonl"))
    (split,) = plan_splits([file], SETTINGS)
    assert "No such file" in split.problem


def test_splits_survive_json(tmp_path):
    splits = plan_splits(find_files([str(write(tmp_path / "a.jsonl"))]).files, SETTINGS)
    assert [Split(**json.loads(json.dumps(dataclasses.asdict(s)))) for s in splits] == splits


def test_row_groups_are_gathered_up_to_split_bytes(tmp_path):
    letters = random.Random(1)
    texts = [letters.randbytes(2000).hex() for _ in range(100)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=10, use_dictionary=False)
    splits = plan_splits([input_file(tmp_path / "a.parquet")], CorpusSettings(split_bytes=100_000))
    assert [(s.start, s.end) for s in splits] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert [s.last for s in splits] == [False, False, False, True]
    (split,) = plan_splits([input_file(tmp_path / "a.parquet")], SETTINGS)
    assert (split.start, split.end) == (0, 10)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"content": ["a"]}, 'no single column "text"; the columns are content'),
        ({"text": [1]}, 'column "text" holds int64, not text'),
        ({"text": [["a"]]}, 'column "text" holds list'),
        ({"text": [{"text": "a"}]}, 'column "text" holds struct'),
    ],
)
def test_parquet_without_a_text_column_is_a_problem_in_words(tmp_path, columns, words):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (split,) = plan_splits([input_file(tmp_path / "a.parquet")], SETTINGS)
    assert words in split.problem


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.null(), pa.dictionary(pa.int32(), pa.string())],
)
def test_parquet_with_a_text_column_of_any_text_type_is_fine(tmp_path, kind):
    pq.write_table(pa.table({"text": pa.nulls(3, kind)}), tmp_path / "a.parquet")
    (split,) = plan_splits([input_file(tmp_path / "a.parquet")], SETTINGS)
    assert split.problem is None
    assert (split.start, split.end) == (0, 1)


def test_a_damaged_footer_is_a_problem(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for data in (whole[: len(whole) // 2], whole[:-8] + bytes(8), b"not a parquet file", b""):
        write(tmp_path / "a.parquet", data)
        (split,) = plan_splits([input_file(tmp_path / "a.parquet")], SETTINGS)
        assert split.problem.startswith("cannot be read as parquet: ")


def test_a_file_is_found_by_its_uri_as_the_listing_gives_it(tmp_path: Path) -> None:
    from glmdata.corpus.files import find_file

    root, other = tmp_path / "root", tmp_path / "other"
    for name in (b"a.jsonl", b"d/a:b.txt", b"caf\xe9 1.txt", b"100%.txt", b"x%41.txt", b"x%C3%25.txt", b"x%0A\n.txt"):
        path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(os.fsdecode(name).encode("utf-8", "replace").decode())
    other.mkdir()
    (other / "far.txt").write_text("x")
    (root / "far.txt").symlink_to(other / "far.txt")
    (root / "near.txt").symlink_to(root / "a.jsonl")
    (root / ".hidden.txt").write_text("x")
    (root / "page.html").write_text("x")
    roots = [str(root), str(other / "far.txt")]
    files = find_files(roots).files
    assert len(files) == 9
    for file in files:
        assert file == find_file(roots, file.uri)
    for uri in ("b.jsonl", ".hidden.txt", "../other/far.txt", "d", "page.html", "d//a:b.txt", "/etc/x.txt", ""):
        assert find_file(roots, uri) is None
    assert find_file([str(root)], "far.txt") is None
    assert find_file([str(root / "gone"), root.as_uri()], "a.jsonl") == files[[f.uri for f in files].index("a.jsonl")]
