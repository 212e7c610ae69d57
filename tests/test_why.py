"""`glmdata why`: every outcome of a real build is told, by either name, with and without the corpus."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import ledger_of
from commands import SMALL, build_small, glmdata
from corpora import document, write_corpus, write_jsonl
from stories import place, story, with_outcome

from glmdata.errors import ConfigError, DocumentNotFoundError, ShardCorruptError, ShardError
from glmdata.ledger import Entry, Ledger, Refusal
from glmdata.pipelines.folder import BuildFolder
from glmdata.pipelines.report import LEDGER_SCHEMA, QUARANTINE_SCHEMA
from glmdata.shards.holding import rows_holding
from glmdata.shards.reader import Shards
from glmdata.story import tell

ODD = "zh/e:f.jsonl"
LONG = "long.jsonl"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    # Copies under a name with a colon, and one long text that differs in a word.
    write_jsonl(folder / ODD, [document("zh", 3), document("zh", 3)])
    lines = [f"{document('en', 500 + number, 1)}\n" for number in range(300)]
    write_jsonl(folder / LONG, ["".join(lines), "".join([*lines[:150], f"Slowly, {lines[150]}", *lines[151:]])])
    (folder / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00")
    return folder


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small(corpus, tmp_path_factory.mktemp("built") / "out")


@pytest.fixture
def changed(built: Path, tmp_path: Path) -> Callable[[Callable[[list[dict[str, Any]]], None]], Path]:
    """A copy of the build whose ledger was changed by a function of its rows."""

    def change(function: Callable[[list[dict[str, Any]]], None]) -> Path:
        copy = tmp_path / "changed"
        shutil.copytree(built, copy)
        for path in (copy / "ledger").glob("*"):
            rows = pq.read_table(path).to_pylist()
            function(rows)
            pq.write_table(pa.Table.from_pylist(rows, LEDGER_SCHEMA), path)
        return copy

    return change


# --- finding ---------------------------------------------------------------------------------------------------------


def test_the_ledger_has_what_is_asked_of_it() -> None:
    assert set(Entry.__dataclass_fields__) <= set(LEDGER_SCHEMA.names)
    assert set(Refusal.__dataclass_fields__) <= set(QUARANTINE_SCHEMA.names)


def test_every_row_is_found_by_id_and_by_place(built: Path) -> None:
    ledger = Ledger(built)
    for row in ledger_of(built):
        expected = Entry(**row)
        assert expected == ledger.find(row["document_id"].hex())
        assert expected == ledger.find(place(row))
        assert expected == ledger.find(row["document_id"].hex()[:13].upper())


def test_who_repeats_a_survivor_is_counted(built: Path) -> None:
    ledger = Ledger(built)
    rows = ledger_of(built)
    for survivor in {row["survivor_id"] for row in rows if row["survivor_id"]}:
        expected = [Entry(**row) for row in rows if row["survivor_id"] == survivor]
        assert (len(expected), expected[:2]) == ledger.repeating(survivor, None, 2)


def test_the_beginning_of_several_ids_names_them(changed: Callable[..., Path]) -> None:
    def alike(rows: list[dict[str, Any]]) -> None:
        for number, row in enumerate(rows[:5]):
            row["document_id"] = bytes.fromhex(f"abcdef{number:026x}")

    ledger = Ledger(changed(alike))
    with pytest.raises(DocumentNotFoundError, match=r"begin with abcdef: abcdef0+ .*and more; give more digits"):
        ledger.find("abcdef")
    with pytest.raises(DocumentNotFoundError, match="several"):
        ledger.find("abcdef" + "0" * 25)
    assert ledger.find("abcdef" + f"{3:026x}").document_id == bytes.fromhex(f"abcdef{3:026x}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zh/b.jsonl.gs:3", r"did you mean zh/b\.jsonl\.gz:3\?"),
        ("corpus/en/c.txt:0", r"did you mean en/c\.txt:0\?"),
        ("en/c.txt:60", r"has 60 records, 0 to 59$"),
        ("en/c.txt:-1", "has 60 records"),
        (f"en/c.txt:{10**30}", "has 60 records"),
        ("cut.jsonl.gz:0", r"has 0 records; cut\.jsonl\.gz:-1 is the file, which cannot be read"),
        ("qqq:7", r"there are bad\.jsonl, cut\.jsonl\.gz, en/c\.txt and 5 more"),
        ("caf\udce9.txt:7", "no record of caf%E9.txt"),
        ("00000000000000000000000000000000", "no document 0+ in the ledger"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(built: Path, name: str, message: str) -> None:
    with pytest.raises(DocumentNotFoundError, match=message):
        Ledger(built).find(name)


@pytest.mark.parametrize("name", ["", "abcde", "a" * 33, "en/c.txt", "en/c.txt:x", "en/c.txt:", "en/c.txt:1_0"])
def test_what_is_no_name_is_wrong_usage(built: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="give"):
        Ledger(built).find(name)


def test_a_broken_build_is_told_as_such(built: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no finished build"):
        Ledger(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    victim = next((copy / "ledger").glob("*"))
    victim.write_bytes(victim.read_bytes()[:-20])
    with pytest.raises(ShardCorruptError, match=r"part-00000-of-00001\.parquet: cannot be read"):
        Ledger(copy).find("en/c.txt:0")
    victim.unlink()
    with pytest.raises(ShardError, match="missing"):
        Ledger(copy).find("en/c.txt:0")


def test_rows_of_a_document_are_those_that_name_it(built: Path) -> None:
    shards = Shards(built)
    rows = [shards.row(number)["document_ids"] for number in range(shards.rows)]
    for row in with_outcome(built, "kept"):
        expected = [number for number, ids in enumerate(rows) if row["document_id"] in ids]
        assert expected == rows_holding(built, shards.manifest, row["document_id"])


# --- each outcome ----------------------------------------------------------------------------------------------------


def test_an_exact_duplicate_shows_its_survivor_and_the_others(built: Path) -> None:
    names = {"zh/a.jsonl:3", "zh/a.jsonl:30", f"{ODD}:0", f"{ODD}:1"}
    gone = [row for row in with_outcome(built, "exact_duplicate") if place(row) in names]
    assert len(gone) == 3
    for row in gone:
        found = story(built, place(row))
        assert found.survivor is not None
        assert {found.survivor.place, place(row), *(other.place for other in found.repeating)} == names
        assert found.num_repeating == 2
        assert found.text == found.survivor_text == document("zh", 3)
        assert found.similarity is not None
        assert (found.similarity.estimated, found.similarity.true) == (1, 1)
        assert found.notes == ()
    printed = glmdata("why", built, place(gone[0]))
    assert printed.returncode == 0
    assert "left here: exact_duplicate; the same text as" in printed.stdout
    assert "the same survivor has 2 other duplicates" in printed.stdout
    assert "the text of both" in printed.stdout


def test_a_survivor_names_its_duplicates(built: Path) -> None:
    survivor = next(row for row in with_outcome(built, "exact_duplicate") if row["uri"] == ODD)["survivor_id"].hex()
    found = story(built, survivor)
    assert found.entry.outcome == "kept"
    assert found.num_repeating == len(found.repeating) == 3
    assert "3 duplicates of it left: " in glmdata("why", built, survivor).stdout


def test_a_near_duplicate_is_shown_beside_its_survivor(built: Path) -> None:
    first = document("zh", 4)
    texts = {"zh/a.jsonl:4": first, "zh/a.jsonl:31": first.replace("次。", "回。", 1)}
    gone = next(row for row in with_outcome(built, "near_duplicate") if place(row) in texts)
    done = glmdata("why", built, place(gone))
    assert done.returncode == 0
    for expected in (
        "left here: near_duplicate; like zh/a.jsonl",
        "similarity 0.",
        "by 128 permutations",
        "from 0.75 on",
    ):
        assert expected in done.stdout
    mine, other = ("次", "回") if place(gone) == "zh/a.jsonl:4" else ("回", "次")
    assert f"[-{mine}-]" in done.stdout
    assert f"{{+{other}+}}" in done.stdout
    found = json.loads(glmdata("why", built, gone["document_id"].hex()[:8], "--json").stdout)
    assert found["text"] == texts[place(gone)]
    assert [found["survivor"]["text"]] == [text for name, text in texts.items() if name != place(gone)]
    assert "".join(text for kind, text in found["diff"] if kind != "+") == found["text"]
    assert "".join(text for kind, text in found["diff"] if kind != "-") == found["survivor"]["text"]
    assert found["similarity"]["threshold"] == 0.75 < found["similarity"]["true"] < 1
    assert abs(found["similarity"]["estimated"] - found["similarity"]["true"]) < 0.2
    assert found["survivor_id"] == found["survivor"]["document_id"]


def test_a_long_text_shows_only_where_it_differs(built: Path) -> None:
    gone = next(row for row in with_outcome(built, "near_duplicate") if row["uri"] == LONG)
    done = glmdata("why", built, place(gone))
    assert len(done.stdout.splitlines()) < 30
    assert re.findall(r"… (\d+) equal lines …", done.stdout) == ["148", "147"]
    assert ("{+Slowly, +}" in done.stdout) != ("[-Slowly, -]" in done.stdout)


def test_a_kept_document_shows_its_rows(built: Path) -> None:
    for row in with_outcome(built, "kept")[:5]:
        found = story(built, place(row))
        assert found.rows
        assert found.text
        assert found.survivor is None
    done = glmdata("why", built, place(row))
    assert f"all its {row['tokens']} tokens taken" in done.stdout
    assert f"glmdata inspect {built} --sample {found.rows[0]}" in done.stdout
    shown = json.loads(glmdata("inspect", built, "--sample", found.rows[0], "--json").stdout)
    assert row["document_id"].hex() in [source["document_id"] for source in shown["documents"]]
    cut = next(row for row in with_outcome(built, "kept") if row["detail"])
    assert f"{cut['tokens']} tokens taken: its first {cut['tokens']} of " in glmdata("why", built, place(cut)).stdout


def test_a_document_left_out_by_the_balance_says_why(built: Path) -> None:
    row = with_outcome(built, "balance")[0]
    done = glmdata("why", built, place(row), COLUMNS="200")
    assert f"left here: balance; {row['tokens']} tokens; en has more text than en 1 : zh 1 asks for" in done.stdout
    assert "samples" not in done.stdout


def test_another_language_says_which_and_what_is_asked(built: Path) -> None:
    done = glmdata("why", built, "bad.jsonl:4", COLUMNS="200")
    assert "left here: language; ja, 100% of the letters are of its script; the recipe takes en, zh" in done.stdout
    assert "春の川は" in done.stdout


def test_a_wanted_language_below_a_threshold_names_it(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mixed = tmp_path / "corpus"
    write_jsonl(mixed / "a.jsonl", [f"春天的河水慢慢变暖 {document('en', 1, 1)}", document("zh", 1), document("en", 2)])
    done = glmdata(
        "build", "--corpus", mixed, "--out", out, *SMALL, "--set", "language.min_share_of={zh: 0.7, en: 0.95}"
    )
    assert done.returncode == 0, done.stderr
    row = with_outcome(out, "language")[0]
    wanted = {"zh": "70%", "en": "95%"}[row["language"]]
    told = glmdata("why", out, place(row), COLUMNS="300").stdout
    assert f"the recipe asks {row['language']} for a share of {wanted}" in told
    assert row["detail"] in told


def test_refused_records_show_reason_place_and_bytes(built: Path) -> None:
    found = story(built, "bad.jsonl:3")
    assert found.raw == b'{"text": "\xff"}'
    done = glmdata("why", built, "bad.jsonl:3")
    assert "left here: quarantined; invalid UTF-8" in done.stdout
    assert r'{"text": "\xff"}' in done.stdout
    told = json.loads(glmdata("why", built, "bad.jsonl:0", "--json").stdout)
    assert told["quarantine"]["byte_offset"] == 0
    assert told["quarantine"]["bytes"] == '{"text": "no end'
    assert told["text"] is None
    assert "text is null" in glmdata("why", built, "en/d.parquet:60").stdout
    whole = glmdata("why", built, "cut.jsonl.gz:-1").stdout
    assert "left here: quarantined; " in whole
    assert "stands for the file" in whole


def test_an_empty_record_is_told(built: Path) -> None:
    assert "left here: empty; record 2 of bad.jsonl" in glmdata("why", built, "bad.jsonl:2").stdout


def test_outcomes_of_later_stages_are_told_with_their_detail(changed: Callable[..., Path]) -> None:
    def judge(rows: list[dict[str, Any]]) -> None:
        row = next(row for row in rows if (row["uri"], row["record"]) == ("en/c.txt", 0))
        row.update(outcome="quality", detail="13 words of \x1b[31mtest.jsonl:5")

    done = glmdata("why", changed(judge), "en/c.txt:0")
    assert done.returncode == 0
    assert "quality    left here: quality; 13 words of ␛[31mtest.jsonl:5" in done.stdout
    assert "\x1b" not in done.stdout
    assert document("en", 0, 10).split("\n")[0][:40] in done.stdout


def test_a_survivor_in_another_build_is_told(corpus: Path, built: Path, tmp_path: Path) -> None:
    """Its id may be one of this build's, too: the same files were built before."""
    new = document("en", 777, 10)
    lines = (corpus / "en" / "c.txt").read_text("utf-8").split("\n\n")
    (tmp_path / "corpus" / "en").mkdir(parents=True)
    (tmp_path / "corpus" / "en" / "c.txt").write_text(f"{lines[0]}\n\n{new}\n", "utf-8")
    options = ("--set", "balance.languages={en: 1}", "--set", "tokenizer.vocabulary_size=300", "--address", "none")
    folder = tmp_path / "out"
    made = glmdata("build", "--corpus", tmp_path / "corpus", "--out", folder, "--against", built, *options)
    assert made.returncode == 0
    done = glmdata("why", folder, "en/c.txt:0", COLUMNS="200")
    assert done.returncode == 0
    first = Ledger(built).find("en/c.txt:0")
    assert f"its survivor {first.document_id.hex()} is not in this build; held by the earlier build" in done.stdout
    found = json.loads(glmdata("why", folder, "en/c.txt:0", "--json").stdout)
    assert found["survivor"] is None
    assert found["survivor_build"] == Ledger(built).manifest.fingerprint
    assert found["survivor_id"] == first.document_id.hex()
    assert found["similarity"] is found["diff"] is None
    assert found["text"]


