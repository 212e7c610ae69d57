"""The example corpus is what its script writes, and holds what examples/README.md says, nothing by accident."""

import importlib.util
import io
import re
import sys
import zlib
from collections import Counter
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glmdata.corpus.documents import Outcome
from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.recipe import Recipe
from glmdata.text.language import identify
from glmdata.text.normalization import Normalizer

EXAMPLES = Path(__file__).parents[1] / "examples"
CORPUS = EXAMPLES / "corpus"
HAN_AND_KANA = "\u3005-\u3007\u3041-\u30ff\u3400-\u9fff"
UNITS = re.compile(rf"[{HAN_AND_KANA}]|[^\W_{HAN_AND_KANA}]+")
SHINGLE_SIZE = 5


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_corpus", EXAMPLES / "make_corpus.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_corpus"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def records() -> list[tuple[str, int, str, str]]:
    """(uri, record, outcome, text) of every record, as the first stage of a build reads them."""
    recipe = Recipe()
    found = []
    for split in plan_splits(find_files([str(CORPUS)]).files, recipe.corpus):
        for batch in read_split(split, recipe.corpus, Normalizer(recipe.normalization)):
            for row in batch.to_pylist():
                found.append((split.uri, row["record"], Outcome(row["outcome"]).label, row["text"]))
    return found


def written_by_the_same_libraries() -> bool:
    """Compressed bytes are a matter of the library's version; the parquet file tells with which they were made."""
    made_by = pq.read_metadata(CORPUS / "en/guides.parquet").created_by
    return made_by.endswith(f" {pa.cpp_version}") and "ng" not in zlib.ZLIB_RUNTIME_VERSION


def content(uri: str, data: bytes) -> object:
    """What a reader gets out of a file."""
    if uri.endswith(".gz"):
        return zlib.decompressobj(wbits=31).decompress(data).rpartition(b"\n")[0]
    if uri.endswith(".zst"):
        return pa.CompressedInputStream(io.BytesIO(data), "zstd").read()
    if uri.endswith(".parquet"):
        return pq.read_table(io.BytesIO(data))
    if uri.endswith(".arrow"):
        return pa.ipc.open_file(data).read_all()
    return data


def shingles(text: str) -> set[tuple[str, ...]]:
    units = UNITS.findall(text.casefold())
    return {tuple(units[at : at + SHINGLE_SIZE]) for at in range(max(1, len(units) - SHINGLE_SIZE + 1))}


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def test_the_committed_corpus_is_what_the_script_writes(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_corpus.py", str(tmp_path)])
    script.main()
    expected = {file.relative_to(tmp_path).as_posix(): file.read_bytes() for file in tmp_path.rglob("*.*")}
    actual = {file.relative_to(CORPUS).as_posix(): file.read_bytes() for file in CORPUS.rglob("*.*")}
    assert sorted(expected) == sorted(actual) == sorted(script.LAYOUT)
    for uri, data in expected.items():
        assert content(uri, data) == content(uri, actual[uri]), uri
    if written_by_the_same_libraries():
        assert [uri for uri, data in expected.items() if data != actual[uri]] == []
    assert sum(map(len, actual.values())) < 600_000
    assert "10 files" in capsys.readouterr().out


def test_only_the_planted_pairs_are_alike(script):
    texts = {
        row.id: row.text
        for rows in script.corpus_rows().values()
        for row in rows
        if isinstance(row, script.Document) and isinstance(row.text, str) and row.text.strip()
    }
    sets = {name: shingles(text) for name, text in texts.items()}
    alike = {(a, b): jaccard(sets[a], sets[b]) for a, b in combinations(sorted(sets), 2)}
    copies = {(name.removesuffix("-copy"), name) for name in sets if name.endswith("-copy")}
    variants = {(name.removesuffix("-variant"), name) for name in sets if name.endswith("-variant")}
    assert len(copies) == len(variants) == 6
    assert {pair for pair, similarity in alike.items() if similarity >= 0.75} == copies | variants
    assert {pair for pair, similarity in alike.items() if similarity > 0.5} == copies | variants
    assert all(texts[a] == texts[b] for a, b in copies)
    for pair in variants:
        assert 0.85 <= alike[pair] <= 0.95, pair
        assert len(UNITS.findall(texts[pair[0]])) >= 120, pair


def test_what_cannot_be_used_is_what_was_planted(script, records):
    planted = {place for place, plant in script.PLANTED.items() if isinstance(plant, script.Fault)}
    refused = Counter(outcome for _, _, outcome, _ in records if outcome != "kept")
    assert refused == {"quarantined": 7, "empty": 2}
    assert {(uri, record) for uri, record, outcome, _ in records if outcome != "kept"} == planted | {
        ("broken/cut.jsonl.gz", -1)
    }


def test_languages_are_told_apart(script, records):
    texts = [text for _, _, outcome, text in records if outcome == "kept"]
    languages = Counter(guess.language for guess in identify(texts))
    assert languages == {"zh": 105, "en": 98, "ja": 2, "fr": 2, "ko": 1, "de": 1, "ru": 1, "es": 1}


def test_there_is_more_english_than_chinese(script):
    chinese, english = (
        sum(len(document.text) for document in script.read_documents(language)) / characters_a_token
        for language, characters_a_token in (("zh", 1.6), ("en", 4.2))
    )
    assert 1.3 <= english / chinese <= 1.6


def test_the_readme_names_everything_planted(script):
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    places = {f"{uri}:{record}" for uri, record in script.PLANTED}
    assert set(re.findall(r"`([a-z/.]+:\d+)`", readme)) == places
    for plant in script.PLANTED.values():
        if not isinstance(plant, script.Fault):
            assert f"`{plant.of}`" in readme
