"""Reads a split: its records in order, each with its text or the reason why it has none.

Nothing stops at a bad record, and nothing is passed over in silence: what cannot be read of a file is one row with
record WHOLE_FILE, after the records before it. Memory stays near max_record_bytes + partition_bytes.
"""

from collections.abc import Callable, Iterator

import pyarrow as pa

from glmdata.corpus.batches import MAX_BATCH_RECORDS, Convert, DocumentBatches, RecordGroup, joined
from glmdata.corpus.lines import read_json_lines, read_json_records, read_text_lines
from glmdata.corpus.paragraphs import begins_after_blank_line, read_paragraphs, read_whole_text
from glmdata.corpus.record_tables import read_arrow_records, read_parquet_records
from glmdata.corpus.splits import TO_THE_END, Split
from glmdata.corpus.streams import (
    SIGNATURE_BYTES,
    CheckedFile,
    UnreadableError,
    check_signature,
    first_line_start,
    open_checked,
    read_blocks,
    without_mark,
)
from glmdata.corpus.tables import read_arrow, read_parquet
from glmdata.errors import StorageError
from glmdata.recipe import CorpusSettings
from glmdata.remote import without_secrets

__all__ = ["read_split"]

UNBOUNDED = 1 << 62
JOINED_BYTES = 1 << 18
"""Groups are worked on in about this size: rows of a table come 32 at a time, and each group costs some 100 us."""


def read_split(
    split: Split, settings: CorpusSettings, normalize: Callable[[str], str], convert: Convert | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of DOCUMENT_SCHEMA with every record of a split, numbered from the start of the split.

    Args:
        split: from `plan_splits` with the same settings.
        settings: batches are closed by `partition_bytes` of text or 65,536 records, whichever comes first.
        normalize: applied to every decoded text; a text that is then white space has outcome EMPTY.
        convert: makes the text of whole records, instead of the text field and `normalize`; "" has outcome EMPTY.

    Raises StorageError if reading fails for reasons that lie with the machine, naming file and offset.
    """
    batches = DocumentBatches(settings, normalize if convert is None else str)
    try:
        if split.problem is not None:
            raise UnreadableError(split.problem)
        with open_checked(split.path, sole=split.ordinal == 0 and split.last) as file:
            for group in _joined(_records(file, split, settings, convert)):
                yield from batches.add(group)
    except UnreadableError as error:
        if split.ordinal:
            raise StorageError(
                f"{without_secrets(split.path)}: changed since the build began: {error.reason}"
            ) from None
        told = error.reason
        if batches.records or split.compression:
            told += f"; {batches.records:,} complete records before it were read"
        yield from batches.add_unreadable(told, -1 if split.format in ("parquet", "arrow") else error.offset)
    yield from batches.finish()


def _joined(groups: Iterator[RecordGroup]) -> Iterator[RecordGroup]:
    """The same records in larger groups; those before an error come before it."""
    held: list[RecordGroup] = []
    rows = size = 0
    try:
        for group in groups:
            held.append(group)
            rows += len(group.texts)
            size += int(group.lengths.sum())
            if size >= JOINED_BYTES or rows >= MAX_BATCH_RECORDS:
                yield joined(held)
                held, rows, size = [], 0, 0
    except UnreadableError:
        if held:
            yield joined(held)
        raise
    if held:
        yield joined(held)


def _records(
    file: CheckedFile, split: Split, settings: CorpusSettings, convert: Convert | None
) -> Iterator[RecordGroup]:
    field, limit = settings.text_field, settings.max_record_bytes
    if split.format == "parquet" and convert is not None:
        return read_parquet_records(
            file, start=split.start, end=split.end, convert=convert, expansion=settings.max_expansion
        )
    if split.format == "arrow" and convert is not None:
        return read_arrow_records(file, convert=convert)
    if split.format == "parquet":
        return read_parquet(
            file, start=split.start, end=split.end, field=field, limit=limit, expansion=settings.max_expansion
        )
    if split.format == "arrow":
        return read_arrow(file, field=field, limit=limit)
    return _text_records(file, split, settings, convert)


def _text_records(
    file: CheckedFile, split: Split, settings: CorpusSettings, convert: Convert | None
) -> Iterator[RecordGroup]:
    limit = settings.max_record_bytes
    end = UNBOUNDED if split.end == TO_THE_END else split.end
    inside = False
    if split.start == 0:
        begin, blocks = without_mark(read_blocks(file, split.compression, limits=settings), split.compression)
    else:
        begin = _first_begin(file, split, end)
        if begin >= end:
            return
        paragraphs = split.format == "txt" and settings.txt_documents == "paragraphs"
        if paragraphs and not begins_after_blank_line(file, begin):
            begin, inside = begin - 1, True
        blocks = read_blocks(file, None, begin)
    if split.format == "jsonl" and convert is not None:
        yield from read_json_records(blocks, begin=begin, end=end, convert=convert, limit=limit)
    elif split.format == "jsonl":
        yield from read_json_lines(blocks, begin=begin, end=end, field=settings.text_field, limit=limit)
    elif settings.txt_documents == "lines":
        yield from read_text_lines(blocks, begin=begin, end=end, limit=limit)
    elif settings.txt_documents == "file":
        yield from read_whole_text(blocks, begin=begin, limit=limit)
    else:
        yield from read_paragraphs(blocks, begin=begin, end=end, at_head=split.start == 0, inside=inside, limit=limit)


def _first_begin(file: CheckedFile, split: Split, end: int) -> int:
    """Offset of the first line of a later split; `end` where it has none, or the file is no text."""
    try:
        check_signature(file.read(SIGNATURE_BYTES), split.compression)
    except UnreadableError:
        return end  # the first split tells it, once for the file
    return first_line_start(file, split.start, end)
