"""Earlier builds: what they hold is not taken again.

fetch  a file of signatures in an object store -> the same file in the work folder

`--against DIR` names a finished build or a folder of `glmdata dedupe index`, by path or URI; both have
`signatures/*.arrow`. Their text is not read. Files of this machine are read where they lie.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from glmdata.dedupe.signature_index import INDEX_VERSION, unlike_rules
from glmdata.errors import ConfigError, ShardCorruptError, StorageError
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.recipe import DedupeSettings
from glmdata.remote import Remote, is_remote, without_secrets
from glmdata.shards.cache import Cache
from glmdata.shards.folder import Folder, LocalFolder, RemoteFolder, open_folder
from glmdata.shards.manifest import MANIFEST_NAME, Manifest
from glmdata.storage import PLACE, absolute

__all__ = ["INDEX_FILE", "SIGNATURES", "Earlier", "describe_index", "fetch_earlier", "open_earlier"]

INDEX_FILE = "index.json"
SIGNATURES = "signatures"
BYTES_A_DOCUMENT = 550
"""Of a signature with its hashes; the stage counts documents."""
_CURE = "make it again with the same dedupe settings and this version of glmdata, or leave it out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Files of signatures of earlier builds, with the rows of each and the fingerprint of its build.

    Files have absolute paths, or URIs and 0 rows until they are fetched.
    """

    files: tuple[FileRef, ...] = ()
    rows: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchArguments:
    """One file of a store: its URI, and what it has to be."""

    uri: str = field(metadata=PLACE, repr=False)
    bytes: int
    xxh3: str


def open_earlier(folders: Sequence[str], settings: DedupeSettings) -> Earlier:
    """Find the signatures of earlier builds and refuse what cannot be compared; only headers are read.

    Raises ConfigError where a folder has none, or has some made by other rules; ShardCorruptError where a file is gone
    or has another size than is written down; StorageError where a store does not answer.
    """
    if folders and not (settings.near or settings.exact):
        raise ConfigError("--against needs dedupe.near or dedupe.exact")
    files: list[FileRef] = []
    rows: list[int] = []
    sources: list[str] = []
    for folder in folders:
        shown = f"--against {without_secrets(folder)}"
        fingerprint, listed = _listed(folder, shown)
        if not listed:
            raise ConfigError(
                f"{shown}: the build has no signatures (dedupe.near or dedupe.index was off); "
                "make an index of its corpus with glmdata dedupe index"
            )
        for file in listed:
            rows.append(_checked_rows(shown, file, settings))
            files.append(file)
            sources.append(fingerprint)
    return Earlier(files=tuple(files), rows=tuple(rows), sources=tuple(sources))


def fetch_earlier(engine: Engine, earlier: Earlier) -> Earlier:
    """Bring files of stores into the work folder; without any there is no stage."""
    files, rows = list(earlier.files), list(earlier.rows)
    remote = [place for place, file in enumerate(files) if is_remote(file.path)]
    if not remote:
        return earlier
    jobs = []
    for file in (files[place] for place in remote):
        arguments = FetchArguments(uri=file.path, bytes=file.bytes, xxh3=file.xxh3)
        jobs.append(Job(function=fetch, arguments=arguments, weight=max(1, file.bytes // BYTES_A_DOCUMENT)))
    for place, result in zip(remote, engine.run("fetch", jobs, kernels=False), strict=True):
        files[place], rows[place] = result.files["signatures.arrow"], result.counts["records"]
    return replace(earlier, files=tuple(files), rows=tuple(rows))


def fetch(arguments: FetchArguments, attempt: Attempt) -> dict[str, Any]:
    """Copy a file, if it still has the bytes that were written down. Writes signatures.arrow."""
    target = Path(attempt.output("signatures.arrow"))
    with target.open("wb") as file:
        RemoteFolder(arguments.uri, Cache(), _CURE).fetch("", arguments.bytes, arguments.xxh3, file)
    return {"records": _schema_and_rows(str(target))[1]}


def describe_index(files: Sequence[FileRef], names: Sequence[str]) -> str:
    """The text of index.json for files under their names; it is written last."""
    fingerprint = xxhash.xxh3_128_hexdigest("".join(file.xxh3 for file in files).encode())
    listed = [{"path": name, "bytes": file.bytes, "xxh3": file.xxh3} for name, file in zip(names, files, strict=True)]
    return json.dumps({"version": INDEX_VERSION, "fingerprint": fingerprint, "files": listed}, indent=1)


def _listed(folder: str, shown: str) -> tuple[str, list[FileRef]]:
    """Fingerprint, and the signature files with absolute paths or URIs."""
    place = open_folder(absolute(folder))
    if _is_build(place):
        manifest = Manifest.load(place)
        found = [(name, file.bytes, file.xxh3) for name, file in manifest.files.items()]
        found = sorted(entry for entry in found if entry[0].startswith(f"{SIGNATURES}/"))
        fingerprint = manifest.fingerprint
    else:
        fingerprint, found = _indexed(place, shown)
    below = (lambda name: f"{place.name}/{name}") if isinstance(place, LocalFolder) else place.store.below
    return fingerprint, [FileRef(path=below(name), bytes=size, xxh3=digest) for name, size, digest in found]


def _is_build(place: Folder) -> bool:
    """Whether there is a manifest; why one cannot be read is told by who reads it."""
    try:
        place.read(MANIFEST_NAME, 1)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except StorageError:
        raise
    except OSError:
        return True
    return True


def _indexed(place: Folder, shown: str) -> tuple[str, list[tuple[str, int, str]]]:
    """Fingerprint and files of index.json."""
    try:
        index = json.loads(place.read(INDEX_FILE))
        found = [(str(file["path"]), int(file["bytes"]), str(file["xxh3"])) for file in index["files"]]
        fingerprint = str(index["fingerprint"])
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{shown}: there is no manifest.json of a finished build and no {INDEX_FILE} of an index"
        ) from None
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{shown}: its {INDEX_FILE} cannot be read ({error}); {_CURE}") from None
    for name, _, _ in found:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ConfigError(f"{shown}: its {INDEX_FILE} names {name}, outside the folder")
    return fingerprint, found


def _checked_rows(shown: str, file: FileRef, settings: DedupeSettings) -> int:
    """Documents in a file of signatures that may be compared; 0 of one in a store, whose footer alone is read."""
    remote = Remote(file.path) if is_remote(file.path) else None
    name = remote.name if remote else file.path
    try:
        size = remote.size() if remote else Path(file.path).stat().st_size
        if size != file.bytes:
            raise ShardCorruptError(f"{name} has {size} bytes, not {file.bytes}; {_CURE}")
        if remote:
            schema, rows = remote.retried("", lambda: _remote_schema(remote)), 0
        else:
            schema, rows = _schema_and_rows(file.path)
        unlike = unlike_rules(schema, settings)
    except StorageError:
        raise
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise ShardCorruptError(f"{name} cannot be read ({error}); {_CURE}") from None
    if unlike:
        raise ConfigError(f"{shown}: {Path(name).name} {unlike}; {_CURE}")
    return rows


def _remote_schema(remote: Remote) -> pa.Schema:
    store, path = remote.open()
    with store.open_input_file(path) as source:
        return pa.ipc.open_file(source).schema


def _schema_and_rows(path: str) -> tuple[pa.Schema, int]:
    with pa.memory_map(path) as source:
        reader = pa.ipc.open_file(source)
        return reader.schema, sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
