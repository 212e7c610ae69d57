"""Where a build lies: a folder, or a prefix of an object store, whose files come through a cache."""

import os
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import xxhash

from glmdata.errors import ShardCorruptError, ShardError, StorageError
from glmdata.remote import CHUNK_BYTES, CancelledError, Remote, is_remote, never
from glmdata.shards.cache import Cache

__all__ = ["LocalFolder", "RemoteFolder", "locate", "open_folder"]

SMALL_BYTES = 1 << 28
"""Of a file that is read whole, if nothing else is said."""


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

    def __init__(self, uri: str, cache: Cache, cure: str = "copy the build again") -> None:
        """`cure` ends what is told of files that are missing or damaged."""
        self.store = Remote(uri)
        self.name, self.cache, self._cure = self.store.name, cache, cure

    def read(self, name: str, limit: int = SMALL_BYTES) -> bytes:
        """As LocalFolder.read. Raises FileNotFoundError, StorageError after the last attempt."""
        return self.store.read(name, limit=limit)

    def path(
        self,
        name: str,
        size: int,
        digest: str,
        *,
        fresh: bool = False,
        cancelled: Callable[[], bool] = never,
    ) -> Path:
        """A local copy of a file with this size and xxh3-64; with `fresh`, as it is in the store now.

        Raises:
            ShardError: it is not there.
            ShardCorruptError: its bytes are others, also when fetched again.
            StorageError: it cannot be fetched, or the cache cannot be written.
            CancelledError: `cancelled` said so.
        """
        return self.cache.get(
            digest, size, lambda file: self.fetch(name, size, digest, file, cancelled=cancelled), fresh=fresh
        )

    def fetch(
        self, name: str, size: int, digest: str, file: BinaryIO, *, cancelled: Callable[[], bool] = never
    ) -> None:
        """Write a file's bytes, without the cache. Raises as `path`."""
        try:
            for _ in range(2):  # a connection may end early without a word, a damaged object stays damaged
                found = self.store.retried(name, lambda: self._copy(name, size, file, cancelled), cancelled)
                if found == (size, digest):
                    return
        except FileNotFoundError:
            raise ShardError(f"{self.store.shown(name)}: missing; {self._cure}") from None
        told = f"its bytes are not those that were written (xxh3 is not {digest})"
        if found[0] != size:
            told = f"{'more than ' if found[0] > size else ''}{min(found[0], size)} bytes, the manifest says {size}"
        raise ShardCorruptError(f"{self.store.shown(name)}: {told}; {self._cure}")

    def names(self, under: str) -> Iterator[str]:
        """All objects below a prefix of the build. Raises StorageError."""
        for found in self.store.find(under):
            yield f"{under}/{found.name}" if under else found.name

    def _copy(self, name: str, size: int, file: BinaryIO, cancelled: Callable[[], bool]) -> tuple[int, str]:
        """Copy an object into a file from its start; its size and hash. No more than `size` bytes and a chunk."""
        store, path = self.store.open(name)
        digest, copied = xxhash.xxh3_64(), 0
        file.seek(0)
        file.truncate(0)
        with store.open_input_stream(path, compression=None) as stream:
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


Folder = LocalFolder | RemoteFolder


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
