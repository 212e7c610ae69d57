"""Writes the example corpus: the documents of texts/*.txt laid out in nine files of six kinds, with faults planted.

    python examples/make_corpus.py [FOLDER]      default: the folder `corpus` beside this script

The output is a function of the texts, the tables below, and the versions of pyarrow and zlib: no clock, no file names.
README.md tells what is planted where and what a build makes of it.
"""

import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
SEPARATOR = "\n=====\n"
LANGUAGES = ("zh", "en", "other")

LAYOUT: Mapping[str, Mapping[str, int]] = {
    "zh/essays.jsonl": {"zh": 31},
    "zh/stories.jsonl.gz": {"zh": 27},
    "zh/notes.txt": {"zh": 24},
    "en/articles.jsonl": {"en": 28},
    "en/letters.jsonl.zst": {"en": 18},
    "en/guides.parquet": {"en": 20},
    "en/short.txt": {"en": 12},
    "other/world.jsonl": {"other": 8},
    "mixed/web.arrow": {"zh": 15, "en": 13},
    "broken/cut.jsonl.gz": {"zh": 2, "en": 2},
}
"""How many documents of each text file, in its order, a corpus file takes; two languages alternate."""

ROWS_PER_GROUP = 10
"""Rows of a parquet row group and of an Arrow record batch: few, so that there are several of both."""
CUT_BYTES = 200
"""Missing at the end of broken/cut.jsonl.gz: the check sums and most of its last document."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One record with a text, or with the null, number or nothing that stands in its place."""

    id: str
    source: str
    fields: Mapping[str, object]
    """`text`, but for the record that lacks it."""

    @property
    def text(self) -> object:
        """What stands in the text field, None if nothing does."""
        return self.fields.get("text")

    def as_json(self) -> bytes:
        """The document as a line of JSON, without its end."""
        return json.dumps({"id": self.id, **self.fields, "source": self.source}, ensure_ascii=False).encode()


Row: TypeAlias = Document | bytes
"""Bytes are a line or paragraph as it will stand in the file, for those that no writer would write."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """An exact duplicate of the document `of`."""

    of: str

    def row(self, documents: Mapping[str, Document]) -> Row:
        """The duplicate, under an id of its own."""
        return Document(id=f"{self.of}-copy", source="planted copy", fields=documents[self.of].fields)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A near-duplicate of the document `of`: some phrases replaced, something put before it or after it."""

    of: str
    replaced: Mapping[str, str]
    before: str = ""
    after: str = ""

    def row(self, documents: Mapping[str, Document]) -> Row:
        """The near-duplicate. Raises ValueError if a phrase to replace does not stand in the text exactly once."""
        text = str(documents[self.of].text)
        for old, new in self.replaced.items():
            if text.count(old) != 1:
                raise ValueError(f"{self.of}: {old!r} occurs {text.count(old)} times, not once")
            text = text.replace(old, new)
        return Document(
            id=f"{self.of}-variant", source="planted variant", fields={"text": self.before + text + self.after}
        )


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A record that cannot be used: raw bytes, or a document whose text field is odd."""

    raw: bytes = b""
    fields: Mapping[str, object] = field(default_factory=dict)

    def row(self, documents: Mapping[str, Document]) -> Row:  # noqa: ARG002  (as Copy and Variant)
        """The record as it goes into the file."""
        return self.raw or Document(id="fault", source="planted fault", fields=self.fields)


PLANTED: Mapping[tuple[str, int], Copy | Variant | Fault] = {
    # Exact duplicates: another file, another format, the same text.
    ("zh/notes.txt", 6): Copy(of="zh-005"),
    ("mixed/web.arrow", 4): Copy(of="zh-008"),
    ("zh/essays.jsonl", 20): Copy(of="zh-032"),
    ("mixed/web.arrow", 9): Copy(of="en-007"),
    ("en/guides.parquet", 13): Copy(of="en-039"),
    ("en/articles.jsonl", 24): Copy(of="en-052"),
    # Near-duplicates, as mirrors and editors make them.
    ("mixed/web.arrow", 15): Variant(
        of="zh-001",
        replaced={"看上去是白的": "看起来是白的", "弹向四面八方": "弹到四面八方"},
        after="\n（转载请注明出处）",
    ),
    ("mixed/web.arrow", 22): Variant(
        of="zh-033",
        replaced={
            "会说话的井\n": "【民间故事】会回话的井\n",
            "母亲说，不是，是它把话都还完了。": "母亲笑了笑，没有说话。",
        },
    ),
    ("zh/stories.jsonl.gz", 12): Variant(
        of="zh-012",
        replaced={
            "常常只剩原来的三分之一": "往往只剩原来的三分之一",
            "打个比方：": "比如",
            "最后能不能剩下": "最后能不能只剩下",
        },
    ),
    ("en/guides.parquet", 4): Variant(
        of="en-010",
        replaced={"How Vaccines Teach\n\n": "Vaccines, Explained in Four Paragraphs\n\n", "off chance": "slim chance"},
        after="\n\nFiled under: health, biology.",
    ),
    ("mixed/web.arrow", 30): Variant(
        of="en-035",
        replaced={
            "thirty-eight centimetres": "38 centimetres",
            "Yours faithfully,\nMargaret Doyle": "Yours,\nM. Doyle",
        },
        before="Letter of the week\n\n",
    ),
    ("en/letters.jsonl.zst", 11): Variant(
        of="en-053",
        replaced={
            "The question is famous,": "The question is well known,",
            "when the answers disagree by a factor of a hundred, one of your assumptions is interesting.": (
                "if they disagree wildly, look again."
            ),
        },
    ),
    # What an export leaves behind when it breaks off, mixes encodings or changes its fields.
    ("zh/essays.jsonl", 9): Fault(raw="<p>导出到这里停了一次电，这一行不是JSON。</p>".encode()),
    ("en/articles.jsonl", 5): Fault(
        raw='{"id": "fault", "text": "A café in Malmö, saved as Latin-1.", "source": "planted fault"}'.encode("latin-1")
    ),
    ("en/articles.jsonl", 12): Fault(fields={"body": "The text of this record is in a field of another name."}),
    ("en/letters.jsonl.zst", 3): Fault(fields={"text": 20240315}),
    ("en/guides.parquet", 9): Fault(fields={"text": None}),
    ("zh/notes.txt", 15): Fault(raw="这一段是用旧编码存的，读作UTF-8就不成字了。".encode("gbk")),
    # Texts of nothing: empty, and ideographic and other spaces.
    ("en/articles.jsonl", 17): Fault(fields={"text": ""}),
    ("zh/stories.jsonl.gz", 20): Fault(fields={"text": "\u3000\u3000\n\t \u3000"}),
}
"""(file, record): what stands there, records counted from 0 with everything planted in place."""


def read_documents(language: str) -> list[Document]:
    """The documents of a text file, in its order, with ids from 001."""
    texts = (HERE / "texts" / f"{language}.txt").read_text("utf-8").removesuffix("\n").split(SEPARATOR)
    return [
        Document(id=f"{language}-{number:03}", source=f"texts/{language}.txt", fields={"text": text})
        for number, text in enumerate(texts, 1)
    ]


def corpus_rows() -> dict[str, list[Row]]:
    """The rows of every file of the corpus, in order. Raises ValueError if the layout leaves documents over."""
    by_language = {language: read_documents(language) for language in LANGUAGES}
    documents = {document.id: document for document in chain.from_iterable(by_language.values())}
    unread = {language: iter(found) for language, found in by_language.items()}
    rows: dict[str, list[Row]] = {}
    for uri, shares in LAYOUT.items():
        columns = [list(islice(unread[language], count)) for language, count in shares.items()]
        rows[uri] = [row for turn in zip_longest(*columns) for row in turn if row is not None]
    left = [document.id for found in unread.values() for document in found]
    if left:
        raise ValueError(f"the layout has no place for {', '.join(left)}")
    for (uri, record), plant in sorted(PLANTED.items(), key=lambda item: item[0]):
        rows[uri].insert(record, plant.row(documents))
    return rows


def json_lines(rows: list[Row]) -> bytes:
    """JSON Lines, every line ended."""
    return b"".join((row if isinstance(row, bytes) else row.as_json()) + b"\n" for row in rows)


def paragraphs(rows: list[Row]) -> bytes:
    """Plain text, a blank line between documents."""
    texts = [row if isinstance(row, bytes) else str(row.text).encode() for row in rows]
    if any(b"\n\n" in text for text in texts):
        raise ValueError("a document with a blank line inside would be two paragraphs")
    return b"\n\n".join(texts) + b"\n"


def gzipped(data: bytes) -> bytes:
    """One gzip member without time, name or system: `gzip.compress` writes another system in each Python version."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + body + struct.pack("<II", zlib.crc32(data), len(data))


