"""Corpora in object stores: which files there are, and their bytes in ranges.

A file is known by its size and the time of its last change by the store's clock; where a store has no times, by size
alone.
"""

import io
import os
from collections.abc import Iterator
from typing import Any

from glmdata.errors import StorageError
from glmdata.remote import Found, Remote

__all__ = ["RangeReader", "find_object", "find_objects"]

AHEAD_BYTES = 4 << 20
"""Read at once where a file is read on; else what is asked for, but no less than NEAR_BYTES."""
NEAR_BYTES = 64 << 10


def find_objects(corpus: str, exclude: frozenset[str]) -> Iterator[tuple[str, str, Found]]:
    """(path below the corpus, URI, object) of all below a prefix, or of one object; nothing where there is none.

    Hidden ones are passed over, as in folders, and what lies below a URI of `exclude` (without secrets).
    Raises ConfigError, StorageError.
    """
    place = Remote(corpus)
    alone = None if corpus.partition("?")[0].endswith("/") else place.stat()
    if alone is not None:
        yield place.name.rpartition("/")[2], corpus, alone
        return
    for found in place.find():
        shown = place.shown(found.name)
        if any(part.startswith(".") or not part for part in found.name.split("/")):
            continue
        if not any(shown.startswith(f"{shut.rstrip('/')}/") for shut in exclude):
            yield found.name, place.below(found.name), found


def find_object(corpus: str, inner: str) -> tuple[str, Found] | None:
    """URI and object of a path that `find_objects` gives, without listing the others. Raises as that."""
    place = Remote(corpus)
    if any(part.startswith(".") or not part for part in inner.split("/")):
        return None
    found = place.stat(inner)
    if found is not None:
        return place.below(inner), found
    alone = place.stat() if "/" not in inner and place.name.endswith(f"/{inner}") else None
    return (corpus, alone) if alone is not None else None


class RangeReader(io.RawIOBase):
    """An object as a file: every range is a request of its own, made again after failures of the network."""

    def __init__(self, uri: str) -> None:
        """Raises FileNotFoundError where there is no such object, ConfigError, StorageError."""
        super().__init__()
        self._place = Remote(uri)
        found = self._place.stat()
        if found is None:
            raise FileNotFoundError(self._place.name)
        self.name, self.size = self._place.name, found.size
        self._file: Any = None
        self._at, self._held, self._held_at = 0, b"", 0

    def readable(self) -> bool:
        """Reading is all it does."""
        return True

    def seekable(self) -> bool:
        """Ranges begin anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As io.RawIOBase."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        """As io.RawIOBase."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """As io.RawIOBase; raises StorageError."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """As io.RawIOBase; raises StorageError."""
        size = max(0, min(size if size >= 0 else self.size, self.size - self._at))
        start = self._at - self._held_at
        if not 0 <= start <= len(self._held) or (start + size > len(self._held) and size):
            start = self._fetch(size)
        data = self._held[start : start + size]
        self._at += len(data)
        return data

    def _fetch(self, size: int) -> int:
        """Hold at least `size` bytes from here on; where in what is held they begin."""
        on = self._held_at <= self._at <= self._held_at + len(self._held) and bool(self._held)
        kept = self._held[self._at - self._held_at :] if on else b""
        begin = self._at + len(kept)
        wanted = max(size - len(kept), AHEAD_BYTES if on or self._at == 0 else NEAR_BYTES)
        wanted = min(wanted, self.size - begin)

        def attempt() -> bytes:
            try:
                if self._file is None:
                    store, path = self._place.open()
                    self._file = store.open_input_file(path)
                data = bytes(self._file.read_at(wanted, begin))
            except Exception:
                self._file = None
                raise
            if len(data) != wanted:
                raise OSError(f"{len(data)} of {wanted} bytes at {begin} arrived")
            return data

        try:
            self._held, self._held_at = kept + self._place.retried("", attempt), self._at
        except FileNotFoundError:
            raise StorageError(f"{self.name}: gone since the build began; run the command again with --fresh") from None
        return 0

    def close(self) -> None:
        """As io.RawIOBase."""
        self._file, self._held = None, b""
        super().close()
