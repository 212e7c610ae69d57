"""Shard files: the schema, record batches, what is written, and the footer."""

import random
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import LENGTH, VOCABULARY, batch_of, random_row

from glmdata.errors import StorageError
from glmdata.shards.footer import FooterError, record_batch_blocks
from glmdata.shards.schema import MATRIX_COLUMNS, SCALAR_COLUMNS, make_batch, shard_schema, trim_batch
from glmdata.shards.writer import write_shard

SCHEMA = shard_schema(LENGTH, VOCABULARY)


# ---------------------------------------------------------------- schema and batches


def test_ids_are_as_narrow_as_the_vocabulary_allows():
    assert shard_schema(8, 65536).field("input_ids").type.value_type == pa.uint16()
    assert shard_schema(8, 65537).field("input_ids").type.value_type == pa.uint32()


def test_nothing_in_the_schema_is_nullable():
    fields = list(SCHEMA) + [field.type.value_field for field in SCHEMA if hasattr(field.type, "value_field")]

    assert not [field.name for field in fields if field.nullable]


@pytest.mark.parametrize(("length", "size"), [(0, 10), (65536, 10), (8, 0), (8, (1 << 32) + 1)])
def test_rows_that_cannot_be_stored_are_refused(length, size):
    with pytest.raises(ValueError, match="must lie in"):
        shard_schema(length, size)


def columns_of(rows):
    batch = batch_of(rows, SCHEMA)
    columns = {name: batch.column(name) for name in SCHEMA.names}
    for name in MATRIX_COLUMNS:
        columns[name] = columns[name].flatten().to_numpy().reshape(len(rows), LENGTH)
    for name in SCALAR_COLUMNS:
        columns[name] = columns[name].to_numpy()
    return columns


def test_a_batch_lies_on_the_arrays_it_was_made_of():
    columns = columns_of([random_row(n) for n in range(5)])

    batch = make_batch(SCHEMA, **columns)

    view = batch.column("input_ids").flatten().to_numpy()
    assert np.shares_memory(view, columns["input_ids"])


def test_list_columns_may_be_nullable_slices():
    columns = columns_of([random_row(n) for n in range(5)])
    wanted = make_batch(SCHEMA, **columns)
    longer = pa.array([[1, 2], *columns["sentence_ends"].to_pylist(), [9]], pa.list_(pa.uint16()))

    batch = make_batch(SCHEMA, **(columns | {"sentence_ends": longer[1:6]}))

    assert batch.equals(wanted)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("input_ids", lambda a: a.astype(np.int64)),
        ("input_ids", lambda a: a[:, :-1].copy()),
        ("input_ids", lambda a: np.asfortranarray(a)),
        ("input_ids", lambda a: a.tolist()),
        ("length", lambda a: a[:, None]),
        ("length", lambda a: a[:-1]),
        ("sentence_ends", lambda a: a.cast(pa.list_(pa.int32()))),
        ("document_ids", lambda a: pa.array([None] * len(a), a.type)),
    ],
)
def test_columns_that_do_not_fit_are_refused(name, spoil):
    columns = columns_of([random_row(n) for n in range(5)])

    with pytest.raises(ValueError, match=r"column"):
        make_batch(SCHEMA, **(columns | {name: spoil(columns[name])}))


def test_missing_columns_are_refused():
    columns = columns_of([random_row(0)])
    del columns["language"]

    with pytest.raises(ValueError, match="language"):
        make_batch(SCHEMA, **columns)


# ---------------------------------------------------------------- writing


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 20), count=st.integers(0, 13), compression=st.sampled_from([None, "zstd"]))
def test_bytes_do_not_depend_on_where_rows_were_sliced_from(tmp_path_factory, start, count, compression):
    folder = tmp_path_factory.mktemp("bytes")
    rows = [random_row(n) for n in range(40)]
    big = batch_of(rows, SCHEMA)
    wanted = write_shard(
        folder / "fresh", SCHEMA, [batch_of(rows[start : start + count], SCHEMA)], compression=compression
    )

    sliced = write_shard(folder / "sliced", SCHEMA, [big.slice(start, count)], compression=compression)

    assert sliced == wanted
    assert (folder / "sliced").read_bytes() == (folder / "fresh").read_bytes()


