"""The bytes of a file in blocks, decompressed, with everything that can go wrong told apart.

A file that is not what its name says, is cut off or damaged is the input's fault: `UnreadableError`, which becomes a
row of the ledger. A disk or network that fails is nobody's record: `StorageError`, which a retry may cure.
"""

import gzip
import io
import itertools
import os
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from glmdata.corpus.remote_files import RangeReader
from glmdata.errors import StorageError
from glmdata.recipe import CorpusSettings
from glmdata.remote import is_remote, without_secrets

__all__ = [
    "BLOCK_BYTES",
    "FREE_BYTES",
    "SIGNATURE_BYTES",
    "CheckedFile",
    "UnreadableError",
    "check_signature",
    "first_line_start",
    "open_checked",
    "read_blocks",
    "without_mark",
]

CORPUS = CorpusSettings()
BLOCK_BYTES = 1 << 20
ZSTD_STEP = 1 << 16
FREE_BYTES = 256 << 20
"""What anything compressed may expand to, whatever its size: small files of one repeated line are no bombs."""

SIGNATURE_BYTES = 4
UTF8_BOM = b"\xef\xbb\xbf"
# None of these can begin valid UTF-8. UTF-32-LE's mark begins with UTF-16-LE's, so it comes first.
SIGNATURES = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class UnreadableError(Exception):
    """A file, or what is left of it, cannot be read; `offset` is where, in decompressed bytes."""

    def __init__(self, reason: str, offset: int = 0):
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class CheckedFile(io.RawIOBase):
    """A file opened for reading whose failing reads raise StorageError with name and offset, through any library."""

    def __init__(self, path: str):
        """Open a path or the URI of an object. Raises OSError."""
        super().__init__()
        self._path = path
        self.path = without_secrets(path)
        if is_remote(path):
            self._file: io.FileIO | RangeReader = RangeReader(path)
            self.size = self._file.size
        else:
            self._file = io.FileIO(path)
            self.size = os.fstat(self._file.fileno()).st_size

    def again(self) -> "CheckedFile":
        """The same file, opened once more."""
        return CheckedFile(self._path)

    def readable(self) -> bool:
        """Reading is all it does."""
        return True

    def seekable(self) -> bool:
        """Regular files are."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As io.RawIOBase."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As io.RawIOBase."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """As io.RawIOBase; raises StorageError."""
        try:
            return self._file.readinto(buffer) or 0
        except StorageError:
            raise
        except OSError as error:
            raise self._failed(error) from error

    def read(self, size: int = -1) -> bytes:
        """As io.RawIOBase, but room is made for no more than the file holds: a damaged file may claim anything."""
        left = max(self.size - self.tell(), BLOCK_BYTES)
        try:
            return self._file.read(left if size < 0 else min(size, left)) or b""
        except StorageError:
            raise
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"{self.path}: reading failed at byte {self._file.tell()}: {error.strerror}")

    def close(self) -> None:
        """As io.RawIOBase."""
        self._file.close()
        super().close()


def open_checked(path: str, *, sole: bool = True) -> CheckedFile:
    """Open a file by its path, or an object by its URI.

    Raises:
        UnreadableError: it cannot be opened.
        StorageError: the same where it is not `sole` but one split of several, so was there when the build began.
    """
    try:
        return CheckedFile(path)
    except StorageError:
        raise
    except OSError as error:
        path = without_secrets(path)
        if is_remote(path):
            raise StorageError(f"{path}: gone since the build began; run the command again with --fresh") from None
        if not sole:
            raise StorageError(f"{path}: cannot be opened any more: {error.strerror}") from error
        raise UnreadableError(f"cannot be opened: {error.strerror}") from None


def check_signature(head: bytes, compression: str | None) -> None:
    """Raise UnreadableError if content that should be UTF-8 text begins like something else."""
    for mark, name in SIGNATURES.items():
        if not head.startswith(mark):
            continue
        if name.startswith("UTF"):
            raise UnreadableError(f"begins with the byte order mark of {name}: convert the file to UTF-8")
        if compression:
            raise UnreadableError(f"the {compression} stream holds {name} data, not text: it was compressed twice")
        suffix = ".gz" if name == "gzip" else ".zst"
        raise UnreadableError(
            f"begins like {name}, not like text: rename the file to end in {suffix}, or decompress it"
        )


def read_blocks(
    file: CheckedFile, compression: str | None, start: int = 0, *, limits: CorpusSettings = CORPUS
) -> Iterator[bytes]:
    """Blocks of about BLOCK_BYTES; plain files from byte `start` on, compressed ones within the `limits`.

    A frame of zstd whose window is past 128 MiB is refused by the library: it would hold as much of the text in memory.
    Every byte before damage is given before UnreadableError is raised, whose `offset` tells how many there were.
    """
    if compression is None:
        file.seek(start)
        while block := file.read(BLOCK_BYTES):
            yield block
        return
    given = 0
    for block in _read_gzip(file) if compression == "gzip" else _read_zstd(file):
        given += len(block)
        if given > FREE_BYTES and given > limits.max_expansion * file.size:
            raise UnreadableError(
                f"expands to more than {limits.max_expansion} times its {file.size:,} bytes, like a decompression "
                f"bomb (corpus.max_expansion); reading stopped after {given:,} bytes",
                given,
            )
        if given > limits.max_expanded_bytes:
            raise UnreadableError(
                f"expands to more than corpus.max_expanded_bytes; reading stopped after {given:,} bytes", given
            )
        yield block


def _read_gzip(file: CheckedFile) -> Iterator[bytes]:
    """Decompressed blocks of all members; checksums and lengths are verified."""
    given, parts, held = 0, [], 0
    with gzip.GzipFile(fileobj=io.BufferedReader(file, BLOCK_BYTES)) as stream:
        while True:
            failure = None
            try:
                # read1 makes one call of the decompressor, so bytes before damage are never lost with the exception.
                part = stream.read1(BLOCK_BYTES)
            except StorageError:
                raise
            except (OSError, EOFError, zlib.error) as error:
                part, failure = b"", error
            parts.append(part)
            held += len(part)
            if not part or held >= BLOCK_BYTES:
                given += held
                if held:
                    yield b"".join(parts)
                parts, held = [], 0
            if failure is not None:
                raise _damaged("gzip", failure, isinstance(failure, EOFError), given)
            if not part:
                return


def _read_zstd(file: CheckedFile) -> Iterator[bytes]:
    """Decompressed blocks of all frames.

    pyarrow's stream tells truncation (python-zstandard's ends silently), but loses what its failing call had read:
    that step is read again from the start of the file, a byte a call.
    """
    given = 0
    try:
        for block in _zstd_blocks(file):
            given += len(block)
            yield block
    except StorageError:
        raise
    except OSError as error:
        rest = b"".join(_zstd_rest(file, given))
        if rest:
            yield rest
        raise _damaged("zstd", error, "Truncated" in str(error), given + len(rest)) from None


def _zstd_blocks(file: CheckedFile) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd") as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block


def _zstd_rest(file: CheckedFile, given: int) -> Iterator[bytes]:
    """What can be read after the first `given` bytes, up to the damage."""
    for step in (ZSTD_STEP, 1):
        with (
            file.again() as again,
            pa.CompressedInputStream(pa.PythonFile(again, mode="r"), "zstd") as stream,
        ):
            for _ in range(given // BLOCK_BYTES):
                stream.read(BLOCK_BYTES)
            stream.read(given % BLOCK_BYTES)
            try:
                while part := stream.read(step):
                    given += len(part)
                    yield part
            except StorageError:
                raise
            except OSError:
                continue


def _damaged(name: str, error: Exception, cut: bool, given: int) -> UnreadableError:
    if cut:
        return UnreadableError(f"compressed stream ends inside a frame after {given:,} bytes", given)
    told = " ".join(str(error).split())
    if given == 0:
        return UnreadableError(f"cannot be decompressed as {name}: {told}")
    return UnreadableError(f"compressed stream is damaged after {given:,} bytes: {told}", given)


def first_line_start(file: CheckedFile, start: int, end: int) -> int:
    """Offset of the first line that begins in [start, end) of a plain file, `end` where none does."""
    if start == 0:
        return 0
    at = start - 1
    for block in read_blocks(file, None, at):
        found = block.find(b"\n", 0, max(0, end - 1 - at))
        if found >= 0:
            return at + found + 1
        at += len(block)
        if at >= end:
            break
    return end


def without_mark(blocks: Iterator[bytes], compression: str | None) -> tuple[int, Iterator[bytes]]:
    """Check the first block's signature and drop a UTF-8 byte order mark: (bytes dropped, blocks)."""
    head = next(blocks, b"")
    check_signature(head, compression)
    dropped = len(UTF8_BOM) if head.startswith(UTF8_BOM) else 0
    return dropped, itertools.chain([head[dropped:]], blocks)
