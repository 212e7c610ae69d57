"""From the examples of fine-tuning to tokens that fit in a row: contexts with their mask, answers, choices.

Dialogues: a row for each response, the rounds before it in its context; of preferences a row for the last, with both
answers. Where that is too long the oldest rounds go; where the prompt alone is, its end goes. Templates (cloze,
seq2seq): tokens go from the end of the longest part that came from a field, so that all long ones end equally long;
what the template itself says stays. An answer that is too long loses its end. Whatever goes is counted, and no example
goes whole.

Texts are encoded in batches; a history is encoded as the one text that a model is prompted with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glmdata.corpus.examples import Example
from glmdata.errors import ConfigError
from glmdata.recipe import FinetuneSettings
from glmdata.tokenization.special import SpecialTokens

__all__ = ["Codec", "Row", "rows_of"]

Tokens: TypeAlias = NDArray[np.int32]
CUT_ROUNDS = 8
"""Attempts at a prompt that, cut, still has too many tokens within its template."""
SAVED = 2
"""Tokens that a round may have less inside a text than alone: what it shares with its neighbours."""
GMASK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """What encodes texts, and back; special tokens."""

    encode: Callable[[list[str]], list[Tokens]]
    decode: Callable[[Tokens], str]
    special: SpecialTokens

    def each(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text, equal ones encoded once."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        tokens = self.encode(list(places))
        return [tokens[places[text]] for text in texts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row before its layout."""

    example: int
    """Which of the examples it is of."""
    context: Tokens
    """Part A, its mask token in place."""
    mask_place: int
    mask: int
    """0, 1 or 2: [MASK], [sMASK], [gMASK]."""
    answers: list[Tokens]
    """What may stand at the mask, without sop and eop; one alone but in cloze and preference."""
    label: int
    """The right one."""
    silent: Tokens = field(default_factory=lambda: np.zeros(0, np.int32))
    """What stands before the answer in Part B, without loss."""
    history_cut: int = 0
    """Rounds left out."""
    source_cut: int = 0
    """Tokens of prompt or fields left out."""
    target_cut: int = 0
    """Tokens of the answers left out."""


