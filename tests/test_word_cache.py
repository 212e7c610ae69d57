"""The word cache gives SentencePiece's ids, for every kind of model, or steps aside."""

import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.errors import InputError
from glmdata.tokenization import Tokenizer, chunk_table, word_cache
from glmdata.tokenization.model_file import BYTE, CONTROL, read_model
from glmdata.tokenization.piece_table import build_piece_table

TEXTS = [
    f"春天来了，{i} 只小鸟在树上唱歌。Spring came, and {i} birds sang in the tree!\n"
    f"    河水慢慢变暖；孩子们跑出门去。\tThe end,  Mr. {i}.   if (x == {i % 7}) {{ return aaaa; }}  "
    for i in range(300)
]
LOSSLESS: dict[str, Any] = {
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "byte_fallback": True,
    "user_defined_symbols": ["\n", "\t"],
    "allow_whitespace_only_pieces": True,
}
MODELS: dict[str, dict[str, Any]] = {
    "ours": {**LOSSLESS, "add_dummy_prefix": False},
    "prefix": LOSSLESS,
    "bpe": {**LOSSLESS, "model_type": "bpe", "add_dummy_prefix": False},
    "bpe prefix": {**LOSSLESS, "model_type": "bpe"},
    "no byte pieces": {**LOSSLESS, "byte_fallback": False},
    "bpe, no byte pieces": {**LOSSLESS, "byte_fallback": False, "model_type": "bpe", "character_coverage": 0.98},
    "pieces across spaces": {**LOSSLESS, "split_by_whitespace": False},
    "bpe across spaces": {**LOSSLESS, "split_by_whitespace": False, "model_type": "bpe"},
    "user symbols": {
        **LOSSLESS,
        "user_defined_symbols": ["\n", "\n\n", "The▁end", "▁▁▁", "return", "ret", "小鸟在", "a"],
    },
    "bpe user symbols": {
        **LOSSLESS,
        "model_type": "bpe",
        "user_defined_symbols": ["\n", "\n\n", "The▁end", "▁▁▁", "return", "ret", "小鸟在", "a"],
    },
    "white space of all kinds": {
        **LOSSLESS,
        "user_defined_symbols": ["\u3000字", "\u3000", "\u2003▁\xa0x", "▁春", "▁\u2003é", "\x1fa", "\r\n"],
    },
    "rare characters unknown": {**LOSSLESS, "character_coverage": 0.98},
    "user symbol with a space": {**LOSSLESS, "user_defined_symbols": ["\n", "The end"]},
    "spaces behind": {**LOSSLESS, "treat_whitespace_as_suffix": True},
    "spaces removed": {**LOSSLESS, "remove_extra_whitespaces": True},
    "nfkc": {**LOSSLESS, "normalization_rule_name": "nmt_nfkc"},
    "everything usual": {},
    "words": {**LOSSLESS, "model_type": "word"},
    "characters": {**LOSSLESS, "model_type": "char"},
}
STEPS_ASIDE = {
    "user symbol with a space", "spaces behind", "spaces removed", "nfkc", "everything usual", "words", "characters",
}  # fmt: skip
any_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
# Letters of the training texts, so that most chunks have several ways to be cut.
near_text = st.text(
    alphabet="春天来了，小鸟在树上唱歌。Spring theandbirds aaaa   \n\n\tréturn0123{}=é\u0301鑫😀", max_size=80
)


