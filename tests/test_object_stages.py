"""Stages whose work lies in an object store: what is torn, damaged or dropped is made or fetched again."""

import os
import shutil

import pytest
from building import run
from corpora import document, write_jsonl
from object_store import BUCKET, upload
from progress import Stops

from glmdata.corpus.files import find_files
from glmdata.corpus.remote_files import RangeReader
from glmdata.errors import StorageError, TaskFailedError
from glmdata.pipelines.engine import Engine, Job
from glmdata.pipelines.folder import BuildFolder
from glmdata.pipelines.local import ThreadExecutor
from glmdata.remote import Remote

from squares import Number, square  # isort: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GLMDATA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_large_is_read_in_splits(tmp_path, s3):
    folder = tmp_path / "large"
    zh, en = ([document(code, number, 12) for number in range(250)] for code in ("zh", "en"))
    write_jsonl(folder / "zh.jsonl", zh)
    (folder / "en.txt").write_text("\n\n".join(text.replace("\n", " ") for text in en))
    assert all(path.stat().st_size > 2 * 65536 for path in folder.iterdir())  # the tests' split_bytes
    far = run(upload(folder, "large"), tmp_path / "far")
    assert run(folder, tmp_path / "near").manifest["fingerprint"] == far.manifest["fingerprint"]


@pytest.mark.parametrize(("offset", "size"), [(0, 10), (5, 100), (1 << 20, 5 << 20), ((9 << 20) - 3, 10), (9 << 20, 1)])
def test_ranges_are_those_of_the_file(s3, offset, size):
    data = bytes(range(256)) * (9 << 12)
    Remote(f"s3://{BUCKET}/ranges").write("x", data)
    reader = RangeReader(f"s3://{BUCKET}/ranges/x")
    assert reader.seek(offset) == offset
    assert reader.read(size) == data[offset : offset + size]
    assert reader.read(7) == data[offset + size : offset + size + 7]
    reader.seek(-4, os.SEEK_END)
    assert reader.read() == data[-4:]
    assert reader.read() == b""


def test_names_that_need_escapes_are_found_again(s3):
    names = ["a b.jsonl", "100%.jsonl", "ü/x?y#z.jsonl", "%41.jsonl"]
    for name in names:
        Remote(f"s3://{BUCKET}/odd names").write(name, b'{"text": "x"}\n')
    found = find_files([f"s3://{BUCKET}/odd%20names"]).files
    assert sorted(file.uri for file in found) == sorted(names)
    for file in found:
        assert RangeReader(file.path).read() == b'{"text": "x"}\n'


def test_going_on_fetches_records_not_files(s3, prefix, cache):
    jobs = [Job(function=square, arguments=Number(value)) for value in range(20)]
    first = Engine(prefix, ThreadExecutor(2), Stops()).run("squares", jobs)
    shutil.rmtree(cache)
    progress = Stops()
    again = Engine(prefix, ThreadExecutor(2), progress)
    assert again.run("squares", jobs) == first
    assert progress.resumed == 20
    assert not cache.exists()
    assert again.path(first[3].files["square.txt"]).read_text() == "9"


@pytest.mark.parametrize("damage", ["cut", "remove", "torn record"])
def test_what_is_torn_is_made_again(s3, prefix, cache, damage):
    jobs = [Job(function=square, arguments=Number(value)) for value in range(3)]
    first = Engine(prefix, ThreadExecutor(2), Stops()).run("squares", jobs)
    file, store = first[1].files["square.txt"], Remote(prefix)
    shutil.rmtree(cache)
    if damage == "cut":
        store.write(file.path, b"")
    elif damage == "remove":
        store.remove([file.path])
    else:
        store.write("squares/000001.json", store.read("squares/000001.json")[:-30])
    progress = Stops()
    again = Engine(prefix, ThreadExecutor(2), progress)
    assert again.path(again.run("squares", jobs)[1].files["square.txt"]).read_text() == "1"
    assert progress.resumed == 2


def test_a_damaged_object_is_never_used_and_made_anew(s3, prefix, cache):
    job = Job(function=square, arguments=Number(5))
    made = Engine(prefix, ThreadExecutor(1), Stops()).run("squares", [job])[0].files["square.txt"]
    shutil.rmtree(cache)
    Remote(prefix).write(made.path, b"52")
    next_job = Job(function=square, arguments=Number(1, made))
    with pytest.raises(StorageError, match=r"damaged in the store, and removed; run the same command again"):
        Engine(prefix, ThreadExecutor(1), Stops()).run("more", [next_job])
    again = Engine(prefix, ThreadExecutor(1), Stops())
    renewed = again.run("squares", [job])[0].files["square.txt"]
    assert (renewed.xxh3, renewed.path == made.path) == (made.xxh3, False)


def test_an_object_that_is_not_what_was_written_is_not_published(s3, prefix):
    made = Engine(f"{prefix}/.build", ThreadExecutor(1), Stops()).run("s", [Job(function=square, arguments=Number(5))])
    file = made[0].files["square.txt"]
    Remote(f"{prefix}/.build").write(file.path, b"52")
    with pytest.raises(StorageError, match="not what was written there; run the same command again"):
        BuildFolder(prefix).publish({"shards/x": file})
    assert Remote(prefix).find("shards") == []


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path):
    work = tmp_path / "work"

    class Elsewhere(ThreadExecutor):
        """Its machine has another folder at that path."""

        def submit(self, call, memory):
            shutil.rmtree(work)
            work.mkdir()
            return super().submit(call, memory)

    with pytest.raises(
        TaskFailedError, match=rf"does not see the work folder {work} of this build; give --out .*s3://"
    ):
        Engine(work, Elsewhere(1), Stops()).run("squares", [Job(function=square, arguments=Number(1))])


def test_a_small_cache_is_enough(s3, prefix, cache, monkeypatch):
    """Inputs stay as long as a job reads them, whatever others drop."""
    monkeypatch.setattr("glmdata.shards.cache.CACHE_BYTES", 1)
    engine = Engine(prefix, ThreadExecutor(4), Stops())
    first = engine.run("squares", [Job(function=square, arguments=Number(value)) for value in range(8)])
    files = [result.files["square.txt"] for result in first]
    second = engine.run("again", [Job(function=square, arguments=Number(value, files[value])) for value in range(8)])
    texts = [Remote(prefix).read(result.files["square.txt"].path) for result in second]
    assert texts == [f"{value**2}{value**2}".encode() for value in range(8)]
