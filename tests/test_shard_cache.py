"""The cache of remote shards by itself: what it drops, what it leaves alone, and one fetch for all that ask."""

import os
import threading
import time

import pytest

from glmdata.errors import ConfigError, StorageError
from glmdata.shards.cache import Cache

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def kept(cache, content, digest):
    return cache.get(digest * 16, len(content), lambda file: file.write(content))


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = Cache(tmp_path / "c", 30)
    paths = [kept(cache, b"x" * 10, digest) for digest in "abc"]
    for age, path in enumerate(paths):
        os.utime(path, (age, age))
    kept(cache, b"x" * 10, "a")  # used again

    kept(cache, b"x" * 10, "d")

    assert [path.exists() for path in paths] == [True, False, True]


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("x" * 100)
    cache = Cache(tmp_path, 20)
    for digest in "abcd":
        kept(cache, b"x" * 10, digest)

    assert (tmp_path / "notes.txt").exists()
    assert len(names_in(tmp_path)) == 3


def test_what_a_killed_process_left_is_removed(tmp_path):
    part = tmp_path / f".{'e' * 16}-10.part"
    part.write_bytes(b"half")
    kept(Cache(tmp_path), b"x" * 10, "a")

    assert names_in(tmp_path) == [f"{'a' * 16}-10"]
    part.write_bytes(b"half")
    assert kept(Cache(tmp_path), b"x" * 10, "e").read_bytes() == b"x" * 10
    assert not part.exists()


def test_one_fetches_and_the_others_wait(tmp_path):
    fetched, start = [], threading.Barrier(8)

    def fetch(file):
        fetched.append(threading.get_ident())
        time.sleep(0.05)
        file.write(b"0123456789")

    def get():
        start.wait()
        assert Cache(tmp_path).get("a" * 16, 10, fetch).read_bytes() == b"0123456789"

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    assert names_in(tmp_path) == [f"{'a' * 16}-10"]


def test_a_failed_fetch_leaves_nothing(tmp_path):
    def fetch(file):
        file.write(b"half")
        raise StorageError("no")

    with pytest.raises(StorageError, match="no"):
        Cache(tmp_path).get("a" * 16, 10, fetch)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "1 GB"])
def test_limits_that_are_none_are_refused(limit):
    with pytest.raises(ConfigError, match="cache_bytes"):
        Cache("x", limit)


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("GLMDATA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache().folder == tmp_path / "glmdata"
    monkeypatch.setenv("GLMDATA_CACHE_DIR", str(tmp_path / "own"))
    assert Cache().folder == tmp_path / "own"
