"""What a document is while it travels through a build: the schema of a batch, its outcomes, its id."""

import enum

import numpy as np
import pyarrow as pa
import xxhash

__all__ = ["DOCUMENT_ID_BYTES", "DOCUMENT_SCHEMA", "WHOLE_FILE", "Outcome", "document_ids"]

DOCUMENT_ID_BYTES = 16
WHOLE_FILE = -1
"""`record` of the one row that stands for a file, or the rest of a file, that cannot be read."""

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("record", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("outcome", pa.uint8(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("byte_offset", pa.int64(), nullable=False),
        pa.field("byte_length", pa.int64(), nullable=False),
    ]
)
"""Columns of a batch of records.

record: 0-based inside the Split, or WHOLE_FILE. text: "" where the record is refused. outcome: an `Outcome`.
detail: the reason, null where all is well. byte_offset: where the record begins in the file's decompressed bytes,
-1 in parquet and Arrow files. byte_length: length of the raw record in bytes, -1 where unknown.
"""


class Outcome(enum.IntEnum):
    """What became of a record. In a reader's batch KEPT means: alive so far."""

    KEPT = 0
    QUARANTINED = 1
    EMPTY = 2
    LANGUAGE = 3
    QUALITY = 4
    EXACT_DUPLICATE = 5
    NEAR_DUPLICATE = 6
    BALANCE = 7
    TOO_SHORT = 8
    CONTAMINATED = 9
    TIE = 10

    @property
    def label(self) -> str:
        """The name used in ledger and reports, such as "exact_duplicate"."""
        return self.name.lower()


def document_ids(uri: str, records: np.ndarray) -> pa.FixedSizeBinaryArray:
    """Ids of records of one file: XXH3-128 of the uri in UTF-8, a zero byte and the record as int64 little-endian.

    Args:
        uri: the file's uri, relative to its corpus.
        records: int64[n], WHOLE_FILE included where there is one.

    Returns: FixedSizeBinary[16] of n; 0.2 us an id.
    """
    digest = xxhash.xxh3_128_digest
    prefix = uri.encode() + b"\0"
    numbers = records.astype("<i8").tobytes()
    digests = b"".join([digest(prefix + numbers[at : at + 8]) for at in range(0, len(numbers), 8)])
    kind = pa.binary(DOCUMENT_ID_BYTES)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(records), [None, pa.py_buffer(digests)])
