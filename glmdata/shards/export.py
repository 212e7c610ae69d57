"""A finished build in formats that other tools read. Rows stay in the shards' order; bytes depend on the build alone.

parquet   a file a shard, its columns as they are
jsonl     a file a shard, a line a row: the text with its spans, ids and decoded
megatron  text.bin, text.idx: Megatron's indexed dataset of the texts before masking, a sample a sequence and a document

Memory holds a few record batches. Files are made in a folder beside `out` that takes its name when all are whole.
"""

import contextlib
import fcntl
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glmdata.errors import BuildExistsError, BuildRunningError, ConfigError
from glmdata.infilling.restore import restore
from glmdata.shards.reader import Shards
from glmdata.shards.schema import OBJECTIVES
from glmdata.storage import file_digest, storage_errors, sync_file, sync_folder, write_whole

__all__ = ["FORMATS", "Exported", "export"]

RECORD_NAME = "export.json"
"""What an export consists of; written last, and how a folder of ours is known."""
ROW_GROUP_ROWS = 4096
INDEX_STEP = 1 << 20
"""Sequences whose part of Megatron's index is in memory at a time."""
_MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_CODES = {np.dtype(np.int32): 4, np.dtype(np.uint16): 8}


class Exported(NamedTuple):
    """rows of the build; sequences, which are more where rows hold several samples; files: name -> bytes."""

    rows: int
    sequences: int
    files: dict[str, int]


