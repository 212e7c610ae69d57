"""The ledger of a finished build, asked about single records.

A ledger may have 10^9 rows in 2,000 files, so nothing reads it whole: Arrow scans the columns of a condition, passes
over row groups by their statistics (a uri is in few of them), and reads other columns only of the rows that are shown.
Measured on two cores: a file of 500,000 rows is searched in 35 ms for an id, in 10 ms for a uri.
"""

import difflib
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from glmdata.corpus.documents import DOCUMENT_ID_BYTES
from glmdata.corpus.files import uri_of
from glmdata.errors import ConfigError, DocumentNotFoundError, ShardCorruptError, ShardError
from glmdata.shards.folder import Folder, open_folder
from glmdata.shards.manifest import Manifest

__all__ = ["Entry", "Ledger", "Refusal"]

MIN_PREFIX = 6
"""Digits of an id that are enough to look for it: of 10^6 documents one in 17 shares them with another."""
ID_DIGITS = 2 * DOCUMENT_ID_BYTES
UNPRINTED = re.compile("[\x00-\x1f\x7f\udc80-\udcff]")
"""What a uri never holds: a name with it is one of a file, as a shell completes it."""
MAX_NAMES = 2000
TABLE_ROWS = 1 << 15
"""Names looked at for the nearest, on each side of where the wanted one would stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the ledger; columns as in LEDGER_SCHEMA of glmdata.pipelines.report."""

    document_id: bytes
    uri: str
    record: int
    outcome: str
    survivor_id: bytes | None
    survivor_build: str | None
    language: str | None
    variant: str | None
    share: float | None
    tokens: int
    detail: str | None

    @property
    def place(self) -> str:
        """`uri:record`, as the ledger is asked for it."""
        return f"{self.uri}:{self.record}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A row of the quarantine: where the refused bytes lie in the file as decompressed, -1 where that is not known."""

    byte_offset: int
    byte_length: int
    reason: str


class Ledger:
    """The ledger and the quarantine of a finished build."""

    def __init__(self, place: str | os.PathLike[str] | Folder) -> None:
        """Read the manifest. Raises ShardError without a finished build, ShardCorruptError where it is damaged."""
        self._place = open_folder(place)
        self.folder = self._place.name
        self.manifest = Manifest.load(self._place)

    def find(self, name: str) -> Entry:
        """The row of a document id (32 hex digits, or a unique beginning of 6 or more) or of `uri:record`.

        Raises:
            ConfigError: `name` is neither.
            DocumentNotFoundError: no row has it, or several; the message names what is nearest.
            ShardError, ShardCorruptError: a file of the ledger is missing or damaged.
        """
        uri, colon, record = name.rpartition(":")
        if colon and re.fullmatch(r"-?[0-9]+", record):
            return self._by_place(uri_of(uri) if UNPRINTED.search(uri) else uri, int(record))
        if re.fullmatch(rf"[0-9A-Fa-f]{{{MIN_PREFIX},{ID_DIGITS}}}", name):
            return self._by_id(name.lower())
        if re.fullmatch(r"[0-9A-Fa-f]+", name):
            raise ConfigError(f"{name}: give {MIN_PREFIX} to {ID_DIGITS} digits of a document id")
        raise ConfigError(f"{name}: give a document id, or URI:RECORD with records counted from 0, as in {name}:0")

    def by_id(self, document_id: bytes) -> Entry | None:
        """The row of a whole id."""
        return next(self._entries(_equals("document_id", document_id), 1), None)

    def places(self, document_ids: Iterable[bytes]) -> dict[bytes, tuple[str, int]]:
        """Uri and record of each of these documents that the ledger knows."""
        wanted = pa.array(sorted(set(document_ids)), pa.binary(DOCUMENT_ID_BYTES))
        condition = pc.field("document_id").isin(wanted)
        found: dict[bytes, tuple[str, int]] = {}
        for table in self.tables(["document_id", "uri", "record"], condition):
            found |= {row["document_id"]: (row["uri"], row["record"]) for row in table.to_pylist()}
        return found

    def tables(self, columns: list[str], condition: pc.Expression | None = None) -> Iterator[pa.Table]:
        """Some columns of the rows that fulfil a condition, a few thousand at a time."""
        for part in self._parts("ledger"):
            yield from part.tables(columns, condition)

    def repeating(self, survivor_id: bytes, build: str | None, limit: int) -> tuple[int, list[Entry]]:
        """How many documents left as duplicates of this one, of an earlier build if it is named; the first of them."""
        of_build = pc.field("survivor_build") == build if build else pc.field("survivor_build").is_null()
        condition = _equals("survivor_id", survivor_id) & of_build
        count = sum(part.count_rows(filter=condition) for part in self._parts("ledger"))
        return count, list(self._entries(condition, limit)) if count else []

    def refusal(self, entry: Entry) -> Refusal | None:
        """Why and where a record was refused."""
        condition = (pc.field("uri") == entry.uri) & (pc.field("record") == entry.record)
        for part in self._parts("quarantine"):
            for row in part.head(1, columns=_names(Refusal), filter=condition).to_pylist():
                return Refusal(**row)
        return None

    def _by_place(self, uri: str, record: int) -> Entry:
        if abs(record) < 1 << 63:
            found = next(self._entries((pc.field("uri") == uri) & (pc.field("record") == record), 1), None)
            if found is not None:
                return found
        tables = [part.to_table(["record"], filter=pc.field("uri") == uri)["record"] for part in self._parts("ledger")]
        numbers = pa.chunked_array([chunk for table in tables for chunk in table.chunks], pa.int64())
        if not len(numbers):
            raise DocumentNotFoundError(
                f"no record of {uri} in the ledger of {self.folder}{self._nearest(uri, record)}"
            )
        records = int(pc.sum(pc.greater_equal(numbers, 0)).as_py())
        told = f"{uri} has {records:,} record{'' if records == 1 else 's'}"
        told += f", 0 to {pc.max(numbers).as_py()}" if records > 1 else ", 0" if records else ""
        if records < len(numbers):
            told += f"; {uri}:-1 is {'what could not be read of it' if records else 'the file, which cannot be read'}"
        raise DocumentNotFoundError(f"no record {record} of {uri} in the ledger of {self.folder}: {told}")

    def _by_id(self, digits: str) -> Entry:
        low, high = (bytes.fromhex(digits.ljust(ID_DIGITS, fill)) for fill in "0f")
        column = pc.field("document_id")
        condition = _equals("document_id", low) if low == high else (column >= _id(low)) & (column <= _id(high))
        found = list(self._entries(condition, 1 if low == high else 4))
        if not found:
            raise DocumentNotFoundError(
                f"no document {digits} in the ledger of {self.folder}; name it by its place, as in web/a.jsonl:0"
            )
        if len(found) > 1:
            named = ", ".join(f"{entry.document_id.hex()} ({entry.place})" for entry in found[:3])
            more = " and more" if len(found) > 3 else ""
            raise DocumentNotFoundError(f"several documents begin with {digits}: {named}{more}; give more digits")
        return found[0]

    def _nearest(self, uri: str, record: int) -> str:
        """What is told of the names there are: the most like one, of equal last parts first; else the first few."""
        uris: set[str] = set()
        for part in self._parts("ledger"):
            for batch in part.to_batches(columns=["uri"]):
                uris.update(pc.unique(batch["uri"]).to_pylist())
        last = uri.rpartition("/")[2]
        same = [name for name in uris if name.rpartition("/")[2] == last]
        names = sorted(same or uris)
        at = bisect_left(names, uri)
        near = difflib.get_close_matches(uri, names[max(0, at - MAX_NAMES) : at + MAX_NAMES], 1, 0 if same else 0.6)
        if near:
            return f"; did you mean {near[0]}:{record}?"
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        return f"; there are {', '.join(names[:3])}{more}"

    def _entries(self, condition: pc.Expression, limit: int) -> Iterator[Entry]:
        """The first rows that fulfil a condition, in the order of the ledger."""
        for part in self._parts("ledger"):
            if limit and part.count_rows(filter=condition):
                rows = part.head(limit, columns=_names(Entry), filter=condition).to_pylist()
                limit -= len(rows)
                yield from (Entry(**row) for row in rows)

    def _parts(self, kind: str) -> Iterator["_Part"]:
        for name in sorted(self.manifest.files):
            if name.startswith(f"{kind}/"):
                file = self.manifest.files[name]
                yield _Part(self._place.path(name, file.bytes, file.xxh3))


