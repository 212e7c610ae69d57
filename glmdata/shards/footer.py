"""Where the record batches lie in an Arrow IPC file, read from its footer without trusting it.

pyarrow does not tell offsets, and they are needed before any hash can be checked, so the few fields are parsed here:
every place is checked against the file, and whatever a damaged footer says leads to a FooterError at worst.
Layout (Arrow columnar format, "IPC File Format"): "ARROW1", messages, footer, its size int32, "ARROW1". The footer is a
flatbuffer table whose fourth field is a vector of Blocks (offset int64, metadata int32, 4 unused bytes, body int64).
"""

import struct
from typing import NamedTuple

import xxhash

__all__ = ["Block", "FooterError", "record_batch_blocks", "record_batch_hashes"]

_MAGIC = b"ARROW1"
_HEADER = 8  # the magic, padded
_TRAILER = 10  # size of the footer, magic
_BLOCK = struct.Struct("<qi4xq")
_RECORD_BATCHES = 3


class FooterError(ValueError):
    """The end of the file is no Arrow footer, or names places outside the file."""


class Block(NamedTuple):
    """A record batch's message is ``file[offset : offset + metadata + body]``."""

    offset: int
    metadata: int
    body: int

    @property
    def stop(self) -> int:
        """The byte after the message."""
        return self.offset + self.metadata + self.body


def record_batch_blocks(data: memoryview) -> list[Block]:
    """The record batches of a whole Arrow IPC file, in order; each lies in the file and after the one before.

    Raises FooterError for anything else.
    """
    size = len(data)
    if size < _HEADER + _TRAILER or bytes(data[:6]) != _MAGIC or bytes(data[-6:]) != _MAGIC:
        raise FooterError("not an Arrow IPC file, or cut short")
    footer_size = int.from_bytes(data[-_TRAILER:-6], "little", signed=True)
    if not 8 <= footer_size <= size - _HEADER - _TRAILER:
        raise FooterError(f"its footer claims {footer_size} bytes")
    start = size - _TRAILER - footer_size
    footer = data[start : size - _TRAILER]
    blocks = [Block(*fields) for fields in _BLOCK.iter_unpack(_blocks_vector(footer))]
    stop = _HEADER
    for block in blocks:
        if block.offset < stop or block.metadata <= 0 or block.body < 0 or block.stop > start:
            raise FooterError("its footer places a record batch outside the file or over another one")
        stop = block.stop
    return blocks


def record_batch_hashes(data: memoryview) -> list[str]:
    """xxh3-64 in hex of each record batch's message, metadata and body, as it lies in the file. Raises FooterError."""
    return [xxhash.xxh3_64_hexdigest(data[block.offset : block.stop]) for block in record_batch_blocks(data)]


def _blocks_vector(footer: memoryview) -> memoryview:
    """The bytes of the footer's vector of record batch blocks."""
    table = _number(footer, 0, "<I")
    vtable = table - _number(footer, table, "<i")
    entry = vtable + 4 + 2 * _RECORD_BATCHES
    if entry + 2 > vtable + _number(footer, vtable, "<H"):
        return footer[:0]  # the field is absent: no record batches
    offset = _number(footer, entry, "<H")
    if offset == 0:
        return footer[:0]
    vector = table + offset
    vector += _number(footer, vector, "<I")
    first = vector + 4
    stop = first + _BLOCK.size * _number(footer, vector, "<I")
    if stop > len(footer):
        raise FooterError("its footer's list of record batches runs past the end")
    return footer[first:stop]


def _number(footer: memoryview, at: int, kind: str) -> int:
    if not 0 <= at <= len(footer) - struct.calcsize(kind):
        raise FooterError("its footer points outside itself")
    (found,) = struct.unpack_from(kind, footer, at)
    return int(found)
