"""A bounded folder of files fetched from far away, shared by all processes of a machine.

A file is named by its content, `<xxh3-64>-<bytes>`, so it is never out of date and equal shards of several builds are
there once. It is fetched into `.<name>.part` under a lock on that very file and renamed when whole: one process
fetches, the others wait, and whatever is killed leaves a part that nobody has locked, which the next one removes.
What was opened longest ago goes first. A removed file lives on for those who have it mapped (POSIX), so a reader never
loses its rows; one that lost the race between finding and opening a file fetches it again.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from glmdata.errors import ConfigError
from glmdata.storage import storage_errors

__all__ = ["CACHE_BYTES", "Cache"]

CACHE_BYTES = 16 << 30
"""How much the folder holds by default."""
_NAME = re.compile(r"(?P<part>\.)?[0-9a-f]{16}-(?P<bytes>\d+)(?(part)\.part)")


class Cache:
    """At most `limit` bytes of files in `folder`, which others may use at the same time with limits of their own."""

    def __init__(self, folder: str | os.PathLike[str] | None = None, limit: int | None = None) -> None:
        """Name the folder; it is made when it is needed.

        Args:
            folder: by default $GLMDATA_CACHE_DIR, else glmdata/ in $XDG_CACHE_HOME or ~/.cache.
            limit: bytes; None is CACHE_BYTES.

        Raises ConfigError where `limit` is no number above 0.
        """
        self.folder = Path(folder) if folder is not None else _default_folder()
        self.limit = CACHE_BYTES if limit is None else limit
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 1:
            raise ConfigError(f"cache_bytes must be a number of bytes above 0, it is {limit!r}")

    def get(self, digest: str, size: int, fetch: Callable[[BinaryIO], None], *, fresh: bool = False) -> Path:
        """Path of the file with this xxh3-64 (hex) and size, which `fetch` writes where it is not there.

        `fetch` may empty the file and begin again, and raises where it cannot write just those bytes. With `fresh` it
        is called even where the file is there. The file may be gone by the time it is opened: ask again.
        Raises StorageError where the folder cannot be written, and what `fetch` raises.
        """
        path = self.folder / f"{digest}-{size}"
        with storage_errors("keeping a file in the cache"):
            if not fresh and _touch(path, size):
                return path
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f".{path.name}.part"
            with _claimed(part) as file:
                if not fresh and _touch(path, size):
                    return path
                self._make_room(size, part)
                fetch(file)
                file.flush()
                part.replace(path)
                self._make_room(0, part)  # others may have taken the room meanwhile
        return path

    def put(self, source: Path, digest: str, size: int) -> None:
        """Take a finished file of this disk in under another name of its own; nothing where that cannot be."""
        with contextlib.suppress(OSError):
            self._make_room(size, source)
            os.link(source, self.folder / f"{digest}-{size}")

    def drop(self, digest: str, size: int) -> None:
        """Forget a file that turned out to be damaged."""
        with contextlib.suppress(FileNotFoundError), storage_errors("clearing the cache"):
            (self.folder / f"{digest}-{size}").unlink()

    def _make_room(self, size: int, mine: Path) -> None:
        """Remove what was used longest ago until `size` more bytes fit; parts count as what they will be."""
        found, total = list[tuple[float, str, int]](), size
        with os.scandir(self.folder) as entries:
            for entry in entries:
                named = _NAME.fullmatch(entry.name)
                if named is None or entry.name == mine.name:
                    continue
                if named["part"] and _remove_abandoned(Path(entry.path)):
                    continue
                total += int(named["bytes"])
                if not named["part"]:
                    with contextlib.suppress(FileNotFoundError):
                        found.append((entry.stat().st_mtime, entry.path, int(named["bytes"])))
        for _, path, held in sorted(found):
            if total <= self.limit:
                return
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            total -= held


def _default_folder() -> Path:
    own = os.environ.get("GLMDATA_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glmdata"


def _touch(path: Path, size: int) -> bool:
    """Whether the whole file is there; its time says when it was last wanted."""
    try:
        if path.stat().st_size != size:
            return False
        with contextlib.suppress(PermissionError):  # another user's file serves as well
            os.utime(path)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def _claimed(part: Path) -> Iterator[BinaryIO]:
    """The empty file `part`, for this caller alone; removed afterwards where it was not renamed."""
    while True:
        with part.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                if not _is_at(file, part):
                    continue  # who had it before renamed or removed it
                file.truncate(0)
                try:
                    yield file
                finally:
                    if _is_at(file, part):
                        part.unlink()
                return
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a process forked meanwhile holds the same lock, and would keep it


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_abandoned(part: Path) -> bool:
    """Remove a part whose process is gone. One that is just being opened is made again by its owner."""
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                if _is_at(file, part):
                    part.unlink()
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # in use
    return True
