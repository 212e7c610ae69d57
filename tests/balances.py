"""What tests ask of a balance: how far a language is ahead, and that all tokens are accounted for."""

import collections

import numpy as np
from building import ledger

from glmdata.infilling.restore import restore
from glmdata.pipelines.build import Built
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.tokenization import Tokenizer


def leads(language: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """float64[rows + 1, languages]: tokens that a language is ahead of its share after each number of rows."""
    given_ = np.zeros((len(language) + 1, int(language.max()) + 1))
    for number in range(given_.shape[1]):
        given_[1:, number] = np.cumsum(np.where(language == number, tokens, 0))
    return given_ - given_.sum(1, keepdims=True) * (given_[-1] / given_[-1].sum())


def text_rows(made: Built) -> list[tuple[str, list[int]]]:
    """Language and text tokens of each row, spans put back, special tokens taken out."""
    shards, tokenizer = Shards(str(made.folder)), Tokenizer.load(made.folder / "tokenizer.model")
    found = []
    for number in range(shards.rows):
        row = shards.row(number)
        tokens = restore(row, shards.style).tokens
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
