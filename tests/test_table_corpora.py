"""Parquet and Arrow: every text type, nulls, bytes that are no text, row groups, damaged files."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from readings import (
    EMPTY,
    KEPT,
    QUARANTINED,
    SETTINGS,
    SMALL,
    all_rows,
    details,
    read,
    rows,
    same,
    texts,
    whole,
    whole_file,
    write_arrow,
    write_parquet,
    write_stream,
)

from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.errors import StorageError
from glmdata.recipe import CorpusSettings

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


def damaged_copies(whole, seed):
    """200 copies with four bytes of each drawn anew."""
    places = np.random.default_rng(seed)
    for _ in range(200):
        data = bytearray(whole)
        for at in places.integers(0, len(data), 4):
            data[at] = places.integers(256)
        yield bytes(data)


@pytest.mark.parametrize("write", [write_arrow, write_stream])
def test_c13_damaged_arrow_files_are_one_row_and_never_a_crash(tmp_path, write):
    whole = write(tmp_path / "a.arrow", [f"text number {i}" for i in range(100)]).read_bytes()
    found = read(tmp_path, "a.arrow", whole[: len(whole) // 2])
    whole_file(found)
    whole_file(read(tmp_path, "a.arrow", b"not an arrow file"))
    for data in damaged_copies(whole, 3):
        found = read(tmp_path, "a.arrow", data)
        assert sum(row["record"] == -1 for row in found) <= 1
        assert all(row["detail"] for row in found if row["outcome"] == QUARANTINED)


def test_c13_damaged_parquet_files_never_crash_and_give_reasons(tmp_path):
    whole = write_parquet(tmp_path / "a.parquet", [f"text number {i}" for i in range(100)]).read_bytes()
    for data in damaged_copies(whole, 4):
        found = read(tmp_path, "a.parquet", data)
        assert found
        assert all(row["detail"] for row in found if row["outcome"] == QUARANTINED)


def test_arrow_without_a_text_column_is_told(tmp_path):
    pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("body", pa.string())])).close()
    assert 'no single column "text"; the columns are body' in whole_file(rows(tmp_path / "a.arrow"))["detail"]


def test_rows_of_many_small_steps_keep_their_numbers_and_reasons(tmp_path):
    """Parquet is decoded 32 rows at a time, and those are joined to be worked on."""
    values = [None if row % 45 == 7 else "" if row % 50 == 9 else f"行 {row}" for row in range(500)]
    write_parquet(tmp_path / "a.parquet", pa.array(values))
    found = rows(tmp_path / "a.parquet")
    assert [row["record"] for row in found] == [*range(500)]
    assert [row["text"] for row in found] == [value or "" for value in values]
    bad = [row["record"] for row in found if row["outcome"] == QUARANTINED]
    assert bad == [row for row, value in enumerate(values) if value is None]
    assert set(details(found)) == {"text is null"}
