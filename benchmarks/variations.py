"""Corpora of any size out of a small one: its sentences dealt out anew, so that no two documents are duplicates.

A document of copy k has as many sentences as one of the corpus, drawn at random from all those of its language. Two of
them share single sentences at most, so deduplication finds little to remove, while lengths, words, characters and
languages stay those of real text. Everything is a function of the corpus, the copy and the seed.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.recipe import Recipe
from glmdata.text.language import identify_array
from glmdata.text.normalization import Normalizer
from glmdata.text.sentences import split_sentences

__all__ = ["Sentences"]

LANGUAGES = ("zh", "en")
SHORT = range(20, 161)
"""Characters of the sentences that short documents are made of."""


class Sentences:
    """The sentences of a corpus by language, and how many its documents have."""

    def __init__(self, corpus: Path) -> None:
        recipe = Recipe()
        normalize = Normalizer(recipe.normalization)
        self._pools: dict[str, list[str]] = {code: [] for code in LANGUAGES}
        self._documents: list[tuple[str, int]] = []
        for split in plan_splits(find_files([str(corpus)]).files, recipe.corpus):
            for batch in read_split(split, recipe.corpus, normalize):
                languages, _ = identify_array(batch["text"])
                for text, code in zip(batch["text"].to_pylist(), languages, strict=True):
                    if code in self._pools:
                        sentences = split_sentences(text)
                        self._pools[code] += sentences
                        self._documents.append((code, len(sentences)))

    def write_copy(self, folder: Path, copy: int) -> None:
        """One copy: a half in JSON lines, a half in Parquet."""
        texts = list(self._dealt(copy))
        half = len(texts) // 2
        _write_lines(folder / f"copy-{copy:03d}.jsonl", texts[:half])
        pq.write_table(pa.table({"text": texts[half:]}), folder / f"copy-{copy:03d}.parquet")

    def write_short(self, folder: Path, documents: int, per_file: int = 100_000) -> None:
        """Documents of three short sentences, the languages in turn."""
        pools = {code: [s for s in self._pools[code] if len(s) in SHORT] for code in LANGUAGES}
        for first in range(0, documents, per_file):
            drawn = random.Random(f"short {first}")
            texts = (
                " ".join(drawn.choice(pools[LANGUAGES[place % 2]]).strip() for _ in range(3))
                for place in range(first, min(first + per_file, documents))
            )
            _write_lines(folder / f"short-{first:09d}.jsonl", texts)

    def _dealt(self, copy: int) -> Iterator[str]:
        drawn = random.Random(f"copy {copy}")
        for code, count in self._documents:
            yield "".join(drawn.choices(self._pools[code], k=count))


def _write_lines(path: Path, texts: list[str] | Iterator[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
