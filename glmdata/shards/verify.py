"""Every byte and every row of a build, checked: what `glmdata inspect --verify` runs.

manifest  its checksum and form
files     there, of the size and hash listed; nothing else in shards/
shards    the build's schema, record batches of the hashes and rows listed
rows      the rules of glmdata.shards.invariants

Sizes and hashes come first: Arrow only ever parses files that are as they were written.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from glmdata.errors import ShardCorruptError, ShardError
from glmdata.shards.compact import expand_batch
from glmdata.shards.folder import Folder, open_folder
from glmdata.shards.footer import FooterError, record_batch_hashes
from glmdata.shards.invariants import broken_rules
from glmdata.shards.manifest import MANIFEST_NAME, Manifest, ShardEntry, manifest_text
from glmdata.storage import file_digest

__all__ = ["Problem", "verify"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a build that is not as it should be."""

    path: str
    """The file, relative to the build's folder."""
    place: str
    """Where in it: a record batch or a row, counted from 0 in the file; empty where it is the file as a whole."""
    what: str


def verify(place: str | os.PathLike[str]) -> Iterator[Problem]:
    """Find what is wrong with a build by path or URI; nothing is found in a good one. Remote files are fetched anew.

    A damaged manifest is the one problem told of, since nothing else can be judged without it.
    Raises ShardError where the folder holds no finished build, or one of another format version.
    """
    folder = open_folder(place)
    try:
        manifest = Manifest.load(folder)
    except ShardCorruptError as error:
        yield Problem(MANIFEST_NAME, "", _told(folder, MANIFEST_NAME, error))
        return
    written = folder.read(MANIFEST_NAME).decode()
    if written != manifest_text(json.loads(written)):
        # Its checksum is of the content: a bit that changes how a number or a letter is written escapes that.
        yield Problem(MANIFEST_NAME, "", "not in the form in which glmdata writes it; copy the build again")
    for name, entry in sorted(manifest.files.items()):
        yield from _file_problems(folder, name, entry.bytes, entry.xxh3)
    first = 0
    for shard in manifest.shards:
        problems = list(_file_problems(folder, shard.path, shard.bytes, shard.xxh3, shard))
        yield from problems or _shard_problems(folder, shard, manifest, first)
        first += shard.rows
    yield from _extra_files(folder, manifest)


def _file_problems(
    folder: Folder, name: str, size: int, digest: str, shard: ShardEntry | None = None
) -> Iterator[Problem]:
    """Presence, size and hash of one file; for a damaged shard also which record batches are."""
    try:
        path = folder.path(name, size, digest, fresh=True)
        if not path.is_file():
            yield Problem(name, "", "missing")
            return
        found = path.stat().st_size
        if found != size:
            yield Problem(name, "", f"{found} bytes, the manifest says {size}")
        elif file_digest(path) != (size, digest):
            place = _damaged_batches(path, shard) if shard else ""
            yield Problem(name, place, f"its bytes are not those that were written (xxh3 is not {digest})")
    except ShardError as error:
        yield Problem(name, "", _told(folder, name, error))
    except OSError as error:
        yield Problem(name, "", f"cannot be read: {error.strerror or error}")


def _told(folder: Folder, name: str, error: ShardError) -> str:
    """An error without the name that the problem has already."""
    return str(error).removeprefix(f"{folder.name}/{name}: ")


def _damaged_batches(path: Path, shard: ShardEntry) -> str:
    with pa.memory_map(str(path)) as file:
        data = file.read_buffer()
    try:
        hashes = record_batch_hashes(memoryview(data))
    except FooterError:
        return "footer"
    if len(hashes) != len(shard.record_batches):
        return "footer"
    pairs = enumerate(zip(hashes, shard.record_batches, strict=True))
    damaged = [str(number) for number, (found, listed) in pairs if found != listed]
    if not damaged:
        return "outside the record batches"
    return f"record batch {', '.join(damaged[:3])}" + (f" and {len(damaged) - 3} more" if len(damaged) > 3 else "")


def _shard_problems(folder: Folder, shard: ShardEntry, manifest: Manifest, first: int) -> Iterator[Problem]:
    """Schema, record batches and rows of a shard whose bytes are as they were written; `first` is its first row."""
    try:
        with pa.memory_map(str(folder.path(shard.path, shard.bytes, shard.xxh3))) as file:
            data = file.read_buffer()
        reader = pa.ipc.open_file(data)
        if not reader.schema.equals(manifest.shard_schema(), check_metadata=True):
            yield Problem(shard.path, "schema", "other columns than format version 1 has")
            return
        hashes = record_batch_hashes(memoryview(data))
        if tuple(hashes) != shard.record_batches or reader.num_record_batches != len(hashes):
            yield Problem(shard.path, "", "its record batches are not those of the manifest")
            return
        yield from _row_problems(reader, shard, manifest, first)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Problem(shard.path, "", f"cannot be read as a shard: {' '.join(str(error).split())[:300]}")


def _row_problems(
    reader: pa.RecordBatchFileReader, shard: ShardEntry, manifest: Manifest, first: int
) -> Iterator[Problem]:
    """Rows that break a rule: one problem a rule and shard, at the first row that does."""
    broken: dict[str, tuple[int, int]] = {}
    step = manifest.rows_per_record_batch
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        batch.validate(full=True)
        at = number * step
        expected = min(step, shard.rows - at)
        if batch.num_rows != expected:
            what = f"{batch.num_rows} rows, the manifest says {expected}"
            yield Problem(shard.path, f"record batch {number}", what)
            return
        holes = [field.name for field in batch.schema if batch.column(field.name).null_count]
        if holes:
            yield Problem(shard.path, f"record batch {number}", f"nulls in {', '.join(holes)}")
            return
        if manifest.layout == "compact":
            try:
                batch = expand_batch(batch, manifest)
            except ShardError as error:
                yield Problem(shard.path, f"record batch {number}", str(error))
                return
        for rule, rows in broken_rules(batch, manifest):
            count, where = broken.get(rule, (0, at + int(rows.argmax())))
            broken[rule] = (count + int(rows.sum()), where)
    for rule, (count, where) in broken.items():
        yield Problem(
            shard.path,
            f"row {where} (sample {first + where} of the build)",
            f"breaks the rule: {rule}" + (f"; {count - 1} more rows of the file do" if count > 1 else ""),
        )


def _extra_files(folder: Folder, manifest: Manifest) -> Iterator[Problem]:
    listed = {shard.path for shard in manifest.shards} | set(manifest.files)
    for name in folder.names("shards"):
        if name not in listed:
            yield Problem(name, "", "not in the manifest; the build does not read it, remove it")
