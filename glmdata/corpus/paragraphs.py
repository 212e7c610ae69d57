"""Plain text: a document is what stands between blank lines.

A line separates paragraphs if it holds at most spaces and tabs, ends in a newline and is not the file's first; with
CRLF read as LF that is a split at the regular expression SEPARATOR. Paragraphs of white space alone are none.
"""

import re
from collections.abc import Iterator

import numpy as np

from glmdata.corpus.batches import RecordGroup, too_long
from glmdata.corpus.encoding import not_utf8
from glmdata.corpus.streams import CheckedFile

__all__ = ["begins_after_blank_line", "read_paragraphs", "read_whole_text"]

SEPARATOR = re.compile(rb"\n(?:[ \t]*\r?\n)+")
BLANK_LINES = re.compile(rb"(?:[ \t]*\r?\n)+")
MAYBE_BLANK = re.compile(rb"[ \t]*\r?")  # a line whose end is not yet seen
LEADING_NEWLINES = re.compile(rb"(?:\r?\n)*")
NOT_OURS = -1
LOOK_BACK_BYTES = 4096


def read_paragraphs(
    blocks: Iterator[bytes], *, begin: int, end: int, at_head: bool, inside: bool, limit: int
) -> Iterator[RecordGroup]:
    """Records of the paragraphs whose first line begins in [begin, end).

    Args:
        blocks: the file's bytes from `begin`.
        begin: where a line begins; if `inside`, where the newline before it stands.
        end: paragraphs that begin here or later belong to another split.
        at_head: `begin` is the head of the file, where one blank line belongs to the paragraph after it.
        inside: `begin` lies within a paragraph that belongs to an earlier split.
        limit: longer paragraphs are refused without being held in memory.
    """
    scanner = _Scanner(begin, end, at_head, inside, limit)
    for block in blocks:
        yield scanner.feed(block)
        if scanner.done:
            return
    yield scanner.finish()


def begins_after_blank_line(file: CheckedFile, line_start: int) -> bool:
    """Whether the line before `line_start` separates paragraphs."""
    at = line_start - 1
    while at > 0:
        step = min(at, LOOK_BACK_BYTES)
        file.seek(at - step)
        data = file.read(step)
        if at == line_start - 1:
            data = data.removesuffix(b"\r")
        text = data.rstrip(b" \t")
        if text:
            return text.endswith(b"\n")
        at -= step
    return False


class _Scanner:
    """Cuts paragraphs out of blocks, holding no more than one of them.

    `buffer` is the open paragraph, or after too much of it what may still become its separator; `base` the offset of
    the buffer's first byte; `begin` the offset of the paragraph.
    """

    def __init__(self, begin: int, end: int, at_head: bool, inside: bool, limit: int):
        self.done = False
        self._end = end
        self._limit = limit
        self._buffer = b""
        self._base = begin
        self._begin = NOT_OURS if inside else begin
        self._scan = 0  # nothing before this index of the buffer can begin a separator
        self._fresh = not (inside or at_head)  # blank lines may come before the paragraph
        self._dropped = self._solid = False

    def feed(self, block: bytes) -> RecordGroup:
        """The paragraphs that `block` completes."""
        buffer = self._buffer + block
        found: list[tuple[int, bytes | None, int]] = []
        at, scan = 0, self._scan
        while True:
            if self._fresh:
                blank = BLANK_LINES.match(buffer, at)
                if blank:
                    at = blank.end()
                    self._start(self._base + at)
                if self._begin >= self._end or MAYBE_BLANK.fullmatch(buffer, at):
                    break
                self._fresh = False
                scan = at
            separator = SEPARATOR.search(buffer, scan)
            if separator is None:
                break
            self._take(found, buffer[at : separator.start()], self._base + separator.start(), separated=True)
            at = separator.end()
            self._start(self._base + at)
            self._fresh = True
        self._keep(buffer[at:], self._base + at)
        return _group(found)

    def finish(self) -> RecordGroup:
        """The last paragraph, which no blank line ends."""
        found: list[tuple[int, bytes | None, int]] = []
        if not self._fresh:
            self._take(found, self._buffer, self._base + len(self._buffer), separated=False)
        return _group(found)

    def _start(self, begin: int) -> None:
        self._begin = begin
        self._dropped = self._solid = False

    def _keep(self, buffer: bytes, base: int) -> None:
        """Hold the open paragraph, or as little of it as will do."""
        end = base + len(buffer)
        newline = buffer.rfind(b"\n")
        if self._fresh:
            scan = 0
        elif newline >= 0 and MAYBE_BLANK.fullmatch(buffer, newline + 1):
            scan = newline
        else:
            scan = len(buffer)
        if scan > self._limit + 3:  # three bytes of line ends may still be taken off
            self._solid = self._solid or bool(buffer[:scan].strip())
            self._dropped = True
            buffer, scan = buffer[scan:], 0
        if len(buffer) - scan > self._limit + 8:
            # An endless blank line. What comes next decides; until then it is enough that it is too long.
            line_end = b"\r" if buffer.endswith(b"\r") else b""
            buffer = buffer[: scan + self._limit + 4] + line_end
        self._buffer, self._base, self._scan = buffer, end - len(buffer), scan
        self.done = self._begin >= self._end or (self._begin == NOT_OURS and end >= self._end)

    def _take(self, found: list[tuple[int, bytes | None, int]], raw: bytes, raw_end: int, *, separated: bool) -> None:
        """Add (offset, text or None if too long, length) of the open paragraph, if it is one and ours."""
        if self._begin == NOT_OURS or not (self._solid or raw.strip()):
            return
        whole = raw_end - self._begin
        if separated:
            raw = raw.removesuffix(b"\r")
        leading = LEADING_NEWLINES.match(raw)
        first = leading.end() if leading else 0
        raw = raw[first:]
        while raw.endswith(b"\n"):
            raw = raw[: -2 if raw.endswith(b"\r\n") else -1]
        if self._dropped or len(raw) > self._limit:
            found.append((self._begin, None, whole))
        else:
            found.append((self._begin + first, raw, len(raw)))


def _group(found: list[tuple[int, bytes | None, int]]) -> RecordGroup:
    texts: list[str | None] = []
    reasons: dict[int, str] = {}
    places: list[tuple[int, int]] = []
    for offset, raw, length in found:
        text = None
        if raw is None:
            reasons[len(texts)] = too_long(length)
        else:
            try:
                text = raw.replace(b"\r\n", b"\n").decode()
            except UnicodeDecodeError as error:
                reasons[len(texts)] = not_utf8(raw, error, "the paragraph")
            if text is not None and not text.strip():
                continue
        texts.append(text)
        places.append((offset, length))
    columns = np.array(places, np.int64).reshape(-1, 2)
    return RecordGroup(texts=texts, reasons=reasons, offsets=columns[:, 0], lengths=columns[:, 1])


def read_whole_text(blocks: Iterator[bytes], *, begin: int, limit: int) -> Iterator[RecordGroup]:
    """The whole file as one record."""
    parts: list[bytes] = []
    length = 0
    for block in blocks:
        length += len(block)
        parts.append(block)
        if length > limit:
            parts.clear()
    text, reasons = None, {}
    if length > limit:
        reasons[0] = too_long(length)
    else:
        whole = b"".join(parts)
        try:
            text = whole.decode()
        except UnicodeDecodeError as error:
            reasons[0] = not_utf8(whole, error, "the file")
    yield RecordGroup(
        texts=[text], reasons=reasons, offsets=np.array([begin], np.int64), lengths=np.array([length], np.int64)
    )
