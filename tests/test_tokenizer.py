"""The tokenizer: lossless, deterministic, special ids out of reach of text, sentences aligned."""

import io
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.errors import InputError
from glmdata.recipe import TokenizerSettings
from glmdata.text.sentences import sentence_ends
from glmdata.tokenization import SPECIAL_TEXTS, Tokenizer
from glmdata.tokenization import tokenizer as tokenizer_module
from glmdata.tokenization.alignment import character_ends, sentence_token_ends
from glmdata.tokenization.training import train_tokenizer

TEXTS = [
    f"春天来了，{i} 只小鸟在树上唱歌。Spring came, and {i} birds sang in the tree!\n"
    f"河水慢慢变暖；孩子们跑出门去。\tThe end, Mr. {i}."
    for i in range(200)
]
SETTINGS = TokenizerSettings(vocabulary_size=500)
odd_texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def model() -> bytes:
    return train_tokenizer(TEXTS, SETTINGS)


@pytest.fixture(scope="module")
def tokenizer(model: bytes) -> Tokenizer:
    return Tokenizer(model)


@pytest.fixture(scope="module")
def prefixed() -> Tokenizer:
    """A lossless model with SentencePiece's dummy prefix."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        vocab_size=500,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n", "\t"],
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())


@pytest.fixture(scope="module")
def foreign() -> Tokenizer:
    """A model as others train them: NFKC, a dummy prefix, unknown pieces."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=300, hard_vocab_limit=False, minloglevel=2
    )
    return Tokenizer(model.getvalue())


def test_training_twice_gives_the_same_bytes(model: bytes) -> None:
    assert train_tokenizer(iter(TEXTS), SETTINGS) == model


def test_training_without_text_is_refused() -> None:
    with pytest.raises(InputError, match="no text is left"):
        train_tokenizer([" ", "\n"], SETTINGS)


@given(text=odd_texts)
@settings(deadline=None)
def test_decoding_gives_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode([text])[0]) == text


@pytest.mark.parametrize(
    "text", ["", "▁", "a▁b▁▁", " a ", "\n\n", "a  b\t\tc", "\x00", "👩‍👩‍👧", "𠮷", *SPECIAL_TEXTS.values(), "<0x41>"]
)
def test_c11_odd_texts_come_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode([text])[0]) == text


@given(text=odd_texts)
@settings(deadline=None)
def test_bytes_of_pieces_add_up(tokenizer: Tokenizer, text: str) -> None:
    assert int(tokenizer.piece_bytes[tokenizer.encode([text])[0]].sum()) == len(text.encode())


def test_special_ids_lie_above_the_model_and_differ(tokenizer: Tokenizer) -> None:
    ids = tokenizer.special.by_role()
    assert min(ids.values()) == tokenizer.num_pieces
    assert ids["pad"] == ids["eos"]
    assert len(set(ids.values())) == len(ids) - 1 == tokenizer.vocabulary_size - tokenizer.num_pieces


@pytest.mark.parametrize("spelling", sorted(set(SPECIAL_TEXTS.values())))
def test_c11_text_never_gives_a_special_id(tokenizer: Tokenizer, spelling: str) -> None:
    assert tokenizer.encode([f"x{spelling}y"])[0].max() < tokenizer.num_pieces


def test_special_tokens_are_shown_by_their_spelling(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode(["树"])[0], tokenizer.special.gmask, tokenizer.special.sop]
    assert tokenizer.decode(ids) == "树[gMASK]<|startofpiece|>"


def test_a_long_text_is_encoded_in_parts_and_comes_back(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at line ends the ids are those of the whole; without a line end they still come back."""
    text = "".join(TEXTS)
    whole = tokenizer.encode([text])[0]
    monkeypatch.setattr(tokenizer_module, "MAX_ENCODE_CHARS", 200)
    assert np.array_equal(tokenizer.encode([text])[0], whole)
    solid = "没有空格没有换行" * 200
    assert tokenizer.decode(tokenizer.encode([solid])[0]) == solid


def test_a_dummy_prefix_stands_before_the_text_only(prefixed: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts and U+2581 are encoded in parts; no part but the first gets the prefix, and sentences stay aligned."""
    text = "".join(TEXTS[:20])
    whole, ends = prefixed.encode([text])[0], aligned(prefixed, [text])
    for odd in ("a▁b▁▁c", "▁", "▁ a", text):
        assert prefixed.decode(prefixed.encode([odd])[0]) == odd
    monkeypatch.setattr(tokenizer_module, "MAX_ENCODE_CHARS", 200)
    assert np.array_equal(prefixed.encode([text])[0], whole)
    assert aligned(prefixed, [text]) == ends
    assert prefixed.piece_ends(text)[-1] == len(text.encode())


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "not a SentencePiece"), (b"hello\n" * 99, "not a SentencePiece"), (None, "no such")]
)
def test_c12_what_is_no_model_is_refused_by_name(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "x.model"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=f"x.model: {message}"):
        Tokenizer.load(path)


