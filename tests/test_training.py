"""Words to train on, candidates for pieces: compiled kernels against plain Python, and what they promise."""

import io
import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.recipe import TokenizerSettings
from glmdata.tokenization import Tokenizer, seed_pieces, training, training_words
from glmdata.tokenization.model_file import without_seed_file
from glmdata.tokenization.training import train_tokenizer
from glmdata.tokenization.training_words import count_words, merge_words

TEXTS = [
    f"春天来了，{i} 只小鸟在树上唱歌。Spring came, and {i} birds sang in the tree!\n"
    f"    河水慢慢变暖；the café（café）ロード{i % 7}号线\tif (x[{i}]==3){{return  a_b;}}  «è» Ωmega10％"
    for i in range(300)
]
mixed = st.text(alphabet="春天来aZz09 　,.(\n\t，。（…éΩロー▁\x00😀", max_size=60)
kinds = {
    **dict.fromkeys("\x00,.()09，。（…", "sign"),
    **dict.fromkeys("aZz", "latin"),
    **dict.fromkeys("春天来", "han"),
    **dict.fromkeys("\n\t", "break"),
    " ": "space",
}


def words_of(text: str) -> list[str]:
    """The plain twin of the kernel that cuts."""
    words, word, left = [], "", "break"
    for character in text:
        kind = kinds.get(character, "other")
        differs = left not in (kind, "space", "other") and kind != "other"
        if "break" in (kind, left) or differs or len((word + character).encode()) > training_words.MAX_WORD_BYTES:
            words += [word] if word else []
            word = ""
        word += character if kind != "break" else ""
        left = kind
    return [*words, *([word] if word else [])]


def counted(texts: list[str]) -> pa.RecordBatch:
    return count_words(pa.array(texts, pa.large_string()))


def as_counter(words: pa.Array, counts: np.ndarray) -> Counter[str]:
    return Counter(dict(zip(words.to_pylist(), counts.tolist(), strict=True)))


@given(texts=st.lists(mixed, max_size=6))
@settings(deadline=None)
def test_words_and_counts_agree_with_the_plain_twin(texts: list[str]) -> None:
    batch = counted(texts)
    assert as_counter(batch["word"], batch["count"].to_numpy()) == Counter(
        itertools.chain.from_iterable(map(words_of, texts))
    )
    assert batch["hash"].to_pylist() == sorted(batch["hash"].to_pylist())


def test_long_words_are_cut_between_characters() -> None:
    batch = counted(["é" * 1000, "a" * 700])
    pairs = zip(batch["word"].to_pylist(), batch["count"].to_pylist(), strict=True)
    assert Counter("".join(word * count for word, count in pairs)) == {"a": 700, "é": 1000}
    assert max(len(word.encode()) for word in batch["word"].to_pylist()) <= training_words.MAX_WORD_BYTES