def zstandard(data: bytes) -> bytes:
    """One zstd frame."""
    return bytes(pa.Codec("zstd", compression_level=9).compress(data, asbytes=True))


def table(rows: list[Row], *names: str) -> pa.Table:
    """The named attributes of the documents as columns of strings."""
    return pa.table({name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in names})


def parquet(rows: list[Row]) -> bytes:
    """A parquet file with the columns id, text and source."""
    sink = pa.BufferOutputStream()
    pq.write_table(table(rows, "id", "text", "source"), sink, row_group_size=ROWS_PER_GROUP, compression="zstd")
    return bytes(sink.getvalue())


def arrow(rows: list[Row]) -> bytes:
    """An Arrow IPC file with the columns text and id."""
    sink = pa.BufferOutputStream()
    found = table(rows, "text", "id")
    with pa.ipc.new_file(sink, found.schema) as writer:
        writer.write_table(found, max_chunksize=ROWS_PER_GROUP)
    return bytes(sink.getvalue())


WRITERS: Mapping[str, Callable[[list[Row]], bytes]] = {
    ".jsonl": json_lines,
    ".jsonl.gz": lambda rows: gzipped(json_lines(rows)),
    ".jsonl.zst": lambda rows: zstandard(json_lines(rows)),
    ".txt": paragraphs,
    ".parquet": parquet,
    ".arrow": arrow,
}


def corpus_files() -> Iterator[tuple[str, bytes]]:
    """(path inside the corpus, content) of every file."""
    for uri, rows in corpus_rows().items():
        suffix = "".join(Path(uri).suffixes)
        data = WRITERS[suffix](rows)
        yield uri, data[:-CUT_BYTES] if uri.startswith("broken/") else data


def main() -> None:
    """Write the corpus into the folder named on the command line."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"
    total = 0
    for uri, data in corpus_files():
        path = folder / uri
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        total += len(data)
    print(f"{folder}: {len(LAYOUT)} files, {total:,} bytes")


if __name__ == "__main__":
    main()
