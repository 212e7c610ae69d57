"""What tokens of a text are: by hand, and added up over a corpus read in part."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from glmdata.errors import InputError
from glmdata.pipelines import tokenizer_usage
from glmdata.pipelines.tokenizer_usage import usage_on_corpus
from glmdata.recipe import Recipe, TokenizerSettings
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer
from glmdata.tokenization.usage import pieces_by_script, token_usage

TEXTS = [
    f"春天来了，小鸟在树上唱歌。The birds sang in the tree, all {i} of them, and the children ran." for i in range(200)
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_tokenizer(TEXTS, TokenizerSettings(vocabulary_size=420)))


def kinds_by_hand(tokenizer: Tokenizer, text: str) -> dict[str, int]:
    """The plain twin, on pieces and their places in the text."""
    found = dict.fromkeys(("whole_words", "word_parts", "cjk", "other", "bytes", "unknown"), 0)
    data, at = text.encode(), 0
    for token in tokenizer.encode([text])[0].tolist():
        size = int(tokenizer.piece_bytes[token])
        before, piece, after = (
            data[:at].decode("utf-8", "ignore"),
            data[at : at + size].decode("utf-8", "ignore"),
            data[at + size :].decode("utf-8", "ignore"),
        )
        at += size
        letters = [letter for letter in piece if letter.isalpha()]
        if tokenizer.piece(token).startswith("<0x"):
            found["bytes"] += 1
        elif not letters:
            found["other"] += 1
        elif letters[0] >= "\u3040":
            found["cjk"] += 1
        else:
            left = before[-1:].isalpha() and before[-1:] < "\u3040" and piece[0].isalpha()
            right = after[:1].isalpha() and after[:1] < "\u3040" and piece[-1].isalpha()
            found["word_parts" if left or right else "whole_words"] += 1
    return found


@pytest.mark.parametrize(
    "text",
    [
        TEXTS[0],
        "the treetop",
        "birds在树上birds",
        "tree3birds",
        "zebra鑫😀",
        "children.The tree",
        "",
        "  \n\t",
        "thechildren",
    ],
)
def test_kinds_of_tokens_agree_with_the_plain_twin(tokenizer: Tokenizer, text: str) -> None:
    [usage] = token_usage(tokenizer, pa.array([text], pa.string()), ["en"])
    assert usage.kinds == kinds_by_hand(tokenizer, text)
    assert usage.tokens == len(tokenizer.encode([text])[0]) == sum(usage.kinds.values())
    assert (usage.bytes, usage.characters) == (len(text.encode()), len(text))


def test_words_do_not_run_on_from_one_text_into_the_next(tokenizer: Tokenizer) -> None:
    texts = pa.array(["tree", "", "birds", "the tree"], pa.string())
    for usage in token_usage(tokenizer, texts, ["en", "en", "en", "de"]):
        alone = [
            kinds_by_hand(tokenizer, text) for text in {"en": ["tree", "", "birds"], "de": ["the tree"]}[usage.language]
        ]
        assert usage.kinds == {kind: sum(kinds[kind] for kinds in alone) for kind in usage.kinds}


def test_every_piece_has_a_script(tokenizer: Tokenizer) -> None:
    scripts = pieces_by_script(tokenizer)
    assert sum(scripts.values()) == tokenizer.num_pieces
    assert scripts["latin"] > 20
    assert scripts["han"] > 10


def write(folder: Path, texts: list[str], name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")


def test_a_corpus_is_measured_by_language(tokenizer: Tokenizer, tmp_path: Path) -> None:
    english = ["The birds sang in the tree, and all of the children ran to it."] * 3
    chinese = ["春天来了，小鸟在树上唱歌，孩子们跑出门去。"] * 2
    write(tmp_path / "corpus", [*english, "", *chinese], "a.jsonl")
    (tmp_path / "corpus" / "b.jsonl").write_bytes(b'not json\n{"text": 3}\n')
    found = {
        usage.language: usage for usage in usage_on_corpus(tokenizer, [str(tmp_path / "corpus")], Recipe(), 1 << 20)
    }
    assert {code: usage.documents for code, usage in found.items()} == {"zh": 2, "en": 3}
    assert found["zh"].bytes == sum(len(text.encode()) for text in chinese)
    assert found["en"].tokens == sum(len(ids) for ids in tokenizer.encode(english))


def test_of_a_large_corpus_only_a_sample_is_read(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_usage, "MIN_SPLIT_BYTES", 1 << 16)
    for number in range(6):
        write(
            tmp_path / "corpus",
            [f"The birds sang {number} {place} times. " * 20 for place in range(300)],
            f"{number}.jsonl",
        )
    limit = 100_000
    found = usage_on_corpus(tokenizer, [str(tmp_path / "corpus")], Recipe(), limit)
    assert limit <= sum(usage.bytes for usage in found) < limit + 2000
    assert usage_on_corpus(tokenizer, [str(tmp_path / "corpus")], Recipe(), limit) == found


def test_a_corpus_without_text_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path / "corpus", ["", " "], "a.jsonl")
    with pytest.raises(InputError, match="no text to measure on"):
        usage_on_corpus(tokenizer, [str(tmp_path / "corpus")], Recipe(), 1 << 20)
