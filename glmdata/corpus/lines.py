"""One record a line, JSON or plain text; lines end at the byte 0x0A and nowhere else.

Lines are cut by one `bytes.split` a block and their offsets summed by numpy, so that little is done line by line
besides parsing. Whole split with identity normalisation: 530 MB/s on English, 260 on Chinese text.
"""

from collections.abc import Callable, Iterator

import numpy as np
import orjson

from glmdata.corpus.batches import Convert, RecordGroup, Refused, too_long
from glmdata.corpus.encoding import not_utf8

__all__ = ["json_name", "read_json_lines", "read_json_records", "read_text_lines"]

MAX_FIELDS_NAMED = 5
JSON_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}


def read_json_lines(blocks: Iterator[bytes], *, begin: int, end: int, field: str, limit: int) -> Iterator[RecordGroup]:
    """Records of the lines that begin in [begin, end).

    Args:
        blocks: the file's bytes from `begin`, which is where a line begins.
        begin: offset of the first of these bytes.
        end: lines that begin here or later belong to another split.
        field: name of the field that holds the text.
        limit: longer lines are refused without being held in memory.
    """
    for lines, starts, sizes in _line_groups(blocks, begin, end, limit):
        texts: list[str | None] = []
        reasons: dict[int, str] = {}
        blanks: list[int] = []
        for index, line in enumerate(lines):
            try:
                text = orjson.loads(line)[field]  # type: ignore[arg-type]  # None, a line too long, is refused below
                if type(text) is str:
                    texts.append(text)
                    continue
            except (ValueError, LookupError, TypeError):
                pass
            reason = too_long(int(sizes[index])) if line is None else _refusal(line, field)
            if reason:
                reasons[len(texts)] = reason
                texts.append(None)
            else:
                blanks.append(index)
        yield RecordGroup(
            texts=texts, reasons=reasons, offsets=np.delete(starts, blanks), lengths=np.delete(sizes, blanks)
        )


def read_json_records(
    blocks: Iterator[bytes], *, begin: int, end: int, convert: Convert, limit: int
) -> Iterator[RecordGroup]:
    """Records of the lines that begin in [begin, end), whole; other arguments as for `read_json_lines`."""

    def read(line: bytes) -> str | None:
        if not line.strip():
            return None
        try:
            return convert(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise Refused(_not_json(line, error)) from None

    return _read_lines(blocks, begin, end, limit, read)


def read_text_lines(blocks: Iterator[bytes], *, begin: int, end: int, limit: int) -> Iterator[RecordGroup]:
    """Records of plain lines that begin in [begin, end); arguments as for `read_json_lines`."""

    def read(line: bytes) -> str | None:
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise Refused(not_utf8(line, error, "the line")) from None
        return text if text.strip() else None

    return _read_lines(blocks, begin, end, limit, read)


def _read_lines(
    blocks: Iterator[bytes], begin: int, end: int, limit: int, read: Callable[[bytes], str | None]
) -> Iterator[RecordGroup]:
    """Records by a reader of one line, which gives None for a blank one and raises Refused."""
    for lines, starts, sizes in _line_groups(blocks, begin, end, limit):
        texts: list[str | None] = []
        reasons: dict[int, str] = {}
        blanks: list[int] = []
        for index, line in enumerate(lines):
            try:
                if line is None:
                    raise Refused(too_long(int(sizes[index])))
                text = read(line)
            except Refused as refused:
                reasons[len(texts)] = str(refused)
                texts.append(None)
                continue
            if text is None:
                blanks.append(index)
            else:
                texts.append(text)
        yield RecordGroup(
            texts=texts, reasons=reasons, offsets=np.delete(starts, blanks), lengths=np.delete(sizes, blanks)
        )


def _line_groups(
    blocks: Iterator[bytes], begin: int, end: int, limit: int
) -> Iterator[tuple[list[bytes | None], np.ndarray, np.ndarray]]:
    """(lines, offsets int64, lengths int64) of the whole lines that each block completes; None is a line too long."""
    parts: list[bytes] = []  # the open line, dropped once it is too long
    held = 0
    solid = False  # the dropped bytes are more than white space
    for block in blocks:
        cut = block.rfind(b"\n") + 1
        if cut:
            lines: list[bytes | None] = [*block[: cut - 1].split(b"\n")]
            lengths = np.fromiter(map(len, lines), np.int64, len(lines))  # type: ignore[arg-type]
            lengths[0] += held
            if held:
                lines[0] = b"".join([*parts, lines[0] or b""])
            for index in np.flatnonzero(lengths > limit):
                if (solid and index == 0) or (lines[index] or b"").strip():
                    lines[index] = None
                else:
                    lines[index] = b""
            offsets = begin + np.cumsum(lengths + 1) - (lengths + 1)
            begin = int(offsets[-1] + lengths[-1]) + 1
            owned = int(np.searchsorted(offsets, end))
            yield lines[:owned], offsets[:owned], lengths[:owned]
            parts, held, solid = [], 0, False
        if begin >= end:
            return
        held += len(block) - cut
        parts.append(block[cut:])
        if held > limit:
            solid = solid or any(part.strip() for part in parts)
            parts = []
    if held:
        line = None if solid else b"".join(parts)
        yield [line], np.array([begin], np.int64), np.array([held], np.int64)


def _refusal(line: bytes, field: str) -> str | None:
    """Why a line is no record with a text; None if it is blank."""
    if not line.strip():
        return None
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _not_json(line, error)
    if not isinstance(value, dict):
        return f"not a JSON object but {json_name(value)}"
    if field not in value:
        names = ", ".join(list(value)[:MAX_FIELDS_NAMED])
        return f'no field "{field}"' + (f"; there are {names[:80]}" if names else "")
    return f'field "{field}" is {json_name(value[field])}, not a string'


def _not_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as undecodable:
        return not_utf8(line, undecodable, "the line")
    return f"not JSON: {error.msg} at column {error.colno}"


def json_name(value: object) -> str:
    """What a value of JSON is called in a reason."""
    return JSON_NAMES.get(type(value), "a number")