# --- the corpus ------------------------------------------------------------------------------------------------------


def test_a_corpus_that_moved_is_told_and_can_be_given(corpus: Path, built: Path, tmp_path: Path) -> None:
    gone = with_outcome(built, "near_duplicate")[0]
    moved, away = tmp_path / "moved", tmp_path / "away"
    shutil.copytree(corpus, moved)
    corpus.rename(away)
    try:
        done = glmdata("why", built, place(gone))
        assert done.returncode == 0
        assert "left here: near_duplicate" in done.stdout
        assert f"note: no text of {gone['uri']} is shown: it is not in {corpus}; say with --corpus" in done.stdout
        assert "│" not in done.stdout
        found = json.loads(glmdata("why", built, place(gone), "--corpus", moved, "--json").stdout)
        assert found["notes"] == []
        assert found["diff"]
    finally:
        away.rename(corpus)


def test_a_file_that_changed_is_told(corpus: Path, built: Path, tmp_path: Path) -> None:
    other = tmp_path / "corpus"
    shutil.copytree(corpus, other)
    text = (other / "en" / "c.txt").read_text("utf-8")
    (other / "en" / "c.txt").write_text(text.replace("a", "o"), "utf-8")
    found = story(built, "en/c.txt:0", other)
    assert found.text is not None
    assert "written to after the build" in found.notes[0]
    (other / "en" / "c.txt").write_text(text + "more", "utf-8")
    found = story(built, "en/c.txt:0", other)
    assert found.text is None
    assert len(found.notes) == 1
    assert re.search(rf"c\.txt has {len(text) + 4:,} bytes and had {len(text):,} when it was built", found.notes[0])
    found = tell(built, "en/c.txt:59", [str(corpus / "zh" / "a.jsonl"), str(corpus / "nowhere")])
    assert found.text is None
    assert "is not in" in found.notes[0]


