"""Builds with other balances than the default: what is taken, how often, and what ledger and report say of it."""

import collections
from pathlib import Path

import numpy as np
import pytest
from corpora import document, write_jsonl
from test_build import contents, ledger, run

from glmdata.infilling.restore import restore
from glmdata.pipelines import assemble
from glmdata.pipelines.build import Built
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.tokenization import Tokenizer

TEXTS = {
    "zh/a.jsonl": [document("zh", index) for index in range(240)],
    "en/a.jsonl": [document("en", index) for index in range(40)],
    "en/b.jsonl": [document("en", index) for index in range(40, 60)],
}
"""2.3 tokens of Chinese to one of English."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for uri, texts in TEXTS.items():
        write_jsonl(folder / uri, texts)
    return folder


def text_rows(made: Built) -> list[tuple[str, list[int]]]:
    """Language and text tokens of each row, spans put back, special tokens taken out."""
    shards, tokenizer = Shards(str(made.folder)), Tokenizer.load(made.folder / "tokenizer.model")
    found = []
    for number in range(shards.rows):
        row = shards.row(number)
        columns = (row[name] for name in ("input_ids", "position_ids", "block_position_ids"))
        tokens = restore(*columns, int(row["context_length"]), int(row["length"])).tokens
        code = shards.manifest.languages[int(row["language"])]
        found.append((code, tokens[tokens < tokenizer.num_pieces].tolist()))
    return found


def check_accounts(made: Built) -> None:
    """Shards, report and ledger hold the same tokens."""
    assert list(verify(str(made.folder))) == []
    in_rows: collections.Counter[str] = collections.Counter()
    for code, tokens in text_rows(made):
        in_rows[code] += len(tokens)
    in_ledger: collections.Counter[str] = collections.Counter()
    for row in ledger(made):
        if row["outcome"] == "kept":
            in_ledger[row["language"]] += row["tokens"]
    assert made.report["tokens"] == in_rows == in_ledger


@pytest.mark.parametrize("per_bucket", [1 << 19, 1000])
def test_the_scarcer_language_is_repeated_and_the_richer_one_whole(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_bucket: int
) -> None:
    monkeypatch.setattr(assemble, "TOKENS_PER_BUCKET", per_bucket)
    made = run(corpus, tmp_path / "out", "balance.strategy=upsample")
    check_accounts(made)
    report, tokenizer = made.report, Tokenizer.load(made.folder / "tokenizer.model")
    assert report["tokens"]["en"] == pytest.approx(report["tokens"]["zh"], abs=60)
    assert report["times_taken"]["zh"] == 1
    assert 2 < report["times_taken"]["en"] < 3
    assert report["outcomes"] == {"kept": 300}
    ends_here = 0
    for row in ledger(made):
        length = len(tokenizer.encode([TEXTS[row["uri"]][row["record"]]])[0])
        if row["language"] == "zh":
            assert (row["tokens"], row["detail"]) == (length, None)
        elif row["tokens"] % length:
            ends_here += 1
            rest = row["tokens"] - 2 * length
            assert row["detail"] == f"taken 2 times, then its first {rest} of {length} tokens: the balance ends here"
        else:
            assert row["detail"] == f"taken {row['tokens'] // length} times"
            assert row["tokens"] in (2 * length, 3 * length)
    assert ends_here <= 1


def test_repeats_are_masked_anew_and_follow_each_other_in_the_same_order(corpus: Path, tmp_path: Path) -> None:
    made = run(corpus, tmp_path / "out", "balance.strategy=upsample", "balance.languages={zh: 1, en: 10}")
    check_accounts(made)
    assert made.report["times_taken"]["en"] == 4
    stream = [token for code, tokens in text_rows(made) if code == "en" for token in tokens]
    once = len(stream) // 4
    assert stream == stream[:once] * 4
    shards = Shards(str(made.folder))
    inputs = [shards.row(number)["input_ids"].tobytes() for number in range(shards.rows)]
    assert len(set(inputs)) > 0.98 * shards.rows  # of a few short sentences the same one may be drawn again


def test_too_few_repeats_cut_the_richer_language(corpus: Path, tmp_path: Path) -> None:
    options = ("balance.strategy=upsample", "balance.languages={zh: 1, en: 10}")
    made = [run(corpus, tmp_path / f"{most}", *options, f"balance.max_repeats={most}") for most in (1, 2)]
    for most, one in enumerate(made, 1):
        check_accounts(one)
        assert one.report["times_taken"]["en"] == most
        assert one.report["tokens"]["en"] == pytest.approx(10 * one.report["tokens"]["zh"], abs=600)
    plain = run(corpus, tmp_path / "plain", options[1])
    assert made[0].manifest["fingerprint"] == plain.manifest["fingerprint"]


def test_workers_never_change_a_repeated_build(corpus: Path, tmp_path: Path) -> None:
    made = [run(corpus, tmp_path / f"{n}", "balance.strategy=upsample", workers=n) for n in (1, 4)]
    assert contents(made[0].folder) == contents(made[1].folder)


def test_one_document_of_each_language_can_be_repeated(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [document("zh", 1, 2), document("en", 1, 40)])
    made = run(tmp_path / "corpus", tmp_path / "out", "balance.strategy=upsample", "balance.max_repeats=100")
    check_accounts(made)
    assert made.report["times_taken"]["zh"] > 5
    shards = Shards(str(made.folder))
    assert np.sum([len(shards.row(number)["document_ids"]) for number in range(shards.rows)]) > shards.rows
