"""Whole builds of a small corpus: every record accounted for, every token in its place, the same bytes always."""

import collections
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from building import STAGES, contents, ledger, run
from corpora import document, write_jsonl
from progress import Stops

from glmdata.errors import BuildExistsError, BuildRunningError, InputError
from glmdata.infilling.restore import restore
from glmdata.pipelines.build import Built
from glmdata.pipelines.folder import BuildFolder
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.tokenization import Tokenizer


def test_every_record_has_one_row_and_its_outcome(built: Built) -> None:
    rows = ledger(built)
    outcomes = collections.Counter(row["outcome"] for row in rows)
    assert built.report["records_in"] == len(rows) == 60 + 2 + 120 + 2 + 5
    assert built.report["outcomes"] == dict(outcomes)
    assert {name: outcomes[name] for name in outcomes if name not in ("kept", "balance")} == {
        "quarantined": 4,
        "empty": 1,
        "language": 1,
        "exact_duplicate": 2,
        "near_duplicate": 1,
    }
    assert len({row["document_id"] for row in rows}) == len(rows)
    assert len({(row["uri"], row["record"]) for row in rows}) == len(rows)


def test_a_duplicate_names_a_document_that_stays(built: Built) -> None:
    rows = {row["document_id"]: row for row in ledger(built)}
    for row in rows.values():
        if row["outcome"].endswith("duplicate"):
            assert rows[row["survivor_id"]]["outcome"] in ("kept", "balance")
        else:
            assert row["survivor_id"] is None


def test_the_quarantine_tells_place_and_reason(built: Built) -> None:
    found = pq.read_table(built.folder / "quarantine").to_pylist()
    assert [(row["uri"], row["record"]) for row in found] == [
        ("bad.jsonl", 0),
        ("bad.jsonl", 1),
        ("bad.jsonl", 3),
        ("en/d.parquet", 60),
    ]
    assert [row["byte_offset"] for row in found] == [0, 17, 43, -1]
    assert all(row["reason"] for row in found)


def test_languages_are_balanced_to_a_sentence(built: Built) -> None:
    zh, en = built.report["tokens"]["zh"], built.report["tokens"]["en"]
    longest = max(len(sentence) for index in range(60) for sentence in document("zh", index).split("。"))
    assert abs(zh - en) <= 2 * longest
    assert sum(row["tokens"] for row in ledger(built) if row["outcome"] == "kept") == zh + en


def test_the_rows_hold_every_token_of_what_was_kept_once_and_in_order(built: Built) -> None:
    """Spans put back, specials taken out, the rows of a language are its documents one after the other."""
    shards, tokenizer = Shards(str(built.folder)), Tokenizer.load(built.folder / "tokenizer.model")
    raw = raw_texts(built)
    kept = {row["document_id"]: row for row in ledger(built) if row["outcome"] == "kept"}
    joined: dict[int, list[int]] = collections.defaultdict(list)
    order: dict[int, list[bytes]] = collections.defaultdict(list)
    for number in range(shards.rows):
        row = shards.row(number)
        tokens = restore(row, shards.style).tokens
        language = int(row["language"])
        joined[language] += tokens[tokens < tokenizer.num_pieces].tolist()
        order[language] += [identity for identity in row["document_ids"] if identity not in order[language][-1:]]
    assert {identity for ids in order.values() for identity in ids} == set(kept)
    for language, ids in order.items():
        assert len(set(ids)) == len(ids)
        expected = [tokenizer.encode([raw[identity]])[0][: kept[identity]["tokens"]] for identity in ids]
        assert joined[language] == np.concatenate(expected).tolist()


def raw_texts(made: Built) -> dict[bytes, str]:
    """Texts of the planted corpus by document id."""
    zh, texts = [document("zh", index) for index in range(60)], {}
    en = [document("en", index, 10) for index in range(120)]
    places = {
        "zh/a.jsonl": [*zh[:30], zh[3], zh[4].replace("次。", "回。", 1)],
        "zh/b.jsonl.gz": zh[30:],
        "en/c.txt": [text.replace("\n", " ") for text in en[:60]],
        "en/d.parquet": [*en[60:], "", en[60].upper()],
    }
    for row in ledger(made):
        if row["uri"] in places:
            texts[row["document_id"]] = places[row["uri"]][row["record"]]
    return texts


def test_a_build_verifies(built: Built) -> None:
    assert list(verify(str(built.folder))) == []


def test_a_build_holds_what_the_contract_says_and_nothing_else(built: Built) -> None:
    names = {path.relative_to(built.folder).as_posix() for path in built.folder.rglob("*") if path.is_file()}
    shards = {shard["path"] for shard in built.manifest["shards"]}
    assert len(shards) > 2
    assert names - shards == {
        ".build/corpus.json",
        ".build/identity.json",
        ".build/lock",
        "ledger/part-00000-of-00001.parquet",
        "signatures/part-00000-of-00001.arrow",
        "manifest.json",
        "quarantine/part-00000-of-00001.parquet",
        "report.html",
        "report.json",
        "tokenizer.model",
    }


@pytest.mark.parametrize(("address", "workers"), [("none", 1), ("none", 5), ("local", 2)])
def test_engine_and_workers_never_change_a_byte(
    corpus: Path, built: Built, tmp_path: Path, address: str, workers: int
) -> None:
    other = run(corpus, tmp_path / "out", address=address, workers=workers)
    assert contents(other.folder) == contents(built.folder)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("after", ["start", "job"])
