"""Corpora, recipes and tokenizers at the edge: told before any work, or with a defined result."""

import collections
from pathlib import Path

import numpy as np
import pytest
from balances import check_accounts, text_rows
from building import ledger, run
from corpora import document, write_jsonl
from progress import Stops

from glmdata.errors import ConfigError, InputError
from glmdata.pipelines.build import Built
from glmdata.recipe import load_recipe
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.special import NUM_SPECIAL


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 documents of each language."""
    folder = tmp_path_factory.mktemp("small")
    write_jsonl(folder / "a.jsonl", [document(code, index) for code in ("zh", "en") for index in range(12)])
    return folder


@pytest.fixture(scope="module")
def plain(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run(small, tmp_path_factory.mktemp("plain") / "out")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("balance.languages={zh: 1, en: 0}", r"balance\.languages: en has weight 0; leave it out"),
        ("balance.languages={zh: -1, en: 1}", r"balance\.languages\.zh: input should be greater"),
        ("balance.languages={}", r"balance\.languages: name at least one language"),
        ("balance.languages=[zh]", r"balance\.languages: input should be a valid dictionary"),
        ("balance.max_repeats=0", r"balance\.max_repeats: input should be greater than or equal to 1"),
        ("balance.max_repeats=2.5", r"balance\.max_repeats: input should be a valid integer"),
        ("balance.unit=word", r"balance\.unit: input should be 'token', 'character' or 'document'"),
        ("balance.strategy=oversample", r"balance\.strategy: input should be 'downsample', 'upsample' or 'off'"),
        ("balance.source_weights={a: -1}", r"balance\.source_weights\.a: input should be greater"),
        ("balance.repeats=3", r"no key balance\.repeats; did you mean balance\.max_repeats\?"),
        ("sequence_length=15", r"sequence_length: input should be greater than or equal to 16"),
    ],
)
def test_a_balance_that_cannot_be_is_refused_with_its_key(setting: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        load_recipe("glm", [setting])
    assert "\n" not in str(error.value)


def test_c8_a_language_without_documents_is_refused_before_a_token_is_made(small: Path, tmp_path: Path) -> None:
    for strategy in ("downsample", "upsample"):
        options = ("balance.languages={zh: 1, en: 1, ja: 1}", f"balance.strategy={strategy}")
        with pytest.raises(InputError, match="no document of ja is left to balance"):
            run(small, tmp_path / strategy, *options, progress=Stops("sample", "start"))


@pytest.mark.parametrize("strategy", ["downsample", "upsample", "off"])
@pytest.mark.parametrize("unit", ["token", "character", "document"])
def test_c8_one_document_in_all_is_a_build(tmp_path: Path, strategy: str, unit: str) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [document("en", 1)])
    options = ("balance.languages={en: 1}", f"balance.strategy={strategy}", f"balance.unit={unit}")
    made = run(tmp_path / "corpus", tmp_path / "out", *options)
    check_accounts(made)
    assert made.report["outcomes"] == {"kept": 1}
    assert made.report["times_taken"] == {"en": 1}
    assert made.report["rows"] >= 1


@pytest.mark.parametrize("unit", ["token", "character", "document"])
def test_a_ratio_that_leaves_less_than_a_sentence_leaves_the_language_out(
    small: Path, plain: Built, tmp_path: Path, unit: str
) -> None:
    options = ("balance.languages={zh: 100000, en: 1}", f"balance.unit={unit}")
    made = run(small, tmp_path / "out", *options, tokenizer_path=str(plain.folder / "tokenizer.model"))
    assert list(verify(str(made.folder))) == []
    assert {code for code, _ in text_rows(made)} == {"zh"}
    outcomes = collections.Counter((row["language"], row["outcome"]) for row in ledger(made))
    assert outcomes == {("zh", "kept"): 12, ("en", "balance"): 12}
    assert made.report["tokens"]["en"] == 0


@pytest.mark.parametrize("packing", ["concat", "document", "segments"])
@pytest.mark.parametrize("objective", ["token", "sentence", "document"])
def test_the_shortest_rows_lose_no_token(
    small: Path, plain: Built, tmp_path: Path, packing: str, objective: str
) -> None:
    shares = ", ".join(f"{name}: {int(name == objective)}" for name in ("token", "sentence", "document"))
    options = ("sequence_length=16", f"packing={packing}", f"objectives={{{shares}}}", "shards.rows=4096")
    made = run(small, tmp_path / "out", *options, tokenizer_path=str(plain.folder / "tokenizer.model"))
    check_accounts(made)
    assert made.report["samples"][objective] == made.report["rows"]


def widened(model: bytes, num_pieces: int) -> bytes:
    """A model with unused pieces up to a size, the last a word of the corpus, which is then always that piece.

    Protocol buffers that are joined are merged: `pieces` is field 1 of ModelProto, in it are 1 the text, 2 the score,
    3 the type (1 normal, 4 user defined).
    """
    known = Tokenizer(model).num_pieces

    def piece(text: bytes, kind: int) -> bytes:
        inner = b"\x0a" + bytes([len(text)]) + text + b"\x15" + np.float32(-99).tobytes() + b"\x18" + bytes([kind])
        return b"\x0a" + bytes([len(inner)]) + inner

    unused = b"".join(piece(b"~%d~" % number, 1) for number in range(num_pieces - known - 1))
    return model + unused + piece(b"bridge", 4)


@pytest.mark.parametrize(("more", "bits"), [(0, 16), (1, 32), (70_000 - 65_536, 32)])
def test_ids_beyond_65535_are_stored_in_32_bits(
    small: Path, plain: Built, tmp_path: Path, more: int, bits: int
) -> None:
    """One token more than 16 bits hold, and the whole build is wider; its special tokens come last."""
    model = (plain.folder / "tokenizer.model").read_bytes()
    (tmp_path / "wide.model").write_bytes(widened(model, 65_536 - NUM_SPECIAL + more))
    made = run(small, tmp_path / "out", tokenizer_path=str(tmp_path / "wide.model"))
    check_accounts(made)
    assert made.manifest["tokenizer"]["vocabulary_size"] == 65_536 + more
    shards = Shards(str(made.folder))
    rows = [shards.row(number) for number in range(shards.rows)]
    assert {row[name].dtype for row in rows for name in ("input_ids", "target_ids")} == {np.dtype(f"uint{bits}")}
    assert max(int(row["input_ids"].max()) for row in rows) > 65_536 + more - NUM_SPECIAL
    word = 65_536 + more - NUM_SPECIAL - 1
    assert any(word in tokens for _, tokens in text_rows(made))
