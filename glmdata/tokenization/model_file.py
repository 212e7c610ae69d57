"""What a SentencePiece model file says: pieces, scores, kinds, and how text is normalised.

A `.model` file is a protocol buffer (`sentencepiece_model.proto`). The Python API tells neither the kind of a piece
nor the normaliser's settings, and SentencePiece's own `_pb2` module wants the protobuf package; the eight fields
needed here are read from the wire format directly.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BPE", "BYTE", "NORMAL", "UNIGRAM", "UNKNOWN", "UNUSED", "USER_DEFINED", "ModelFile", "read_model"]

NORMAL, UNKNOWN, USER_DEFINED, UNUSED, BYTE = 1, 2, 4, 5, 6
"""Kinds of pieces, `SentencePiece.Type`; CONTROL = 3."""
UNIGRAM, BPE = 1, 2
"""`TrainerSpec.model_type`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model: piece i has scores[i] (float32) and kinds[i] (uint8); the rest are settings of the same name."""

    pieces: list[bytes]
    scores: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.uint8]
    model_type: int
    byte_fallback: bool
    treat_whitespace_as_suffix: bool
    identity: bool
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool


def read_model(model: bytes) -> ModelFile:
    """Read a serialised ModelProto that SentencePiece has loaded; defaults are those of the .proto file."""
    pieces: list[bytes] = []
    scores: list[float] = []
    kinds: list[int] = []
    settings: dict[tuple[int, int], int] = {}
    charsmap = b""
    for field, value in _fields(model):
        if field == 1 and isinstance(value, bytes):
            piece, score, kind = b"", 0.0, NORMAL
            for part, content in _fields(value):
                if part == 1 and isinstance(content, bytes):
                    piece = content
                elif part == 2 and isinstance(content, bytes):
                    score = struct.unpack("<f", content)[0]
                elif part == 3 and isinstance(content, int):
                    kind = content
            pieces.append(piece)
            scores.append(score)
            kinds.append(kind)
        elif field in (2, 3) and isinstance(value, bytes):
            for part, content in _fields(value):
                if isinstance(content, int):
                    settings[field, part] = content
                elif (field, part) == (3, 2):
                    charsmap = content
    return ModelFile(
        pieces=pieces,
        scores=np.array(scores, np.float32),
        kinds=np.array(kinds, np.uint8),
        model_type=settings.get((2, 3), UNIGRAM),
        treat_whitespace_as_suffix=bool(settings.get((2, 24), 0)),
        byte_fallback=bool(settings.get((2, 35), 0)),
        identity=not charsmap,
        add_dummy_prefix=bool(settings.get((3, 3), 1)),
        remove_extra_whitespaces=bool(settings.get((3, 4), 1)),
        escape_whitespaces=bool(settings.get((3, 5), 1)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message: an int for a varint, bytes for all else."""
    at, size = 0, len(data)
    while at < size:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        else:
            length = 4 if wire == 5 else 8
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number and where it ends."""
    value = data[at]
    if value < 128:
        return value, at + 1
    value &= 127
    shift = 7
    while True:
        at += 1
        value |= (data[at] & 127) << shift
        shift += 7
        if data[at] < 128:
            return value, at + 1
