"""From records, as the formats give them, to batches of the document schema.

A batch is closed by its content alone (its text's size, its number of rows), so batches never depend on how a file
was read in blocks.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from glmdata.corpus.documents import DOCUMENT_SCHEMA, WHOLE_FILE, Outcome
from glmdata.recipe import CorpusSettings
from glmdata.text.normalization import Normalizer

__all__ = ["MAX_BATCH_RECORDS", "Convert", "DocumentBatches", "RecordGroup", "Refused", "joined", "too_long"]

MAX_BATCH_RECORDS = 65_536

Convert: TypeAlias = Callable[[object], str]
"""A whole record, as JSON has it, to the text that stands for it; raises Refused. The text is normalised already."""


class Refused(Exception):  # noqa: N818  (a record's fault, not the program's)
    """A record is not what is asked for; the message is the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordGroup:
    """Records next to each other in a file."""

    texts: list[str | None]
    """None where the record is refused."""
    reasons: dict[int, str]
    """Index in `texts` -> why it is refused; exactly the Nones."""
    offsets: np.ndarray
    """int64, as `byte_offset` of the schema."""
    lengths: np.ndarray
    """int64, as `byte_length` of the schema."""


def joined(groups: Sequence[RecordGroup]) -> RecordGroup:
    """Groups that follow each other as one."""
    if len(groups) == 1:
        return groups[0]
    firsts = itertools.accumulate((len(group.texts) for group in groups), initial=0)
    return RecordGroup(
        texts=[text for group in groups for text in group.texts],
        reasons={
            first + at: why for first, group in zip(firsts, groups, strict=False) for at, why in group.reasons.items()
        },
        offsets=np.concatenate([group.offsets for group in groups]),
        lengths=np.concatenate([group.lengths for group in groups]),
    )


def too_long(length: int) -> str:
    """The reason for refusing a record of `length` bytes."""
    return f"record of {length:,} bytes is longer than max_record_bytes"


class DocumentBatches:
    """Numbers and normalises records and closes a batch as soon as its text reaches `partition_bytes`.

    `records` is how many records were added so far.
    """

    def __init__(self, settings: CorpusSettings, normalize: Callable[[str], str]):
        self.records = 0
        self._settings = settings
        self._normalize = normalize
        self._clear()

    def _clear(self) -> None:
        self._texts: list[bytes] = []
        self._details: list[str | None] = []
        self._columns: list[np.ndarray] = []  # int64 (5, n): record, outcome, offset, length, bytes of text
        self._bytes = 0

    def add(self, group: RecordGroup) -> Iterator[pa.RecordBatch]:
        """Take a group; gives the batches it fills."""
        count = len(group.texts)
        texts, outcomes, details = self._normalized(group)
        columns = np.empty((5, count), np.int64)
        columns[0] = np.arange(self.records, self.records + count)
        columns[1] = outcomes
        columns[2] = group.offsets
        columns[3] = group.lengths
        columns[4] = np.fromiter(map(len, texts), np.int64, count)
        self.records += count
        yield from self._append(texts, details, columns)

    def add_unreadable(self, reason: str, offset: int) -> Iterator[pa.RecordBatch]:
        """Take the row that stands for a file, or its rest from `offset` on, that cannot be read."""
        row = np.array([[WHOLE_FILE], [Outcome.QUARANTINED], [offset], [-1], [0]], np.int64)
        yield from self._append([b""], [reason], row)

    def finish(self) -> Iterator[pa.RecordBatch]:
        """The last batch, if anything is left for it."""
        if self._texts:
            yield self._close()

    def _normalized(self, group: RecordGroup) -> tuple[list[bytes], np.ndarray, list[str | None]]:
        """(UTF-8 texts, outcomes uint8, details) of a group."""
        limit = self._settings.max_record_bytes
        outcomes = np.zeros(len(group.texts), np.uint8)
        details: list[str | None] = [None] * len(group.texts)
        texts = []
        for index, (raw, left) in enumerate(zip(group.texts, self._left_alone(group.texts), strict=True)):
            if raw is None:
                outcomes[index] = Outcome.QUARANTINED
                details[index] = group.reasons[index]
                texts.append(b"")
                continue
            text = raw if left is not None else self._normalize(raw)
            data = left if left is not None else text.encode()
            if not text or text.isspace():
                outcomes[index] = Outcome.EMPTY
            elif len(data) > limit:  # NFC may lengthen a text up to threefold; the bound on memory must hold
                outcomes[index] = Outcome.QUARANTINED
                details[index] = too_long(len(data)) + " once normalised"
            texts.append(b"" if outcomes[index] else data)
        return texts, outcomes, details

    def _left_alone(self, texts: Sequence[str | None]) -> list[bytes | None]:
        """Texts in UTF-8 that normalisation leaves as they are, as far as that is known at a glance."""
        if not isinstance(self._normalize, Normalizer):
            return [None] * len(texts)
        try:
            encoded = [b"" if text is None else text.encode() for text in texts]
        except UnicodeEncodeError:  # a lone surrogate, which is no character
            return [None] * len(texts)
        return [data if plain else None for data, plain in zip(encoded, self._normalize.leaves(encoded), strict=True)]

    def _append(self, texts: list[bytes], details: list[str | None], columns: np.ndarray) -> Iterator[pa.RecordBatch]:
        limit = self._settings.partition_bytes
        ends = np.cumsum(columns[4])
        first = 0
        while first < len(texts):
            before = int(ends[first - 1]) if first else 0
            reaching = int(np.searchsorted(ends, before + limit - self._bytes)) + 1
            last = min(reaching, first + MAX_BATCH_RECORDS - len(self._texts), len(texts))
            self._texts += texts[first:last]
            self._details += details[first:last]
            self._columns.append(columns[:, first:last])
            self._bytes += int(ends[last - 1]) - before
            first = last
            if self._bytes >= limit or len(self._texts) >= MAX_BATCH_RECORDS:
                yield self._close()

    def _close(self) -> pa.RecordBatch:
        columns = np.concatenate(self._columns, axis=1)
        count = columns.shape[1]
        ends = np.zeros(count + 1, np.int32)  # below 2**31: partition_bytes and max_record_bytes are at most 2**30
        np.cumsum(columns[4], out=ends[1:])
        data = pa.py_buffer(b"".join(self._texts))
        arrays = [
            pa.array(columns[0]),
            pa.StringArray.from_buffers(count, pa.py_buffer(ends), data),
            pa.array(columns[1].astype(np.uint8)),
            pa.array(self._details, pa.string()),
            pa.array(columns[2]),
            pa.array(columns[3]),
        ]
        self._clear()
        return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA)
