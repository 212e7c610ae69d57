"""Where a build appears: a folder, or a prefix of an object store; the few things that are done there."""

import contextlib
import fnmatch
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from glmdata.errors import StorageError
from glmdata.pipelines.work import GO_ON, FileRef
from glmdata.remote import Remote, is_remote
from glmdata.storage import storage_errors, sync_file, sync_folder, write_whole

__all__ = ["LocalPlace", "Place", "RemotePlace", "open_place"]


class LocalPlace:
    """A folder."""

    def __init__(self, path: Path) -> None:
        self.name, self.uri, self.path = str(path), str(path), path

    def read(self, name: str) -> bytes | None:
        """A small file; None where it is not there or cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, whole or not at all."""
        with storage_errors("writing"):
            write_whole(self.path / name, data)

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Bytes of those files that are there."""
        found = {}
        for name in names:
            with contextlib.suppress(OSError):
                found[name] = (self.path / name).stat().st_size
        return found

    def entries(self) -> set[str]:
        """What lies directly in the folder."""
        with storage_errors("--out"):
            try:
                return {entry.name for entry in self.path.iterdir()}
            except FileNotFoundError:
                return set()

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, if they are there."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def remove_matching(self, folder: str, patterns: Iterable[str]) -> None:
        """Remove files of a folder by their names, and the folder if nothing else is in it."""
        for pattern in patterns:
            for file in (self.path / folder).glob(pattern):
                file.unlink()
        with contextlib.suppress(OSError):
            (self.path / folder).rmdir()

    def remove_folders(self, name: str, keep: Iterable[str] = ()) -> None:  # noqa: ARG002  (the lock is a file here)
        """Remove all folders in a folder; twice, since a late worker may write a file between two looks."""
        work = self.path / name
        for _ in range(2):
            for entry in work.iterdir() if work.is_dir() else ():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)

    def publish(self, work: str, files: Mapping[str, FileRef]) -> None:
        """Put committed files below `work` at their places; not yet visible, since no manifest names them."""
        with storage_errors("publishing"):
            for name, file in files.items():
                source, target = self.path / work / file.path, self.path / name
                target.parent.mkdir(exist_ok=True)
                target.unlink(missing_ok=True)
                try:
                    target.hardlink_to(source)
                except OSError:  # a file system without links
                    shutil.copyfile(source, target)
                    sync_file(target)

    def settle(self, folders: Iterable[str]) -> None:
        """Make what was published outlive a loss of power."""
        with storage_errors("publishing"):
            for name in (*folders, "."):
                if (self.path / name).is_dir():
                    sync_folder(self.path / name)
            with contextlib.suppress(PermissionError):  # may be written to, not listed, by us
                sync_folder(self.path.parent)


class RemotePlace:
    """A prefix of an object store."""

    def __init__(self, uri: str) -> None:
        self.store = Remote(uri, GO_ON)
        self.name, self.uri = self.store.name, uri

    def read(self, name: str) -> bytes | None:
        """A small object, None where there is none."""
        try:
            return self.store.read(name)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small object by one request."""
        self.store.write(name, data)

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Bytes of those objects that are there."""
        there = {found.name: found.size for found in self.store.find()}
        return {name: there[name] for name in names if name in there}

    def entries(self) -> set[str]:
        """What lies directly below the prefix."""
        return {entry.rstrip("/") for entry in self.store.entries()}

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, if they are there."""
        self.store.remove(names)

    def remove_matching(self, folder: str, patterns: Iterable[str]) -> None:
        """Remove objects below a prefix by their names."""
        kinds = list(patterns)
        names = [found.name for found in self.store.find(folder)]
        self.store.remove(
            [f"{folder}/{name}" for name in names if any(fnmatch.fnmatchcase(name, kind) for kind in kinds)]
        )

    def remove_folders(self, name: str, keep: Iterable[str] = ()) -> None:
        """Remove all prefixes below a prefix."""
        kept = set(keep)
        for entry in self.store.entries(name):
            if entry.endswith("/") and entry.rstrip("/") not in kept:
                self.store.remove_all(f"{name}/{entry.rstrip('/')}")

    def publish(self, work: str, files: Mapping[str, FileRef]) -> None:
        """Copy committed objects below `work` to their places, inside the store."""

        def copy(name: str) -> None:
            file = files[name]
            if not self.store.copy(f"{work}/{file.path}", name, file.version):
                self.store.remove([f"{work}/{file.path}"])
                raise StorageError(
                    f"{self.store.shown(f'{work}/{file.path}')}: not what was written there; run the same command "
                    "again, and it is made anew"
                )

        list(self.store.each(files, copy))

    def settle(self, folders: Iterable[str]) -> None:
        """A store has what it said it has."""


Place = LocalPlace | RemotePlace


def open_place(place: str | os.PathLike[str]) -> Place:
    """The place of a build by its path or URI."""
    return RemotePlace(os.fspath(place).rstrip("/")) if is_remote(place) else LocalPlace(Path(place))
