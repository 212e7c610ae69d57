"""Earlier builds: what they hold is not taken again.

`--against DIR` names a finished build or a folder of `glmdata dedupe index`; both have `signatures/*.arrow`. Their text
is not read.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import xxhash

from glmdata.dedupe.signature_index import INDEX_VERSION, unlike_rules
from glmdata.errors import ConfigError, ShardCorruptError
from glmdata.pipelines.engine import FileRef
from glmdata.recipe import DedupeSettings
from glmdata.shards.manifest import Manifest

__all__ = ["INDEX_FILE", "SIGNATURES", "Earlier", "describe_index", "open_earlier"]

INDEX_FILE = "index.json"
SIGNATURES = "signatures"
_CURE = "make it again with the same dedupe settings and this version of glmdata, or leave it out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Files of signatures of earlier builds, with the rows of each and the fingerprint of its build."""

    files: tuple[FileRef, ...] = ()
    rows: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()


def open_earlier(folders: Sequence[str], settings: DedupeSettings) -> Earlier:
    """Find the signatures of earlier builds and refuse what cannot be compared; only headers are read.

    Raises ConfigError where a folder has none, or has some made by other rules; ShardCorruptError where a file is gone
    or has another size than is written down.
    """
    if folders and not (settings.near or settings.exact):
        raise ConfigError("--against needs dedupe.near or dedupe.exact")
    files: list[FileRef] = []
    rows: list[int] = []
    sources: list[str] = []
    for folder in folders:
        fingerprint, listed = _listed(folder)
        if not listed:
            raise ConfigError(
                f"--against {folder}: the build has no signatures (dedupe.near or dedupe.index was off); "
                "make an index of its corpus with glmdata dedupe index"
            )
        for file in listed:
            rows.append(_checked_rows(folder, file, settings))
            files.append(file)
            sources.append(fingerprint)
    return Earlier(files=tuple(files), rows=tuple(rows), sources=tuple(sources))


def describe_index(files: Sequence[FileRef], names: Sequence[str]) -> str:
    """The text of index.json for files under their names; it is written last."""
    fingerprint = xxhash.xxh3_128_hexdigest("".join(file.xxh3 for file in files).encode())
    listed = [{"path": name, "bytes": file.bytes, "xxh3": file.xxh3} for name, file in zip(names, files, strict=True)]
    return json.dumps({"version": INDEX_VERSION, "fingerprint": fingerprint, "files": listed}, indent=1)


def _listed(folder: str) -> tuple[str, list[FileRef]]:
    """Fingerprint, and the signature files with absolute paths."""
    root = Path(folder).absolute()
    if (root / "manifest.json").is_file():
        manifest = Manifest.load(root)
        found = [(name, file.bytes, file.xxh3) for name, file in manifest.files.items()]
        found = [entry for entry in found if entry[0].startswith(f"{SIGNATURES}/")]
        return manifest.fingerprint, [FileRef(path=str(root / n), bytes=b, xxh3=x) for n, b, x in sorted(found)]
    try:
        index = json.loads((root / INDEX_FILE).read_text("utf-8"))
        found = [(str(file["path"]), int(file["bytes"]), str(file["xxh3"])) for file in index["files"]]
        fingerprint = str(index["fingerprint"])
    except FileNotFoundError:
        raise ConfigError(
            f"--against {folder}: there is no manifest.json of a finished build and no {INDEX_FILE} of an index"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--against {folder}: its {INDEX_FILE} cannot be read ({error}); {_CURE}") from None
    for name, _, _ in found:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ConfigError(f"--against {folder}: its {INDEX_FILE} names {name}, outside the folder")
    return fingerprint, [FileRef(path=str(root / n), bytes=b, xxh3=x) for n, b, x in found]


def _checked_rows(folder: str, file: FileRef, settings: DedupeSettings) -> int:
    """Documents in a file of signatures that may be compared."""
    try:
        size = Path(file.path).stat().st_size
        if size != file.bytes:
            raise ShardCorruptError(f"{file.path} has {size} bytes, not {file.bytes}; {_CURE}")
        with pa.memory_map(file.path) as source:
            reader = pa.ipc.open_file(source)
            unlike = unlike_rules(reader.schema, settings)
            rows = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise ShardCorruptError(f"{file.path} cannot be read ({error}); {_CURE}") from None
    if unlike:
        raise ConfigError(f"--against {folder}: {Path(file.path).name} {unlike}; {_CURE}")
    return rows
