"""Files read by place, so that what was read stays the kernel's memory and never becomes this process's.

Pages that are touched through a map count as the process's own, and each fault brings in 64 KB. A row of five matrices
of 512 tokens at random comes in 18 us by `preadv`, in 13 from a map whose pages are all in memory, and in 25 from one
whose pages are given back as often as keeps 64 MB.
"""

import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Descriptor", "RowBuffer"]

OPEN_SHARE = 4
"""Shards may take one file in so many that a process may open (`ulimit -n`)."""
BUFFER_ROWS = 64
"""300 KB at 512 tokens."""
_OPEN: set[int] = set()


class Descriptor:
    """An open file, closed when the last who holds it lets go."""

    __slots__ = ("number",)

    def __init__(self, path: Path) -> None:
        """Open the file. Raises OSError."""
        self.number = os.open(path, os.O_RDONLY)
        _OPEN.add(self.number)

    @classmethod
    def of(cls, path: Path) -> "Descriptor | None":
        """The open file; None where as many as are allowed are open. Raises OSError."""
        return cls(path) if len(_OPEN) < resource.getrlimit(resource.RLIMIT_NOFILE)[0] // OPEN_SHARE else None

    def __del__(self) -> None:
        """Close what was opened."""
        if hasattr(self, "number"):
            _OPEN.discard(self.number)
            os.close(self.number)

    def read(self, place: int, size: int) -> bytes:
        """`size` bytes from `place` on, fewer where the file ends. Raises OSError."""
        return os.pread(self.number, size, place)


class RowBuffer:
    """Rows of matrices on their way from files to arrays, as many at a time as stay in the processor's cache."""

    def __init__(self, dtypes: Mapping[str, np.dtype[Any]], length: int) -> None:
        """Make room for rows [L] of each column."""
        self._arrays = {name: np.empty((BUFFER_ROWS, length), dtype) for name, dtype in dtypes.items()}
        self._widths = [array.strides[0] for array in self._arrays.values()]
        flat = [memoryview(array.data).cast("B") for array in self._arrays.values()]
        self._slots = [
            [[view[slot * width : (slot + 1) * width]] for view, width in zip(flat, self._widths, strict=True)]
            for slot in range(BUFFER_ROWS)
        ]
        self.rows = 0

    def read(self, file: Descriptor, starts: Sequence[int], row: int) -> bool:
        """Read a row of the matrices that begin at `starts` in a file; whether the buffer is full now.

        Raises OSError, EOFError where the file ends before.
        """
        preadv, number, at = os.preadv, file.number, self.rows
        for slot, start, width in zip(self._slots[at], starts, self._widths):  # noqa: B905 (a fifth of the loop)
            if preadv(number, slot, start + row * width) != width:
                raise EOFError("the file ends before")
        self.rows = at + 1
        return self.rows == BUFFER_ROWS

    def flush(self, out: Mapping[str, npt.NDArray[Any]], places: Any) -> None:
        """Put the rows read since the last time into `out` at `places`."""
        for name, array in self._arrays.items():
            out[name][places] = array[: self.rows]
        self.rows = 0
