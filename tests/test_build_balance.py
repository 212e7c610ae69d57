"""Builds with other balances than the default: what is taken, how often, and what ledger and report say of it."""

import collections
from pathlib import Path

import numpy as np
import pytest
from balances import check_accounts, text_rows
from building import contents, ledger, run
from click.testing import CliRunner
from corpora import document, write_jsonl, write_texts

from glmdata.cli.build import command
from glmdata.errors import InputError
from glmdata.pipelines import assemble
from glmdata.pipelines.build import Built
from glmdata.shards.reader import Shards
from glmdata.tokenization import Tokenizer

TEXTS = {
    "zh/a.jsonl": [document("zh", index) for index in range(240)],
    "en/a.jsonl": [document("en", index) for index in range(40)],
    "en/b.jsonl": [document("en", index) for index in range(40, 60)],
}
"""2.3 tokens of Chinese to one of English."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("corpus"), TEXTS)


@pytest.fixture(scope="module")
def plain(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The default balance."""
    return run(corpus, tmp_path_factory.mktemp("plain") / "out")


@pytest.fixture(scope="module")
def model(plain: Built) -> str:
    """Its tokenizer, so that the other builds train none."""
    return str(plain.folder / "tokenizer.model")


@pytest.mark.parametrize("per_bucket", [1 << 19, 1000])
def test_the_scarcer_language_is_repeated_and_the_richer_one_whole(
    corpus: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_bucket: int
) -> None:
    monkeypatch.setattr(assemble, "TOKENS_PER_BUCKET", per_bucket)
    options = ("balance.strategy=upsample", "balance.languages={zh: 2, en: 3}")
    made = run(corpus, tmp_path / "out", *options, tokenizer_path=model)
    check_accounts(made)
    report, tokenizer = made.report, Tokenizer.load(made.folder / "tokenizer.model")
    assert report["tokens"]["en"] == pytest.approx(1.5 * report["tokens"]["zh"], abs=60)
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


def test_repeats_are_masked_anew_and_follow_each_other_in_the_same_order(
    corpus: Path, model: str, tmp_path: Path
) -> None:
    options = ("balance.strategy=upsample", "balance.languages={zh: 1, en: 10}")
    made = run(corpus, tmp_path / "out", *options, tokenizer_path=model)
    check_accounts(made)
    assert made.report["times_taken"]["en"] == 4
    stream = [token for code, tokens in text_rows(made) if code == "en" for token in tokens]
    once = len(stream) // 4
    assert stream == stream[:once] * 4
    shards = Shards(str(made.folder))
    inputs = [shards.row(number)["input_ids"].tobytes() for number in range(shards.rows)]
    assert len(set(inputs)) > 0.98 * shards.rows  # of a few short sentences the same one may be drawn again


def test_too_few_repeats_cut_the_richer_language(corpus: Path, model: str, tmp_path: Path) -> None:
    options = ("balance.strategy=upsample", "balance.languages={zh: 1, en: 10}")
    made = [
        run(corpus, tmp_path / f"{most}", *options, f"balance.max_repeats={most}", tokenizer_path=model)
        for most in (1, 2)
    ]
    for most, one in enumerate(made, 1):
        check_accounts(one)
        assert one.report["times_taken"]["en"] == most
        assert one.report["tokens"]["en"] == pytest.approx(10 * one.report["tokens"]["zh"], abs=600)
    downsampled = run(corpus, tmp_path / "downsampled", options[1], tokenizer_path=model)
    assert made[0].manifest["fingerprint"] == downsampled.manifest["fingerprint"]


def test_workers_never_change_a_repeated_build(corpus: Path, model: str, tmp_path: Path) -> None:
    options = ("balance.strategy=upsample", "balance.unit=character")
    made = [run(corpus, tmp_path / f"{n}", *options, workers=n, tokenizer_path=model) for n in (1, 4)]
    assert contents(made[0].folder) == contents(made[1].folder)


def test_one_document_of_each_language_can_be_repeated(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [document("zh", 1, 2), document("en", 1, 40)])
    made = run(tmp_path / "corpus", tmp_path / "out", "balance.strategy=upsample", "balance.max_repeats=100")
    check_accounts(made)
    assert made.report["times_taken"]["zh"] > 5
    shards = Shards(str(made.folder))
    assert np.sum([len(shards.row(number)["document_ids"]) for number in range(shards.rows)]) > shards.rows


