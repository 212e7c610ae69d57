"""Where the work of an unfinished build lies: a folder that all workers see, or a prefix of an object store.

Jobs read and write local paths either way. On an object store an input is fetched once a machine, into the bounded
cache that readers of builds share, its digest checked; an output is written beside that cache, then uploaded under a
name of its attempt's own, where it appears when it is whole. So what a record lists is whole if it is there with its
size, and no digest has to be looked at before a build goes on.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from glmdata.errors import ShardCorruptError, ShardError, StorageError, TaskFailedError
from glmdata.remote import Remote, is_remote
from glmdata.shards.cache import Cache
from glmdata.shards.folder import RemoteFolder
from glmdata.storage import file_digest, storage_errors, sync_file, sync_folder, write_whole

__all__ = ["GO_ON", "Attempt", "FileRef", "LocalWork", "RemoteWork", "Work", "open_work"]

GO_ON = "check the network and the credentials, then run the same command again: finished work is kept"
SESSIONS = "session"
"""Folder of the mark by which a worker knows that it sees the driver's work folder."""
SCRATCH = "scratch-"
PINS = 3
"""Attempts to keep what is in the cache before it is dropped again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A committed file: where (relative to the work folder), how long, its xxh3-64 in hex."""

    path: str
    bytes: int
    xxh3: str
    version: str = ""
    """What an object store calls just these bytes: their ETag."""


class Attempt:
    """Where one run of a job reads and writes."""

    def __init__(self, work: Path, stage: str, index: int, name: str) -> None:
        self._work, self._stage, self._index, self._name = work, stage, index, name
        self.files: dict[str, Path] = {}
        self.piece_bytes = 0
        """As in `Call`."""

    def input(self, file: FileRef) -> str:
        """Path of a committed file."""
        return str(self._work / file.path)

    def output(self, name: str) -> str:
        """Path to write the file `name` of this job to."""
        path = self._work / self._stage / f"{self._index:06d}-{self._name}-{name}"
        self.files[name] = path
        return str(path)

    def keep(self) -> dict[str, FileRef]:
        """Make the outputs outlive this machine; what they are called from now on."""
        kept = {}
        for name, path in self.files.items():
            size, digest = file_digest(path)
            sync_file(path)
            kept[name] = FileRef(path=str(path.relative_to(self._work)), bytes=size, xxh3=digest)
        return kept


class LocalWork:
    """A folder; on a cluster one that all nodes share."""

    def __init__(self, path: Path) -> None:
        self.place, self._path = str(path), path

    def open_session(self, session: str) -> None:
        """Leave the mark of this run of the driver, and take away those of earlier ones."""
        with storage_errors("making the work folder"):
            marks = self._path / SESSIONS
            shutil.rmtree(marks, ignore_errors=True)
            marks.mkdir(parents=True)
            (marks / session).touch()

    def check_session(self, session: str) -> None:
        """Raise TaskFailedError on a machine that does not see the driver's folder."""
        if session and not (self._path / SESSIONS / session).exists():
            raise TaskFailedError(
                f"{socket.gethostname()} does not see the work folder {self._path} of this build; give --out (and "
                "--corpus) on storage that all nodes of the cluster share, or s3://"
            )

    def begin(self, stage: str) -> None:
        """Make room for a stage."""
        with storage_errors("making the work folder"):
            (self._path / stage).mkdir(parents=True, exist_ok=True)

    def records(self, stage: str, count: int) -> list[bytes | None]:
        """The records of the jobs of a stage, None where there is none."""

        def read(index: int) -> bytes | None:
            try:
                return (self._path / _record(stage, index)).read_bytes()
            except OSError:
                return None

        return [read(index) for index in range(count)]

    def commit(self, stage: str, index: int, record: bytes) -> None:
        """Write a job's record, which names files that are whole."""
        with storage_errors(f"committing stage {stage}, partition {index}"):
            sync_folder(self._path / stage)  # the files' entries, before the record that names them
            write_whole(self._path / _record(stage, index), record)

    def whole(self, file: FileRef) -> bool:
        """Whether a committed file is there as it was written."""
        try:
            return file_digest(self._path / file.path) == (file.bytes, file.xxh3)
        except OSError:
            return False

    def sweep(self, stage: str, listed: Collection[str]) -> None:
        """Remove the files of a stage that no record lists."""
        for path in (self._path / stage).iterdir():
            if path.suffix != ".json" and path.relative_to(self._path).as_posix() not in listed:
                with contextlib.suppress(OSError):
                    path.unlink()

    def path(self, file: FileRef) -> Path:
        """Where to read a committed file."""
        return self._path / file.path

    @contextlib.contextmanager
    def attempt(self, stage: str, index: int, name: str) -> Iterator[Attempt]:
        """One run of a job."""
        yield Attempt(self._path, stage, index, name)


