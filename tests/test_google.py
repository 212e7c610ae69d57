"""gs:// against an emulator of Google's store on loopback, which the test starts and stops."""

import importlib.util
import json
import os
import urllib.parse
import urllib.request

import pytest
from commands import glmdata
from synthetic import write_build

from glmdata.errors import ShardError, StorageError

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

ROWS = 60


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """(URI, folder) of a build in the store."""
    if importlib.util.find_spec("gcp_storage_emulator") is None:
        pytest.skip("the emulator is not installed: pip install gcp-storage-emulator")
    from gcp_storage_emulator.server import create_server

    folder = tmp_path_factory.mktemp("google") / "build"
    write_build(folder, rows=ROWS)
    with pytest.MonkeyPatch.context() as patch:
        server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="glm")
        server.start()
        try:
            address = f"http://127.0.0.1:{server._api._httpd.server_port}"
            for name in ("STORAGE_EMULATOR_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT"):
                patch.setenv(name, address)
            patch.setenv("NO_PROXY", "127.0.0.1")
            for path in filter(os.path.isfile, folder.rglob("*")):
                put(address, f"b/{path.relative_to(folder).as_posix()}", path.read_bytes())
            yield "gs://anonymous@glm/b", folder
        finally:
            server.stop()


def put(address, name, data):
    query = urllib.parse.urlencode({"uploadType": "media", "name": name})
    request = urllib.request.Request(
        f"{address}/upload/storage/v1/b/glm/o?{query}",
        data=data,
        headers={"Content-Type": "application/octet-stream"},
        method="POST",
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()


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
