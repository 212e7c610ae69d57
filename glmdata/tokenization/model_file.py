"""What a SentencePiece model file says: pieces, scores, kinds, and how text is normalised.

A `.model` file is a protocol buffer (`sentencepiece_model.proto`). The Python API tells neither the kind of a piece
nor the normaliser's settings, and SentencePiece's own `_pb2` module wants the protobuf package; the eight fields
needed here are read from the wire format directly.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "BPE",
    "BYTE",
    "CONTROL",
    "NORMAL",
    "UNIGRAM",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "ModelFile",
    "read_model",
    "spelled",
    "without_seed_file",
]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of pieces, `SentencePiece.Type`."""
UNIGRAM, BPE = 1, 2
"""`TrainerSpec.model_type`."""
_KINDS, _MODEL_TYPES = range(1, 7), range(1, 5)

# Tags: field number << 3 | wire type, which is 0 for a varint, 2 for bytes with their length, 5 for four bytes.
_PIECE, _TRAINER, _NORMALIZER = 10, 18, 26
_PIECE_TEXT, _PIECE_SCORE, _PIECE_KIND = 10, 21, 24
_CHARSMAP = 18
_WIDTHS = {1: 8, 5: 4}
"""Bytes of a value, by wire type. The types 3 and 4, groups, no model has."""


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
    """Read a serialised ModelProto that SentencePiece has loaded; defaults are those of the .proto file.

    As in protocol buffers, a field of another wire type and a value outside of its enumeration count as absent.
    Raises ValueError where the bytes are no protocol buffer, or have groups.
    """
    try:
        return _read(model)
    except IndexError:
        raise ValueError("it ends in the middle of a field") from None


def _read(model: bytes) -> ModelFile:
    pieces: list[bytes] = []
    scores: list[bytes] = []
    kinds = bytearray()
    settings: dict[tuple[int, int], int] = {}
    charsmap = b""
    at = 0
    while at < len(model):
        # A normal piece as SentencePiece writes it, {1: text, 2: score}, is read in place: there are tens of thousands.
        size, length = model[at + 1], model[at + 3] if at + 3 < len(model) else 0
        end = at + 4 + length
        if (
            model[at] == _PIECE
            and size == length + 7 < 128
            and model[at + 2] == _PIECE_TEXT
            and model[end] == _PIECE_SCORE
        ):
            pieces.append(model[at + 4 : end])
            scores.append(model[end + 1 : end + 5])
            kinds.append(NORMAL)
            at = end + 5
            continue
        tag, value, at = _field(model, at)
        if tag == _PIECE and isinstance(value, bytes):
            text, score, kind = b"", bytes(4), NORMAL
            for part, content in _fields(value):
                if isinstance(content, int):
                    kind = content if part == _PIECE_KIND and content in _KINDS else kind
                elif part == _PIECE_TEXT:
                    text = content
                elif part == _PIECE_SCORE:
                    score = content
            pieces.append(text)
            scores.append(score)
            kinds.append(kind)
        elif tag in (_TRAINER, _NORMALIZER) and isinstance(value, bytes):
            for part, content in _fields(value):
                if isinstance(content, int):
                    settings[tag >> 3, part >> 3] = content
                elif (tag, part) == (_NORMALIZER, _CHARSMAP):
                    charsmap = content
    model_type = settings.get((2, 3), UNIGRAM)
    return ModelFile(
        pieces=pieces,
        scores=np.frombuffer(b"".join(scores), "<f4").astype(np.float32),
        kinds=np.frombuffer(bytes(kinds), np.uint8),
        model_type=model_type if model_type in _MODEL_TYPES else UNIGRAM,
        treat_whitespace_as_suffix=bool(settings.get((2, 24), 0)),
        byte_fallback=bool(settings.get((2, 35), 0)),
        identity=not charsmap,
        add_dummy_prefix=bool(settings.get((3, 3), 1)),
        remove_extra_whitespaces=bool(settings.get((3, 4), 1)),
        escape_whitespaces=bool(settings.get((3, 5), 1)),
    )


def spelled(pieces: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The text of pieces, with a space for each U+2581, as (bytes of all, offsets int64[pieces + 1])."""
    data = np.frombuffer(b"".join(pieces), np.uint8).copy()
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)), out=offsets[1:])
    signs = np.flatnonzero((data[:-2] == 0xE2) & (data[1:-1] == 0x96) & (data[2:] == 0x81))
    data[signs] = 0x20
    kept = np.ones(len(data), np.bool_)
    kept[signs + 1] = kept[signs + 2] = False
    return data[kept], offsets - 2 * np.searchsorted(signs, offsets)


def without_seed_file(model: bytes) -> bytes:
    """The model without `TrainerSpec.seed_sentencepieces_file`: a temporary path, which would change its bytes."""
    parts: list[bytes] = []
    at = 0
    while at < len(model):
        start = at
        tag, value, at = _field(model, at)
        if tag == _TRAINER and isinstance(value, bytes):
            kept, inner = b"", 0
            while inner < len(value):
                begin = inner
                part, _, inner = _field(value, inner)
                kept += value[begin:inner] if part >> 3 != 54 else b""
            parts += [b"\x12", _as_varint(len(kept)), kept]
        else:
            parts.append(model[start:at])
    return b"".join(parts)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(tag, value) of a message."""
    at = 0
    while at < len(data):
        tag, value, at = _field(data, at)
        yield tag, value


def _field(data: bytes, at: int) -> tuple[int, int | bytes, int]:
    """(tag, value, end) of the field at `at`: an int for a varint, bytes for all else."""
    tag, at = _varint(data, at)
    wire = tag & 7
    if wire == 0:
        value, at = _varint(data, at)
        return tag, value, at
    if wire == 2:
        length, at = _varint(data, at)
    elif wire in _WIDTHS:
        length = _WIDTHS[wire]
    else:
        raise ValueError(f"wire type {wire} at byte {at}")
    if at + length > len(data):
        raise IndexError(at)
    return tag, data[at : at + length], at + length


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


def _as_varint(number: int) -> bytes:
    """A number in base 128."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