def taken_units(made: Built, unit: str) -> collections.Counter[str]:
    """Characters or documents by language, counted from the texts of the ledger's kept documents."""
    tokenizer, taken = Tokenizer.load(made.folder / "tokenizer.model"), collections.Counter[str]()
    for row in ledger(made):
        if row["outcome"] == "kept":
            ids = tokenizer.encode([TEXTS[row["uri"]][row["record"]]])[0]
            whole, rest = divmod(row["tokens"], len(ids))
            text = tokenizer.decode(ids) * whole + tokenizer.decode(ids[:rest])
            taken[row["language"]] += len(text) if unit == "character" else whole
            assert unit == "character" or not rest
    return taken


@pytest.mark.parametrize("strategy", ["downsample", "upsample"])
@pytest.mark.parametrize(
    ("unit", "languages", "ratio", "within"),
    [
        ("character", "{zh: 1, en: 1}", 1, 100),  # a sentence has 100 characters at most
        ("character", "{zh: 1, en: 3}", 3, 100),
        ("document", "{zh: 1, en: 1}", 1, 0),
        ("document", "{zh: 7, en: 3}", 3 / 7, 1),
    ],
)
def test_the_ratio_may_count_characters_or_documents(
    corpus: Path, plain: Built, model: str, tmp_path: Path, unit: str, languages: str, ratio: float,
    within: int, strategy: str,
) -> None:  # fmt: skip
    options = (f"balance.unit={unit}", f"balance.languages={languages}", f"balance.strategy={strategy}")
    made = run(corpus, tmp_path / "out", *options, tokenizer_path=model)
    check_accounts(made)
    taken, balance = taken_units(made, unit), made.report["balance"]
    assert balance["unit"] == unit
    assert balance["taken"] == taken
    assert abs(taken["en"] - ratio * taken["zh"]) <= within * max(1, ratio)
    there = collections.Counter[str]()
    for uri, texts in TEXTS.items():
        there[uri[:2]] += sum(map(len, texts)) if unit == "character" else len(texts)
    assert balance["available"] == there
    if strategy == "upsample":
        assert "balance" not in made.report["outcomes"] or max(made.report["times_taken"].values()) >= 4
    else:
        assert any(taken[code] == there[code] for code in there)
    assert made.manifest["fingerprint"] != plain.manifest["fingerprint"]


def test_languages_take_turns_by_tokens_whatever_the_unit(corpus: Path, model: str, tmp_path: Path) -> None:
    """After every row each language has given the same share of all its tokens, within two rows."""
    made = run(corpus, tmp_path / "out", "balance.unit=document", "shards.rows=16", tokenizer_path=model)
    rows = [(code, len(tokens)) for code, tokens in text_rows(made)]
    given_ = dict.fromkeys(made.report["tokens"], 0)
    for code, count in rows:
        given_[code] += count
        shares = [given_[name] / total for name, total in made.report["tokens"].items()]
        assert max(shares) - min(shares) <= 2 * 96 / min(made.report["tokens"].values())


def documents_in_rows(made: Built) -> list[list[bytes]]:
    shards = Shards(str(made.folder))
    return [list(shards.row(number)["document_ids"]) for number in range(shards.rows)]