def test_no_piece_of_sentencepiece_crosses_where_text_is_cut() -> None:
    """Trained on whole lines as SentencePiece takes them, no piece is one that the cuts would have made impossible."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in TEXTS for line in text.replace("\t", "\n").split("\n")),
        model_writer=model,
        vocab_size=900,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        add_dummy_prefix=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(place) for place in range(3, processor.get_piece_size())]
    assert len(pieces) > 300
    assert [piece for piece in pieces if len(counted([piece.replace("▁", " ")])) != 1] == []


@given(texts=st.lists(mixed, max_size=12), parts=st.integers(1, 4), limit=st.integers(20, 400))
@settings(deadline=None)
def test_merged_words_do_not_depend_on_how_texts_are_split(texts: list[str], parts: int, limit: int) -> None:
    whole, counts = merge_words([counted(texts)], limit)
    batches = [counted(texts[part::parts]) for part in range(parts)]
    words, again = merge_words(batches[::-1], limit)
    assert (words.to_pylist(), again.tolist()) == (whole.to_pylist(), counts.tolist())
    assert sum(len(word.encode()) for word in whole.to_pylist()) <= limit


def test_ranges_of_hashes_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [counted(TEXTS[part::3]) for part in range(3)]
    expected, counts = merge_words(batches, 2000)
    monkeypatch.setattr(training_words, "RANGE_BYTES", 1000)
    words, again = merge_words(batches, 2000)
    assert (words.to_pylist(), again.tolist()) == (expected.to_pylist(), counts.tolist())


def test_sampled_words_keep_their_counts_in_the_mean() -> None:
    """Frequent words stay as they are; of those seen once some are left, which stand for the others."""
    texts = ["the spring " * 500, " ".join(f"x{chr(0x4E00 + number)}y" for number in range(3000))]
    words, counts = merge_words([counted(texts)], 6000)
    found = as_counter(words, counts)
    assert found[" spring"] == 500
    rare = {word: count for word, count in found.items() if count < 100}
    assert 200 < len(rare) < 2000
    assert len(set(rare.values())) == 1
    total = sum(counted(texts)["count"].to_pylist())
    assert 0.9 * total < sum(found.values()) < 1.1 * total


def seeds_of(words: Counter[str], limit: int) -> dict[str, int]:
    """The plain twin: all substrings, closed on both sides, most frequent first."""
    sums: Counter[str] = Counter()
    for word, count in words.items():
        for size in range(2, seed_pieces.MAX_PIECE_CHARS + 2):
            for start in range(len(word) - size + 1):
                part = word[start : start + size]
                if not set(part) & {"\0", "▁"} and (" " not in part[1:] or not part.strip(" ")):
                    sums[part] += count
    longer: Counter[str] = Counter()
    for part, count in sums.items():
        for shorter in (part[1:], part[:-1]):
            longer[shorter] = max(longer[shorter], count)
    closed = {
        part: count
        for part, count in sums.items()
        if count > max(1, longer[part]) and len(part) <= seed_pieces.MAX_PIECE_CHARS
    }
    return dict(sorted(closed.items(), key=lambda item: -item[1])[:limit])


@given(
    words=st.dictionaries(st.text(alphabet="ab春 ▁\x00", min_size=1, max_size=20), st.integers(1, 5), max_size=12),
    limit=st.integers(1, 60),
)
@settings(deadline=None, max_examples=200)
def test_seeds_are_the_most_frequent_substrings(words: dict[str, int], limit: int) -> None:
    array, counts = pa.array(list(words), pa.large_string()), np.array(list(words.values()), np.int64)
    pieces, sums = seed_pieces.seed_pieces(array, counts, limit)
    expected = seeds_of(Counter(words), 1 << 20)
    assert sums.tolist() == sorted(expected.values(), reverse=True)[:limit]
    assert [expected[piece] for piece in pieces] == sums.tolist()
    assert len(set(pieces)) == len(pieces)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_order_of_texts_has_no_part_in_the_model(kind: str) -> None:
    chosen = TokenizerSettings.model_validate({"vocabulary_size": 500, "type": kind})
    model = train_tokenizer(TEXTS, chosen)
    assert train_tokenizer(TEXTS[::-1], chosen) == model
    tokenizer = Tokenizer(model)
    assert 450 < tokenizer.num_pieces <= 500
    assert tokenizer.cached
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(TEXTS)] == TEXTS


def test_newline_tab_and_runs_of_spaces_are_pieces() -> None:
    tokenizer = Tokenizer(train_tokenizer(TEXTS, TokenizerSettings(vocabulary_size=500)))
    pieces = [tokenizer.piece(token) for token in range(tokenizer.num_pieces)]
    assert {"\n", "\t", "  ", " birds"} <= set(pieces)
    assert [ids.tolist() for ids in tokenizer.encode(["\n", "\t"])] == [[pieces.index("\n")], [pieces.index("\t")]]


def test_no_temporary_path_is_left_in_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is taken out: SentencePiece reads the same pieces and settings."""
    seen: list[bytes] = []

    def keep(model: bytes) -> bytes:
        seen.append(model)
        return without_seed_file(model)

    monkeypatch.setattr(training, "without_seed_file", keep)
    model = train_tokenizer(TEXTS, TokenizerSettings(vocabulary_size=500))
    assert b"seeds.tsv" in seen[0]
    assert b"seeds.tsv" not in model
    assert without_seed_file(model) == model
    before, after = (sentencepiece.SentencePieceProcessor(model_proto=data) for data in (seen[0], model))
    assert before.encode(TEXTS) == after.encode(TEXTS)


def test_reserved_letters_in_the_text_do_no_harm() -> None:
    """U+2581 stands for a space in SentencePiece, U+2585 for an unknown one, NUL ends its strings."""
    texts = [*TEXTS, *["a▁b ▁▁c the▁tree 春▁天 \x00x\x00 birds▅sang ▅▅"] * 50]
    tokenizer = Tokenizer(train_tokenizer(texts, TokenizerSettings(vocabulary_size=500)))
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(texts)] == texts