@dataclass(frozen=True, slots=True)
class _Room:
    """What fits in a row: a context and an answer, sop between them."""

    settings: FinetuneSettings
    sequence_length: int

    @property
    def source(self) -> int:
        return min(self.settings.max_source_length or self.sequence_length, self.sequence_length - 2)

    def answer(self, context: int) -> int:
        """Tokens of an answer at most, next to a context of so many."""
        room, most = self.sequence_length - 1, self.settings.max_target_length
        kept = self.source if self.settings.pad_source else min(context, room // 2, self.source)
        return min(room - kept, room if most is None else most - 2)

    def context(self, answer: int) -> int:
        """Tokens of a context at most, next to an answer of so many."""
        return min(self.source, self.sequence_length - 1 - answer)


def rows_of(examples: Sequence[Example], codec: Codec, settings: FinetuneSettings, sequence_length: int) -> list[Row]:
    """Rows of the examples, in their order.

    Raises ConfigError where the recipe's template alone has more tokens than a context may.
    """
    room = _Room(settings, sequence_length)
    dialogues = settings.task in ("sft", "preference")
    made = _of_dialogues(examples, codec, room) if dialogues else _of_templates(examples, codec, room)
    return [_silenced(row, codec.special) for row in made] if settings.causal else made


def _silenced(row: Row, special: SpecialTokens) -> Row:
    """The row with its context in Part B: Part A keeps cls and the mask."""
    head = row.context[:1] if row.mask_place > 0 and row.context[0] == special.cls else row.context[:0]
    rest = np.delete(row.context, row.mask_place)[len(head) :]
    context = np.append(head, row.context[row.mask_place]).astype(np.int32)
    return replace(row, context=context, mask_place=len(head), silent=rest)


def _of_dialogues(examples: Sequence[Example], codec: Codec, room: _Room) -> list[Row]:
    settings, special = room.settings, codec.special
    last = settings.responses == "last"
    places = [
        (number, turn)
        for number, example in enumerate(examples)
        for turn in range(len(example.turns) - 1 if last else example.first, len(example.turns))
    ]
    head = [special.cls] if settings.cls else []
    added = len(head) + 1
    texts = [examples[number].choices or [examples[number].turns[turn][1]] for number, turn in places]
    told = iter(codec.each([text for mine in texts for text in mine]))
    answers = [[next(told) for _ in mine] for mine in texts]
    alone = codec.each([_prompt_text(examples[number], turn, turn, settings) for number, turn in places])
    most = [room.answer(len(context) + added) for context in alone]
    kept = [[answer[:limit] for answer in mine] for mine, limit in zip(answers, most, strict=True)]
    limits = [room.context(max(map(len, mine))) - added for mine in kept]
    contexts, first = _with_history(examples, places, limits, codec, settings)
    rows = []
    for place, (number, turn) in enumerate(places):
        context, cut = contexts.get(place, alone[place]), 0
        if len(context) > limits[place]:
            example = examples[number]
            context = _shortened(example, turn, context, limits[place], codec, settings)
            cut = len(alone[place]) - len(context)
        whole = np.concatenate([head, context, [special.gmask]]).astype(np.int32)
        rows.append(
            Row(
                example=number,
                context=whole,
                mask_place=len(whole) - 1,
                mask=GMASK,
                answers=kept[place],
                label=0,
                history_cut=first[place],
                source_cut=cut,
                target_cut=sum(map(len, answers[place])) - sum(map(len, kept[place])),
            )
        )
    return rows


def _prompt_text(example: Example, first: int, turn: int, settings: FinetuneSettings, prompt: str | None = None) -> str:
    """What a model is prompted with: rounds from `first` on, and the prompt of `turn`."""
    asked = example.turns[turn][0] if prompt is None else prompt
    if first == turn:
        text = settings.first_template.replace("{prompt}", asked)
    else:
        rounds = [
            _round(settings, number, example.turns[first + number][0]) + example.turns[first + number][1] + "\n"
            for number in range(turn - first)
        ]
        text = "".join(rounds) + _round(settings, turn - first, asked)
    return f"{example.system}\n{text}" if example.system else text


def _round(settings: FinetuneSettings, number: int, prompt: str) -> str:
    before, _, behind = settings.round_template.partition("{prompt}")
    return f"{before.replace('{round}', str(number))}{prompt}{behind.replace('{round}', str(number))}"


def _round_sizes(
    examples: Sequence[Example], codec: Codec, settings: FinetuneSettings
) -> dict[tuple[int, int], tuple[int, int]]:
    """Tokens of the prompt, in its template, and of the response of each round of dialogues that have several."""
    places = [
        (number, turn)
        for number, example in enumerate(examples)
        for turn in range(len(example.turns) if len(example.turns) > 1 else 0)
    ]
    asked = codec.each([_round(settings, 0, examples[number].turns[turn][0]) for number, turn in places])
    told = codec.each([examples[number].turns[turn][1] for number, turn in places])
    return {place: (len(ask), len(tell)) for place, ask, tell in zip(places, asked, told, strict=True)}


def _first_rounds(
    places: Sequence[tuple[int, int]], limits: Sequence[int], sizes: dict[tuple[int, int], tuple[int, int]]
) -> list[int]:
    """For each row the first round that may fit, by their sizes; not later than the one that does."""
    first = []
    for (number, turn), limit in zip(places, limits, strict=True):
        start = turn
        left = limit - sizes[number, turn][0] + SAVED if turn else 0
        while start and (left := left - sum(sizes[number, start - 1]) + SAVED) >= 0:
            start -= 1
        first.append(start)
    return first


def _with_history(
    examples: Sequence[Example],
    places: Sequence[tuple[int, int]],
    limits: Sequence[int],
    codec: Codec,
    settings: FinetuneSettings,
) -> tuple[dict[int, Tokens], list[int]]:
    """Contexts of the rows that have a history once they fit; and the first round that each row keeps."""
    sizes = _round_sizes(examples, codec, settings)
    first = _first_rounds(places, limits, sizes)
    found: dict[int, Tokens] = {}
    open_rows = [at for at, (_, turn) in enumerate(places) if first[at] < turn]
    while open_rows:
        texts = [_prompt_text(examples[places[at][0]], first[at], places[at][1], settings) for at in open_rows]
        again = []
        for at, tokens in zip(open_rows, codec.each(texts), strict=True):
            (number, turn), over = places[at], len(tokens) - limits[at]
            if over <= 0:
                found[at] = tokens
                continue
            while over > 0 and first[at] < turn:
                over -= sum(sizes[number, first[at]]) + SAVED
                first[at] += 1
            if first[at] < turn:
                again.append(at)
        open_rows = again
    return found, first


def _shortened(
    example: Example, turn: int, context: Tokens, limit: int, codec: Codec, settings: FinetuneSettings
) -> Tokens:
    """The context of a prompt without history, its prompt cut at the end so that the rest of the template stays."""
    [prompt] = codec.encode([example.turns[turn][0]])
    left = len(prompt) - (len(context) - limit)
    for _ in range(CUT_ROUNDS):
        if left <= 0:
            break
        text = codec.decode(prompt[:left]).rstrip("\ufffd")  # half of a character that is spelled in bytes
        [context] = codec.encode([_prompt_text(example, turn, turn, settings, text)])
        if len(context) <= limit:
            break
        left -= len(context) - limit
    return context[: max(0, limit)]


def _of_templates(examples: Sequence[Example], codec: Codec, room: _Room) -> list[Row]:
    settings, special = room.settings, codec.special
    head, tail = ([special.cls] if settings.cls else []), ([special.eos] if settings.eos else [])
    masks = (special.mask, special.smask, special.gmask)
    texts = iter(codec.each([part[1] for example in examples for part in example.parts if not isinstance(part, int)]))
    choices = iter(codec.each([choice for example in examples for choice in example.choices]))
    rows = []
    for number, example in enumerate(examples):
        parts = [np.array([masks[part]]) if isinstance(part, int) else next(texts) for part in example.parts]
        cuttable = np.array([not isinstance(part, int) and part[0] for part in example.parts], np.bool_)
        sizes = np.array([len(part) for part in parts], np.int64)
        added = len(head) + len(tail)
        answers = [next(choices) for _ in example.choices]
        most = room.answer(int(sizes.sum()) + added)
        kept = [answer[:most] for answer in answers]
        left = _left_of_parts(sizes, cuttable, room.context(max(map(len, kept))) - added, settings)
        place = next(at for at, part in enumerate(example.parts) if isinstance(part, int))
        whole = np.concatenate([head, *(part[:size] for part, size in zip(parts, left, strict=True)), tail])
        if settings.pad_source:
            whole = np.concatenate([whole, np.full(room.source - len(whole), special.pad)])
        rows.append(
            Row(
                example=number,
                context=whole.astype(np.int32),
                mask_place=len(head) + int(left[:place].sum()),
                mask=int(example.parts[place]),  # type: ignore[arg-type]  # the one number among the parts
                answers=kept,
                label=example.label,
                source_cut=int(sizes.sum() - left.sum()),
                target_cut=sum(map(len, answers)) - sum(map(len, kept)),
            )
        )
    return rows


def _left_of_parts(
    sizes: NDArray[np.int64], cuttable: NDArray[np.bool_], limit: int, settings: FinetuneSettings
) -> NDArray[np.int64]:
    """Tokens that each part keeps: the longest that may be cut lose one after the other, of equal ones the last."""
    over = int(sizes.sum()) - limit
    if over <= 0:
        return sizes
    fields = sizes[cuttable]
    if over > fields.sum():
        raise ConfigError(
            f"finetune.template {settings.template[:60]!r} alone has {int(sizes.sum() - fields.sum())} tokens, of "
            f"{limit} that a context may have; raise sequence_length or finetune.max_source_length, or shorten it"
        )
    cap, high = 0, int(fields.max())  # the highest cap that leaves no more than fits
    while cap < high:
        middle = (cap + high + 1) // 2
        cap, high = (middle, high) if np.minimum(fields, middle).sum() <= fields.sum() - over else (cap, middle - 1)
    kept = np.minimum(fields, cap)
    spare = int(fields.sum() - over - kept.sum())
    kept[np.flatnonzero(fields > cap)[:spare]] += 1
    left: NDArray[Any] = sizes.copy()
    left[cuttable] = kept
    return left