def test_sources_are_taken_as_often_as_their_weights_say(corpus: Path, model: str, tmp_path: Path) -> None:
    weights = 'balance.source_weights={"zh/*": 0.4, "en/a*": 2.5, "en/b*": 0}'
    made = run(corpus, tmp_path / "out", "balance.strategy=off", weights, tokenizer_path=model)
    check_accounts(made)
    tokenizer = Tokenizer.load(made.folder / "tokenizer.model")
    copies = collections.defaultdict(list)
    for row in ledger(made):
        length = len(tokenizer.encode([TEXTS[row["uri"]][row["record"]]])[0])
        if row["outcome"] == "balance":
            assert (row["tokens"], row["detail"]) == (length, "left out by balance.source_weights")
            copies[row["uri"]].append(0)
        else:
            assert row["outcome"] == "kept"
            assert row["tokens"] % length == 0
            copies[row["uri"]].append(row["tokens"] // length)
            assert row["detail"] == (f"taken {copies[row['uri']][-1]} times" if row["tokens"] > length else None)
    assert set(copies["zh/a.jsonl"]) == {0, 1}
    assert sum(copies["zh/a.jsonl"]) == pytest.approx(0.4 * 240, abs=25)
    assert set(copies["en/a.jsonl"]) == {2, 3}
    assert sum(copies["en/a.jsonl"]) == pytest.approx(2.5 * 40, abs=12)
    assert set(copies["en/b.jsonl"]) == {0}
    assert made.report["hints"] == []


def test_copies_lie_apart_in_the_stream(corpus: Path, model: str, tmp_path: Path) -> None:
    made = run(corpus, tmp_path / "out", 'balance.source_weights={"en/*": 2}', tokenizer_path=model)
    check_accounts(made)
    assert made.report["tokens"]["en"] == pytest.approx(made.report["tokens"]["zh"], abs=60)
    twice = sum(len(set(ids)) < len(ids) for ids in documents_in_rows(made))
    assert twice < 0.05 * len(documents_in_rows(made))


def test_weights_work_with_repeats_and_small_buckets(
    corpus: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("balance.strategy=upsample", 'balance.source_weights={"en/*": 0.5}', "balance.languages={en: 1, zh: 2}")
    made = run(corpus, tmp_path / "out", *options, tokenizer_path=model)
    check_accounts(made)
    assert made.report["times_taken"]["en"] > 1
    monkeypatch.setattr(assemble, "TOKENS_PER_BUCKET", 700)
    small = run(corpus, tmp_path / "small", *options, tokenizer_path=model)
    check_accounts(small)
    assert [row["tokens"] for row in ledger(small)] == [row["tokens"] for row in ledger(made)]


def test_where_a_document_lies_has_no_part_in_whether_its_weight_leaves_it_out(
    corpus: Path, model: str, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "one" / "all.jsonl", TEXTS["en/b.jsonl"] + TEXTS["zh/a.jsonl"] + TEXTS["en/a.jsonl"])
    weights = 'balance.source_weights={"*": 0.5}'
    apart = run(corpus, tmp_path / "apart", weights, tokenizer_path=model)
    joined = run(tmp_path / "one", tmp_path / "joined", weights, tokenizer_path=model)
    assert text_rows(apart) == text_rows(joined)


def test_a_weight_of_one_changes_nothing_and_an_idle_one_is_told(
    corpus: Path, plain: Built, model: str, tmp_path: Path
) -> None:
    weights = 'balance.source_weights={"zh/*": 1, "fr/*": 3}'
    made = run(corpus, tmp_path / "out", weights, tokenizer_path=model)
    assert made.manifest["fingerprint"] == plain.manifest["fingerprint"]
    assert made.report["hints"] == ["balance.source_weights: no file matches 'fr/*'"]


def test_a_language_whose_sources_all_weigh_nothing_is_refused(corpus: Path, model: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no document of en is left to balance"):
        run(corpus, tmp_path / "out", 'balance.source_weights={"en/*": 0}', tokenizer_path=model)


def test_the_command_line_tells_what_was_taken_and_why_much_was_left_out(
    corpus: Path, model: str, tmp_path: Path
) -> None:
    """Only the balance itself is warned of: who gives sources small weights knows it."""
    common = ["--corpus", str(corpus), "--tokenizer", model, "--address", "none"]
    for name, told, untold, options in (
        ("few", "en has only", "taken", ["balance.languages={zh: 1, en: 20}"]),
        (
            "weights",
            "left out by the balance",
            "has only",
            ['balance.source_weights={"*": 0.1}', "balance.strategy=off"],
        ),
        ("repeats", "(taken 1.", "balanced by", ["balance.strategy=upsample"]),
        ("characters", "balanced by character: en ", "has only", ["balance.unit=character"]),
    ):
        chosen = [part for option in options for part in ("--set", option)]
        result = CliRunner().invoke(command, [*common, "--out", str(tmp_path / name), *chosen])
        assert result.exit_code == 0, result.output
        assert told in result.output
        assert untold not in result.output
