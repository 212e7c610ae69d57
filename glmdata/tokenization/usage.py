"""How a tokenizer spends its pieces: vocabulary by script, and on text bytes a token and tokens by kind."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.tokenization.model_file import BYTE, UNKNOWN
from glmdata.tokenization.tokenizer import Tokenizer

__all__ = ["TOKEN_KINDS", "Usage", "pieces_by_script", "token_usage"]

TOKEN_KINDS = ("whole_words", "word_parts", "cjk", "other", "bytes", "unknown")
"""Words are runs of letters of scripts that write spaces between them; cjk is Han, kana and hangul; other has no
letters (digits, marks, white space); bytes spell characters that the model has no piece for."""
_WHOLE, _PART, _CJK, _OTHER, _BYTE, _UNKNOWN = range(6)
_CJK_NAMES = ("CJK ", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the texts of one language took: sums, and tokens by `TOKEN_KINDS`."""

    language: str
    documents: int
    bytes: int
    characters: int
    tokens: int
    kinds: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """All of it but the language, with bytes and characters (code points) a token: more is better."""
        return {
            "documents": self.documents,
            "bytes": self.bytes,
            "characters": self.characters,
            "tokens": self.tokens,
            "bytes_per_token": round(self.bytes / max(1, self.tokens), 4),
            "characters_per_token": round(self.characters / max(1, self.tokens), 4),
            "kinds": self.kinds,
        }


def pieces_by_script(tokenizer: Tokenizer) -> dict[str, int]:
    """Pieces counted by the script of most of their letters, most first."""
    from glmdata.text.scripts import SCRIPTS, script_counts

    names = pa.array([tokenizer.piece(token) for token in range(tokenizer.num_pieces)], pa.string())
    counts = script_counts(names)
    kinds = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), len(SCRIPTS))
    found = np.bincount(kinds, minlength=len(SCRIPTS) + 1)
    labels = [*SCRIPTS, "no letters"]
    return {labels[kind]: int(found[kind]) for kind in np.argsort(-found, kind="stable") if found[kind]}


def token_usage(tokenizer: Tokenizer, texts: pa.Array, languages: Sequence[str]) -> list[Usage]:
    """Encode texts (Arrow strings, no nulls) and add up by language, the one with most bytes first."""
    import pyarrow.compute as pc

    tokens, offsets = tokenizer.encode_arrow(texts)
    kinds = _kinds(tokenizer, tokens, offsets)
    codes = sorted(set(languages))
    of_text = np.array([codes.index(language) for language in languages], np.int64)
    of_token = np.repeat(of_text, np.diff(offsets))
    width = len(TOKEN_KINDS)
    by_kind = np.bincount(of_token * width + kinds, minlength=len(codes) * width).reshape(len(codes), width)
    sums = {
        name: np.bincount(of_text, values, len(codes)).astype(np.int64)
        for name, values in (
            ("documents", None),
            ("bytes", pc.binary_length(texts).to_numpy()),
            ("characters", pc.utf8_length(texts).to_numpy()),
        )
    }
    found = [
        Usage(
            language=code,
            **{name: int(values[number]) for name, values in sums.items()},
            tokens=int(by_kind[number].sum()),
            kinds=dict(zip(TOKEN_KINDS, by_kind[number].tolist(), strict=True)),
        )
        for number, code in enumerate(codes)
    ]
    return sorted(found, key=lambda usage: -usage.bytes)


def _kinds(
    tokenizer: Tokenizer, tokens: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The kind of each token. A word is whole where no letter of a word stands right before or after the token."""
    kinds, begins, ends = _piece_facts(tokenizer)
    found = kinds[tokens]
    runs_on = begins[tokens[1:]] & ends[tokens[:-1]]  # the token behind token i continues its word
    runs_on[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(tokens))] - 1] = False
    parts = np.zeros(len(tokens), np.bool_)
    parts[:-1] |= runs_on
    parts[1:] |= runs_on
    found[parts & (found == _WHOLE)] = _PART
    return found


def _piece_facts(tokenizer: Tokenizer) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of each piece its kind, and whether it begins and ends with a letter of a word."""
    kinds = np.full(tokenizer.num_pieces, _OTHER, np.int64)
    kinds[tokenizer.piece_kinds == BYTE] = _BYTE
    kinds[tokenizer.piece_kinds == UNKNOWN] = _UNKNOWN
    begins, ends = np.zeros((2, tokenizer.num_pieces), np.bool_)
    for token in np.flatnonzero((kinds == _OTHER) & (tokenizer.piece_bytes[: len(kinds)] > 0)).tolist():
        text = tokenizer.piece(token)
        letter = next(filter(str.isalpha, text), None)
        if letter is not None:
            kinds[token] = _CJK if _is_cjk(letter) else _WHOLE
        begins[token], ends[token] = _of_word(text[0]), _of_word(text[-1])
    return kinds, begins, ends


def _of_word(character: str) -> bool:
    return character.isalpha() and not _is_cjk(character)


def _is_cjk(letter: str) -> bool:
    return not letter.isascii() and unicodedata.name(letter, "").startswith(_CJK_NAMES)
