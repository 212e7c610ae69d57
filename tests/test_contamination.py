"""Builds whose documents hold passages of benchmarks: what leaves, what is cut, and the same bytes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import contents, ledger, run
from commands import glmdata
from corpora import QUESTION, RIDDLE, document, write_jsonl, write_texts
from progress import Stops
from shingled import grams_of, units_of

from glmdata.errors import BuildExistsError, ConfigError, InputError
from glmdata.pipelines.build import Built
from glmdata.shards.verify import verify


def texts_of_build() -> dict[str, list[str]]:
    """Documents of which three hold a passage of a benchmark, one of them nothing else."""
    zh, en = [document("zh", index) for index in range(40)], [document("en", index) for index in range(60)]
    zh[7] = f"{zh[7]}\n{QUESTION}"
    en[5] = f"{RIDDLE.upper()} {en[5]}"
    return {"zh.jsonl": [*zh, QUESTION], "en.jsonl": en}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("corpus"), texts_of_build())


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "sums.jsonl").write_text(
        "".join(json.dumps({"question": text, "answer": "no"}) + "\n" for text in ("Unused.", QUESTION)), "utf-8"
    )
    pq.write_table(pa.table({"text": [RIDDLE]}), folder / "riddles.parquet")
    return folder


@pytest.fixture(scope="module")
def removed(corpus: Path, benchmarks: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run(corpus, tmp_path_factory.mktemp("removed") / "out", option(benchmarks))


@pytest.fixture(scope="module")
def cut(corpus: Path, benchmarks: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run(corpus, tmp_path_factory.mktemp("cut") / "out", option(benchmarks), "decontamination.action=cut")


def option(*places: Path) -> str:
    return f"decontamination.benchmarks={json.dumps([str(place) for place in places])}"


def test_contaminated_documents_leave_and_name_the_benchmark(removed: Built) -> None:
    rows = {(row["uri"], row["record"]): row for row in ledger(removed)}
    gone = {place: row["detail"] for place, row in rows.items() if row["outcome"] == "contaminated"}
    count = len(grams_of(units_of(QUESTION), 13))
    assert gone == {
        ("zh.jsonl", 7): f"benchmark sums.jsonl:1, {count} grams",
        ("zh.jsonl", 40): f"benchmark sums.jsonl:1, {count} grams",
        ("en.jsonl", 5): "benchmark riddles.parquet:0, 8 grams",
    }
    assert all(rows[place]["tokens"] == 0 for place in gone)
    assert sum(removed.report["outcomes"].values()) == removed.report["records_in"] == 101
    assert removed.report["cleaning"]["benchmarks"]["ignored_texts"] == 3
    assert removed.report["hints"] == ["3 texts of the benchmarks are too short to be looked for"]
    assert list(verify(str(removed.folder))) == []


def test_cutting_keeps_the_rest_of_the_document(cut: Built, corpus: Path, tmp_path: Path) -> None:
    rows = {(row["uri"], row["record"]): row for row in ledger(cut)}
    assert rows["zh.jsonl", 7]["detail"] == "cut: 1 passage of benchmark sums.jsonl:1"
    assert rows["en.jsonl", 5]["detail"].startswith("cut: 1 passage of benchmark riddles.parquet:0")
    assert (rows["zh.jsonl", 40]["outcome"], rows["zh.jsonl", 40]["detail"]) == (
        "too_short",
        "0 characters left; cut: 1 passage of benchmark sums.jsonl:1",
    )
    assert "contaminated" not in cut.report["outcomes"]
    assert list(verify(str(cut.folder))) == []
    without = [document("zh", index) for index in range(40)], [document("en", index) for index in range(60)]
    for name, texts in zip(("zh.jsonl", "en.jsonl"), without, strict=True):
        write_jsonl(tmp_path / "corpus" / name, texts)
    model = str(cut.folder / "tokenizer.model")
    plain = run(tmp_path / "corpus", tmp_path / "out", "balance.strategy=off", tokenizer_path=model)
    tokens = {(row["uri"], row["record"]): row["tokens"] for row in ledger(plain)}
    assert rows["zh.jsonl", 7]["tokens"] == tokens["zh.jsonl", 7]


def test_why_tells_what_was_cut_and_what_was_found(removed: Built, cut: Built) -> None:
    told = {}
    for made, name in ((removed, "zh.jsonl:7"), (removed, "zh.jsonl:8"), (cut, "zh.jsonl:7"), (cut, "zh.jsonl:40")):
        done = glmdata("why", made.folder, name)
        assert done.returncode == 0, done.stderr
        lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        told[made is cut, name] = [line for line in lines if line.startswith(("cleaning ", "balance "))]
    assert [line.partition(" grams")[0] for line in told[False, "zh.jsonl:7"]] == [
        "cleaning left here: contaminated; benchmark sums.jsonl:1, 16"
    ]
    assert told[False, "zh.jsonl:8"][0] == "cleaning nothing cut"
    assert told[True, "zh.jsonl:7"][0] == "cleaning cut: 1 passage of benchmark sums.jsonl:1"
    assert "cut" not in told[True, "zh.jsonl:7"][1]
    assert told[True, "zh.jsonl:40"][0].startswith("cleaning left here: too_short; 0 characters left")


@pytest.mark.parametrize(("address", "workers"), [("none", 1), ("ray", 2)], indirect=["address"])
def test_engine_and_workers_never_change_a_byte(
    corpus: Path, benchmarks: Path, cut: Built, tmp_path: Path, address: str, workers: int
) -> None:
    options = (option(benchmarks), "decontamination.action=cut")
    other = run(corpus, tmp_path / "out", *options, address=address, workers=workers)
    assert contents(other.folder) == contents(cut.folder)


@pytest.mark.parametrize(("stage", "after"), [("benchmarks", "job"), ("clean", "start"), ("clean", "job")])
def test_a_build_stopped_while_cleaning_goes_on_to_the_same_bytes(
    corpus: Path, benchmarks: Path, removed: Built, tmp_path: Path, stage: str, after: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path / "out", option(benchmarks), progress=Stops(stage, after))
    progress = Stops()
    again = run(corpus, tmp_path / "out", option(benchmarks), progress=progress)
    assert progress.resumed > 0
    assert contents(again.folder) == contents(removed.folder)


def test_a_benchmark_that_changed_is_another_build(corpus: Path, benchmarks: Path, tmp_path: Path) -> None:
    place = tmp_path / "benchmarks"
    place.mkdir()
    for file in benchmarks.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path / "out", option(place), progress=Stops("clean", "start"))
    (place / "sums.jsonl").write_text(json.dumps({"question": document("en", 3)}))
    with pytest.raises(BuildExistsError, match=r"benchmark files changed: sums\.jsonl.*--fresh"):
        run(corpus, tmp_path / "out", option(place))
    made = run(corpus, tmp_path / "out", option(place), fresh=True)
    gone = {(row["uri"], row["record"]) for row in ledger(made) if row["outcome"] == "contaminated"}
    assert {("en.jsonl", 3), ("en.jsonl", 5)} <= gone
    assert ("zh.jsonl", 7) not in gone


def test_names_and_splits_of_files_have_no_part(benchmarks: Path, removed: Built, tmp_path: Path) -> None:
    texts = [text for found in texts_of_build().values() for text in found]
    for place in range(4):
        write_jsonl(tmp_path / "corpus" / f"{9 - place}.jsonl", texts[place::4][::-1])
    other = run(tmp_path / "corpus", tmp_path / "out", option(benchmarks))
    assert other.manifest["counts"] == removed.manifest["counts"]
    assert {row["detail"] for row in ledger(other) if row["outcome"] == "contaminated"} == {
        row["detail"] for row in ledger(removed) if row["outcome"] == "contaminated"
    }


def test_bad_benchmarks_stop_a_build_before_it_reads_the_corpus(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        run(corpus, tmp_path / "out", option(tmp_path / "nowhere"))
    assert not (tmp_path / "out").exists()
    for text, message in (("{", "line 1 is not JSON"), ('["", "！", "Yes."]', "no text of 8 words or more")):
        (tmp_path / "bad.jsonl").write_text(text)
        progress = Stops("ingest", "start")
        with pytest.raises(InputError, match=message):
            run(corpus, tmp_path / "out", option(tmp_path / "bad.jsonl"), progress=progress, fresh=True)


def test_a_benchmark_equal_to_the_corpus_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no document of en or zh is left.*; cleaning removed the last 101 documents"):
        run(corpus, tmp_path / "out", option(corpus))
