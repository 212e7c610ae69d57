"""Places in object stores: one client a process, further attempts after failures, and no secret in what is told.

`s3://`, `gs://`, `abfs://` and `hdfs://` are reached by Arrow's own clients, other schemes by fsspec where it has one.
Credentials come from where those clients look for them: environment, configuration files, the machine's role. Those in
a URI work too and are never shown.
"""

import concurrent.futures
import os
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from glmdata.errors import ConfigError, GlmdataError, StorageError

__all__ = ["CHUNK_BYTES", "CancelledError", "Found", "Remote", "is_remote", "never", "without_secrets"]

ATTEMPTS = 4
"""Of each, Arrow's S3 client makes up to REQUESTS_OF_AN_ATTEMPT requests over about 2 s."""
REQUESTS_OF_AN_ATTEMPT = 3
BACKOFF_S = 0.5
"""Before the second attempt; four times as long before each further one."""
CHUNK_BYTES = 4 << 20
REQUESTS = 16
"""At a time, where there are many to make."""
MAX_TOLD = 300

GCS_RETRY_S = 5
"""How long Arrow's client of Google's store tries again by itself in each of our attempts."""
_ARROW_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")
_HIDDEN_PREFIXES = ("gs://", "gcs://")
"""Where Arrow's client lists no prefix that has no object of its own: all objects below tell which there are."""
_HOPELESS = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "ACCESS_DENIED": "permission denied; the credentials there are do not allow it",
    "Forbidden": "permission denied; the credentials there are do not allow it",
    "INVALID_ACCESS_KEY_ID": "the store does not know these credentials",
    "InvalidAccessKeyId": "the store does not know these credentials",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is not the one of this access key",
    "SignatureDoesNotMatch": "the secret key is not the one of this access key",
    "ExpiredToken": "the credentials have expired; renew them",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION",
}
"""What no further attempt mends, as clients name it, and how it is told."""
_SECRET_NAMES = re.compile(r"SECRET|TOKEN|PASSWORD|CREDENTIAL|ACCOUNT_KEY|STORAGE_KEY|SAS")
MIN_SECRET = 8
"""Shorter values of the environment are words as any other."""

T = TypeVar("T")


class CancelledError(Exception):
    """A request was given up because nobody waits for it any more."""


