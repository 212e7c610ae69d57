"""`glmdata diff`: what differs between two builds, against plain Python on their rows and ledgers."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from building import run
from commands import glmdata
from corpora import write_corpus, write_jsonl
from synthetic import write_build

from glmdata import comparison
from glmdata.comparison import ABSENT, compare_builds


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A build, the same under other settings, and one of another corpus that shares some files."""
    folder = tmp_path_factory.mktemp("builds")
    write_corpus(folder / "corpus")
    write_corpus(folder / "other")
    write_jsonl(folder / "other" / "more.jsonl", [f"Something else happened {i} times on a ship." for i in range(9)])
    (folder / "other" / "bad.jsonl").unlink()
    run(folder / "corpus", folder / "a")
    run(folder / "corpus", folder / "loose", "dedupe.near=false", "balance.strategy=off")
    run(folder / "corpus", folder / "compact", "shards.layout=compact")
    run(folder / "corpus", folder / "short", "sequence_length=80")
    run(folder / "other", folder / "b")
    return {name: folder / name for name in ("a", "loose", "compact", "short", "b")}


def outcomes(build: Path) -> dict[bytes, str]:
    rows = [row for path in sorted((build / "ledger").glob("*")) for row in pq.read_table(path).to_pylist()]
    return {row["document_id"]: row["outcome"] for row in rows}


@pytest.mark.parametrize("other", ["loose", "short", "b"])
@pytest.mark.parametrize("documents_at_a_time", [1 << 21, 7])
def test_documents_are_joined_by_id(builds, other: str, documents_at_a_time: int, monkeypatch) -> None:
    monkeypatch.setattr(comparison, "BUCKET_DOCUMENTS", documents_at_a_time)
    mine, theirs = outcomes(builds["a"]), outcomes(builds[other])
    wanted = Counter((mine.get(i, ABSENT), theirs.get(i, ABSENT)) for i in {*mine, *theirs})
    found = compare_builds(builds["a"], builds[other]).documents
    assert found.outcomes == wanted
    for pair, examples in found.examples.items():
        assert (pair[0] == "kept") != (pair[1] == "kept")
        ids = sorted(i for i in {*mine, *theirs} if (mine.get(i, ABSENT), theirs.get(i, ABSENT)) == pair)
        assert [one.document_id for one in examples] == ids[: comparison.MAX_EXAMPLES]
    assert set(found.examples) == {pair for pair in wanted if (pair[0] == "kept") != (pair[1] == "kept")}


def test_settings_and_counts_that_differ_are_told(builds) -> None:
    found = compare_builds(builds["a"], builds["loose"])
    assert found.recipe == {"balance.strategy": ("downsample", "off"), "dedupe.near": (True, False)}
    assert found.counts["outcome_near_duplicate"][1] in (0, None)
    assert found.same is False
    assert compare_builds(builds["a"], builds["short"]).rows_comparable is False


def test_a_build_is_the_same_as_itself_and_as_its_compact_twin(builds) -> None:
    itself = compare_builds(builds["a"], builds["a"])
    assert itself.same
    assert not (itself.recipe)
    assert not (itself.counts)
    assert not (itself.tokenizer)
    assert not (itself.versions)
    assert not (itself.documents.changed)
    twin = compare_builds(builds["a"], builds["compact"])
    assert (twin.same, twin.first, twin.recipe) == (False, None, {"shards.layout": ("materialised", "compact")})
    assert "samples are the same" in glmdata("diff", builds["a"], builds["compact"]).stdout


@pytest.mark.parametrize("number", [0, 7, 8, 39, 40, 99])
@pytest.mark.parametrize("shard_rows", [40, 24])
def test_the_first_sample_that_differs_is_named(tmp_path: Path, number: int, shard_rows: int) -> None:
    rows = write_build(tmp_path / "a")
    ids = list(rows[number]["input_ids"])
    ids[3] += 1
    later = {99: {"sample_id": 5}} if number < 99 else {}
    write_build(tmp_path / "b", shard_rows=shard_rows, changes={number: {"input_ids": ids}, **later})
    first = compare_builds(tmp_path / "a", tmp_path / "b").first
    assert first is not None
    assert (first.sample, first.columns, first.place) == (number, ("input_ids",), 3)


def test_a_build_that_ends_earlier_is_told(tmp_path: Path) -> None:
    write_build(tmp_path / "a", rows=60)
    write_build(tmp_path / "b", rows=50)
    first = compare_builds(tmp_path / "a", tmp_path / "b").first
    assert first is not None
    assert (first.sample, first.columns) == (50, ())


@pytest.mark.parametrize("other", ["a", "loose", "compact", "short", "b"])
def test_the_command_shows_it_and_prints_one_object(builds, other: str) -> None:
    done = glmdata("diff", builds["a"], builds[other])
    assert done.returncode == 0, done.stderr
    assert "documents" in done.stdout
    assert "\x1b" not in done.stdout
    found = json.loads(glmdata("diff", builds["a"], builds[other], "--json").stdout)
    assert found["same"] is (other == "a")
    assert sum(one["count"] for one in found["documents"]) >= 189


def test_a_folder_without_a_build_is_one_clear_line(builds, tmp_path: Path) -> None:
    done = glmdata("diff", builds["a"], tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no finished build" in done.stderr