class _Part:
    """One parquet file; what cannot be read of it is told in the errors of a build."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise ShardError(f"{path}: missing; copy the build again")
        self._dataset = self._tell(ds.dataset, str(path), format="parquet")

    def count_rows(self, **options: Any) -> int:
        """As pyarrow.dataset.Dataset, like the others."""
        return int(self._tell(self._dataset.count_rows, **options))

    def head(self, rows: int, **options: Any) -> pa.Table:
        return self._tell(self._dataset.head, rows, **options)

    def to_table(self, columns: list[str], **options: Any) -> pa.Table:
        return self._tell(self._dataset.to_table, columns=columns, **options)

    def tables(self, columns: list[str], condition: pc.Expression | None) -> Iterator[pa.Table]:
        """As `to_table`, in pieces; no more than two of them are in memory."""
        # Without these Arrow fetches the columns of the whole file before it gives the first rows.
        scan = ds.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
        options = {
            "batch_size": TABLE_ROWS,
            "batch_readahead": 1,
            "fragment_readahead": 1,
            "fragment_scan_options": scan,
        }
        batches = self._tell(self._dataset.to_batches, columns=columns, filter=condition, **options)
        while (batch := self._tell(next, batches, None)) is not None:
            yield pa.Table.from_batches([batch])

    def to_batches(self, **options: Any) -> list[pa.RecordBatch]:
        return self._tell(lambda: list(self._dataset.to_batches(**options)))

    def _tell(self, read: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return read(*arguments, **options)
        except (pa.ArrowException, OSError, KeyError) as error:
            told = " ".join(str(error).split())[:200]
            raise ShardCorruptError(f"{self._path}: cannot be read: {told}; copy the build again") from None


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _id(document_id: bytes) -> pa.Scalar:
    return pa.scalar(document_id, pa.binary(DOCUMENT_ID_BYTES))


def _equals(column: str, document_id: bytes) -> pc.Expression:
    return pc.field(column) == _id(document_id)
