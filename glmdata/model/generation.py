"""Filling blanks: each [MASK], [sMASK] and [gMASK] of a prompt from left to right, token by token.

The prompt is Part A. For each blank Part B goes on with sop and what is chosen, until eop or eos; its position is
that of its mask token, its block position counts 1, 2, ... from sop. So later blanks see the answers of earlier ones,
as in training. Keys and values of what was read are kept; each token is computed once.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from glmdata.errors import InputError
from glmdata.model.beams import search
from glmdata.model.decoding import Decoding, repeats, sample_token, scores
from glmdata.model.glm import GLM
from glmdata.model.reading import Reader
from glmdata.tokenization import SpecialTokens

__all__ = ["Step", "fill", "fill_blanks"]


class Step(NamedTuple):
    """One token of a blank, or its end."""

    blank: int
    """From the left, from 0."""
    token: int | None
    """None: the blank ends here."""
    end: str | None = None
    """"eop" or "eos", which the model gave, or "length"."""


def fill(
    model: GLM, prompt: Sequence[int], special: SpecialTokens, decoding: Decoding, *, use_cache: bool = True
) -> Iterator[Step]:
    """Fill the blanks of a prompt, each token as soon as it is there; with beams a blank at a time.

    Masks, sop, cls and ids that the tokenizer has not are never chosen.

    Args:
        model: in evaluation mode.
        prompt: token ids with mask tokens in them.
        special: the tokenizer's special tokens.
        decoding: how tokens are chosen.
        use_cache: False computes everything anew for each token, for comparison.

    Raises:
        InputError: the prompt has no mask token, is too long, or has ids that the model has not.
    """
    places = [place for place, token in enumerate(prompt) if token in (special.mask, special.smask, special.gmask)]
    _check_prompt(model, prompt, places)
    return _fill(model, prompt, places, special, decoding, use_cache)


def _fill(
    model: GLM, prompt: Sequence[int], places: list[int], special: SpecialTokens, decoding: Decoding, use_cache: bool
) -> Iterator[Step]:
    limit = min(decoding.max_tokens, model.config.max_positions - 1)
    reader = Reader(model, prompt, room=len(places) * (limit + 1), use_cache=use_cache)
    generator = torch.Generator().manual_seed(decoding.seed)
    ends = {special.eop: "eop", special.eos: "eos"}
    banned = _banned(special, model.config.vocabulary_size)
    one_row = model.config.positions == "rotary-1d"
    for blank, place in enumerate(places):
        # In one row of positions, [gMASK] counts on (rotary.one_row).
        reader.begin(place, counts_on=one_row and prompt[place] == special.gmask)
        reader.append(torch.tensor([special.sop]))
        if decoding.num_beams > 1:
            tokens, end = search(reader, decoding, limit, ends, banned)
            yield from (Step(blank, token) for token in tokens)
            yield Step(blank, None, end)
            continue
        tokens = []
        while True:
            if len(tokens) == limit:
                yield Step(blank, None, "length")
                break
            found = scores(reader.logits(), banned, [repeats(tokens, decoding.no_repeat_ngram)])
            token = sample_token(found[0], decoding, generator)
            if token in ends:
                yield Step(blank, None, ends[token])
                break
            tokens.append(token)
            reader.append(torch.tensor([token]))
            yield Step(blank, token)


def fill_blanks(
    model: GLM, prompt: Sequence[int], special: SpecialTokens, decoding: Decoding, *, use_cache: bool = True
) -> list[list[int]]:
    """The tokens of each blank, as `fill` gives them one by one."""
    found: list[list[int]] = []
    for step in fill(model, prompt, special, decoding, use_cache=use_cache):
        if step.blank == len(found):
            found.append([])
        if step.token is not None:
            found[step.blank].append(step.token)
    return found


def _check_prompt(model: GLM, prompt: Sequence[int], places: list[int]) -> None:
    config = model.config
    if not places:
        raise InputError("the prompt has nothing to fill; put [MASK], [sMASK] or [gMASK] in it")
    if len(prompt) > config.max_positions:
        raise InputError(f"the prompt has {len(prompt)} tokens, the model reads {config.max_positions}; shorten it")
    if min(prompt) < 0 or max(prompt) >= config.vocabulary_size:
        raise InputError(
            f"the prompt has token ids up to {max(prompt)}, the model {config.vocabulary_size}; "
            "give the tokenizer that the model was trained with"
        )


def _banned(special: SpecialTokens, vocabulary_size: int) -> Tensor:
    """What is no text and no end; special tokens lie above all text."""
    ids = set(special.by_role().values())
    beyond = range(max(ids) + 1, vocabulary_size)
    return torch.tensor(sorted((ids - {special.eop, special.eos}) | set(beyond)), dtype=torch.int64)
