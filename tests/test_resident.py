"""How shards are read decides neither what is read nor how much of them stays in memory."""

import gc
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from synthetic import write_build

from glmdata.errors import ShardCorruptError
from glmdata.shards import descriptor, mapping, reader
from glmdata.shards.reader import Shards

ROWS, LENGTH = 1500, 512
BUDGET = 1 << 20


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """7 MB of shards, seven times the budget."""
    folder = tmp_path_factory.mktemp("resident") / "build"
    write_build(folder, rows=ROWS, shard_rows=200, rows_per_record_batch=64, length=LENGTH)
    assert sum(path.stat().st_size for path in (folder / "shards").iterdir()) > 6 * BUDGET
    return folder


@pytest.fixture(params=["mapped", "read", "mapped, pages dropped"])
def way(request, monkeypatch):
    """The ways to read: a build that fits in the budget, one that does not, and that without a file to open."""
    if request.param != "mapped":
        monkeypatch.setattr(mapping, "RESIDENT_BYTES", BUDGET)
        monkeypatch.setattr(reader, "RESIDENT_BYTES", BUDGET)
    if request.param == "mapped, pages dropped":
        monkeypatch.setattr(descriptor, "OPEN_SHARE", 1 << 62)
    return request.param


def resident(folder):
    """Bytes of the shards that count as this process's memory."""
    parts = re.split(r"^[0-9a-f]+-[0-9a-f]+ ", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    mine = (part for part in parts if str(folder / "shards") in part)
    return sum(1024 * int(re.search(r"^Rss: +(\d+) kB", part, re.MULTILINE)[1]) for part in mine)


def open_files(folder):
    return sum(path.exists() and str(folder) in str(path.readlink()) for path in Path("/proc/self/fd").iterdir())


def test_rows_are_the_same_whichever_way_they_are_read(build, way):
    rows = np.random.default_rng(1).integers(0, ROWS, 300)
    shards = Shards(build)
    taken = shards.take(rows)
    placed = {name: np.zeros_like(array, np.int64) for name, array in taken.items()}
    turned = np.argsort(rows)
    for half in (turned[:150], turned[150:]):
        shards.take(rows[half], out=placed, places=half)
    for at in range(0, 300, 30):
        row = shards.row(int(rows[at]))
        for name in taken:
            assert np.array_equal(row[name], taken[name][at])
            assert np.array_equal(row[name], placed[name][at])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="there is no /proc/self/smaps here")
def test_after_an_epoch_no_more_of_the_shards_is_in_memory_than_allowed(build, way):
    shards = Shards(build)
    peak = 0
    for rows in np.random.default_rng(2).permutation(ROWS).reshape(-1, 50):
        shards.take(rows)
        peak = max(peak, resident(build))
    if way == "mapped":
        assert peak > 6 * BUDGET
    else:
        # What was touched since pages were last dropped is told before it is read: at most one take more.
        assert peak < BUDGET + 50 * mapping.FAULT_BYTES


def test_a_file_cut_short_while_it_is_read_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "RESIDENT_BYTES", 0)
    write_build(tmp_path / "b", rows=40, shard_rows=40)
    shards = Shards(tmp_path / "b")
    shards.take(np.array([3, 39]))
    os.truncate(tmp_path / "b/shards/part-00000-of-00001.arrow", 2000)
    with pytest.raises(ShardCorruptError, match=r"part-00000-of-00001\.arrow: record batch 4 .* ends .*copy the build"):
        shards.take(np.array([38]))


def test_files_are_closed_with_the_reader_and_not_pickled(build, monkeypatch):
    monkeypatch.setattr(reader, "RESIDENT_BYTES", BUDGET)
    shards = Shards(build)
    shards.take(np.arange(ROWS))
    assert open_files(build) == 8
    again = pickle.loads(pickle.dumps(shards))
    del shards
    gc.collect()
    assert open_files(build) == 0
    assert len(again.take(np.arange(5))["length"]) == 5
