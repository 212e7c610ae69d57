"""A SentencePiece model as glmdata uses it: text to ids and back without loss, ids aligned with bytes.

SentencePiece encodes about 32 MB/s a core; word_cache.py gives the same ids at two to three times that, for all models
that take text as it is. Two things SentencePiece cannot do are added here: U+2581, which it takes for a space, is
spelled in byte pieces (models trained by glmdata have them), and texts of many megabytes are encoded in pieces cut at
line ends, because its lattice takes 16 bytes and more a character.
"""

import functools
import itertools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

from glmdata.errors import InputError, StorageError
from glmdata.remote import Remote, is_remote
from glmdata.tokenization.model_file import BYTE, CONTROL, UNKNOWN, ModelFile, read_model, spelled
from glmdata.tokenization.special import NUM_SPECIAL, SPECIAL_TEXTS, SpecialTokens

if TYPE_CHECKING:
    from glmdata.tokenization.word_cache import WordEncoder

__all__ = ["Tokenizer"]

SPACE_SIGN = "\u2581"
MAX_ENCODE_CHARS = 1 << 18  # a longer text is cut; 5 MB of lattice at 20 bytes a character
MAX_MODEL_BYTES = 1 << 28
NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"
"""`normalizer_spec { add_dummy_prefix: false }` of SentencePiece's ModelProto. Protocol buffers that are joined are
merged, so a model followed by this is the same model without the prefix: for the inner parts of a text."""
_LOADING = threading.Lock()


