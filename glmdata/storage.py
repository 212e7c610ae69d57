"""Files written whole or not at all, and their digests."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import xxhash

from glmdata.errors import BuildExistsError, StorageError

__all__ = [
    "PLACE",
    "absolute",
    "file_digest",
    "storage_errors",
    "sync_file",
    "sync_folder",
    "whole_file",
    "whole_folder",
    "write_whole",
]

PLACE = {"place": True}
"""Metadata of a dataclass field that says where something lies, which changes nothing of what is made of it."""

DIGEST_BYTES = 1 << 18
"""Read at a time: fits the processor's cache."""
_ADVICE = {
    errno.ENOSPC: "no space is left on the device; make room and run the same command again, finished work is kept",
    errno.EDQUOT: "the disk quota is used up; make room and run the same command again, finished work is kept",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; choose another folder or change its permissions",
    errno.EPERM: "not permitted; choose another folder or change its permissions",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}


@contextlib.contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn an OSError inside into a StorageError that says what was being done, to which file, and what helps."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"{doing}{where}: {advice}") from error


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's name into an OSError of a call that knew its descriptor alone."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def absolute(place: str) -> str:
    """A path that means the same in every process of a build; URIs stay as they are."""
    return place if "://" in place else os.path.abspath(place)  # noqa: PTH100  (keeps links, unlike resolve)


def file_digest(path: str | os.PathLike[str]) -> tuple[int, str]:
    """Size in bytes and xxh3-64 in hex of a file's content.

    Read, not mapped: a mapped file that is cut short meanwhile kills the process, and its pages count as memory.
    """
    digest, size = xxhash.xxh3_64(), 0
    room = memoryview(bytearray(DIGEST_BYTES))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(room):
            digest.update(room[:count])
            size += count
    return size, digest.hexdigest()


def sync_file(path: str | os.PathLike[str]) -> None:
    """Force a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with _named(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Force a folder's entries to the disk, so that a rename in it outlives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _named(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name, sync it, rename it into place, sync the folder."""
    beside = path.with_name(f".{path.name}.new")
    with _named(path), beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A new file that is there whole or not at all: it is written at the path given, then it is renamed.

    Raises as `whole_folder`.
    """
    with storage_errors("writing"):
        if path.exists():
            raise BuildExistsError(f"{path}: exists already; choose another file, or remove it first")
        beside = path.with_name(f".{path.name}.new")
        beside.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            sync_file(beside)
            beside.rename(path)
            sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder that is there whole or not at all: files are written into the path given, then it is renamed.

    Raises:
        BuildExistsError: there is something at `folder` already.
        StorageError: it cannot be written.
    """
    with storage_errors("writing"):
        if folder.exists():
            raise BuildExistsError(f"{folder}: exists already; choose another folder, or remove it first")
        beside = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(beside, ignore_errors=True)  # left by a process that was killed
        beside.mkdir(parents=True)
        try:
            yield beside
            for path in beside.rglob("*"):
                sync_folder(path) if path.is_dir() else sync_file(path)
            sync_folder(beside)
            beside.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
