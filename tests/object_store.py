"""moto's S3 server on loopback, for tests of builds in an object store."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pytest

__all__ = ["BUCKET", "client", "remove", "running_s3", "upload"]

BUCKET = "glmdata-test"


def running_s3() -> Iterator[str]:
    """Its address while a server runs, with the environment that leads Arrow's client there; skips without moto."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        pytest.skip("moto is not installed: pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        try:
            address = f"127.0.0.1:{port}"
            _wait_for(address, server)
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            settings = {
                "AWS_ENDPOINT_URL": f"http://{address}", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1",
            }  # fmt: skip
            for name, value in settings.items():
                patch.setenv(name, value)
            client().create_dir(BUCKET)
            yield address
        finally:
            server.terminate()


def client() -> pyarrow.fs.S3FileSystem:
    """Arrow's client of the server."""
    address = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    return pyarrow.fs.S3FileSystem(endpoint_override=address, scheme="http", allow_bucket_creation=True)


def upload(folder: Path, name: str) -> str:
    """Copy a folder into the bucket; its URI."""
    store = client()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with store.open_output_stream(
                f"{BUCKET}/{name}/{path.relative_to(folder).as_posix()}", compression=None
            ) as stream:
                stream.write(path.read_bytes())
    return f"s3://{BUCKET}/{name}"


def remove(uri: str) -> None:
    """Delete an object."""
    client().delete_file(uri.removeprefix("s3://"))


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        try:
            opener.open(f"http://{address}/moto-api/", timeout=5).close()
            return
        except OSError:
            if server.poll() is not None:
                raise RuntimeError("moto's server ended") from None
            time.sleep(0.1)
    raise RuntimeError("moto's server does not answer")