class Tokenizer:
    """Text <-> ids. Ids below `num_pieces` are the model's; the special tokens lie right above."""

    def __init__(self, model: bytes, source: str = "tokenizer") -> None:
        import sentencepiece

        self.model = model
        self.hash = xxhash.xxh3_128_hexdigest(model)
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            if not model or not self._processor.load_from_serialized_proto(model):
                raise InputError(f"{source}: not a SentencePiece model")
        except (RuntimeError, OSError, ValueError):
            raise InputError(f"{source}: not a SentencePiece model, or a damaged one") from None
        self.num_pieces: int = self._processor.get_piece_size()
        if self.num_pieces < 1:
            raise InputError(f"{source}: a SentencePiece model without pieces")
        self.special = SpecialTokens.above(self.num_pieces)
        self.vocabulary_size = self.num_pieces + NUM_SPECIAL
        try:
            self._file = read_model(model)
        except ValueError as error:
            raise InputError(f"{source}: a damaged SentencePiece model: {error}") from None
        self.piece_bytes, self.piece_leads = _piece_sizes(self._file, self.vocabulary_size)
        # With a dummy prefix the first piece of a text begins with a space that the text does not have.
        self.prefix_bytes = 1 if self._adds_prefix() else 0
        self._inner_processor = self._processor
        if self.prefix_bytes:
            self._inner_processor = sentencepiece.SentencePieceProcessor()
            self._inner_processor.load_from_serialized_proto(model + NO_DUMMY_PREFIX)
        self._space_sign_ids = self._byte_ids(SPACE_SIGN)

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a `.model` file, by path or URI. Raises InputError, naming the file, for anything else.

        The same model is loaded once a process, which takes 30 to 80 ms, more than a small partition does.
        """
        remote = Remote(str(path)) if is_remote(path) else None
        path = remote.name if remote else path
        try:
            size = remote.size() if remote else Path(path).stat().st_size
            if size > MAX_MODEL_BYTES:
                raise InputError(f"{path}: {size} bytes are too many for a SentencePiece model")
            data = remote.read() if remote else Path(path).read_bytes()
        except StorageError:
            raise
        except FileNotFoundError:
            raise InputError(f"{path}: no such tokenizer file; leave --tokenizer out to have one trained") from None
        except OSError as error:
            raise InputError(f"{path}: the tokenizer cannot be read: {error.strerror}") from None
        with _LOADING:  # a second thread waits for the first instead of loading its own
            return _made(_Source(data, str(path)))

    @property
    def piece_kinds(self) -> npt.NDArray[np.uint8]:
        """The kind of each piece of the model: NORMAL, BYTE, UNKNOWN, ... of model_file.py."""
        return self._file.kinds

    @property
    def token_dtype(self) -> np.dtype[Any]:
        """uint16 where every id fits, else uint32."""
        return np.dtype(np.uint16 if self.vocabulary_size <= 1 << 16 else np.uint32)

    @functools.cached_property
    def _encoder(self) -> "WordEncoder | None":
        from glmdata.tokenization.word_cache import word_encoder

        return word_encoder(self.model, self._file, self._processor)

    @property
    def cached(self) -> bool:
        """Whether words are encoded once and looked up from then on; else SentencePiece encodes every text anew.

        False for models that rewrite text (NFKC, removal of spaces, spaces as suffix) and where the installed
        SentencePiece adds up scores otherwise than the word cache. The ids are the same either way.
        """
        return self._encoder is not None

    def encode(self, texts: Iterable[str]) -> list[npt.NDArray[np.int32]]:
        """Ids of each text, without special tokens. The arrays may be views of one.

        Raises UnicodeEncodeError, a ValueError, for a lone surrogate: it has no UTF-8.
        """
        import pyarrow as pa

        texts = list(texts)
        if self._encoder is None:
            return self._encode_plain(texts)
        tokens, offsets = self.encode_arrow(pa.array(texts, pa.large_string()))
        return [tokens[start:stop] for start, stop in itertools.pairwise(offsets.tolist())]

    def encode_arrow(self, texts: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids of the texts of an Arrow array, as `encode` gives them, without Python strings on the way.

        Args:
            texts: pyarrow StringArray or LargeStringArray (or chunked), without nulls.

        Returns:
            (tokens int32, offsets int64[texts + 1]): text i has tokens[offsets[i]:offsets[i + 1]].
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(texts, pa.ChunkedArray):
            texts = texts.cast(pa.large_string()).combine_chunks()
        texts = texts.cast(pa.large_string())
        if self._encoder is None:
            return _join(self._encode_plain(texts.to_pylist()))
        # A very long text is cut before it is encoded.
        apart = pc.greater(pc.binary_length(texts), MAX_ENCODE_CHARS)
        plain = texts
        if pc.any(apart).as_py():
            apart = pc.greater(pc.utf8_length(texts), MAX_ENCODE_CHARS)
            plain = pc.if_else(apart, "", texts)
        _, starts, data = plain.buffers()
        starts = (
            np.frombuffer(starts, np.int64, len(plain) + 1, 8 * plain.offset) if len(plain) else np.zeros(1, np.int64)
        )
        data = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        tokens, offsets, left_out = self._encoder.encode(data, starts)
        places = np.flatnonzero(apart.to_numpy(zero_copy_only=False) | (left_out > 0))
        if not len(places):
            return tokens, offsets
        parts = np.split(tokens, offsets[1:-1])
        for place, ids in zip(places, self._encode_plain(texts.take(pa.array(places)).to_pylist()), strict=True):
            parts[place] = ids
        return _join(parts)

    def _encode_plain(self, texts: list[str]) -> list[npt.NDArray[np.int32]]:
        """Ids of each text by SentencePiece itself."""
        plain = ["" if self._is_odd(text) else text for text in texts]
        encoded: list[npt.NDArray[np.int32]] = self._processor.encode(plain, out_type="numpy", num_threads=1)
        return [
            ids if whole or not text else self._encode_odd(text)
            for text, whole, ids in zip(texts, plain, encoded, strict=True)
        ]

    def encode_inside(self, text: str) -> npt.NDArray[np.int32]:
        """Ids of a text that goes on behind other tokens: no space is put before it, as some models do at a start."""
        if not self.prefix_bytes or not text:
            return self.encode([text])[0]
        if text[0] == " " and text.strip():  # models that remove white space take it for a start and would drop it
            return self.encode([text[1:]])[0]
        return np.concatenate(
            [
                np.array(self._space_sign_ids, np.int32)
                if processor is None
                else self._inner_processor.encode(part, out_type="numpy", num_threads=1)
                for processor, part in self._parts(text)
            ]
        )

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """Text of ids; special tokens appear by their spelling."""
        parts: list[str] = []
        run: list[int] = []
        for token in [*map(int, ids), -1]:
            if 0 <= token < self.num_pieces:
                run.append(token)
                continue
            if run:
                parts.append(self._processor.decode(run))
                run = []
            if token >= 0:
                parts.append(self._special_texts.get(token, f"<{token}>"))
        return "".join(parts)

    @functools.cached_property
    def _special_texts(self) -> dict[int, str]:
        ids = self.special.by_role()
        return {ids[role]: text for role, text in SPECIAL_TEXTS.items()}

    def piece(self, token: int) -> str:
        """How one id is shown: its piece with spaces for U+2581, or the special token's spelling."""
        if token < self.num_pieces:
            return str(self._processor.id_to_piece(token)).replace(SPACE_SIGN, " ")
        return self.decode([token])

    def piece_ends(self, text: str) -> npt.NDArray[np.int64]:
        """Byte offset in `text` at which each token of `encode` ends, by SentencePiece's own alignment.

        Slow, right for any model: for those that change the text (NFKC, unknown pieces), where the lengths of
        pieces say nothing about bytes.
        """
        ends, start = [np.zeros(0, np.int64)], 0
        for processor, part in self._parts(text):
            size = len(part.encode("utf-8", "replace"))
            if processor is None:
                ends.append(start + np.arange(1, size + 1, dtype=np.int64))
            else:
                widths = [len(character.encode("utf-8", "replace")) for character in part]
                sizes = np.concatenate([[0], np.cumsum(widths, dtype=np.int64)])
                offsets = processor.encode(part, out_type="offset_mapping")["offsets"]
                ends.append(start + sizes[np.minimum(np.array([end for _, end in offsets], np.int64), len(part))])
            start += size
        return np.concatenate(ends)

    def _is_odd(self, text: str) -> bool:
        return len(text) > MAX_ENCODE_CHARS or (SPACE_SIGN in text and bool(self._space_sign_ids))

    def _encode_odd(self, text: str) -> npt.NDArray[np.int32]:
        """A text with U+2581, or a very long one: encoded in parts that SentencePiece takes as they are."""
        return np.concatenate(
            [
                np.array(self._space_sign_ids, np.int32)
                if processor is None
                else processor.encode(part, out_type="numpy", num_threads=1)
                for processor, part in self._parts(text)
            ]
        )

    def _parts(self, text: str) -> list[tuple[Any, str]]:
        """Parts of a text and what encodes each; None stands for the byte pieces of U+2581."""
        if not self._is_odd(text):
            return [(self._processor, text)]
        parts: list[tuple[Any, str]] = []
        for number, section in enumerate(text.split(SPACE_SIGN) if self._space_sign_ids else [text]):
            if number:
                parts.append((None, SPACE_SIGN))
            for chunk in _chunks(section) if section else ():
                parts.append((self._processor if not parts else self._inner_processor, chunk))
        return parts

    def _adds_prefix(self) -> bool:
        ids = self._processor.encode("a", out_type="numpy")
        return len(ids) > 0 and str(self._processor.id_to_piece(int(ids[0]))).startswith(SPACE_SIGN)

    @functools.cached_property
    def piece_characters(self) -> npt.NDArray[np.int32]:
        """Characters that begin in each id: int32[vocabulary_size]; 1 for the unknown piece, 0 for controls."""
        model = self._file
        data, offsets = spelled(model.pieces)
        begun = np.concatenate([[0], np.cumsum(data & 0xC0 != 0x80)])
        found = np.zeros(self.vocabulary_size, np.int32)
        found[: len(model.pieces)] = begun[offsets[1:]] - begun[offsets[:-1]]
        found[: len(model.pieces)][model.kinds == CONTROL] = 0
        found[: len(model.pieces)][model.kinds == UNKNOWN] = 1
        for place in np.flatnonzero(model.kinds == BYTE):
            found[place] = int(model.pieces[place][3:5], 16) & 0xC0 != 0x80  # not inside of a character
        return found

    def _byte_ids(self, text: str) -> list[int]:
        """Byte pieces of a text; empty where the model has none."""
        ids = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
        return ids if all(self._processor.is_byte(token) for token in ids) else []


