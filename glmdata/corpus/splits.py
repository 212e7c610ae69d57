"""The pieces in which files are read: each a pure function of a file's size, its footer and the settings.

Plain jsonl and txt files are cut in byte ranges (readers find the record boundaries), parquet files between row
groups; compressed and Arrow files cannot be entered in the middle and stay whole.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from glmdata.corpus.files import Compression, Format, InputFile
from glmdata.corpus.streams import UnreadableError, open_checked
from glmdata.corpus.tables import open_parquet
from glmdata.recipe import CorpusSettings
from glmdata.storage import PLACE

__all__ = ["TO_THE_END", "Split", "plan_splits"]

TO_THE_END = -1
FOOTER_THREADS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A part of a file that one task reads; plain values only, `dataclasses.asdict` makes JSON of it."""

    uri: str
    path: str = field(metadata=PLACE)
    format: Format
    compression: Compression | None
    start: int
    end: int
    """Bytes [start, end) in which records begin, for parquet row groups; TO_THE_END where the file is read whole."""
    ordinal: int
    """0, 1, ... among the splits of the file."""
    last: bool
    problem: str | None
    """Why the file cannot be read: the split is one quarantined row."""


def plan_splits(files: Sequence[InputFile], settings: CorpusSettings, *, records: bool = False) -> list[Split]:
    """Splits of all files, in the order of the files, then of `ordinal`. Reads the footers of parquet files.

    `records`: whether whole records are wanted, not one text each; .txt files have none.

    Raises StorageError if a disk fails; files that are merely bad become a Split with a problem.
    """
    tables = [file for file in files if file.format == "parquet" and file.problem is None]
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        field = None if records else settings.text_field
        ranges = pool.map(lambda file: _row_group_ranges(file, settings, field), tables)
        planned = dict(zip((file.uri for file in tables), ranges, strict=True))
    splits = []
    for file in files:
        found = planned.get(file.uri) or _byte_ranges(file, settings)
        if records and file.format == "txt" and file.problem is None:
            found = "a .txt file has no records with fields; give .jsonl, .parquet or .arrow"
        splits += _of_file(file, found)
    return splits


def _of_file(file: InputFile, ranges: list[tuple[int, int]] | str) -> list[Split]:
    """One split a range, or one with the problem that stands in its place."""
    problem = ranges if isinstance(ranges, str) else None
    parts = [(0, TO_THE_END)] if isinstance(ranges, str) else ranges
    return [
        Split(
            uri=file.uri,
            path=file.path,
            format=file.format,
            compression=file.compression,
            start=start,
            end=end,
            ordinal=ordinal,
            last=ordinal == len(parts) - 1,
            problem=problem,
        )
        for ordinal, (start, end) in enumerate(parts)
    ]


def _byte_ranges(file: InputFile, settings: CorpusSettings) -> list[tuple[int, int]] | str:
    if file.problem is not None:
        return file.problem
    plain = file.compression is None and file.format in ("jsonl", "txt")
    if not plain or (file.format == "txt" and settings.txt_documents == "file"):
        return [(0, TO_THE_END)]
    count = max(1, -(-file.size // settings.split_bytes))
    if count > 1:
        # All splits must agree whether the file can be opened, so that it is one row of the ledger if not.
        try:
            open_checked(file.path).close()
        except UnreadableError as error:
            return error.reason
    return [(file.size * part // count, file.size * (part + 1) // count) for part in range(count)]


def _row_group_ranges(file: InputFile, settings: CorpusSettings, field: str | None) -> list[tuple[int, int]] | str:
    """Consecutive row groups until their uncompressed size reaches split_bytes."""
    try:
        with open_checked(file.path) as handle:
            metadata = open_parquet(handle, field).metadata
            sizes = [max(0, metadata.row_group(i).total_byte_size) for i in range(metadata.num_row_groups)]
    except UnreadableError as error:
        return error.reason
    ranges, first, held = [], 0, 0
    for index, size in enumerate(sizes):
        held += size
        if held >= settings.split_bytes or index == len(sizes) - 1:
            ranges.append((first, index + 1))
            first, held = index + 1, 0
    return ranges or [(0, 0)]
