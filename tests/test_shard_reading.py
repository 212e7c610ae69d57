"""Reading shards: the rows that went in, and damage named by shard and record batch."""

import pickle

import numpy as np
import pytest
from damage import copied
from synthetic import LENGTH, random_row, write_build

from glmdata.errors import ShardCorruptError, ShardError
from glmdata.shards import mapping, reader
from glmdata.shards.footer import record_batch_blocks
from glmdata.shards.reader import Shards
from glmdata.shards.schema import MATRIX_COLUMNS, SCALAR_COLUMNS
from glmdata.shards.verify import verify


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_rows_come_back_as_they_went_in(tmp_path, compression):
    rows = write_build(tmp_path / "b", compression=compression)
    shards = Shards(tmp_path / "b")

    assert (shards.rows, shards.num_batches) == (100, 13)
    for number in range(100):
        found = shards.row(number)
        assert {name: getattr(v, "tolist", lambda v=v: v)() for name, v in found.items()} == rows[number]


def test_take_gathers_any_rows_in_the_order_asked_for(build):
    shards = Shards(build)
    rng = np.random.default_rng(3)
    for count in (0, 1, 7, 300):
        rows = rng.integers(0, 100, count)
        found = shards.take(rows)
        for name in (*SCALAR_COLUMNS, *MATRIX_COLUMNS):
            wanted = [random_row(int(n))[name] for n in rows]
            assert found[name].tolist() == wanted


def test_take_fills_views_of_other_dtypes(build):
    room = np.zeros((3, 2, LENGTH), np.int64)

    Shards(build).take(np.array([5, 5, 99]), out={"position_ids": room[:, 0], "block_position_ids": room[:, 1]})

    assert room[2].tolist() == [random_row(99)["position_ids"], random_row(99)["block_position_ids"]]


def test_rows_outside_the_build_are_an_index_error(build):
    shards = Shards(build)
    for call in (lambda: shards.row(100), lambda: shards.row(-1), lambda: shards.batch(13)):
        with pytest.raises(IndexError):
            call()
    with pytest.raises(IndexError):
        shards.take(np.array([0, 100]))


def test_rows_outlive_the_reader_and_are_read_only(build):
    row = Shards(build).row(42)

    assert row["input_ids"].tolist() == random_row(42)["input_ids"]
    assert not row["input_ids"].flags.writeable


def test_a_reader_pickles_without_data(build):
    shards = Shards(build)
    shards.take(np.arange(100))

    again = pickle.loads(pickle.dumps(shards))

    assert len(pickle.dumps(shards)) < 20_000
    assert again.row(3)["sample_id"] == 37


def test_few_maps_and_little_cache_give_the_same_rows(build, monkeypatch):
    monkeypatch.setattr(mapping, "MAX_MAPPED_SHARDS", 1)
    monkeypatch.setattr(reader, "CACHE_BYTES", 1)
    shards = Shards(build)
    rows = np.random.default_rng(1).permutation(100)

    first, second = (shards.take(rows)["sample_id"].tolist() for _ in range(2))

    assert first == second == [10 * int(n) + 7 for n in rows]


def test_damage_names_shard_and_record_batch(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    path = folder / "shards/part-00001-of-00003.arrow"
    data = bytearray(path.read_bytes())
    block = record_batch_blocks(memoryview(bytes(data)))[2]
    data[block.stop - 1] ^= 1
    path.write_bytes(data)
    shards = Shards(folder)

    assert shards.row(40)["sample_id"] == 407
    with pytest.raises(ShardCorruptError, match=r"part-00001-of-00003\.arrow: record batch 2 \(rows 16 to 23\)"):
        shards.row(40 + 16)


def test_d2_cut_missing_and_misplaced_shards_are_refused(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    first, second, third = sorted((folder / "shards").iterdir())
    data = first.read_bytes()
    first.write_bytes(data[:-1000])
    second.unlink()
    with pytest.raises(ShardCorruptError, match=rf"{first.name}: \d+ bytes, the manifest says \d+"):
        Shards(folder).row(0)
    with pytest.raises(ShardError, match=f"{second.name}: missing"):
        Shards(folder).row(40)
    outside = tmp_path / third.name
    outside.write_bytes(third.read_bytes())
    third.unlink()
    third.symlink_to(outside)
    with pytest.raises(ShardError, match="leads out of the build's folder"):
        Shards(folder).row(99)
    third.unlink()
    third.symlink_to(third)
    with pytest.raises(ShardError, match=third.name):
        Shards(folder).row(99)
    assert [p.path.split("/")[-1] for p in verify(folder)] == [first.name, second.name, third.name]
