"""Corpora made to be slow to deduplicate. Each is a pure function of its size."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

WORDS = str.split(
    "the river and a house with old people who know that this water was here before our first winter in the north "
    "they came from many small towns to look for work but found only wind rain stone wood some bread when it was cold "
    "we read what she wrote about him because every word of her letter could still be seen under that yellow light"
)


@dataclass(frozen=True)
class Hostile:
    """A corpus: how many documents at full size, or how large ones, and the texts of a share of that."""

    name: str
    texts: Callable[[float], Iterator[str]]


def text_of(words: int, seed: int) -> str:
    """Words at random."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def copies(share: float) -> Iterator[str]:
    """One document, 200,000 times."""
    text = text_of(80, 1)
    for _ in range(int(200_000 * share)):
        yield text


def numbered(words: int) -> Callable[[float], Iterator[str]]:
    """100,000 documents that differ in one number among so many words: similarity (words - 8) / (words + 2)."""

    def texts(share: float) -> Iterator[str]:
        head, tail = text_of(words // 2, 2), text_of(words - words // 2, 3)
        for number in range(int(100_000 * share)):
            yield f"{head} {number} {tail}"

    return texts


def short(share: float) -> Iterator[str]:
    """100,000 documents of three words out of a few."""
    some = random.Random(4)
    for _ in range(int(100_000 * share)):
        yield " ".join(some.choices(WORDS[:40], k=3))


def large(share: float) -> Iterator[str]:
    """One document of 30 MB, twice."""
    some = random.Random(5)
    text = " ".join(str(some.randrange(10**9)) + " " + some.choice(WORDS) for _ in range(int(2_080_000 * share)))
    for _ in range(2):
        yield text


CORPORA = (
    Hostile("200,000 copies of one document", copies),
    Hostile("100,000 that differ in a number, 0.95 alike", numbered(200)),
    Hostile("100,000 that differ in a number, 0.6 alike", numbered(23)),
    Hostile("100,000 of three words out of 40", short),
    Hostile("30 MB, twice", large),
)


def write(hostile: Hostile, share: float, path: Path) -> int:
    """Write a corpus as one jsonl file; its bytes."""
    with path.open("w", encoding="utf-8") as file:
        for text in hostile.texts(share):
            file.write(json.dumps({"text": text}) + "\n")
    return path.stat().st_size
