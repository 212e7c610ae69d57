"""Signature indexes: what later builds need to know of a build's documents so as not to take them again.

An index is some Arrow IPC files with a row a document. Each file's schema metadata says by which rules it was made; one
made by other rules is refused, since its numbers would mean nothing.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.dedupe.minhash import comparison_checksum
from glmdata.recipe import DedupeSettings

__all__ = ["INDEX_VERSION", "index_batches", "index_rules", "index_schema", "read_signatures", "unlike_rules"]

INDEX_VERSION = 1
_METADATA = b"glmdata.signatures"
_ROWS_PER_BATCH = 8192


def index_rules(settings: DedupeSettings) -> dict[str, Any]:
    """What the numbers of an index depend on besides the texts."""
    return {
        "version": INDEX_VERSION,
        "num_perm": settings.num_perm,
        "seed": settings.seed,
        "shingle_size": settings.shingle_size,
        "checksum": comparison_checksum(settings.num_perm, settings.seed, settings.shingle_size),
    }


def index_schema(settings: DedupeSettings) -> pa.Schema:
    """Columns of an index file.

    document_id: as in the ledger of its build. content_high, content_low: the halves of the 128-bit hash of the text as
    it is compared. signature: uint32[num_perm], as `glmdata.dedupe.minhash.signatures`.
    """
    return pa.schema(
        [
            pa.field("document_id", pa.binary(16), nullable=False),
            pa.field("content_high", pa.uint64(), nullable=False),
            pa.field("content_low", pa.uint64(), nullable=False),
            pa.field("signature", pa.list_(pa.uint32(), settings.num_perm), nullable=False),
        ],
        metadata={_METADATA: json.dumps(index_rules(settings), sort_keys=True).encode()},
    )


def index_batches(columns: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Record batches of an index file from one that has its columns."""
    chosen = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
    for start in range(0, len(chosen), _ROWS_PER_BATCH):
        yield chosen.slice(start, _ROWS_PER_BATCH)


def unlike_rules(schema: pa.Schema, settings: DedupeSettings) -> str | None:
    """In which way a file was made by other rules than `settings` ask for; None where it was not."""
    found = json.loads((schema.metadata or {}).get(_METADATA, b"{}"))
    if not found:
        return "is no file of signatures"
    for rule, value in index_rules(settings).items():
        if found.get(rule) != value:
            if rule == "checksum":
                return "folds or hashes text in another way"
            return f"has {rule} {found.get(rule)}, this build {value}"
    return None


def read_signatures(column: pa.FixedSizeListArray) -> npt.NDArray[np.uint32]:
    """uint32[rows, num_perm] of a signature column."""
    flat = column.flatten().to_numpy()
    return np.ascontiguousarray(flat, np.uint32).reshape(len(column), column.type.list_size)
