"""Text with masks to a prompt's tokens, and what was chosen back to text."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from glmdata.errors import InputError
from glmdata.tokenization import Tokenizer

__all__ = ["Prompt", "TextStream", "chat_text", "encode_chat", "encode_prompt", "filled"]

_MASKS = {"[MASK]": "mask", "[sMASK]": "smask", "[gMASK]": "gmask"}
_AT_MASKS = re.compile(r"(\[MASK\]|\[sMASK\]|\[gMASK\])")


class Prompt(NamedTuple):
    """A prompt as the model reads it."""

    ids: list[int]
    """Part A."""
    texts: list[str]
    """What stands before, between and behind the masks; one more than there are masks."""
    start: int
    """Where the text begins in `ids`: behind cls."""
    stop: int
    """Where it ends: before eos."""


def encode_prompt(tokenizer: Tokenizer, text: str, *, cls: bool = True, eos: bool = True) -> Prompt:
    """A text's tokens; [MASK], [sMASK] and [gMASK] in it stand for blanks.

    White space before a mask goes, as in the original: it belongs to what is filled in.

    Args:
        tokenizer: of the model.
        text: the prompt.
        cls: whether cls comes first, as in all rows of pre-training; prompts of ChatGLM-6B have none.
        eos: whether eos comes last, as behind a whole document; never behind a text that ends in [gMASK].

    Raises:
        InputError: no mask is in the text.
    """
    parts = _AT_MASKS.split(text)
    if len(parts) == 1:
        raise InputError("the prompt has nothing to fill; put [MASK], [sMASK] or [gMASK] in it")
    roles = tokenizer.special.by_role()
    ids = [roles["cls"]] if cls else []
    start = len(ids)
    texts = []
    for place in range(0, len(parts), 2):
        piece = parts[place].rstrip() if place + 1 < len(parts) else parts[place]
        texts.append(piece)
        encoded = tokenizer.encode_inside(piece) if place else tokenizer.encode([piece])[0]
        ids += encoded.tolist()
        if place + 1 < len(parts):
            ids.append(roles[_MASKS[parts[place + 1]]])
    stop = len(ids)
    if eos and ids[-1] != roles["gmask"]:
        ids.append(roles["eos"])
    return Prompt(ids, texts, start, stop)


def filled(tokenizer: Tokenizer, prompt: Prompt, blanks: Sequence[Sequence[int]]) -> str:
    """The prompt's text with its blanks filled in."""
    masks = {tokenizer.special.by_role()[role] for role in _MASKS.values()}
    found: list[int] = []
    rest = iter(blanks)
    for token in prompt.ids[prompt.start : prompt.stop]:
        if token in masks:
            found += next(rest)
        else:
            found.append(token)
    return tokenizer.decode(found)


def chat_text(history: Sequence[tuple[str, str]], query: str) -> str:
    """ChatGLM-6B's prompt: the query alone, or behind numbered rounds of what was said before."""
    if not history:
        return query
    rounds = [f"[Round {number}]\n问：{asked}\n答：{answer}\n" for number, (asked, answer) in enumerate(history)]
    return f"{''.join(rounds)}[Round {len(history)}]\n问：{query}\n答："


def encode_chat(
    tokenizer: Tokenizer, history: Sequence[tuple[str, str]], query: str, *, longest: int, cls: bool = False
) -> list[int]:
    """Part A of a chat: `chat_text` and [gMASK]. Masks spelled in the text are text.

    Args:
        tokenizer: of the model.
        history: rounds of query and answer; the oldest go where there are too many.
        query: what is asked now.
        longest: tokens that there may be.
        cls: whether cls comes first; as in the rows the model was tuned on (ChatGLM-6B: no).

    Raises:
        InputError: the query alone is too long.
    """
    for dropped in range(len(history) + 1):
        text = tokenizer.encode([chat_text(history[dropped:], query)])[0].tolist()
        ids = [*([tokenizer.special.cls] if cls else []), *text, tokenizer.special.gmask]
        if len(ids) <= longest:
            return ids
    raise InputError(f"the query has {len(ids)} tokens, there is room for {longest}; shorten it")


class TextStream:
    """Tokens to text as it becomes certain: characters of several byte pieces come whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Nothing yet."""
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._told = ""

    def push(self, token: int) -> str:
        """What one more token adds; empty while a character is not whole."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        if text.endswith("\ufffd") or not text.startswith(self._told):
            return ""
        added, self._told = text[len(self._told) :], text
        return added

    def finish(self) -> str:
        """What is left, whole or not."""
        text = self._tokenizer.decode(self._ids)
        return text[len(self._told) :] if text.startswith(self._told) else ""