class Found(NamedTuple):
    """An object of a listing."""

    name: str
    """Its key below the place that was listed."""
    size: int
    changed_ns: int
    """When it was written, by the store's clock; 0 where the store does not say."""


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Whether a place is a URI of another scheme than file."""
    return "://" in os.fspath(place) and not os.fspath(place).startswith("file://")


def without_secrets(place: str) -> str:
    """A path or URI as it may be shown: without user, password and query."""
    return _take_apart(place)[0] if is_remote(place) else place


def never() -> bool:
    """For requests that are not given up."""
    return False


class Remote:
    """A prefix of an object store, or one object. Pickles as its URI; each process makes its own client."""

    def __init__(self, uri: str, cure: str = "check the network and the credentials") -> None:
        """Nothing is asked yet. `cure` ends the messages of failures that more attempts did not mend."""
        self.name, self._secrets = _take_apart(uri)
        self._uri, self._cure = uri, cure

    def __repr__(self) -> str:
        """As it may be shown."""
        return f"Remote({self.name!r})"

    @property
    def uri(self) -> str:
        """With what must not be shown."""
        return self._uri

    def below(self, name: str) -> str:
        """URI of an object below this place, with what must not be shown."""
        place, mark, query = self._uri.partition("?")
        if place.partition("://")[0] in _ARROW_SCHEMES:
            name = urllib.parse.quote(name)
        return f"{place.rstrip('/')}/{name}{mark}{query}"

    def shown(self, name: str) -> str:
        """What an object below this place is called in messages; the place itself for ""."""
        return f"{self.name}/{name}" if name else self.name

    def open(self, name: str = "") -> tuple[Any, str]:
        """Pyarrow's file system, and the place of an object in it. Raises ConfigError where there is no client."""
        try:
            store, root = _client(self._uri)
        except (ImportError, ValueError, NotImplementedError) as error:  # no client, no such scheme or option
            raise ConfigError(f"{self.name}: cannot be read: {self.told(error)}") from None
        return store, f"{root.rstrip('/')}/{name}" if name else root

    def read(self, name: str = "", cancelled: Callable[[], bool] = never, *, limit: int | None = None) -> bytes:
        """A small object; of one larger than the limit a byte more than that.

        Raises FileNotFoundError, StorageError after the last attempt.
        """

        def attempt() -> bytes:
            store, path = self.open(name)
            with store.open_input_stream(path, compression=None) as stream:
                return bytes(stream.read(None if limit is None else limit + 1))

        return self.retried(name, attempt, cancelled)

    def write(self, name: str, data: bytes) -> None:
        """Write a small object by one request, whole or not at all. Raises StorageError."""

        def attempt() -> None:
            store, path = self.open(name)
            with store.open_output_stream(path, compression=None) as stream:
                stream.write(data)

        self.retried(name, attempt, doing="written")

    def upload(self, source: Path, name: str) -> str:
        """Write a file as an object, which appears when it is whole; what the store calls this version of it.

        Raises StorageError, also where the store has another size than the file afterwards.
        """

        def attempt() -> str:
            store, path = self.open(name)
            with source.open("rb") as file, store.open_output_stream(path, compression=None) as stream:
                while data := file.read(CHUNK_BYTES):
                    stream.write(data)
            size, version = _state(store, path)
            if size != source.stat().st_size:
                raise OSError(f"{size} of {source.stat().st_size} bytes arrived")
            return version

        return self.retried(name, attempt, doing="written")

    def copy(self, source: str, name: str, version: str) -> bool:
        """Copy an object inside the store, if it is still this version; whether it was. Raises StorageError."""

        def attempt() -> bool:
            store, path = self.open(source)
            try:
                if _state(store, path)[1] != version:
                    return False
                store.copy_file(path, self.open(name)[1])
            except FileNotFoundError:
                return False
            return True

        return self.retried(name, attempt, doing="written")

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects; what is not there needs no deleting. Raises StorageError."""

        def attempt(name: str) -> None:
            store, path = self.open(name)
            try:
                store.delete_file(path)
            except FileNotFoundError:
                return

        self.each(names, lambda name: self.retried(name, lambda: attempt(name), doing="removed"))

    def remove_all(self, name: str) -> None:
        """Delete all objects below a prefix, many by one request. Raises StorageError."""

        def attempt() -> None:
            store, path = self.open(name)
            try:
                store.delete_dir(path)
            except FileNotFoundError:
                return

        self.retried(name, attempt, doing="removed")

    def find(self, name: str = "") -> list[Found]:
        """All objects below a prefix, sorted, by one request for 1,000. Raises StorageError."""
        from pyarrow.fs import FileSelector, FileType

        def attempt() -> list[Found]:
            store, path = self.open(name)
            found = store.get_file_info(FileSelector(path, allow_not_found=True, recursive=True))
            cut = len(path.strip("/")) + 1
            return sorted(
                Found(info.path.strip("/")[cut:], info.size or 0, info.mtime_ns or 0)
                for info in found
                if info.type != FileType.Directory
            )

        return self.retried(name, attempt, doing="listed")

    def entries(self, name: str = "") -> list[str]:
        """Names directly below a prefix, those of prefixes with a slash at the end. Raises StorageError."""
        from pyarrow.fs import FileSelector, FileType

        if self._uri.startswith(_HIDDEN_PREFIXES):
            return sorted({head + slash for head, slash, _ in (found.name.partition("/") for found in self.find(name))})

        def attempt() -> list[str]:
            store, path = self.open(name)
            found = store.get_file_info(FileSelector(path, allow_not_found=True))
            return sorted(info.base_name + "/" * (info.type == FileType.Directory) for info in found)

        return self.retried(name, attempt, doing="listed")

    def stat(self, name: str = "") -> Found | None:
        """One object, None where there is none, or a prefix alone. Raises StorageError."""
        from pyarrow.fs import FileType

        def attempt() -> Found | None:
            store, path = self.open(name)
            info = store.get_file_info(path)
            return Found(name, info.size or 0, info.mtime_ns or 0) if info.type == FileType.File else None

        return self.retried(name, attempt)

    def size(self, name: str = "") -> int:
        """Bytes of an object. Raises FileNotFoundError, StorageError."""
        found = self.stat(name)
        if found is None:
            raise FileNotFoundError(self.shown(name))
        return found.size

    def each(self, names: Iterable[str], act: Callable[[str], T]) -> Iterator[T]:
        """`act` on each name, several at a time; the results in order, all made when this returns."""
        with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
            return iter(list(pool.map(act, names)))

    def retried(
        self, name: str, attempt: Callable[[], T], cancelled: Callable[[], bool] = never, *, doing: str = "read"
    ) -> T:
        """The result of `attempt`, made again after failures of the network."""
        start, made = time.monotonic(), 0
        while True:
            made += 1
            try:
                return attempt()
            except (GlmdataError, FileNotFoundError, CancelledError):
                raise
            except Exception as error:  # clients of fsspec raise whatever their libraries do
                told = self.told(error)
            hopeless = next((known for word, known in _HOPELESS.items() if word in told), None)
            if hopeless:
                raise StorageError(f"{self.shown(name)}: cannot be {doing}: {hopeless} ({told})")
            if made == ATTEMPTS:
                break
            _wait(BACKOFF_S * 4 ** (made - 1) * random.uniform(0.75, 1.25), cancelled)  # noqa: S311  (not all at once)
        tries = f" in {made} attempts over {time.monotonic() - start:.0f} s"
        raise StorageError(f"{self.shown(name)}: cannot be {doing}{tries}: {told}; {self._cure}")

    def told(self, error: BaseException) -> str:
        """An error's message on one line, without secrets of the URI and the environment."""
        text = " ".join(str(error).split()) or type(error).__name__
        known = {value for name, value in os.environ.items() if _SECRET_NAMES.search(name) and len(value) >= MIN_SECRET}
        for secret in [*self._secrets, *sorted(known, key=len, reverse=True)]:
            text = text.replace(secret, "***")
        return text[:MAX_TOLD]