def _piece_sizes(model: ModelFile, count: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Bytes of text that each id stands for, -1 where that depends on the text (unknown); and how many of them are
    white space before something else, as the space of a word is. int32[count] both, 0 above the model's ids.
    """
    data, offsets = spelled(model.pieces)
    lengths = np.diff(offsets)
    of_text = np.isin(model.kinds, (CONTROL, BYTE, UNKNOWN), invert=True)
    sizes, leads = np.zeros(count, np.int32), np.zeros(count, np.int32)
    sizes[: len(lengths)] = np.select(
        [of_text, model.kinds == BYTE, model.kinds == UNKNOWN], [lengths, np.ones_like(lengths), -np.ones_like(lengths)]
    )
    padded = np.concatenate([data, np.zeros(2, np.uint8)])
    first, second = padded[offsets[:-1]], padded[offsets[:-1] + 1]
    word = (first == 0x20) & (second > 0x20) & (second < 0x7F) & (lengths > 1)
    leads[: len(lengths)][of_text & word] = 1
    # What else may begin with white space, which beyond ASCII begins with byte C2, E1, E2 or E3: a few hundred pieces.
    for place in np.flatnonzero(of_text & ~word & ((first <= 0x20) | np.isin(first, (0xC2, 0xE1, 0xE2, 0xE3)))):
        text = model.pieces[place].decode("utf-8", "replace").replace(SPACE_SIGN, " ")
        if text.strip():
            leads[place] = len(text.encode()) - len(text.lstrip().encode())
    return sizes, leads


def _join(parts: list[npt.NDArray[np.int32]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """All arrays in one, and where each begins and ends."""
    lengths = np.array([len(part) for part in parts], np.int64)
    tokens = np.concatenate([np.zeros(0, np.int32), *parts])
    return tokens, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _chunks(text: str) -> list[str]:
    """Cut a text into parts of at most MAX_ENCODE_CHARS, behind a line end or else a space where there is one.

    A line end is a piece of its own in our models, so cutting behind it changes no id.
    """
    chunks, start = [], 0
    while len(text) - start > MAX_ENCODE_CHARS:
        limit = start + MAX_ENCODE_CHARS
        cut = text.rfind("\n", start + MAX_ENCODE_CHARS // 2, limit) + 1
        cut = cut or text.rfind(" ", start + MAX_ENCODE_CHARS // 2, limit) or limit
        cut = cut if cut > start else limit
        chunks.append(text[start:cut])
        start = cut
    chunks.append(text[start:])
    return chunks


@dataclass(frozen=True, slots=True)
class _Source:
    """A serialised model, which alone decides what is equal, and where it was found."""

    model: bytes
    name: str = field(compare=False)


@functools.lru_cache(maxsize=2)
def _made(source: _Source) -> Tokenizer:
    return Tokenizer(source.model, source.name)
