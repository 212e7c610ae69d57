"""Where a build lies: a folder, or a prefix of an object store, whose files come through a cache.

`s3://`, `gs://`, `abfs://` and `hdfs://` are read by Arrow's own clients, any other scheme by fsspec where it has one.
Credentials come from where those clients look for them: environment, configuration files, the machine's role. Those in
a URI work too and are never shown.
"""

import os
import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import xxhash

from glmdata.errors import ConfigError, GlmdataError, ShardCorruptError, ShardError, StorageError
from glmdata.shards.cache import Cache

__all__ = ["CancelledError", "LocalFolder", "RemoteFolder", "is_remote", "locate", "open_folder"]

ATTEMPTS = 4
"""Arrow's S3 client itself tries for some seconds before it gives an attempt up."""
BACKOFF_S = 0.5
"""Before the second attempt; four times as long before each further one."""
CHUNK_BYTES = 4 << 20
SMALL_BYTES = 1 << 28
"""Of a file that is read whole, if nothing else is said."""

_ARROW_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")
_HOPELESS = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "NO_SUCH_BUCKET", "Forbidden")
"""What no further attempt mends."""

T = TypeVar("T")


class CancelledError(Exception):
    """A fetch was given up because nobody waits for it any more."""


class LocalFolder:
    """A build on this machine."""

    remote = False

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.name = os.fspath(folder)

    def read(self, name: str, limit: int = SMALL_BYTES) -> bytes:
        """A small file; of a larger one no more than a byte past the limit. Raises OSError."""
        with (Path(self.name) / name).open("rb") as file:
            return file.read(limit + 1)

    def path(self, name: str, size: int, digest: str, *, fresh: bool = False) -> Path:  # noqa: ARG002
        """Where a file lies, if it is there at all. Raises ShardError as `locate`."""
        return locate(self.name, name)

    def names(self, under: str) -> Iterator[str]:
        """All that lies in a folder of the build and below, folders left out."""
        for path in sorted(Path(self.name, under).rglob("*")):
            if not path.is_dir():
                yield path.relative_to(self.name).as_posix()


