"""English by its words: counted as plain Python counts, and never where fastText says otherwise."""

import re

import numpy as np
import pyarrow as pa
from corpora import labelled_texts
from hypothesis import given
from hypothesis import strategies as st

from glmdata.text.english import PIECE_BYTES, surely_english, word_counts
from glmdata.text.language import identify
from glmdata.text.latin_words import ENGLISH_LOANS, ENGLISH_NAMES, ENGLISH_ONLY, ENGLISH_WORDS, WORDS
from glmdata.text.lid176 import predict

WORD = re.compile(rb"(?:[A-Za-z]|[\xc3-\xdf][\x80-\xbf])+")
OTHERS = frozenset[str]().union(*WORDS.values())
ENGLISH = (ENGLISH_ONLY | ENGLISH_WORDS) - OTHERS
FOREIGN = OTHERS - ENGLISH_ONLY - ENGLISH_WORDS - ENGLISH_LOANS - ENGLISH_NAMES
PROSE = (
    "The ferry leaves the harbour at seven, and nobody hurries while they wait for those who should have been there. "
)
WORDS_AND_SIGNS = st.lists(
    st.sampled_from(
        ["The", "WHICH", "nicht", "même", "zijn", "docker", "É", "中文", "’", "don't", "ﬁ", "😀", "\n", "-", "7"]
    ),
    max_size=30,
).map(" ".join)


def plain_counts(text: str) -> list[int]:
    data = text.encode()
    pieces = [data]
    if len(data) > 3 * PIECE_BYTES:
        middle = len(data) // 2
        pieces = [data[:PIECE_BYTES], data[middle : middle + PIECE_BYTES], data[-PIECE_BYTES:]]
    words = [word.lower() for piece in pieces for word in WORD.findall(piece)]
    tables = [{word.encode() for word in table} for table in (ENGLISH, FOREIGN)]
    return [len(words), *(sum(word in table for word in words) for table in tables)]


@given(st.lists(st.one_of(st.text(), WORDS_AND_SIGNS), max_size=5), st.integers(1, 200), st.integers(0, 2))
def test_words_are_counted_as_the_plain_code_counts(texts: list[str], times: int, skip: int) -> None:
    texts = [text.encode("utf-8", "ignore").decode() * times for text in texts]
    rows = np.arange(len(texts))[skip:][::-1]
    counted = word_counts(pa.array(["before", *texts]).slice(1), rows)

    assert [plain_counts(texts[row]) for row in rows] == counted.tolist()


def test_all_words_of_the_tables_are_known() -> None:
    words = sorted(word for word in ENGLISH | FOREIGN if WORD.fullmatch(word.encode()))
    counted = word_counts(pa.array(words), np.arange(len(words)))

    assert [[1, word in ENGLISH, word in FOREIGN] for word in words] == counted.tolist()


def test_prose_is_english_and_little_or_mixed_text_is_not_decided() -> None:
    german = "Wir gehen heute mit den Kindern in den Park, weil das Wetter so schön ist und niemand arbeiten muss. "
    code = "xq = foo(bar_baz[0], argc, stdin) + 0x1f; if (!xq) goto err; ptr->qux = malloc(nbytes); "
    texts = pa.array([PROSE * 2, PROSE * 100, PROSE[:60], german * 9, PROSE * 9 + german * 9, code * 9, ""])

    assert surely_english(texts, np.arange(len(texts))).tolist() == [True, True, False, False, False, False, False]


def test_what_words_decide_has_the_share_of_latin_letters_for_a_score() -> None:
    english, mixed = identify([PROSE * 4, PROSE * 4 + "Ещё одно предложение, и ещё одно, на другом языке. " * 6])

    assert (english.language, english.score) == ("en", 1.0)
    assert mixed.score < dict(mixed.shares)["latin"] < 0.75  # fastText's probability is in it


def test_fasttext_agrees_on_labelled_texts() -> None:
    texts = [row["text"] for row in labelled_texts()]
    latin = [
        text for text, guess in zip(texts, identify(texts), strict=True) if dict(guess.shares).get("latin", 0) == 1
    ]
    rows = np.flatnonzero(surely_english(pa.array(latin), np.arange(len(latin))))

    assert len(rows) > 50
    assert {predict(latin[row].replace("\n", " "), 1)[0][0] for row in rows} == {"en"}
