"""A .txt of one document a line, the commonest form of Chinese dumps: read when asked for, hinted at when not."""

from pathlib import Path

import pytest
from corpora import document
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.corpus.documents import Outcome
from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.recipe import CorpusSettings

lines = st.lists(st.sampled_from(["", "  ", "天", "一行字\r", "a line of text", "x" * 300, "\u3000"]), max_size=12)


def read(folder: Path, **options: object) -> list[tuple[str, int, int, str]]:
    """(text, outcome, offset, detail) of all records."""
    corpus = CorpusSettings.model_validate({"txt_documents": "lines", **options})
    found = []
    for split in plan_splits(find_files([str(folder)]).files, corpus):
        for batch in read_split(split, corpus, lambda text: text):
            columns = (batch[name].to_pylist() for name in ("text", "outcome", "byte_offset", "detail"))
            found += list(zip(*columns, strict=True))
    return found


@given(content=lines)
@settings(deadline=None)
def test_a_document_is_a_line_that_is_not_blank(tmp_path_factory: pytest.TempPathFactory, content: list[str]) -> None:
    folder = tmp_path_factory.mktemp("lines")
    (folder / "a.txt").write_bytes("\n".join(content).encode())
    expected = [line.removesuffix("\r") for line in content if line.strip()]
    assert [text for text, *_ in read(folder)] == expected


def test_splits_change_nothing(tmp_path: Path) -> None:
    text = "\n".join(document("zh", index).replace("\n", "") for index in range(1500))
    (tmp_path / "a.txt").write_text(text, "utf-8")
    whole = read(tmp_path)
    assert len(text.encode()) > 3 * 65536
    assert read(tmp_path, split_bytes=65536) == whole
    assert [found[0] for found in whole] == text.split("\n")


def test_a_line_that_is_not_utf8_takes_no_neighbour_and_gbk_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(
        "第一行\n".encode() + "中文编码的一行\n".encode("gbk") + b"\xff\n" + "末行".encode()
    )
    found = read(tmp_path)
    assert [outcome for _, outcome, *_ in found] == [
        Outcome.KEPT,
        Outcome.QUARANTINED,
        Outcome.QUARANTINED,
        Outcome.KEPT,
    ]
    assert "it reads as GB18030: convert the file with iconv" in found[1][3]
    assert found[2][3] == "invalid UTF-8 at byte 0 of the line"
