"""Builds in an object store: the same batches as from a folder, through a cache that any number of processes share."""

import json
import multiprocessing
import os
import time

import fsspec
import numpy as np
import pytest
from commands import build_small, glmdata
from fsspec.implementations.memory import MemoryFileSystem
from object_store import client, remove, upload
from streams import numbers, stream_of

from glmdata import remote as remote_module
from glmdata.errors import ConfigError, ShardCorruptError, ShardError, StorageError
from glmdata.shards.cache import Cache
from glmdata.shards.folder import RemoteFolder
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.streaming.order import Window, rows_at

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

ROWS = 100
WINDOW = Window(40, 4)


@pytest.fixture(scope="module")
def uri(s3, build):
    return upload(build, "build")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def cached(cache):
    return sorted(path.name for path in cache.iterdir())


def shard_names(build):
    return [f"{s['xxh3']}-{s['bytes']}" for s in json.loads((build / "manifest.json").read_text())["shards"]]


# ---------------------------------------------------------------- S3


def test_batches_are_those_of_the_folder(uri, build, cache):
    far = list(stream_of(uri, seed=3, epochs=2, cache_dir=cache))
    near = list(stream_of(build, seed=3, epochs=2, window=WINDOW))

    assert len(far) == len(near) == 25
    for ours, theirs in zip(far, near, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert cached(cache) == sorted(shard_names(build))


def test_the_manifest_alone_is_fetched_before_the_first_batch(uri, cache):
    stream = stream_of(uri, cache_dir=cache)

    assert stream.plan()["samples"] == ROWS
    assert not cache.exists()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_world_sees_one_order_and_resumes_in_it(uri, cache, world):
    streams = [stream_of(uri, 8 // world, seed=5, dp_rank=r, dp_world=world, cache_dir=cache) for r in range(world)]
    for stream in streams:
        stream.load_state_dict(streams[0].state_dict() | {"samples_consumed": 1003})
    steps = zip(*map(iter, streams), strict=True)
    order = [number for _ in range(20) for number in numbers(next(steps))]

    assert order == rows_at(np.arange(1003, 1163), seed=5, size=ROWS, window=WINDOW).tolist()


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork"), (2, "spawn")])
def test_loader_workers_share_the_cache(uri, build, cache, workers, start):
    stream = stream_of(uri, seed=7, epochs=1, cache_dir=cache)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context=start)

    assert numbers(loader) == numbers(stream_of(build, seed=7, epochs=1, window=WINDOW))
    assert cached(cache) == sorted(shard_names(build))


def test_shards_are_fetched_ahead(uri, build, cache):
    shards = Shards(uri, cache=Cache(cache))
    shards.mapping.prefetch(range(3))
    for _ in range(300):
        if cache.exists() and cached(cache) == sorted(shard_names(build)):
            return
        time.sleep(0.1)
    raise AssertionError(cached(cache))


def read_all(uri, cache, limit, seed, found, environment):
    os.environ.update(environment)
    stream = stream_of(uri, seed=seed, epochs=1, cache_dir=cache, cache_bytes=limit)
    found.put(numbers(stream)[:ROWS])


def test_many_processes_share_a_cache_that_holds_two_shards(uri, build, cache):
    limit = 2 * max(int(name.split("-")[1]) for name in shard_names(build))
    context = multiprocessing.get_context("forkserver")  # that of commands.py, which has imported PyTorch
    found = context.Queue()
    readers = [
        context.Process(target=read_all, args=(uri, cache, limit, seed, found, dict(os.environ))) for seed in range(4)
    ]
    for reader in readers:
        reader.start()
    orders = [tuple(found.get(timeout=120)) for _ in readers]
    for reader in readers:
        reader.join()

    wanted = [rows_at(np.arange(ROWS), seed=seed, size=ROWS, window=WINDOW) for seed in range(4)]
    assert sorted(orders) == sorted(tuple(order.tolist()) for order in wanted)
    assert set(cached(cache)) <= set(shard_names(build))
    assert sum((cache / name).stat().st_size for name in cached(cache)) <= limit


def test_a_damaged_object_is_named_and_not_kept(build, s3, cache):
    uri = upload(build, "damaged")
    name = "shards/part-00001-of-00003.arrow"
    data = bytearray((build / name).read_bytes())
    data[1000] ^= 1
    with client().open_output_stream(f"{uri.removeprefix('s3://')}/{name}") as stream:
        stream.write(bytes(data))

    with pytest.raises(ShardCorruptError, match=f"{uri}/{name}: its bytes are not those"):
        list(stream_of(uri, epochs=1, cache_dir=cache))
    assert shard_names(build)[1] not in cached(cache)


@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_an_object_of_another_size_is_named(build, s3, cache, change):
    uri = upload(build, change)
    name = "shards/part-00000-of-00003.arrow"
    data = (build / name).read_bytes()
    with client().open_output_stream(f"{uri.removeprefix('s3://')}/{name}") as stream:
        stream.write(data[:-1] if change == "shorter" else data + b"x")

    with pytest.raises(ShardCorruptError, match=f"{name}: .*bytes, the manifest says {len(data)}"):
        Shards(uri, cache=Cache(cache)).row(0)


def test_a_missing_object_is_named(build, s3, cache):
    uri = upload(build, "missing")
    remove(f"{uri}/shards/part-00002-of-00003.arrow")

    with pytest.raises(ShardError, match=f"{uri}/shards/part-00002-of-00003.arrow: missing"):
        list(stream_of(uri, epochs=1, cache_dir=cache))


def test_where_there_is_no_build_that_is_said(s3):
    with pytest.raises(ShardError, match="s3://glmdata-test/nothing holds no finished build"):
        stream_of("s3://glmdata-test/nothing")


def test_verify_fetches_anew(build, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("GLMDATA_CACHE_DIR", str(tmp_path / "cache"))
    uri = upload(build, "verified")
    assert list(verify(uri)) == []
    name = "shards/part-00001-of-00003.arrow"
    for key, data in ((name, (build / name).read_bytes()[::-1]), ("shards/other.arrow", b"x")):
        with client().open_output_stream(f"{uri.removeprefix('s3://')}/{key}") as stream:
            stream.write(data)
    remove(f"{uri}/shards/part-00000-of-00003.arrow")

    problems = [(problem.path, problem.what) for problem in verify(uri)]

    assert [path for path, _ in problems] == [
        "shards/part-00000-of-00003.arrow", "shards/part-00001-of-00003.arrow", "shards/other.arrow",
    ]  # fmt: skip
    assert "missing" in problems[0][1]
    assert "its bytes are not those" in problems[1][1]
    assert "not in the manifest" in problems[2][1]


def test_e2_credentials_of_a_uri_are_never_told(s3, cache):
    uri = "s3://AKUSER:se%2Fcret@glmdata-test/nothing"
    for use in (lambda: stream_of(uri), lambda: list(verify(uri)), lambda: stream_of(f"{uri}?scheme=ftp&no=se%2Fcret")):
        with pytest.raises((ShardError, ConfigError, StorageError)) as told:
            use()
        assert "glmdata-test" in str(told.value)
        assert not any(secret in str(told.value) for secret in ("AKUSER", "se%2Fcret", "se/cret"))


def test_inspect_takes_a_uri(s3, corpus, tmp_path):
    build_small(corpus, tmp_path / "out")
    uri = upload(tmp_path / "out", "inspected")
    home = {"GLMDATA_CACHE_DIR": str(tmp_path / "cache")}

    for arguments in ((), ("--json",), ("--sample", "3"), ("--sample", "3", "--json"), ("--verify",)):
        near, far = glmdata("inspect", tmp_path / "out", *arguments), glmdata("inspect", uri, *arguments, **home)
        assert near.returncode == far.returncode == 0, far.stderr
        assert far.stdout.split() == near.stdout.replace(str(tmp_path / "out"), uri).split()
    shown = json.loads(glmdata("inspect", uri, "--at", 2, "--batch-size", 4, "--json", **home).stdout)["samples"]
    batches = list(stream_of(uri, 4, cache_dir=tmp_path / "cache", epochs=1))
    assert [sample["sample_id"] for sample in shown] == batches[2]["sample_id"].tolist()


# ---------------------------------------------------------------- failures


class FlakyFileSystem(MemoryFileSystem):
    """fsspec's store in memory, which fails as networks do: `failures` opens raise, `cut` ones end early."""

    protocol = "flaky"
    store = MemoryFileSystem.store
    failures = 0
    cut = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def _open(self, path, mode="rb", **options):
        if mode == "rb" and FlakyFileSystem.failures:
            FlakyFileSystem.failures -= 1
            raise ConnectionResetError("connection reset by the test")
        file = super()._open(path, mode, **options)
        if mode == "rb" and FlakyFileSystem.cut and "part-" in path:
            FlakyFileSystem.cut -= 1
            return fsspec.implementations.memory.MemoryFile(self, path, file.getvalue()[:1000])
        return file


@pytest.fixture
def flaky(build, monkeypatch):
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    monkeypatch.setattr(remote_module, "BACKOFF_S", 0.001)
    FlakyFileSystem.failures = FlakyFileSystem.cut = 0
    files = fsspec.filesystem("flaky")
    for path in build.rglob("*"):
        if path.is_file():
            files.pipe(f"/bucket/{path.relative_to(build).as_posix()}", path.read_bytes())
    return "flaky://bucket"


def test_failures_are_tried_again(flaky, build, cache):
    FlakyFileSystem.failures = remote_module.ATTEMPTS - 1
    shards = Shards(flaky, cache=Cache(cache))
    FlakyFileSystem.failures, FlakyFileSystem.cut = remote_module.ATTEMPTS - 1, 1

    assert shards.take(np.arange(ROWS), ["sample_id"])["sample_id"].tolist() == [10 * n + 7 for n in range(ROWS)]


def test_when_nothing_helps_the_object_is_named(flaky, cache):
    shards = Shards(flaky, cache=Cache(cache))
    FlakyFileSystem.failures = 1000

    with pytest.raises(
        StorageError, match=r"flaky://bucket/shards/part-00000-of-00003\.arrow: .* in 4 attempts .*reset"
    ):
        shards.row(0)
    assert cached(cache) == []


def test_a_scheme_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="odd://bucket/x: cannot be read: Protocol not known"):
        stream_of("odd://bucket/x")


def test_a_file_uri_is_a_folder(build):
    assert stream_of(build.as_uri()).plan()["samples"] == ROWS
    assert stream_of(build.as_uri()).window is None


# ---------------------------------------------------------------- the cache


def test_rows_stay_readable_when_their_file_is_removed(flaky, cache):
    shards = Shards(flaky, cache=Cache(cache))
    row = shards.row(5)
    wanted = row["input_ids"].tolist()
    for path in cache.iterdir():
        path.unlink()

    assert row["input_ids"].tolist() == shards.row(5)["input_ids"].tolist() == wanted


def test_a_copy_that_rots_in_the_cache_is_fetched_again(flaky, build, cache):
    shards = Shards(flaky, cache=Cache(cache))
    shards.row(0)
    path = cache / shard_names(build)[0]
    data = bytearray(path.read_bytes())
    for place in range(600, len(data) - 600, 50):
        data[place] ^= 1
    path.write_bytes(data)

    again = Shards(flaky, cache=Cache(cache))

    assert again.take(np.arange(40), ["sample_id"])["sample_id"].tolist() == [10 * n + 7 for n in range(40)]
    assert path.read_bytes() == (build / "shards/part-00000-of-00003.arrow").read_bytes()


def test_a_cache_without_room_for_two_shards_is_refused(flaky):
    with pytest.raises(ConfigError, match="cache_bytes=1000: two shards of flaky://bucket take"):
        stream_of(flaky, cache_bytes=1000)


def test_a_cache_that_cannot_be_written_is_told(flaky, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cache"):
        Shards(flaky, cache=Cache(tmp_path / "file/cache")).row(0)


def test_a_folder_pickles_without_its_client(flaky, cache):
    import pickle

    place = RemoteFolder(flaky, Cache(cache))
    place.read("manifest.json")

    assert pickle.loads(pickle.dumps(place)).read("manifest.json") == place.read("manifest.json")
