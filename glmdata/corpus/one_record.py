"""One record of a corpus, read again after a build: its text, or the bytes that were refused."""

from collections.abc import Callable, Iterator
from itertools import islice

import pyarrow.compute as pc

from glmdata.corpus.batches import Convert
from glmdata.corpus.files import InputFile
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import Split, plan_splits
from glmdata.corpus.streams import UnreadableError, open_checked, read_blocks
from glmdata.corpus.tables import open_parquet
from glmdata.recipe import CorpusSettings

__all__ = ["read_bytes", "read_text"]


def read_text(
    file: InputFile,
    record: int,
    settings: CorpusSettings,
    normalize: Callable[[str], str],
    convert: Convert | None = None,
) -> str | None:
    """The normalised text of a record, None where the file has no such record or it has no text.

    With `convert` the record is read whole, as by `read_split`.
    What stands before the record is read and counted (parquet row groups are passed over), what stands behind it is
    left alone. Raises StorageError if reading fails for reasons that lie with the machine.
    """
    before = 0
    field = settings.text_field if convert is None else None
    for split in plan_splits([file], settings, records=convert is not None):
        passed = _rows_of(split, field)
        if passed is not None and before + passed <= record:
            before += passed
            continue
        counted = 0
        for batch in read_split(split, settings, normalize, convert):
            records = batch["record"]
            numbered = int(pc.sum(pc.greater_equal(records, 0)).as_py() or 0)
            if 0 <= record - before - counted < numbered:
                place = pc.index(records, record - before).as_py()
                text: str = batch["text"][place].as_py()
                return text or None
            counted += numbered
        before += counted
    return None


def _rows_of(split: Split, field: str | None) -> int | None:
    """Records of a split where its file tells them beforehand."""
    if split.format != "parquet" or split.problem is not None:
        return None
    try:
        with open_checked(split.path) as file:
            metadata = open_parquet(file, field).metadata
            return sum(metadata.row_group(group).num_rows for group in range(split.start, split.end))
    except UnreadableError:
        return None


def read_bytes(file: InputFile, offset: int, length: int) -> bytes | None:
    """`length` of a text file's decompressed bytes from `offset` on, fewer at its end; None where it has no such place.

    Raises StorageError if reading fails for reasons that lie with the machine.
    """
    if offset < 0 or file.format not in ("jsonl", "txt"):
        return None
    try:
        with open_checked(file.path) as opened:
            if file.compression is None:
                opened.seek(offset)
                return opened.read(length)
            return bytes(islice(_from(read_blocks(opened, file.compression), offset), length))
    except UnreadableError:
        return None


def _from(blocks: Iterator[bytes], offset: int) -> Iterator[int]:
    """The bytes from `offset` on; nothing after them that cannot be read."""
    try:
        for block in blocks:
            if offset < len(block):
                yield from block[offset:]
            offset = max(0, offset - len(block))
    except UnreadableError:
        return