def trained(**options: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        vocab_size=420,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    return request.param, trained(**MODELS[request.param])


@pytest.fixture(scope="module")
def ours() -> bytes:
    return trained(**MODELS["ours"])


def plain(model: bytes) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    processor.load_from_serialized_proto(model)
    return processor


def differing(model: bytes, texts: list[str]) -> list[str]:
    """Texts whose ids are not SentencePiece's, twice over: the second time words come from the cache."""
    tokenizer, processor = Tokenizer(model), plain(model)
    texts = [text for text in texts if "▁" not in text]
    expected = [processor.encode(text, out_type="numpy") for text in texts]
    return [
        text
        for found in (tokenizer.encode(texts), tokenizer.encode(texts))
        for text, ids, right in zip(texts, found, expected, strict=True)
        if not np.array_equal(ids, right)
    ]


def test_only_models_that_take_text_as_it_is_are_cached(model: tuple[str, bytes]) -> None:
    name, data = model
    assert Tokenizer(data).cached == (name not in STEPS_ASIDE)


def test_ids_are_sentencepieces_on_ordinary_and_odd_texts(model: tuple[str, bytes]) -> None:
    texts = [*TEXTS, "", " ", "  ", "\n", "\t\t", "\x00", "a\x00b", "鑫鑫 鑫", "\U0010ffff" * 9, "a" * 700, " " * 99]
    assert differing(model[1], [*texts, "".join(TEXTS)]) == []


@given(texts=st.lists(st.one_of(any_text, near_text), max_size=8))
@settings(deadline=None, max_examples=60)
def test_ids_are_sentencepieces_on_random_texts(model: tuple[str, bytes], texts: list[str]) -> None:
    assert differing(model[1], texts) == []


def test_rounding_of_long_scores_is_sentencepieces(ours: bytes) -> None:
    """Equal scores in another order (runs of a letter) round differently far into a text, and are reset beyond 1e5."""
    draw = np.random.default_rng(3)
    words = ["aaa", "    ", "aaaaaaa", "return ", "sang", "春天", "来了来", "1234", "\n", "鑫", "birdsbirds "]
    texts = ["".join(draw.choice(words, 60_000)) for _ in range(3)]
    assert min(len(plain(ours).encode(text, out_type="numpy")) for text in texts) > 50_000
    assert differing(ours, texts) == []


def test_a_full_cache_replaces_words(ours: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_table, "ENTRIES", 16)
    word_cache._build_encoder.cache_clear()
    assert differing(ours, TEXTS) == []
    word_cache._build_encoder.cache_clear()


def test_an_encoder_belongs_to_the_process_and_serves_threads_at_once(ours: bytes) -> None:
    assert Tokenizer(ours)._encoder is Tokenizer(bytes(bytearray(ours)))._encoder
    expected = [ids.tolist() for ids in Tokenizer(ours).encode(TEXTS)]
    found: list[list[list[int]]] = []

    def work(step: int) -> None:
        turned = [*TEXTS[step:], *TEXTS[:step]]
        ids = [ids.tolist() for ids in Tokenizer(ours).encode(turned)]
        found.append([*ids[-step:], *ids[:-step]])

    threads = [threading.Thread(target=work, args=(step,)) for step in (1, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_other_arithmetic_of_an_installed_sentencepiece_is_noticed(
    ours: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores cut to half precision, as a stand-in for a version that adds up differently, change ids of the probe."""

    def off(model: Any) -> Any:
        table = build_piece_table(model)
        return table._replace(scores=table.scores.astype(np.float16).astype(np.float32))

    monkeypatch.setattr(word_cache, "build_piece_table", off)
    word_cache._build_encoder.cache_clear()
    assert not Tokenizer(ours).cached
    word_cache._build_encoder.cache_clear()


@pytest.mark.parametrize("name", ["ours", "bpe", "everything usual"])
def test_arrow_arrays_of_every_shape_are_encoded_alike(name: str) -> None:
    """Sliced, chunked, with 64-bit offsets, and with texts that go to SentencePiece: U+2581, very long chunks."""
    tokenizer = Tokenizer(trained(**MODELS[name]))
    texts = ["", "a▁b", *TEXTS[:5], "a" * 2000, "", "春天"]
    expected = [ids.tolist() for ids in tokenizer.encode(texts)]
    array = pa.array(texts, pa.string())
    for shape in (array, array.cast(pa.large_string()), pa.chunked_array([array[:3], array[3:]]), array[2:9]):
        tokens, offsets = tokenizer.encode_arrow(shape)
        assert (str(tokens.dtype), str(offsets.dtype)) == ("int32", "int64")
        right = expected[2:9] if len(shape) == 7 else expected
        assert [part.tolist() for part in np.split(tokens, offsets[1:-1])] == right
    assert [part.tolist() for part in tokenizer.encode_arrow(array[:0])] == [[], [0]]


def test_a_model_file_is_read_as_sentencepiece_reads_it(model: tuple[str, bytes]) -> None:
    name, data = model
    parts, processor = read_model(data), plain(data)
    places = range(processor.get_piece_size())
    assert [piece.decode() for piece in parts.pieces] == [processor.id_to_piece(place) for place in places]
    assert parts.scores.tolist() == [processor.get_score(place) for place in places]
    assert (parts.kinds == CONTROL).tolist() == [processor.is_control(place) for place in places]
    assert (parts.kinds == BYTE).tolist() == [processor.is_byte(place) for place in places]
    assert parts.identity == (name not in {"nfkc", "everything usual"})
    assert parts.byte_fallback == MODELS[name].get("byte_fallback", False)


def piece(*fields: bytes) -> bytes:
    """A piece of a ModelProto, its text "xyq" and then these fields."""
    content = b"\x0a\x03xyq" + b"".join(fields)
    return b"\x0a" + bytes([len(content)]) + content


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"\x10\x80\x80\x80\x80\x20"],  # the score as a varint, 2^33: as many bytes were asked for once
        [b"\x12\x03abc"],
        [b"\x15\x00\x00\x80\xbf", b"\x10\x05"],
        [b"\x15\x00\x00\x80\xbf", b"\x15\x00\x00\x00\xc0"],
        [b"\x18\x03"],
        [b"\x18\x07"],
        [b"\x18\x00"],
        [b"\x18\x03", b"\x18\x63"],
        [b"\x1a\x01\x03"],
        [b"\x1d\x03\x00\x00\x00"],
        [b"\x19\x03\x00\x00\x00\x00\x00\x00\x00"],
        [b"\x08\x05"],
        [b"\xf8\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
    ],
)
def test_c13_odd_fields_of_a_piece_are_read_as_sentencepiece_reads_them(fields: list[bytes]) -> None:
    """A field of another wire type, or with a value its enumeration has not, is unknown to protocol buffers."""
    data = trained(**MODELS["ours"]) + piece(*fields)
    parts, processor = read_model(data), plain(data)
    last = processor.get_piece_size() - 1
    assert len(parts.pieces) == last + 1
    assert parts.pieces[last].decode() == processor.id_to_piece(last) == "xyq"
    assert parts.scores[last] == processor.get_score(last)
    assert (parts.kinds[last] == CONTROL) == processor.is_control(last)
    assert [ids.tolist() for ids in Tokenizer(data).encode(["xyq xyq"])] == [processor.encode("xyq xyq")]


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (b"\x15\x00\x00\xc0\x7f", "or a damaged one"),  # a score that is no number
        (b"\x15\x00\x00\x80\xff", "or a damaged one"),  # minus infinity
        (b"\x23\x24", "a damaged SentencePiece model: wire type 3"),  # a group, which protocol buffers skip
    ],
)
def test_c13_a_model_that_means_nothing_is_refused(field: bytes, told: str) -> None:
    data = trained(**MODELS["ours"]) + piece(field)
    with pytest.raises(InputError, match=rf"a\.model: .*{told}"):
        Tokenizer(data, "a.model")


@pytest.mark.parametrize("cut", [b"\x0a", b"\x0a\x05\x0a", b"\x0a\x09\x0a\x02ab", b"\x12\xff", b"\x80"])
def test_c13_a_model_that_ends_in_a_field_is_refused(cut: bytes) -> None:
    """SentencePiece refuses it too, before ours has a look."""
    with pytest.raises(ValueError, match="in the middle of a field"):
        read_model(trained(**MODELS["ours"]) + cut)


def test_sizes_of_pieces_are_those_of_their_text(model: tuple[str, bytes]) -> None:
    tokenizer, processor = Tokenizer(model[1]), plain(model[1])
    for place in range(processor.get_piece_size()):
        text = processor.id_to_piece(place).replace("▁", " ")
        lead = len(text.encode()) - len(text.lstrip().encode()) if text.strip() else 0
        size, characters = len(text.encode()), len(text)
        if processor.is_byte(place):
            size, lead, characters = 1, 0, int(text[3:5], 16) not in range(0x80, 0xC0)
        elif processor.is_unknown(place):
            size, lead, characters = -1, 0, 1
        elif processor.is_control(place):
            size = lead = characters = 0
        facts = (tokenizer.piece_bytes[place], tokenizer.piece_leads[place], tokenizer.piece_characters[place])
        assert facts == (size, lead, characters)


@pytest.mark.parametrize("name", ["ours", "prefix", "bpe"])
def test_ids_are_sentencepieces_on_the_shared_corpus(name: str) -> None:
    folder = Path(os.environ.get("GLMDATA_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    files = [folder / "corpus" / file for file in ("en_specs.jsonl", "zh_literature.txt")]
    files += sorted((folder / "sentences").glob("*.jsonl"))
    if not all(file.is_file() for file in files):
        pytest.skip(f"no shared data at {folder}")
    texts = [file.read_text("utf-8")[:1_000_000] for file in files]
    pieces = [text[start : start + 20_000] for text in texts for start in range(0, len(text), 20_000)]
    assert differing(trained(**MODELS[name]), [*pieces, *(text[: 1 << 17] for text in texts)]) == []
