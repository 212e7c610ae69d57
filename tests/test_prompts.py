"""Prompts: text with masks to tokens and back, chats, text as it becomes certain."""

import pytest
from corpora import document
from hypothesis import given
from hypothesis import strategies as st

from glmdata.errors import InputError
from glmdata.model.prompts import TextStream, chat_text, encode_chat, encode_prompt, filled
from glmdata.recipe import TokenizerSettings
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer

TEXTS = [document(language, index) for index in range(40) for language in ("zh", "en")]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_tokenizer(TEXTS, TokenizerSettings(vocabulary_size=700)))


def test_masks_become_tokens_and_white_space_before_them_goes(tokenizer):
    special = tokenizer.special
    prompt = encode_prompt(tokenizer, "the [MASK] harbour\n[sMASK]桥")
    inside = prompt.ids[prompt.start : prompt.stop]
    assert (prompt.ids[0], prompt.ids[-1]) == (special.cls, special.eos)
    assert inside.count(special.mask) == inside.count(special.smask) == 1
    assert prompt.texts == ["the", " harbour", "桥"]
    first, second = inside.index(special.mask), inside.index(special.smask)
    parts = [inside[:first], inside[first + 1 : second], inside[second + 1 :]]
    assert [tokenizer.decode(part) for part in parts] == prompt.texts
    assert parts == [tokenizer.encode([text])[0].tolist() for text in prompt.texts]


def test_a_prompt_that_ends_in_gmask_has_no_eos(tokenizer):
    special = tokenizer.special
    assert encode_prompt(tokenizer, "春天[gMASK]").ids[-1] == special.gmask
    assert encode_prompt(tokenizer, "春天[gMASK]。").ids[-1] == special.eos
    assert encode_prompt(tokenizer, "春天[MASK]").ids[-2:] == [special.mask, special.eos]
    bare = encode_prompt(tokenizer, "春天[MASK]", cls=False, eos=False)
    assert [special.cls, *bare.ids, special.eos] == encode_prompt(tokenizer, "春天[MASK]").ids
    assert (bare.start, bare.stop) == (0, len(bare.ids))


@given(st.lists(st.text("春天河水 the sea\n.é\u2581", max_size=12), min_size=2, max_size=4))
def test_filling_puts_texts_between_texts(tokenizer, texts):
    prompt = encode_prompt(tokenizer, "[MASK]".join(texts))
    blanks = ["<ab>", "", " 水"]
    tokens = [tokenizer.encode([blanks[place]])[0].tolist() for place in range(len(texts) - 1)]
    kept = [text.rstrip() for text in texts[:-1]] + texts[-1:]
    expected = kept[0] + "".join(blanks[place] + text for place, text in enumerate(kept[1:]))
    assert filled(tokenizer, prompt, tokens) == expected


def test_text_without_a_mask_is_refused_in_one_line(tokenizer):
    with pytest.raises(InputError, match=r"put \[MASK\], \[sMASK\] or \[gMASK\] in it"):
        encode_prompt(tokenizer, "nothing here")


def test_chats_are_rounds_as_in_chatglm(tokenizer):
    history = [("你好", "你好！"), ("几点？", "七点。")]
    assert chat_text([], "你好") == "你好"
    rounds = "[Round 0]\n问：你好\n答：你好！\n[Round 1]\n问：几点？\n答：七点。\n[Round 2]\n问：谢谢\n答："
    assert chat_text(history, "谢谢") == rounds
    ids = encode_chat(tokenizer, history, "谢谢", longest=1000)
    assert ids == [*tokenizer.encode([rounds])[0].tolist(), tokenizer.special.gmask]
    assert encode_chat(tokenizer, history, "谢谢", longest=1000, cls=True) == [tokenizer.special.cls, *ids]


def test_old_rounds_go_first_where_a_chat_is_too_long(tokenizer):
    history = [(f"q{place}", "a" * 30) for place in range(5)]
    whole = len(encode_chat(tokenizer, history, "q", longest=10_000))
    for kept in range(6):
        expected = encode_chat(tokenizer, history[5 - kept :], "q", longest=10_000)
        assert encode_chat(tokenizer, history, "q", longest=len(expected)) == expected
    assert len(encode_chat(tokenizer, history, "q", longest=whole - 1)) < whole
    with pytest.raises(InputError, match="there is room for 3"):
        encode_chat(tokenizer, history, "a long query", longest=3)


def test_masks_spelled_in_a_chat_are_text(tokenizer):
    ids = encode_chat(tokenizer, [], "what is [MASK]?", longest=100)
    assert [token for token in ids if token >= tokenizer.num_pieces] == [tokenizer.special.gmask]


@given(st.text("春天 the sea\n.é😀𝄞", max_size=20))
def test_streamed_text_is_the_text_and_never_half_a_character(tokenizer, text):
    stream, told = TextStream(tokenizer), ""
    for token in tokenizer.encode([text])[0]:
        added = stream.push(int(token))
        assert "\ufffd" not in added
        told += added
        assert text.startswith(told)
    assert told + stream.finish() == text


def test_the_last_half_of_a_character_is_shown_at_the_end(tokenizer):
    stream = TextStream(tokenizer)
    for token in tokenizer.encode(["a😀"])[0][:-1]:
        stream.push(int(token))
    assert stream.finish().startswith("\ufffd")


def test_models_that_begin_texts_with_a_space_do_so_once():
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.replace("\n", " ") for text in TEXTS), model_writer=model, vocab_size=600,
        byte_fallback=True, add_dummy_prefix=True, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    tokenizer = Tokenizer(model.getvalue())
    prompt = encode_prompt(tokenizer, "the harbour[MASK] rain[MASK]ed\u2581x")
    blanks = [tokenizer.encode_inside(text).tolist() for text in (" and", "")]
    assert filled(tokenizer, prompt, blanks) == "the harbour and rained\u2581x"
    assert tokenizer.encode_inside("ed").tolist() != tokenizer.encode(["ed"])[0].tolist()