def export(place: str | os.PathLike[str], form: str, out: Path) -> Exported:
    """Write a build, by folder or URI, into the new folder `out`; one that holds just this is left as it is.

    Raises:
        ConfigError: `form` is none of FORMATS.
        BuildExistsError: `out` holds something else.
        BuildRunningError: another process is exporting there.
        ShardError: the build cannot be read, or its rows have no text before masking (megatron).
        StorageError: a file cannot be written.
    """
    if form not in FORMATS:
        raise ConfigError(f"--to {form}: there are {', '.join(FORMATS)}")
    shards = Shards(place)
    identity = {"fingerprint": shards.manifest.fingerprint, "format": form}
    there = _read_record(out)
    if there is not None and {key: there.get(key) for key in identity} == identity:
        sizes = {name: entry["bytes"] for name, entry in there["files"].items()}
        return Exported(there["rows"], there["sequences"], sizes)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = f"{there.get('format')} of build {there.get('fingerprint')}" if there else "something that is no export"
        raise BuildExistsError(f"{out} holds {what}; choose another --out")
    with _staged(out) as folder:
        sequences = FORMATS[form](shards, folder)
        files = dict[str, dict[str, Any]]()
        for path in sorted(folder.iterdir()):
            sync_file(path)
            files[path.name] = dict(zip(("bytes", "xxh3"), file_digest(path), strict=True))
        record = {**identity, "rows": shards.rows, "sequences": sequences, "files": files}
        write_whole(folder / RECORD_NAME, orjson.dumps(record, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
    return Exported(shards.rows, sequences, {name: entry["bytes"] for name, entry in files.items()})


def _read_record(out: Path) -> dict[str, Any] | None:
    try:
        found = orjson.loads((out / RECORD_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get("files"), dict) and {"rows", "sequences"} <= found.keys()
    return found if whole else None


@contextlib.contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """An empty folder that becomes `out` where the block ends well, and is gone where it does not."""
    parent, stage = out.absolute().parent, out.absolute().parent / f".{out.name}.new"
    with storage_errors("writing the export"):
        stage.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BuildRunningError(f"{out}: another process is exporting here; wait for it") from None
            try:
                for left in stage.iterdir():  # of one that was killed
                    left.unlink()
                yield stage
                sync_folder(stage)
                stage.rename(out)
                sync_folder(parent)
            except BaseException:
                shutil.rmtree(stage, ignore_errors=True)
                raise
        finally:
            os.close(descriptor)


def _batches(shards: Shards) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """(number of the shard, its record batches, verified)."""
    first = 0
    for number, shard in enumerate(shards.manifest.shards):
        stop = first + len(shard.record_batches)
        yield number, (shards.batch(batch) for batch in range(first, stop))
        first = stop


def _name(shards: Shards, number: int, suffix: str) -> str:
    return f"part-{number:05d}-of-{len(shards.manifest.shards):05d}.{suffix}"


def _to_parquet(shards: Shards, folder: Path) -> int:
    kind = pa.list_(pa.field("item", pa.binary(), nullable=False))  # pandas has no lists of fixed-size binaries
    place = shards.schema.get_field_index("document_ids")
    schema = shards.schema.set(place, pa.field("document_ids", kind, nullable=False))
    for number, batches in _batches(shards):
        path = folder / _name(shards, number, "parquet")
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for group in _groups(batches):
                writer.write_table(pa.Table.from_batches(group).cast(schema))
    return shards.rows


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Record batches that make a row group."""
    group = list[pa.RecordBatch]()
    for batch in batches:
        group.append(batch)
        if sum(part.num_rows for part in group) >= ROW_GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _to_jsonl(shards: Shards, folder: Path) -> int:
    from glmdata.tokenization import Tokenizer

    tokenizer, style = Tokenizer.load(shards.file("tokenizer.model")), shards.style
    first = 0
    for number, shard in enumerate(shards.manifest.shards):
        with (folder / _name(shards, number, "jsonl")).open("wb") as file:
            for sample in range(first, first + shard.rows):
                row = shards.row(sample)
                found = restore(row, style)
                line = {
                    "sample": sample,
                    "sample_id": int(row["sample_id"]),
                    "objective": OBJECTIVES[int(row["objective"])],
                    "language": shards.manifest.languages[int(row["language"])],
                    "length": int(row["length"]),
                    "context_length": int(row["context_length"]),
                    "document_ids": [name.hex() for name in row["document_ids"]],
                    "text": tokenizer.decode(found.tokens),
                    **_spans(found.tokens, found.spans, tokenizer.decode),
                    "part_b_order": found.order.tolist(),
                    "tokens": found.tokens.tolist(),
                }
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        first += shard.rows
    return shards.rows


def _spans(
    tokens: npt.NDArray[np.int64], spans: npt.NDArray[np.int64], decode: Callable[[npt.NDArray[np.int64]], str]
) -> dict[str, Any]:
    """The text with its spans between ⟦ and ⟧, and each span by itself."""
    parts, last, texts = list[str](), 0, list[str]()
    for start, end in spans.tolist():
        texts.append(decode(tokens[start:end]))
        parts += [decode(tokens[last:start]), "⟦", texts[-1], "⟧"]
        last = end
    marked = "".join([*parts, decode(tokens[last:])])
    places = zip(spans.tolist(), texts, strict=True)
    return {"marked": marked, "spans": [{"start": start, "end": end, "text": text} for (start, end), text in places]}


def _to_megatron(shards: Shards, folder: Path) -> int:
    """Samples before masking, of uint16 where the vocabulary has less than 65,500 ids, which Megatron holds to."""
    dtype = np.dtype(np.uint16 if shards.manifest.tokenizer.vocabulary_size < 65_500 else np.int32)
    step, style = shards.manifest.rows_per_record_batch, shards.style
    lengths = folder / "lengths"
    with (folder / "text.bin").open("wb") as data, lengths.open("wb") as sizes:
        for first in range(0, shards.rows, step):
            rows = shards.unmasked(np.arange(first, min(first + step, shards.rows)))
            tokens = rows.tokens[np.arange(rows.tokens.shape[1]) < rows.size[:, None]]
            ends = np.cumsum(rows.size)
            if style.apart:  # each sample of a row begins at its cls
                ends = np.union1d(ends, np.flatnonzero(tokens == style.cls))
                ends = ends[ends > 0]
            data.write(tokens.astype(dtype).tobytes())
            sizes.write(np.diff(ends, prepend=0).astype(np.int32).tobytes())
    with lengths.open("rb") as sizes, (folder / "text.idx").open("wb") as index:
        count = _write_index(sizes, index, dtype)
    lengths.unlink()
    return count


def _write_index(sizes: BinaryIO, index: BinaryIO, dtype: np.dtype[Any]) -> int:
    """Megatron's index, version 1: header, sizes int32, byte offsets int64, ends of documents int64 with a 0 before."""
    count = os.fstat(sizes.fileno()).st_size // 4
    index.write(_MEGATRON_MAGIC + struct.pack("<QBQQ", 1, _MEGATRON_CODES[dtype], count, count + 1))
    shutil.copyfileobj(sizes, index)
    sizes.seek(0)
    offset = 0
    while block := sizes.read(4 * INDEX_STEP):
        lengths = np.frombuffer(block, np.int32).astype(np.int64) * dtype.itemsize
        ends = offset + np.cumsum(lengths)
        index.write((ends - lengths).tobytes())
        offset = int(ends[-1])
    steps = range(0, count + 1, INDEX_STEP)
    index.writelines(np.arange(at, min(at + INDEX_STEP, count + 1), dtype=np.int64).tobytes() for at in steps)
    return count


FORMATS: dict[str, Callable[[Shards, Path], int]] = {
    "parquet": _to_parquet,
    "jsonl": _to_jsonl,
    "megatron": _to_megatron,
}
"""Name -> what writes it and counts its sequences."""
