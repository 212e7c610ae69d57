"""Files written and read by tests of the readers: their rows, and those of their splits."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from glmdata.corpus.documents import DOCUMENT_SCHEMA, Outcome
from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import TO_THE_END, Split, plan_splits
from glmdata.recipe import CorpusSettings

SETTINGS = CorpusSettings()

SMALL = CorpusSettings(max_record_bytes=1024)

KEPT, QUARANTINED, EMPTY = Outcome.KEPT, Outcome.QUARANTINED, Outcome.EMPTY


def same(text: str) -> str:
    return text


def batches_of(path: Path, options: CorpusSettings = SETTINGS, normalize=same) -> list[pa.RecordBatch]:
    splits = plan_splits(find_files([str(path)]).files, options)
    found = [batch for split in splits for batch in read_split(split, options, normalize)]
    for batch in found:
        batch.validate(full=True)
        assert batch.schema == DOCUMENT_SCHEMA
        assert batch.num_rows > 0
    return found


def rows(path: Path, options: CorpusSettings = SETTINGS, normalize=same) -> list[dict]:
    return [row for batch in batches_of(path, options, normalize) for row in batch.to_pylist()]


def read(tmp_path: Path, name: str, data: bytes, options: CorpusSettings = SETTINGS, normalize=same) -> list[dict]:
    (tmp_path / name).write_bytes(data)
    return rows(tmp_path / name, options, normalize)


def texts(found: list[dict]) -> list[str]:
    return [row["text"] for row in found if row["outcome"] == KEPT]


def details(found: list[dict]) -> list[str]:
    return [row["detail"] for row in found if row["outcome"] == QUARANTINED]


def lines(*values: str) -> bytes:
    return b"".join(json.dumps({"text": value}, ensure_ascii=False).encode() + b"\n" for value in values)


def whole_file(found: list[dict]) -> dict:
    """The one row that stands for what cannot be read: the last, with a reason."""
    (row,) = (row for row in found if row["record"] == -1)
    assert row == found[-1]
    assert (row["outcome"], row["text"], row["byte_length"]) == (QUARANTINED, "", -1)
    assert row["detail"]
    return row


def all_rows(split: Split, options: CorpusSettings) -> list[tuple]:
    found = [row for batch in read_split(split, options, same) for row in batch.to_pylist()]
    assert [row.pop("record") for row in found] == list(range(len(found)))
    return [tuple(row.values()) for row in found]


def whole(path: Path, form: str) -> Split:
    place = {"uri": "a", "path": str(path), "format": form, "compression": None}
    return Split(**place, start=0, end=TO_THE_END, ordinal=0, last=True, problem=None)


def by_splits(path: Path, form: str, cuts: list[int], size: int, options: CorpusSettings) -> list[tuple]:
    edges = [0, *sorted({cut % (size + 1) for cut in cuts} - {0, size}), size]
    found = []
    for ordinal, (start, end) in enumerate(itertools.pairwise(edges)):
        last = ordinal == len(edges) - 2
        split = dataclasses.replace(whole(path, form), start=start, end=end, ordinal=ordinal, last=last)
        found += all_rows(split, options)
    return found


def squeezed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def write_parquet(path: Path, column, **options) -> Path:
    pq.write_table(pa.table({"id": range(len(column)), "text": column}), path, **options)
    return path


def write_arrow(path: Path, column, *, stream: bool = False) -> Path:
    table = pa.table({"id": range(len(column)), "text": column})
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return path


def write_stream(path: Path, column) -> Path:
    return write_arrow(path, column, stream=True)


def plain_paragraphs(data: bytes) -> list[str]:
    text = data.decode().replace("\r\n", "\n")
    return [part.strip("\n") for part in re.split(r"\n(?:[ \t]*\n)+", text) if part.strip()]
