"""Which files a corpus holds, what each is called, and in which order they come.

Links are followed only inside the corpus, never in a circle. A uri names a file for ever: it is its path inside the
corpus, the same on every machine, with what cannot stand in a ledger percent-escaped.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes, urlsplit

from glmdata.corpus.remote_files import find_object, find_objects
from glmdata.errors import ConfigError, InputError
from glmdata.remote import Found, is_remote, without_secrets

__all__ = ["Compression", "Format", "InputFile", "Listing", "find_file", "find_files", "uri_of"]

Format = Literal["jsonl", "txt", "parquet", "arrow", "folder"]
Compression = Literal["gzip", "zstd"]

ENDINGS: dict[str, tuple[Format, Compression | None]] = {
    ".jsonl": ("jsonl", None),
    ".jsonl.gz": ("jsonl", "gzip"),
    ".jsonl.zst": ("jsonl", "zstd"),
    ".txt": ("txt", None),
    ".txt.gz": ("txt", "gzip"),
    ".txt.zst": ("txt", "zstd"),
    ".parquet": ("parquet", None),
    ".arrow": ("arrow", None),
}
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# What is escaped: control characters and bytes outside UTF-8; and a % that would read as such an escape, so that
# no two names share a uri (`a%20b`, `100%` stay as they are).
ESCAPED = re.compile("[\x00-\x1f\x7f\udc80-\udcff]|%(?=[01][0-9A-F]|7F|[89A-F][0-9A-F]|25)")


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFile:
    """One file of a corpus."""

    uri: str
    """POSIX path inside the corpus, always valid UTF-8 without control characters."""
    path: str
    """Where to open it: a path, bytes outside UTF-8 as surrogates, as `os` wants them; or a URI, with its secrets."""
    size: int
    mtime_ns: int
    """Time of the last change; by the store's clock in an object store, 0 where that tells none."""
    format: Format
    """"folder" only for a folder that cannot be listed."""
    compression: Compression | None
    problem: str | None
    """Why it cannot be opened; it is then one quarantined row of the ledger."""

    @property
    def shown(self) -> str:
        """Its path or URI as it may be told."""
        return without_secrets(self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The files of all corpora, sorted by uri."""

    files: tuple[InputFile, ...]
    ignored: Mapping[str, int]
    """How many regular files of other kinds were passed over, by ending."""


def find_files(corpora: Sequence[str], *, exclude: Sequence[str] = ()) -> Listing:
    """List the readable files of folders (recursively) and single files, as paths or URIs.

    Hidden files and folders, pipes, sockets and devices are passed over. `exclude` names folders not to enter.

    Raises:
        ConfigError: a URI that leads nowhere.
        StorageError: an object store cannot be listed.
        InputError: a corpus does not exist or cannot be listed, or two corpora give one uri to two files.
    """
    shut = frozenset(without_secrets(place) if is_remote(place) else os.path.realpath(place) for place in exclude)
    found: dict[str, tuple[str, InputFile]] = {}
    ignored: Counter[str] = Counter()
    for corpus in corpora:
        for file in _files_of(corpus, shut):
            if isinstance(file, str):
                ignored[file] += 1
                continue
            if file.uri in found:
                raise InputError(
                    f"{found[file.uri][0]} and {without_secrets(corpus)} both hold {file.uri}, and a file is known by "
                    "its path below --corpus; give the folder that holds both"
                )
            found[file.uri] = (without_secrets(corpus), file)
    return Listing(files=tuple(found[uri][1] for uri in sorted(found)), ignored=dict(sorted(ignored.items())))


def find_file(corpora: Sequence[str], uri: str) -> InputFile | None:
    """The file that `find_files(corpora)` gives this uri, found without listing the others; None where there is none.

    Raises ConfigError as `find_files`. A corpus that is gone holds no file.
    """
    inner = os.fsdecode(re.sub(rb"%([0-9A-F]{2})", _unescaped, uri.encode()))
    parts = inner.split("/")
    for corpus in corpora:
        if is_remote(corpus):
            there = find_object(corpus, inner)
            found = there and _object(inner, *there)
            if isinstance(found, InputFile):
                return found
            continue
        root = _local_path(corpus)
        path = os.path.join(root, inner)  # noqa: PTH118  (may hold any bytes)
        if len(parts) == 1 and Path(root).name == inner and not os.path.isdir(root):  # noqa: PTH112
            path = root
        elif any(part.startswith(".") or not part for part in parts):
            continue  # hidden, or a way out of the corpus
        elif not _inside(os.path.realpath(path), os.path.realpath(root)):
            continue
        try:
            status = os.stat(path)  # noqa: PTH116
        except (OSError, ValueError):
            continue
        file = _input_file(inner, path, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
        if isinstance(file, InputFile):
            return file
    return None


def _unescaped(escaped: re.Match[bytes]) -> bytes:
    """The byte that `uri_of` escaped; of other escapes, the escape itself."""
    byte = bytes([int(escaped[1], 16)])
    return byte if byte < b"\x20" or byte > b"\x7e" or byte == b"%" else escaped[0]


def _files_of(corpus: str, shut: frozenset[str]) -> Iterator[InputFile | str]:
    """The files of one corpus; the ending of each that is of no known kind."""
    if is_remote(corpus):
        yield from _objects_of(corpus, shut)
        return
    root = _local_path(corpus)
    try:
        status = os.stat(root)  # noqa: PTH116  (paths here may hold any bytes; `os` and `Path` agree on them)
    except (OSError, ValueError) as error:
        raise InputError(f"--corpus {corpus}: {_why(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(corpus, root, shut)
        return
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{corpus}: neither a folder nor a regular file")
    name = Path(root).name
    file = _input_file(name, root, status.st_size, status.st_mtime_ns)
    if isinstance(file, str):
        raise InputError(f"{corpus}: cannot be read as a corpus; files end in {', '.join(ENDINGS)}")
    yield file


def _objects_of(corpus: str, shut: frozenset[str]) -> Iterator[InputFile | str]:
    empty = True
    for inner, uri, found in find_objects(corpus, shut):
        empty = False
        yield _object(inner, uri, found)
    if empty and not any(without_secrets(corpus).rstrip("/") == place.rstrip("/") for place in shut):
        raise InputError(f"--corpus {without_secrets(corpus)}: no such bucket or object, and none below it")


def _object(inner: str, uri: str, found: Found) -> InputFile | str:
    return _input_file(inner, uri, found.size, found.changed_ns)


def _local_path(corpus: str) -> str:
    scheme = SCHEME.match(corpus)
    if scheme is None:
        return corpus
    if scheme[1].lower() != "file":
        raise ConfigError(f"{corpus}: the scheme of a local file is written file://")
    parts = urlsplit(corpus)
    if parts.netloc not in ("", "localhost"):
        host = parts.netloc.rpartition("@")[2]
        raise ConfigError(
            f"file://{host}{parts.path}: a file:// URI has three slashes, file:///path; {host} would be a host"
        )
    return os.fsdecode(unquote_to_bytes(corpus[len("file://") + len(parts.netloc) :]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folder:
    """A folder on the way through a corpus."""

    path: str
    inner: str
    """Path inside the corpus, with a slash at the end, "" for the root."""
    chain: tuple[str, ...]
    """Real paths from the root to here; links make them differ from `path`."""


def _walk(corpus: str, root: str, shut: frozenset[str]) -> Iterator[InputFile | str]:
    real_root = os.path.realpath(root)
    waiting = [] if real_root in shut else [_Folder(path=root, inner="", chain=(real_root,))]
    while waiting:  # a stack, not recursion: a corpus may be deeper than Python's stack
        folder = waiting.pop()
        try:
            with os.scandir(folder.path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not folder.inner:
                raise InputError(f"{corpus}: cannot be listed: {_why(error)}") from None
            yield _broken(folder.inner.rstrip("/"), folder.path, "folder", None, f"cannot be listed: {_why(error)}")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            real = os.path.join(folder.chain[-1], entry.name)  # noqa: PTH118  (may hold any bytes)
            if entry.is_symlink():
                real = os.path.realpath(entry.path)
                if not _inside(real, real_root) or any(_inside(real, closed) for closed in shut):
                    continue
            inner = folder.inner + entry.name
            if _is_folder(entry):
                if real not in shut and not (entry.is_symlink() and any(_inside(up, real) for up in folder.chain)):
                    waiting.append(_Folder(path=entry.path, inner=inner + "/", chain=(*folder.chain, real)))
                continue
            try:
                status = entry.stat()
            except OSError as error:
                if not entry.is_symlink() and (kind := _kind(entry.name)):
                    yield _broken(inner, entry.path, *kind, f"cannot be opened: {_why(error)}")
                continue
            if stat.S_ISREG(status.st_mode):
                yield _input_file(inner, entry.path, status.st_size, status.st_mtime_ns)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _kind(name: str) -> tuple[Format, Compression | None] | None:
    lower = name.lower()
    return next((kind for ending, kind in ENDINGS.items() if lower.endswith(ending)), None)


def _input_file(inner: str, path: str, size: int, mtime_ns: int) -> InputFile | str:
    kind = _kind(inner)
    if kind is None:
        return uri_of(os.path.splitext(inner)[1].lower()) or "no ending"  # noqa: PTH122
    return InputFile(
        uri=uri_of(inner),
        path=path,
        size=size,
        mtime_ns=mtime_ns,
        format=kind[0],
        compression=kind[1],
        problem=None,
    )


def _broken(inner: str, path: str, form: Format, compression: Compression | None, problem: str) -> InputFile:
    return InputFile(
        uri=uri_of(inner), path=path, size=0, mtime_ns=0, format=form, compression=compression, problem=problem
    )


def uri_of(inner: str) -> str:
    """The uri of a path inside a corpus: the byte E9 alone in `caf? 1.txt` gives `caf%E9 1.txt`."""
    text = os.fsencode(inner).decode("utf-8", "surrogateescape")
    return ESCAPED.sub(lambda odd: f"%{ord(odd[0]) & 0xFF:02X}", text)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
