"""Corpora that break naive pipelines: endless sentences, mountains of copies, a few giants, files that change."""

import collections
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from building import contents, ledger, run
from corpora import document, write_corpus, write_jsonl
from progress import Stops

from glmdata.errors import InputError
from glmdata.infilling.restore import restore
from glmdata.pipelines import assemble, merge
from glmdata.pipelines.build import Built
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.tokenization import Tokenizer

WORDS = ("river", "lamp", "garden", "violin", "bottle", "mirror", "carpet", "window", "harbour", "candle")


def endless(words: int) -> str:
    """A short sentence, then one that does not end."""
    rng = random.Random(words)
    return "A list. " + " ".join(f"{rng.choice(WORDS)}{rng.randrange(99)}" for _ in range(words))


def token_sums(made: Built) -> collections.Counter[str]:
    """Text tokens of the rows by language, counted from the shards; sample ids must be unique."""
    shards, tokenizer = Shards(str(made.folder)), Tokenizer.load(made.folder / "tokenizer.model")
    sums: collections.Counter[str] = collections.Counter()
    ids = set()
    for number in range(shards.rows):
        row = shards.row(number)
        tokens = restore(row, shards.style).tokens
        sums[shards.manifest.languages[int(row["language"])]] += int((tokens < tokenizer.num_pieces).sum())
        ids.add(int(row["sample_id"]))
    assert len(ids) == shards.rows
    return sums


@pytest.mark.parametrize("per_bucket", [1 << 19, 2000, 100])
@pytest.mark.parametrize("packing", ["concat", "document", "segments"])
def test_a_sentence_longer_than_a_bucket_loses_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_bucket: int, packing: str
) -> None:
    monkeypatch.setattr(assemble, "TOKENS_PER_BUCKET", per_bucket)
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [endless(3000), *(document("zh", index) for index in range(100))])
    made = run(tmp_path / "corpus", tmp_path / "out", "balance.strategy=off", f"packing={packing}")
    assert list(verify(str(made.folder))) == []
    assert token_sums(made) == made.report["tokens"]
    assert sum(row["tokens"] for row in ledger(made) if row["outcome"] == "kept") == sum(made.report["tokens"].values())


def test_the_balance_comes_before_a_sentence_without_end(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [endless(9000), *(document("zh", index) for index in range(60))])
    made = run(tmp_path / "corpus", tmp_path / "out")
    zh, en = made.report["tokens"]["zh"], made.report["tokens"]["en"]
    assert en == zh > 0
    assert token_sums(made) == made.report["tokens"]


def test_c9_a_mountain_of_copies_still_trains_a_tokenizer(tmp_path: Path) -> None:
    pair = [document("zh", 1, 30), document("en", 1, 30)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", pair * 2000)
    made = run(tmp_path / "corpus", tmp_path / "out", "tokenizer.sample_bytes=65536")
    assert made.report["outcomes"] == {"exact_duplicate": 3998, "kept": 2}


def test_a_few_giants_are_sampled_in_excerpts_of_both_languages(tmp_path: Path) -> None:
    giants = ["\n".join(document(language, index) for index in range(2500)) for language in ("zh", "en")]
    assert min(len(text.encode()) for text in giants) > 600_000
    write_jsonl(tmp_path / "corpus" / "a.jsonl", giants)
    made = run(tmp_path / "corpus", tmp_path / "out", "tokenizer.sample_bytes=131072")
    tokenizer = Tokenizer.load(made.folder / "tokenizer.model")
    pieces = [tokenizer.piece(token) for token in range(tokenizer.num_pieces)]
    assert sum(any(character >= "\u4e00" for character in piece) for piece in pieces) > 50
    assert sum(any(character in "aeiou" for character in piece) for piece in pieces) > 50


def test_merged_tokens_give_the_same_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "corpus")
    plain = run(tmp_path / "corpus", tmp_path / "plain")
    monkeypatch.setattr(merge, "PARTITIONS_PER_FILE", 2)
    merged = run(tmp_path / "corpus", tmp_path / "merged")
    assert "merge" in [stage["name"] for stage in merged.report["stages"]]
    assert contents(merged.folder) == contents(plain.folder)