def test_copies_that_are_none_any_more_are_told(corpus: Path, built: Path, tmp_path: Path) -> None:
    other = tmp_path / "corpus"
    shutil.copytree(corpus, other)
    ledger = Ledger(built)
    entries = [Entry(**row) for row in with_outcome(built, "exact_duplicate")]
    gone = next(e for e in entries if e.survivor_id and getattr(ledger.by_id(e.survivor_id), "uri", e.uri) != e.uri)
    text = (other / gone.uri).read_bytes()
    (other / gone.uri).write_bytes(text.replace("次".encode(), "回".encode()))
    assert tell(built, gone.place, [str(corpus)]).notes == ()
    assert tell(built, gone.place, [str(other)]).notes == (
        "the two texts are not equal any more: a file was changed after the build",
    )


def test_the_corpus_is_remembered_beside_the_build_and_not_in_it(corpus: Path, built: Path, tmp_path: Path) -> None:
    assert BuildFolder(built).corpus_roots() == [str(corpus)]
    assert str(corpus) not in (built / "manifest.json").read_text("utf-8")
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    shutil.copytree(built, copy)
    (copy / ".build" / "corpus.json").unlink()
    done = glmdata("why", copy, "en/c.txt:0")
    assert "note: no text is shown: where the corpus lies is not remembered here; give it with --corpus" in done.stdout
    shutil.copytree(corpus, moved)
    assert glmdata("build", "--corpus", moved, "--out", copy, *SMALL).returncode == 0
    assert BuildFolder(copy).corpus_roots() == [str(moved)]
    with BuildFolder(copy).locked():
        BuildFolder(copy).clear()
    assert {path.name for path in (copy / ".build").iterdir()} == {"lock"}