def test_a_slice_does_not_carry_its_neighbours_along(tmp_path):
    rows = [random_row(n) | {"context_length": 0x4142, "length": 0x4142} for n in range(8)]
    rows[3] |= {"context_length": 1, "length": 2}

    write_shard(tmp_path / "one", SCHEMA, [batch_of(rows, SCHEMA).slice(3, 1)])

    assert b"BABABA" not in (tmp_path / "one").read_bytes()


def test_hashes_are_those_of_the_file_and_of_each_message(tmp_path):
    rows = [random_row(n) for n in range(10)]
    info = write_shard(tmp_path / "x", SCHEMA, [batch_of(rows[:6], SCHEMA), batch_of(rows[6:], SCHEMA)])

    data = (tmp_path / "x").read_bytes()
    blocks = record_batch_blocks(memoryview(data))
    assert (info.rows, info.bytes, info.xxh3) == (10, len(data), xxhash.xxh3_64_hexdigest(data))
    assert info.record_batches == tuple(xxhash.xxh3_64_hexdigest(data[b.offset : b.stop]) for b in blocks)
    messages = [pa.ipc.read_message(pa.py_buffer(data[b.offset : b.stop])) for b in blocks]
    assert [pa.ipc.read_record_batch(m, SCHEMA).num_rows for m in messages] == [6, 4]


def test_d7_a_frozen_shard_keeps_its_bytes(tmp_path):
    """Another hash here means other bytes from the same rows: another format, or a pyarrow that writes otherwise."""
    rows = [random_row(n) | {"sentence_ends": [3], "input_ids": list(range(LENGTH))} for n in range(5)]
    fixed = [row | {name: [1] * LENGTH for name in MATRIX_COLUMNS[1:]} | {"length": 9} for row in rows]
    fixed = [row | {"context_length": 4, "sample_id": n} for n, row in enumerate(fixed)]

    info = write_shard(tmp_path / "x", SCHEMA, [batch_of(fixed, SCHEMA)])

    assert info.record_batches == ("fe0170b64b669e4f",)


def test_batches_of_other_columns_or_with_nulls_are_not_written(tmp_path):
    other = batch_of([random_row(0, 16)], shard_schema(16, VOCABULARY))
    with pytest.raises(ValueError, match="other columns"):
        write_shard(tmp_path / "x", SCHEMA, [other])
    batch = batch_of([random_row(0)], SCHEMA)
    holed = batch.set_column(6, SCHEMA.field(6), pa.array([None], pa.uint16()))
    with pytest.raises(ValueError, match="nulls"):
        trim_batch(holed, SCHEMA)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_to_be_full():
    with pytest.raises(StorageError, match="no space is left"):
        write_shard("/dev/full", SCHEMA, [batch_of([random_row(n) for n in range(500)], SCHEMA)])


# ---------------------------------------------------------------- footer


def test_the_footer_parser_finds_no_batches_in_an_empty_file(tmp_path):
    write_shard(tmp_path / "x", SCHEMA, [])

    assert record_batch_blocks(memoryview((tmp_path / "x").read_bytes())) == []


def test_c13_the_footer_parser_survives_any_bytes(tmp_path):
    write_shard(tmp_path / "x", SCHEMA, [batch_of([random_row(n)], SCHEMA) for n in range(3)])
    data = (tmp_path / "x").read_bytes()
    (size,) = struct.unpack("<i", data[-10:-6])
    rng = random.Random(1)
    for _ in range(3000):
        spoiled = bytearray(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)
        for _ in range(rng.choice((1, 1, 4, 40))):
            at = rng.randrange(max(0, len(spoiled) - size - 20), len(spoiled)) if spoiled else 0
            spoiled[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))])
        try:
            blocks = record_batch_blocks(memoryview(bytes(spoiled)))
        except FooterError:
            continue
        assert all(0 < block.offset < block.stop <= len(spoiled) for block in blocks)
