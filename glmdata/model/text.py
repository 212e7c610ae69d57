"""From a prompt's text to text, piece by piece as it is chosen."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from glmdata.model.decoding import Decoding
from glmdata.model.generation import fill
from glmdata.model.glm import GLM
from glmdata.model.prompts import TextStream, encode_chat, encode_prompt
from glmdata.tokenization import Tokenizer

__all__ = ["Fragment", "stream_chat", "stream_text"]


class Fragment(NamedTuple):
    """A piece of the text from left to right."""

    text: str
    """May be empty."""
    blank: int | None
    """Which blank it fills, from 0; None: the prompt's own text."""
    tokens: int = 0
    """Tokens chosen since the last fragment."""
    end: str | None = None
    """How the blank ended ("eop", "eos", "length"), in its last fragment."""


def stream_text(
    model: GLM, tokenizer: Tokenizer, text: str, decoding: Decoding, *, cls: bool = True
) -> Iterator[Fragment]:
    """A text with its [MASK], [sMASK] and [gMASK] filled in; see prompts.encode_prompt and generation.fill.

    Raises InputError for a text that cannot be filled, ConfigError for a tokenizer of another model.
    """
    model.config.check_tokenizer(tokenizer.vocabulary_size)
    prompt = encode_prompt(tokenizer, text, cls=cls, eos=cls)
    # Begun here, so that what cannot be filled is refused before anything is told.
    return _interleave(prompt.texts, _fragments(model, tokenizer, prompt.ids, decoding))


def stream_chat(
    model: GLM,
    tokenizer: Tokenizer,
    history: Sequence[tuple[str, str]],
    query: str,
    decoding: Decoding,
    *,
    cls: bool = False,
) -> Iterator[Fragment]:
    """The answer to a query after rounds of query and answer; see prompts.encode_chat.

    Half of the model's positions at least are kept for the prompt. Raises as `stream_text`.
    """
    model.config.check_tokenizer(tokenizer.vocabulary_size)
    positions = model.config.max_positions
    longest = max(positions - decoding.max_tokens - 1, positions // 2)
    return _fragments(model, tokenizer, encode_chat(tokenizer, history, query, longest=longest, cls=cls), decoding)


def _fragments(model: GLM, tokenizer: Tokenizer, prompt: Sequence[int], decoding: Decoding) -> Iterator[Fragment]:
    steps = fill(model, prompt, tokenizer.special, decoding)

    def told() -> Iterator[Fragment]:
        stream = TextStream(tokenizer)
        for step in steps:
            if step.token is not None:
                yield Fragment(stream.push(step.token), step.blank, 1)
            else:
                yield Fragment(stream.finish(), step.blank, 0, step.end)
                stream = TextStream(tokenizer)

    return told()


def _interleave(texts: Sequence[str], fragments: Iterator[Fragment]) -> Iterator[Fragment]:
    yield Fragment(texts[0], None)
    for fragment in fragments:
        yield fragment
        if fragment.end is not None and fragment.blank is not None:
            yield Fragment(texts[fragment.blank + 1], None)