class RemoteFolder:
    """A build in an object store. Pickles as its URI and the cache's settings; each process makes its own client."""

    remote = True

    def __init__(self, uri: str, cache: Cache) -> None:
        self.name, self._secrets = _without_secrets(uri)
        self.cache = cache
        self._uri = uri
        self._client: tuple[int, Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the client."""
        return self.__dict__ | {"_client": None}

    def read(self, name: str, limit: int = SMALL_BYTES) -> bytes:
        """As LocalFolder.read. Raises FileNotFoundError, StorageError after the last attempt."""

        def attempt() -> bytes:
            store, root = self._open()
            with store.open_input_stream(f"{root}/{name}") as stream:
                return bytes(stream.read(limit + 1))

        return self._retried(name, attempt, _never)

    def path(
        self,
        name: str,
        size: int,
        digest: str,
        *,
        fresh: bool = False,
        cancelled: Callable[[], bool] | None = None,
    ) -> Path:
        """A local copy of a file with this size and xxh3-64; with `fresh`, as it is in the store now.

        Raises:
            ShardError: it is not there.
            ShardCorruptError: its bytes are others, also when fetched again.
            StorageError: it cannot be fetched, or the cache cannot be written.
            CancelledError: `cancelled` said so.
        """
        stop = cancelled or _never

        def fetch(file: BinaryIO) -> None:
            try:
                for _ in range(2):  # a connection may end early without a word, a damaged object stays damaged
                    found = self._retried(name, lambda: self._copy(name, size, file, stop), stop)
                    if found == (size, digest):
                        return
            except FileNotFoundError:
                raise ShardError(f"{self.name}/{name}: missing; copy the build again") from None
            told = f"its bytes are not those that were written (xxh3 is not {digest})"
            if found[0] != size:
                told = f"{'more than ' if found[0] > size else ''}{min(found[0], size)} bytes, the manifest says {size}"
            raise ShardCorruptError(f"{self.name}/{name}: {told}; copy the build again")

        return self.cache.get(digest, size, fetch, fresh=fresh)

    def names(self, under: str) -> Iterator[str]:
        """All objects below a prefix of the build. Raises StorageError."""
        from pyarrow.fs import FileSelector, FileType

        def attempt() -> list[str]:
            store, root = self._open()
            found = store.get_file_info(FileSelector(f"{root}/{under}", allow_not_found=True, recursive=True))
            cut = len(root.strip("/")) + 1
            return sorted(info.path.strip("/")[cut:] for info in found if info.type != FileType.Directory)

        yield from self._retried(under, attempt, _never)

    def _copy(self, name: str, size: int, file: BinaryIO, cancelled: Callable[[], bool]) -> tuple[int, str]:
        """Copy an object into a file from its start; its size and hash. No more than `size` bytes and a chunk."""
        store, root = self._open()
        digest, copied = xxhash.xxh3_64(), 0
        file.seek(0)
        file.truncate(0)
        with store.open_input_stream(f"{root}/{name}") as stream:
            while copied <= size and (data := stream.read(CHUNK_BYTES)):
                if cancelled():
                    raise CancelledError
                digest.update(data)
                copied += len(data)
                try:
                    file.write(data)
                except OSError as error:
                    raise StorageError(f"{self.cache.folder}: cannot be written: {error.strerror}") from error
        return copied, digest.hexdigest()

    def _open(self) -> tuple[Any, str]:
        """The store's client of this process, and the build's place in it. Raises ConfigError."""
        if self._client is None or self._client[0] != os.getpid():
            store, root = self._connect()
            self._client = os.getpid(), store, root.rstrip("/")
        return self._client[1:]

    def _connect(self) -> tuple[Any, str]:
        scheme = self._uri.partition("://")[0]
        try:
            from pyarrow import fs

            if scheme in _ARROW_SCHEMES:
                return fs.FileSystem.from_uri(self._uri)
            import fsspec

            found, root = fsspec.core.url_to_fs(self._uri)
            return fs.PyFileSystem(fs.FSSpecHandler(found)), root
        except (ImportError, ValueError, NotImplementedError) as error:  # no client, no such scheme, not built in
            raise ConfigError(f"{self.name}: cannot be read: {self._told(error)}") from None

    def _retried(self, name: str, attempt: Callable[[], T], cancelled: Callable[[], bool]) -> T:
        """The result of `attempt`, made again after failures of the network."""
        start, made, told = time.monotonic(), 0, ""
        while made < ATTEMPTS and not any(word in told for word in _HOPELESS):
            if made:
                _wait(BACKOFF_S * 4 ** (made - 1) * random.uniform(0.75, 1.25), cancelled)  # noqa: S311  (not all at once)
            made += 1
            try:
                return attempt()
            except (GlmdataError, FileNotFoundError, CancelledError):
                raise
            except Exception as error:  # clients of fsspec raise whatever their libraries do
                told = self._told(error)
        tries = "" if made == 1 else f" in {made} attempts over {time.monotonic() - start:.0f} s"
        raise StorageError(f"{self.name}/{name}: cannot be read{tries}: {told}; check the network and the credentials")

    def _told(self, error: BaseException) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:300]


Folder = LocalFolder | RemoteFolder


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Whether a place is a URI of another scheme than file."""
    return "://" in os.fspath(place) and not os.fspath(place).startswith("file://")


def open_folder(place: "str | os.PathLike[str] | Folder", cache: Cache | None = None) -> Folder:
    """A build's folder by path or URI; nothing is read yet. `cache` serves remote ones."""
    if isinstance(place, LocalFolder | RemoteFolder):
        return place
    if is_remote(place):
        return RemoteFolder(os.fspath(place).rstrip("/"), cache or Cache())
    text = os.fspath(place)
    return LocalFolder(urllib.parse.unquote(urllib.parse.urlsplit(text).path) if text.startswith("file://") else text)


def locate(folder: str | os.PathLike[str], name: str) -> Path:
    """Path of a listed file. Raises ShardError where a link leads it out of the folder, or in circles."""
    root = Path(folder).resolve()
    try:
        path = (root / name).resolve()
    except (OSError, RuntimeError):
        raise ShardError(f"{Path(folder) / name}: a link in circles; put the file itself there") from None
    if root not in path.parents:
        raise ShardError(f"{Path(folder) / name}: leads out of the build's folder; put the file itself there")
    return path


def _without_secrets(uri: str) -> tuple[str, list[str]]:
    """The URI as it may be shown, and what must not be: user, password and query, longest first."""
    scheme, _, rest = uri.partition("://")
    rest, _, query = rest.partition("?")
    place, slash, path = rest.partition("/")
    login, _, host = place.rpartition("@")
    secrets = {query, login, *login.split(":", 1)}
    secrets |= {urllib.parse.unquote(secret) for secret in secrets}
    return f"{scheme}://{host}{slash}{path}".rstrip("/"), sorted(secrets - {""}, key=lambda text: (-len(text), text))


def _never() -> bool:
    return False


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    stop = time.monotonic() + seconds
    while (left := stop - time.monotonic()) > 0:
        if cancelled():
            raise CancelledError
        threading.Event().wait(min(left, 0.1))
