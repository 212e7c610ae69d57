"""gs:// against an emulator of Google's store on loopback, which the test starts and stops."""

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from building import run
from commands import glmdata
from corpora import write_corpus
from synthetic import write_build

from glmdata.errors import ShardError, StorageError
from glmdata.remote import Remote
from glmdata.shards.verify import verify

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

ROWS = 60


SERVER = "from gcp_storage_emulator.server import create_server as c; c('127.0.0.1', {}, True, 'glm').run()"
"""In a process of its own: uploads hang where it runs in a thread of this one."""


@pytest.fixture(scope="module")
def store():
    """URI of a bucket, with the environment that leads Arrow's client there."""
    if importlib.util.find_spec("gcp_storage_emulator") is None:
        pytest.skip("the emulator is not installed: pip install gcp-storage-emulator")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER.format(port)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        try:
            wait_for(port, server)
            for name in ("STORAGE_EMULATOR_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT"):
                patch.setenv(name, f"http://127.0.0.1:{port}")
            patch.setenv("NO_PROXY", "127.0.0.1")
            yield "gs://anonymous@glm"
        finally:
            server.terminate()


def wait_for(port, server):
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if server.poll() is not None:
            raise RuntimeError("the emulator ended")
        time.sleep(0.1)
    raise RuntimeError("the emulator does not answer")


def upload(folder, uri):
    place = Remote(uri)
    for path in filter(Path.is_file, folder.rglob("*")):
        place.upload(path, path.relative_to(folder).as_posix())
    return uri


@pytest.fixture(scope="module")
def google(store, tmp_path_factory):
    """(URI, folder) of a build in the store."""
    folder = tmp_path_factory.mktemp("google") / "build"
    write_build(folder, rows=ROWS)
    return upload(folder, f"{store}/b"), folder


def names(stream):
    return [int(name) for batch in stream for name in batch["sample_id"]]


def test_batches_are_those_of_the_folder(google, tmp_path):
    from glmdata.streaming import ShardStream

    uri, folder = google
    options = {"seed": 3, "epochs": 2, "window": (8, 4)}
    found = names(ShardStream(uri, 6, cache_dir=tmp_path / "cache", **options))
    assert len(found) == 2 * ROWS
    assert found == names(ShardStream(folder, 6, **options))


def test_inspect_takes_the_uri_and_shows_no_login(google):
    uri, _ = google
    done = glmdata("inspect", uri, "--json")
    assert json.loads(done.stdout)["rows"] == ROWS
    assert "anonymous" not in glmdata("inspect", uri).stdout


def test_a_missing_object_is_named(google, tmp_path):
    from glmdata.streaming import ShardStream

    uri, _ = google
    with pytest.raises((ShardError, StorageError), match="gs://glm/none"):
        ShardStream(uri.replace("/b", "/none"), 6, cache_dir=tmp_path / "cache")


def test_a_corpus_and_a_build_in_the_store_have_the_bytes_of_those_at_hand(store, tmp_path, monkeypatch):
    monkeypatch.setenv("GLMDATA_CACHE_DIR", str(tmp_path / "cache"))
    write_corpus(tmp_path / "corpus")
    corpus, out = upload(tmp_path / "corpus", f"{store}/corpus"), f"{store}/out"
    near = run(tmp_path / "corpus", tmp_path / "near")
    assert run(corpus, tmp_path / "far").manifest == near.manifest
    assert run(corpus, out).manifest == near.manifest
    assert run(corpus, out).already_there
    assert list(verify(out)) == []
    assert {found.name for found in Remote(out).find(".build")} == {"corpus.json", "identity.json"}