def test_the_order_in_which_languages_are_written_has_no_part(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", 20)
    made = [
        run(tmp_path / "corpus", tmp_path / name, f"balance.languages={languages}")
        for name, languages in (("one", "{zh: 1, en: 1}"), ("two", "{en: 1, zh: 1}"))
    ]
    assert contents(made[0].folder) == contents(made[1].folder)


def test_a_file_that_changes_while_it_is_read_ends_the_build(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", 20)

    class Changes(Stops):
        def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
            with (tmp_path / "corpus" / "bad.jsonl").open("a") as file:
                file.write("\n")

    with pytest.raises(InputError, match=r"bad\.jsonl changed while it was read"):
        run(tmp_path / "corpus", tmp_path / "out", progress=Changes())
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_process_may_build_on_ray_more_than_once(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", 20)
    made = [run(tmp_path / "corpus", tmp_path / name, address="local") for name in ("one", "two")]
    assert contents(made[0].folder) == contents(made[1].folder)


def test_a_damaged_finished_build_is_not_called_done(tmp_path: Path) -> None:
    from glmdata.errors import ShardCorruptError

    write_corpus(tmp_path / "corpus", 20)
    made = run(tmp_path / "corpus", tmp_path / "out")
    shard = made.folder / made.manifest["shards"][0]["path"]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ShardCorruptError, match=r"part-00000.* has \d+ bytes, not \d+; build again with --fresh"):
        run(tmp_path / "corpus", tmp_path / "out")
    shutil.rmtree(made.folder / "shards")
    with pytest.raises(ShardCorruptError, match="is missing; build again with --fresh"):
        run(tmp_path / "corpus", tmp_path / "out")


def test_a_vocabulary_over_65536_is_stored_in_32_bits(tmp_path: Path) -> None:
    """The narrow type would wrap the special ids; here they are known only at run time."""
    from glmdata.infilling.windows import fill_rows
    from glmdata.recipe import ObjectiveWeights, SpanSettings
    from glmdata.tokenization import SpecialTokens

    special = SpecialTokens.above(70_000)
    tokens = np.arange(69_000, 69_500, dtype=np.uint32)
    options = {
        "continued": False, "complete": True, "special": special, "sequence_length": 64, "packing": "concat",
        "objectives": ObjectiveWeights(), "spans": SpanSettings(), "seed": 1, "first_sample_id": 0,
    }  # fmt: skip
    rows = fill_rows(tokens, np.array([0, 500]), np.array([500]), token_dtype=np.uint32, **options)
    assert rows.input_ids.max() == special.sop
    with pytest.raises(ValueError, match="too narrow"):
        fill_rows(tokens, np.array([0, 500]), np.array([500]), token_dtype=np.uint16, **options)


def test_many_small_files_share_partitions_and_keep_their_names(tmp_path: Path) -> None:
    """300 files of one or two documents, some broken: every record under its own file and number."""
    for index in range(300):
        language = "zh" if index % 2 else "en"
        texts = [document(language, index), document(language, 1000 + index)][: 1 + index % 2]
        write_jsonl(tmp_path / "corpus" / f"{index:03}" / "a.jsonl", texts)
    (tmp_path / "corpus" / "150" / "b.jsonl").write_bytes(b"not JSON\n")
    (tmp_path / "corpus" / "151" / "b.jsonl.gz").write_bytes(b"not gzip")
    made = run(tmp_path / "corpus", tmp_path / "out")
    rows = {(row["uri"], row["record"]): row["outcome"] for row in ledger(made)}
    expected = {(f"{index:03}/a.jsonl", record) for index in range(300) for record in range(1 + index % 2)}
    assert set(rows) == expected | {("150/b.jsonl", 0), ("151/b.jsonl.gz", -1)}
    assert {place for place, outcome in rows.items() if outcome == "quarantined"} == set(rows) - expected
    assert len(list((made.folder / "ledger").glob("*.parquet"))) == 1
    assert next(stage for stage in made.report["stages"] if stage["name"] == "ingest")["records"] == 452
    assert list(verify(str(made.folder))) == []


def test_records_are_numbered_through_splits_and_partitions(tmp_path: Path) -> None:
    """A compressed file is one split of several partitions, a plain one several splits, a small one shares its own."""
    texts = [document("zh" if index % 2 else "en", index, 20) for index in range(300)]
    assert sum(len(text.encode()) for text in texts) > 3 * 65536
    write_jsonl(tmp_path / "corpus" / "a.jsonl.gz", texts[:299])
    write_jsonl(tmp_path / "corpus" / "b.jsonl", [text + "。" for text in texts])
    write_jsonl(tmp_path / "corpus" / "c.jsonl", texts[299:])
    made = run(tmp_path / "corpus", tmp_path / "out", "dedupe.exact=false", "dedupe.near=false")
    rows = [(row["uri"], row["record"]) for row in ledger(made)]
    assert rows == [
        *(("a.jsonl.gz", record) for record in range(299)),
        *(("b.jsonl", record) for record in range(300)),
        ("c.jsonl", 0),
    ]
    read = {row["document_id"]: row for row in ledger(made) if row["outcome"] == "kept"}
    shards, tokenizer = Shards(str(made.folder)), Tokenizer.load(made.folder / "tokenizer.model")
    by_place = {"a.jsonl.gz": texts[:299], "b.jsonl": [text + "。" for text in texts], "c.jsonl": texts[299:]}
    for number in range(0, shards.rows, 7):
        row = shards.row(number)
        tokens = restore(row, shards.style).tokens
        sources = [by_place[read[identity]["uri"]][read[identity]["record"]] for identity in row["document_ids"]]
        for piece in tokenizer.decode(tokens).replace("<|endoftext|>", "[CLS]").split("[CLS]"):
            assert any(piece.strip("\ufffd") in source for source in sources)
