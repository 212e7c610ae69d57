"""The dedupe stages on planted corpora: what goes, for whom, whatever the files, the engine and the size of jobs."""

import collections
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import document, write_jsonl
from progress import Stops

from glmdata.errors import BuildExistsError, ConfigError, ShardCorruptError
from glmdata.pipelines import candidates, components, similarity
from glmdata.pipelines.build import Built, build
from glmdata.pipelines.executors import choose_executor
from glmdata.pipelines.index import index_corpus
from glmdata.recipe import load_recipe

OPTIONS = (
    "tokenizer.vocabulary_size=400",
    "sequence_length=96",
    "balance.strategy=off",
    "balance.languages={en: 1}",
    "corpus.partition_bytes=65536",
    "corpus.split_bytes=65536",
)
WORDS = [f"{a}{b}" for a in ("river", "lamp", "stone", "paper", "glass") for b in ("ing", "er", "less", "ful", "", "s")]


def words(seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{WORDS[i]} {j}" for i, j in zip(rng.integers(0, 30, count), rng.integers(0, 10**6, count), strict=True)]


def run(corpus: Path, out: Path, *options: str, address: str = "none", against: tuple[str, ...] = ()) -> Built:
    return build(
        [str(corpus)],
        out,
        load_recipe("glm", [*OPTIONS, *options]),
        make_executor=lambda size: choose_executor(address, 2, size),
        progress=Stops(),
        against=against,
    )


def ledger(made: Built) -> list[dict[str, Any]]:
    return [row for file in sorted((made.folder / "ledger").iterdir()) for row in pq.read_table(file).to_pylist()]


def fates(made: Built, texts: dict[str, list[str]]) -> dict[str, set[tuple[str, str]]]:
    """Text -> outcomes and the texts of survivors, of all its records."""
    rows = ledger(made)
    text_of = {row["document_id"]: texts[row["uri"]][row["record"]] for row in rows}
    found = collections.defaultdict(set)
    for row in rows:
        found[text_of[row["document_id"]]].add((row["outcome"], text_of.get(row["survivor_id"], "")))
    return dict(found)


def chain(length: int, step: int = 8, size: int = 60) -> list[str]:
    """Texts of similarity 0.76 to the next, and 0.57 to the one after it."""
    pool = words(7, size + step * length)
    return [" ".join(pool[i * step : i * step + size]) for i in range(length)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """40 plain documents; one copied, one in capitals, one with a word changed, two chains, and near ones of various
    lengths.
    """
    plain = [document("en", index, 12) for index in range(40)]
    longer = [" ".join(words(index, 80)) for index in range(6)]
    near = [f"{text} and {tail}" for text in longer for tail in ("so on", "so on and on", "more of it")]
    return [
        *plain, plain[3], plain[4].upper(), plain[5].replace("times", "days", 1), plain[6] + " And then some.",
        *longer, *near, *chain(9), *chain(5, step=2),
    ]  # fmt: skip


def spread_out(texts: list[str], folder: Path, names: list[str], seed: int) -> dict[str, list[str]]:
    """Write texts to files in some order; uri -> texts."""
    order = np.random.default_rng(seed).permutation(len(texts))
    files = {name: [texts[i] for i in order[k :: len(names)]] for k, name in enumerate(names)}
    for name, part in files.items():
        write_jsonl(folder / name, part)
    return files


def surviving(made: Built, files: dict[str, list[str]]) -> list[str]:
    return sorted(files[row["uri"]][row["record"]] for row in ledger(made) if not row["outcome"].endswith("_duplicate"))


def test_each_kind_of_duplicate_goes_for_the_best_of_its_kind(texts: list[str], tmp_path: Path) -> None:
    files = spread_out(texts, tmp_path / "corpus", ["a.jsonl", "b.jsonl"], 1)
    found = fates(run(tmp_path / "corpus", tmp_path / "out"), files)
    plain = [document("en", index, 12) for index in range(40)]
    assert found[plain[3]] == {("kept", ""), ("exact_duplicate", plain[3])}
    capital = {found[plain[4]].pop()[0], found[plain[4].upper()].pop()[0]}
    assert capital == {"kept", "exact_duplicate"}
    assert found[plain[5]] == {("near_duplicate", max(plain[5], plain[5].replace("times", "days", 1), key=len))} or (
        found[plain[5]] == {("kept", "")}
    )
    assert found[plain[6]] == {("near_duplicate", plain[6] + " And then some.")}
    assert all(found[text] == {("kept", "")} for text in plain[7:])


def test_a_chain_of_versions_keeps_those_that_are_not_like_a_survivor(tmp_path: Path) -> None:
    versions = chain(9)
    files = spread_out([*versions, document("en", 1)], tmp_path / "corpus", ["a.jsonl"], 2)
    made = run(tmp_path / "corpus", tmp_path / "out", "dedupe.jaccard_threshold=0.7")
    gone = [
        abs(versions.index(text) - versions.index(survivor))
        for text, outcomes in fates(made, files).items()
        for outcome, survivor in outcomes
        if outcome == "near_duplicate"
    ]
    assert gone == [1] * len(gone)
    assert 4 <= len(gone) <= 6
    kept = [versions.index(text) for text in surviving(made, files) if text in versions]
    assert all(abs(a - b) > 1 for a in kept for b in kept if a != b)


def test_a_copy_of_a_document_that_goes_is_what_it_is_to_its_survivor(tmp_path: Path) -> None:
    """Its own survivor is not equal to it, so it is a near duplicate, as the one it copies."""
    text = document("en", 1, 12)
    longer = text + " And then some."
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [text, text.upper(), longer, longer, document("en", 2)])
    rows = {row["record"]: row for row in ledger(run(tmp_path / "corpus", tmp_path / "out"))}
    kept = next(record for record in (2, 3) if rows[record]["outcome"] == "kept")
    assert {rows[record]["survivor_id"] for record in (0, 1, 5 - kept)} == {rows[kept]["document_id"]}
    outcomes = [rows[record]["outcome"] for record in (0, 1, 5 - kept)]
    assert outcomes == ["near_duplicate", "near_duplicate", "exact_duplicate"]


def test_a_chain_is_one_document_without_verification(tmp_path: Path) -> None:
    versions = chain(9)
    files = spread_out([*versions, document("en", 1)], tmp_path / "corpus", ["a.jsonl"], 2)
    made = run(tmp_path / "corpus", tmp_path / "out", "dedupe.jaccard_threshold=0.6", "dedupe.verify=false")
    kept = [text for text in surviving(made, files) if text in versions]
    assert kept == [max(versions, key=len)]


@pytest.mark.parametrize("verify", ["true", "false"])
def test_the_same_texts_survive_whatever_the_files_and_their_order(
    texts: list[str], verify: str, tmp_path: Path
) -> None:
    names = (["a.jsonl", "b.jsonl.gz", "c.jsonl"], ["z/x.jsonl", "0.jsonl"])
    found = []
    for number, files in enumerate(names):
        folder = tmp_path / str(number)
        written = spread_out(texts, folder, files, number)
        found.append(surviving(run(folder, tmp_path / f"out-{number}", f"dedupe.verify={verify}"), written))
    assert found[0] == found[1]
    assert 40 < len(found[0]) < len(texts) - 10


@pytest.mark.parametrize("verify", ["true", "false"])
def test_many_small_jobs_give_the_same_duplicates_as_few_large_ones(
    texts: list[str], verify: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges of keys, groups of partitions, stars in turns, portions of text: none may change the outcome."""
    spread_out(texts, tmp_path / "corpus", ["a.jsonl", "b.jsonl"], 3)
    expected = ledger(run(tmp_path / "corpus", tmp_path / "few", f"dedupe.verify={verify}"))
    monkeypatch.setattr(candidates, "KEYS_PER_JOB", 300)
    monkeypatch.setattr(components, "EDGES_PER_JOB", 9)
    monkeypatch.setattr(similarity, "PORTION_BYTES", 1500)
    made = run(tmp_path / "corpus", tmp_path / "many", f"dedupe.verify={verify}")
    assert expected == ledger(made)
    stages = {stage["name"] for stage in made.report["stages"]}
    assert {"spread", "large-1", "small-1", "large-2", "route"} <= stages


def test_both_engines_give_the_same_ledger(texts: list[str], ray_cluster: str, tmp_path: Path) -> None:
    spread_out(texts, tmp_path / "corpus", ["a.jsonl", "b.jsonl"], 4)
    made = [run(tmp_path / "corpus", tmp_path / address[:4], address=address) for address in ("none", ray_cluster)]
    assert ledger(made[0]) == ledger(made[1])
    assert made[0].manifest["files"] == made[1].manifest["files"]


def test_the_source_named_first_stays(tmp_path: Path) -> None:
    text = document("en", 1, 12)
    write_jsonl(tmp_path / "corpus" / "web" / "a.jsonl", [text + " It is longer than the others.", text])
    write_jsonl(tmp_path / "corpus" / "books" / "b.jsonl", [text])
    write_jsonl(tmp_path / "corpus" / "wiki" / "c.jsonl", [text, document("en", 2)])
    for patterns, expected in (
        ("[]", "web/a.jsonl"),
        ("['wiki/*', 'books/*']", "wiki/c.jsonl"),
        ("[books/*]", "books/b.jsonl"),
    ):
        made = run(tmp_path / "corpus", tmp_path / f"out {len(patterns)}", f"dedupe.source_priority={patterns}")
        kept = [(row["uri"], row["record"]) for row in ledger(made) if row["outcome"] == "kept"]
        assert kept == sorted([(expected, 0), ("wiki/c.jsonl", 1)])


def test_a_hundred_thousand_copies_leave_one(tmp_path: Path) -> None:
    copies = ["Nobody remembered who planted the pear tree behind the school."] * 100_000
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [*copies, "nobody remembered who planted the pear tree behind"])
    made = run(tmp_path / "corpus", tmp_path / "out", "tokenizer.vocabulary_size=300")
    assert made.report["outcomes"] == {"exact_duplicate": 99_999, "kept": 2}


def test_of_a_thousand_versions_that_differ_in_a_number_one_stays(tmp_path: Path) -> None:
    """They are all alike and of one length, so that nothing but a hash tells which is the best."""
    start = " ".join(words(3, 60))
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [f"{start} {number} {start[::-1]}" for number in range(1000, 2000)])
    made = run(tmp_path / "corpus", tmp_path / "out", "tokenizer.vocabulary_size=300")
    assert made.report["outcomes"] == {"kept": 1, "near_duplicate": 999}


def test_texts_of_one_shingle_or_none_are_like_their_equals_alone(tmp_path: Path) -> None:
    """Short and empty texts share no signature by accident."""
    short = ["Sale!", "sale", "Big sale", "a", "b", "A", "the", "THE", "?", "!", "of the", "in October", "For sale"]
    settings = ("language.engine=scripts", "balance.languages={en: 1, zh: 1, und: 1}")
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [*short, *(document("en", i) for i in range(3)), document("zh", 1)])
    rows = ledger(run(tmp_path / "corpus", tmp_path / "out", *settings))
    gone = {short[row["record"]] for row in rows if row["outcome"].endswith("_duplicate")}
    assert gone <= {"Sale!", "sale", "the", "THE"}
    assert len(gone) <= 2


@pytest.fixture(scope="module")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, list[str]]:
    folder = tmp_path_factory.mktemp("first")
    held = [document("en", index, 12) for index in range(20)]
    write_jsonl(folder / "corpus" / "a.jsonl", held)
    return run(folder / "corpus", folder / "out"), held


def later_corpus(folder: Path, held: list[str]) -> dict[str, list[str]]:
    new = [document("en", index, 12) for index in range(50, 60)]
    texts = [held[0], held[1].upper(), held[2] + " And then some.", *new, new[0], "Short and new."]
    write_jsonl(folder / "b.jsonl", texts)
    return {"b.jsonl": texts}


def test_what_an_earlier_build_holds_is_left_out(first_build: tuple[Built, list[str]], tmp_path: Path) -> None:
    earlier, held = first_build
    texts = later_corpus(tmp_path / "corpus", held)["b.jsonl"]
    made = run(tmp_path / "corpus", tmp_path / "out", against=(str(earlier.folder),))
    rows = {row["record"]: row for row in ledger(made)}
    ids = {row["record"]: row["document_id"] for row in ledger(earlier)}
    for record, outcome in enumerate(["exact_duplicate", "exact_duplicate", "near_duplicate"]):
        assert (rows[record]["outcome"], rows[record]["survivor_id"]) == (outcome, ids[record])
        assert rows[record]["survivor_build"] == earlier.manifest["fingerprint"]
        assert rows[record]["detail"] == f"held by the earlier build {earlier.manifest['fingerprint'][:16]}"
    kept = {texts[record] for record, row in rows.items() if row["outcome"] == "kept"}
    assert kept == set(texts[3:])
    assert made.report["outcomes"] == {"exact_duplicate": 3, "kept": 11, "near_duplicate": 1}


def test_the_earlier_build_s_text_is_not_read(first_build: tuple[Built, list[str]], tmp_path: Path) -> None:
    """An index of the same corpus, its text gone, gives the same ledger but for its name."""
    earlier, held = first_build
    write_jsonl(tmp_path / "old" / "a.jsonl", held)
    settings = load_recipe("glm", list(OPTIONS))
    count = index_corpus(
        [str(tmp_path / "old")],
        tmp_path / "index",
        settings,
        make_executor=lambda size: choose_executor("none", 2, size),
        progress=Stops(),
    )
    (tmp_path / "old" / "a.jsonl").unlink()
    assert count == 20
    later_corpus(tmp_path / "corpus", held)
    made = [
        run(tmp_path / "corpus", tmp_path / f"out-{number}", against=(str(folder),))
        for number, folder in enumerate((earlier.folder, tmp_path / "index"))
    ]
    assert made[0].manifest["fingerprint"] == made[1].manifest["fingerprint"]
    rows = [[{**row, "detail": "", "survivor_build": ""} for row in ledger(build)] for build in made]
    assert rows[0] == rows[1]
    with pytest.raises(BuildExistsError, match="not empty"):
        index_corpus(
            [str(tmp_path / "corpus")],
            tmp_path / "index",
            settings,
            make_executor=lambda size: choose_executor("none", 2, size),
            progress=Stops(),
        )


def test_all_documents_of_a_build_against_itself_are_duplicates(
    first_build: tuple[Built, list[str]], tmp_path: Path
) -> None:
    earlier, held = first_build
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [*held, "Something that is new."])
    made = run(tmp_path / "corpus", tmp_path / "out", against=(str(earlier.folder),))
    assert made.report["outcomes"] == {"exact_duplicate": 20, "kept": 1}


def test_an_index_by_other_rules_is_refused(first_build: tuple[Built, list[str]], tmp_path: Path) -> None:
    earlier, held = first_build
    later_corpus(tmp_path / "corpus", held)
    for option, told in (
        ("num_perm=64", "has num_perm 128, this build 64"),
        ("seed=2", "has seed 1, this build 2"),
        ("shingle_size=4", "has shingle_size 5"),
    ):
        with pytest.raises(ConfigError, match=told):
            run(tmp_path / "corpus", tmp_path / "out", f"dedupe.{option}", against=(str(earlier.folder),))
    assert not (tmp_path / "out").exists()


def test_folders_without_an_index_and_damaged_ones_are_refused(
    first_build: tuple[Built, list[str]], tmp_path: Path
) -> None:
    earlier, held = first_build
    later_corpus(tmp_path / "corpus", held)
    bare = run(tmp_path / "corpus", tmp_path / "bare", "dedupe.index=false")
    for folder, told in ((tmp_path, "no manifest.json of a finished build"), (bare.folder, "has no signatures")):
        with pytest.raises(ConfigError, match=told):
            run(tmp_path / "corpus", tmp_path / "out", against=(str(folder),))
    copy = tmp_path / "copy"
    (copy / "signatures").mkdir(parents=True)
    (copy / "manifest.json").write_text((earlier.folder / "manifest.json").read_text("utf-8"), "utf-8")
    file = next((earlier.folder / "signatures").iterdir())
    data = bytearray(file.read_bytes())
    (copy / "signatures" / file.name).write_bytes(data[:-8])
    with pytest.raises(ShardCorruptError, match=f"has {len(data) - 8} bytes, not {len(data)}"):
        run(tmp_path / "corpus", tmp_path / "out", against=(str(copy),))
    data[len(data) // 2] ^= 1
    (copy / "signatures" / file.name).write_bytes(data)
    with pytest.raises(ShardCorruptError, match="not those that were written down"):
        run(tmp_path / "corpus", tmp_path / "out", against=(str(copy),))


def test_another_earlier_build_is_another_build(first_build: tuple[Built, list[str]], tmp_path: Path) -> None:
    earlier, held = first_build
    later_corpus(tmp_path / "corpus", held)
    run(tmp_path / "corpus", tmp_path / "out", against=(str(earlier.folder),))
    assert run(tmp_path / "corpus", tmp_path / "out", against=(str(earlier.folder),)).already_there
    with pytest.raises(BuildExistsError, match="another --against"):
        run(tmp_path / "corpus", tmp_path / "out")


def test_an_index_can_be_read_with_plain_arrow(first_build: tuple[Built, list[str]]) -> None:
    earlier, _ = first_build
    file = next((earlier.folder / "signatures").iterdir())
    table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    assert table.num_rows == 20
    assert table.schema.field("signature").type == pa.list_(pa.uint32(), 128)
    rules = json.loads(table.schema.metadata[b"glmdata.signatures"])
    assert (rules["num_perm"], rules["seed"], rules["shingle_size"]) == (128, 1, 5)
