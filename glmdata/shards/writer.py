"""Record batches -> one shard file and its hashes."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import xxhash

from glmdata.shards.footer import record_batch_hashes
from glmdata.shards.schema import trim_batch
from glmdata.storage import storage_errors

__all__ = ["ShardInfo", "write_shard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """What the manifest says of a shard: hashes are xxh3-64 in hex, of the file and of each record batch's message."""

    rows: int
    bytes: int
    xxh3: str
    record_batches: tuple[str, ...]


def write_shard(
    path: str | os.PathLike[str],
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    compression: Literal["zstd"] | None = None,
) -> ShardInfo:
    """Write an Arrow IPC file of the batches as they come, and force it to the disk.

    Bytes depend on the schema, the rows, their division into batches and the compression only, not on where the batches
    were sliced from. Give `rows_per_record_batch` rows in each batch but the last: readers find rows by arithmetic.

    Raises:
        ValueError: a batch has other columns than `schema`, or nulls.
        StorageError: the file cannot be written; an incomplete one may be left at `path`.
    """
    rows = 0
    options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
    with storage_errors("writing a shard"), Path(path).open("wb") as file:
        with pa.ipc.new_file(file, schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(trim_batch(batch, schema))
                rows += batch.num_rows
        file.flush()
        os.fsync(file.fileno())
    with storage_errors("reading a shard back"):
        return _describe(Path(path), rows)


def _describe(path: Path, rows: int) -> ShardInfo:
    """Hash the file just written as it lies there, from the page cache (30 GB/s)."""
    with pa.memory_map(str(path)) as file:
        data = memoryview(file.read_buffer())
    return ShardInfo(
        rows=rows,
        bytes=len(data),
        xxh3=xxhash.xxh3_64_hexdigest(data),
        record_batches=tuple(record_batch_hashes(data)),
    )