def test_a_build_stopped_anywhere_goes_on_to_the_same_bytes(
    corpus: Path, built: Built, tmp_path: Path, stage: str, after: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(corpus, out, progress=Stops(stage, after))
    assert not (out / "manifest.json").exists()
    progress = Stops()
    again = run(corpus, out, progress=progress)
    assert contents(again.folder) == contents(built.folder)
    assert progress.resumed > 0 or (stage, after) == ("ingest", "start")


def test_a_finished_build_is_left_as_it_is(corpus: Path, built: Built) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.folder.rglob("*.arrow")}
    again = run(corpus, built.folder, progress=Stops("ingest", "start"))
    assert again.already_there
    assert again.report == built.report
    assert {path: path.stat().st_mtime_ns for path in built.folder.rglob("*.arrow")} == before


def test_d6_another_recipe_is_refused_by_name_and_fresh_builds_it(corpus: Path, built: Built, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(built.folder, out)
    with pytest.raises(BuildExistsError, match=r"seed is 7, there it is 1234.*--fresh"):
        run(corpus, out, seed=7)
    assert contents(out) == contents(built.folder)
    (out / "notes.txt").write_text("mine")
    other = run(corpus, out, seed=7, fresh=True)
    assert other.manifest["fingerprint"] != built.manifest["fingerprint"]
    assert (out / "notes.txt").read_text() == "mine"


def test_d6_a_corpus_that_changed_is_noticed(corpus: Path, built: Built, tmp_path: Path) -> None:
    grown = tmp_path / "corpus"
    shutil.copytree(corpus, grown)
    out = tmp_path / "out"
    shutil.copytree(built.folder, out)
    write_jsonl(grown / "more.jsonl", [document("zh", 999)])
    with pytest.raises(BuildExistsError, match=r"corpus files new: more\.jsonl"):
        run(grown, out)


def test_a_folder_with_other_files_is_not_built_into(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for fresh in (False, True):
        with pytest.raises(BuildExistsError, match=r"holds other files \(thesis\.tex\)"):
            run(corpus, tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_builds_do_not_share_a_folder(corpus: Path, tmp_path: Path) -> None:
    with BuildFolder(tmp_path / "out").locked(), pytest.raises(BuildRunningError, match=r"process .* is building here"):
        run(corpus, tmp_path / "out")


def test_the_place_and_names_of_files_have_no_part_in_what_is_kept(corpus: Path, built: Built, tmp_path: Path) -> None:
    """The same texts in one file in another order: the same text tokens, in the same rows."""
    raw = raw_texts(built)
    texts = [raw[row["document_id"]] for row in reversed(ledger(built)) if raw.get(row["document_id"])]
    write_jsonl(tmp_path / "corpus" / "all.jsonl", texts)
    other = run(tmp_path / "corpus", tmp_path / "out")
    rows = [Shards(str(made.folder)) for made in (built, other)]
    assert rows[0].rows == rows[1].rows
    for number in range(rows[0].rows):
        a, b = (shards.row(number) for shards in rows)
        assert all(np.array_equal(a[name], b[name]) for name in a if name != "document_ids")


def test_c8_a_language_that_is_missing_is_told(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "en.jsonl", [document("en", index) for index in range(20)])
    with pytest.raises(InputError, match="no document of zh is left to balance"):
        run(tmp_path / "corpus", tmp_path / "out")
    assert run(tmp_path / "corpus", tmp_path / "off", "balance.strategy=off").report["tokens"]["zh"] == 0


def test_c8_a_corpus_without_text_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"no \.jsonl, \.txt, \.parquet or \.arrow file"):
        run(tmp_path / "corpus", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_given_tokenizer_is_used_and_comes_along(corpus: Path, built: Built, tmp_path: Path) -> None:
    model = built.folder / "tokenizer.model"
    other = run(corpus, tmp_path / "out", tokenizer_path=str(model))
    assert (other.folder / "tokenizer.model").read_bytes() == model.read_bytes()
    assert other.manifest["fingerprint"] == built.manifest["fingerprint"]


@pytest.mark.parametrize(
    "options",
    [
        ("packing=document",),
        ("packing=segments",),
        ("balance.languages={zh: 2, en: 1}",),
        ("dedupe.exact=false", "dedupe.near=false"),
        ("shards.compression=zstd",),
        ("objectives={token: 1, sentence: 0, document: 0}",),
        ("sequence_length=1024",),
        ("normalization.unicode_form=none",),
        ("corpus.txt_documents=file",),
    ],
    ids=lambda options: options[0],
)
def test_other_settings_give_whole_builds(corpus: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    made = run(corpus, tmp_path / "out", *options)
    assert list(verify(str(made.folder))) == []
    assert sum(made.report["outcomes"].values()) == made.report["records_in"] == len(ledger(made))
    if options[0].startswith("balance"):
        assert made.report["tokens"]["zh"] / made.report["tokens"]["en"] == pytest.approx(2, rel=0.01)
    if options[0].startswith("dedupe"):
        assert "exact_duplicate" not in made.report["outcomes"]


def test_report_and_manifest_agree(built: Built) -> None:
    manifest, report = built.manifest, json.loads((built.folder / "report.json").read_text())
    assert sum(shard["rows"] for shard in manifest["shards"]) == report["rows"] == sum(report["samples"].values())
    assert [stage["name"] for stage in report["stages"]] == list(STAGES)
    assert manifest["counts"]["records_in"] == report["records_in"]