class RemoteWork:
    """A prefix of an object store."""

    def __init__(self, uri: str) -> None:
        self.place, self._store = uri, Remote(uri, GO_ON)
        self._folder = RemoteFolder(uri, Cache(), GO_ON)
        self._sizes: Mapping[str, int] = {}

    def open_session(self, session: str) -> None:
        """Every machine sees the same store."""

    def check_session(self, session: str) -> None:
        """Every machine sees the same store."""

    def begin(self, stage: str) -> None:
        """See what is there of a stage, by a request for 1,000 objects."""
        self._sizes = {f"{stage}/{found.name}": found.size for found in self._store.find(stage)}

    def records(self, stage: str, count: int) -> list[bytes | None]:
        """As LocalWork; those that `begin` saw."""

        def read(name: str) -> bytes | None:
            try:
                return self._store.read(name) if name in self._sizes else None
            except FileNotFoundError:
                return None

        return list(self._store.each([_record(stage, index) for index in range(count)], read))

    def commit(self, stage: str, index: int, record: bytes) -> None:
        """Write a job's record, which names files that are whole."""
        self._store.write(_record(stage, index), record)

    def whole(self, file: FileRef) -> bool:
        """Whether a committed file was there when the stage began: its name was written once, whole or not at all."""
        return self._sizes.get(file.path) == file.bytes

    def sweep(self, stage: str, listed: Collection[str]) -> None:
        """Remove the objects of a stage that were there when it began and that no record lists."""
        seen = (name for name in self._sizes if name.startswith(f"{stage}/"))
        self._store.remove([name for name in seen if not name.endswith(".json") and name not in listed])
        self._sizes = {}

    def path(self, file: FileRef) -> Path:
        """A local copy of a committed file, which the cache may drop again."""
        with self._fetching(file):
            return self._folder.path(file.path, file.bytes, file.xxh3)

    def copy_to(self, file: FileRef, target: Path) -> None:
        """Make a local copy that stays. Raises StorageError."""
        for _ in range(PINS):
            with contextlib.suppress(FileExistsError):  # two threads ask at the same time
                try:
                    os.link(self.path(file), target)
                except FileNotFoundError:  # others made room with it just now
                    continue
            return
        with self._fetching(file), target.open("wb") as opened:  # the cache has no room for it
            self._folder.fetch(file.path, file.bytes, file.xxh3, opened)

    @contextlib.contextmanager
    def _fetching(self, file: FileRef) -> Iterator[None]:
        """Tell what is to be done about a committed file that is not as it was written; a damaged one is removed."""
        shown = self._store.shown(file.path)
        try:
            yield
        except ShardCorruptError:
            self._store.remove([file.path])
            raise StorageError(
                f"{shown}: damaged in the store, and removed; run the same command again, and it is made anew"
            ) from None
        except ShardError:
            raise StorageError(
                f"{shown}: gone from the store; run the same command again, and it is made anew"
            ) from None

    @contextlib.contextmanager
    def attempt(self, stage: str, index: int, name: str) -> Iterator[Attempt]:
        """One run of a job, in a folder beside the cache that goes with it."""
        with _scratch(self._folder.cache.folder) as folder:
            yield _RemoteAttempt(self, self._store, self._folder.cache, folder, stage, index, name)


class _RemoteAttempt(Attempt):
    """Reads copies of objects, and writes what becomes some."""

    def __init__(
        self, work: RemoteWork, store: Remote, cache: Cache, scratch: Path, stage: str, index: int, name: str
    ) -> None:
        super().__init__(scratch, stage, index, name)
        self._remote, self._store, self._cache = work, store, cache
        (scratch / stage).mkdir()

    def input(self, file: FileRef) -> str:
        """Path of a copy that stays as long as this attempt, whatever the cache drops meanwhile."""
        if file.path.startswith("/"):
            return file.path
        pinned = self._work / f"{file.xxh3}-{file.bytes}"
        if not pinned.exists():
            self._remote.copy_to(file, pinned)
        return str(pinned)

    def keep(self) -> dict[str, FileRef]:
        """Upload the outputs, and leave them in the cache for the jobs that follow here."""
        kept = {}
        for name, path in self.files.items():
            size, digest = file_digest(path)
            key = path.relative_to(self._work).as_posix()
            version = self._store.upload(path, key)
            self._cache.put(path, digest, size)
            kept[name] = FileRef(path=key, bytes=size, xxh3=digest, version=version)
        return kept


Work = LocalWork | RemoteWork


def open_work(place: str | Path) -> Work:
    """The work of a build by its path or URI."""
    return RemoteWork(str(place)) if is_remote(place) else LocalWork(Path(place))


def _record(stage: str, index: int) -> str:
    return f"{stage}/{index:06d}.json"


@contextlib.contextmanager
def _scratch(beside: Path) -> Iterator[Path]:
    """A folder on the cache's disk, removed afterwards; those of processes that were killed are removed too."""
    with storage_errors("making room for the outputs of a job"):
        beside.mkdir(parents=True, exist_ok=True)
        for old in beside.glob(f"{SCRATCH}*"):
            _remove_abandoned(old)
        folder, lock = _locked_folder(beside)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(beside: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=beside))
        with contextlib.suppress(FileNotFoundError):  # another took it for abandoned before it was locked
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_abandoned(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return  # gone already
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # in use
    finally:
        os.close(lock)