def aligned(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Sentence ends of texts in tokens."""
    array = pa.array(texts, pa.string())
    encoded = tokenizer.encode(texts)
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    sizes = np.array([len(text.encode()) for text in texts], np.int64)
    tokens = np.concatenate(encoded)
    ends, starts = sentence_token_ends(tokenizer, array, tokens, offsets, sizes, *sentence_ends(array))
    return [ends[a:b].tolist() for a, b in itertools.pairwise(starts)]


def aligned_slowly(tokenizer: Tokenizer, text: str) -> list[int]:
    """The plain twin: a token belongs to the sentence of its first byte that is not white space."""
    ids = tokenizer.encode([text])[0].tolist()
    begins, position = [], 0
    for token in ids:
        surface = tokenizer.piece(token)
        begins.append(position + (len(surface) - len(surface.lstrip()) if surface.strip() else 0))
        position += int(tokenizer.piece_bytes[token])
    ends = sentence_ends(pa.array([text], pa.string()))[0]
    return sorted({sum(begin < end for begin in begins) for end in ends})


@given(texts=st.lists(st.one_of(odd_texts, st.sampled_from(TEXTS)), min_size=1, max_size=5))
@settings(deadline=None)
def test_sentence_ends_in_tokens_agree_with_the_plain_twin(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert aligned(tokenizer, texts) == [aligned_slowly(tokenizer, text) for text in texts]


def test_sentences_are_whole_tokens(tokenizer: Tokenizer) -> None:
    text = "春天来了。河水变暖。The end."
    ids, [ends] = tokenizer.encode([text])[0], aligned(tokenizer, [text])
    parts = [tokenizer.decode(ids[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    assert parts == ["春天来了。", "河水变暖。", "The end."]


def test_no_sentence_takes_the_first_word_of_the_next(tokenizer: Tokenizer, foreign: Tokenizer) -> None:
    """The space of "▁The" is white space behind the sentence before, its word is not."""
    text = "The birds came. The tree sang! The end, Mr. 5. Spring came."
    for model in (tokenizer, foreign):
        ids, [ends] = model.encode([text])[0], aligned(model, [text])
        parts = [model.decode(ids[a:b]).strip() for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        assert parts == ["The birds came.", "The tree sang!", "The end, Mr. 5.", "Spring came."]


def test_a_model_that_changes_the_text_is_aligned_too(foreign: Tokenizer) -> None:
    """NFKC makes ！ and … shorter, 鑫 is unknown: the ends still fall behind the right tokens."""
    text = "鑫鑫来了！春天来了。The end. Spring."
    ids, [ends] = foreign.encode([text])[0], aligned(foreign, [text])
    assert ends[-1] == len(ids)
    assert len(ends) == 4
    assert foreign.decode(ids[ends[2] :]).strip() == "Spring."


def characters_slowly(tokenizer: Tokenizer, text: str) -> list[int]:
    """The plain twin: characters that begin before the byte at which a token ends."""
    begins = [len(text[:place].encode()) for place in range(len(text))]
    position, found = -tokenizer.prefix_bytes, []
    for token in tokenizer.encode([text])[0]:
        position += int(tokenizer.piece_bytes[token])
        found.append(sum(begin < position for begin in begins))
    return found


@given(text=odd_texts | st.sampled_from(TEXTS))
@settings(deadline=None)
def test_characters_of_tokens_agree_with_the_plain_twin(tokenizer: Tokenizer, prefixed: Tokenizer, text: str) -> None:
    for model in (tokenizer, prefixed):
        ends = character_ends(model, model.encode([text])[0], len(text))
        assert ends.tolist() == characters_slowly(model, text)


def test_characters_of_a_model_that_changes_the_text_add_up_too(foreign: Tokenizer) -> None:
    text = "鑫鑫来了！春天来了……The end. ﷺ"
    ends = character_ends(foreign, foreign.encode([text])[0], len(text))
    assert ends[-1] == len(text)
    assert (np.diff(ends) >= 0).all()
    assert character_ends(foreign, np.zeros(0, np.int32), 0).tolist() == []


def test_a_lone_surrogate_is_refused_and_not_guessed_at(tokenizer: Tokenizer) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        tokenizer.encode(["a\ud800b"])