_SETTINGS = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_")
"""How the variables begin that clients read when they are made."""
_clients: dict[tuple[Any, ...], tuple[Any, str]] = {}
"""By process, since clients do not live on in a fork; by what comes before the key; by the settings they read."""


def _client(uri: str) -> tuple[Any, str]:
    """The client of this process for a URI, and the URI's place in it."""
    from pyarrow import fs

    scheme, _, rest = uri.partition("://")
    if scheme not in _ARROW_SCHEMES:
        import fsspec

        found, root = fsspec.core.url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(found)), root
    place, mark, query = rest.partition("?")
    host, _, key = place.partition("/")
    before = f"{scheme}://{host}{mark}{query}"
    known = os.getpid(), before, tuple(item for item in os.environ.items() if item[0].startswith(_SETTINGS))
    if known not in _clients:
        _clients[known] = _connect(scheme, before)
    store, root = _clients[known]
    return store, f"{root.rstrip('/')}/{urllib.parse.unquote(key)}".rstrip("/")


def _connect(scheme: str, uri: str) -> tuple[Any, str]:
    from pyarrow import fs

    if scheme in ("gs", "gcs") and "retry_limit_seconds=" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={GCS_RETRY_S}"
    store, root = fs.FileSystem.from_uri(uri)
    if scheme == "s3":
        # A URI cannot say how to go on after failures (Arrow's default is 30 requests, one every 0.2 s), nor that small
        # objects are written by one request instead of three. What it does say comes back from __reduce__; keys that
        # it did not name are looked for anew, since those of a role are others in an hour.
        given = store.__reduce__()[1][0]
        if "@" not in uri.partition("?")[0]:
            given |= {"access_key": None, "secret_key": None, "session_token": None}
        given |= {"retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=REQUESTS_OF_AN_ATTEMPT)}
        if "allow_delayed_open" in given:  # pyarrow before 20 does not know it
            given["allow_delayed_open"] = True
        store = fs.S3FileSystem(**given)
    return store, root


def _state(store: Any, path: str) -> tuple[int, str]:
    """Size of an object, and its ETag, or the time of its last change where the store has none."""
    with store.open_input_file(path) as file:
        size, known = file.size(), file.metadata() or {}
    tag = known.get(b"ETag") or known.get("ETag") or b""
    text = tag.decode() if isinstance(tag, bytes) else str(tag)
    return size, text.strip('"') or str(store.get_file_info(path).mtime_ns or "")


def _take_apart(uri: str) -> tuple[str, list[str]]:
    """The URI as it may be shown, and what must not be: user, password and query, longest first."""
    scheme, _, rest = uri.partition("://")
    rest, _, query = rest.partition("?")
    place, slash, path = rest.partition("/")
    login, _, host = place.rpartition("@")
    secrets = {query, login, *login.split(":", 1)}
    secrets |= {urllib.parse.unquote(secret) for secret in secrets}
    return f"{scheme}://{host}{slash}{path}".rstrip("/"), sorted(secrets - {""}, key=lambda text: (-len(text), text))


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    stop = time.monotonic() + seconds
    while (left := stop - time.monotonic()) > 0:
        if cancelled():
            raise CancelledError
        threading.Event().wait(min(left, 0.1))
