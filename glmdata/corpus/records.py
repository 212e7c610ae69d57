"""Records of fine-tuning data: from a JSON object, or a row of a table, to what a row is made of.

A record is put into one plain form, told by `Example`, which is what travels through a build as the record's text. The
fields are those that the recipe names, or else the first of the conventions below that a record has whole. What fits
none is refused with a reason; what has no prompt or no answer is empty.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from glmdata.corpus.batches import Convert, Refused
from glmdata.corpus.lines import json_name
from glmdata.recipe import FinetuneSettings

__all__ = ["MASKS", "Example", "converter", "example_of", "parse_example", "plain_text", "readable"]

MASKS = ("[MASK]", "[sMASK]", "[gMASK]")
"""How mask tokens are written in templates and fields; a part of an example that is a number is one of them."""

_PROMPTS = (
    {"prompt": "prompt", "response": "response"},
    {"prompt": "instruction", "input": "input", "response": "output"},
    {"prompt": "content", "response": "summary"},
    {"prompt": "question", "response": "answer"},
    {"prompt": "input", "response": "output"},
)
"""Dialogues of one prompt, or with `history`: as in many sets; Alpaca; ChatGLM-6B's ptuning; question and answer."""
_MESSAGES = ("messages", "conversations", "conversation")
"""Lists of messages: OpenAI's {role, content}, ShareGPT's {from, value}."""
_SOURCES = (
    {"source": "source", "target": "target"},
    {"source": "article", "target": "highlights"},
    {"source": "document", "target": "summary"},
    {"source": "content", "target": "summary"},
    {"source": "text", "target": "summary"},
    *({"source": names["prompt"], "target": names["response"]} for names in _PROMPTS),
)
_CHOICES, _LABELS = ("choices", "candidates", "options"), ("label", "answer")
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
    "system": "system",
}
_FIELD = re.compile(r"\{(\w+)\}")
_MASK = re.compile("|".join(map(re.escape, MASKS)))
MAX_NAMED = 5

Normalize = Callable[[str], str]


class Example(NamedTuple):
    """One record: a dialogue, or parts of a context and what stands at its mask."""

    system: str = ""
    turns: list[tuple[str, str]] = []  # noqa: RUF012  (never changed)
    """Prompts and their responses."""
    first: int = 0
    """The first turn whose response is learned; those before are history alone."""
    parts: list[tuple[bool, str] | int] = []  # noqa: RUF012
    """Texts of the context in order, with whether they came from the record and so may be cut; the mask is a number,
    its place in MASKS."""
    choices: list[str] = []  # noqa: RUF012
    """The answers one can give; one alone where there are no others."""
    label: int = 0
    """Which of them is right."""


def example_of(value: object, settings: FinetuneSettings, normalize: Normalize) -> str:
    """The record in plain form, "" where it has no prompt or no answer. Raises Refused."""
    if not isinstance(value, dict):
        raise Refused(f"not an object with fields but {json_name(value)}")
    if settings.task == "sft":
        example = _dialogue(value, settings, normalize)
    elif settings.task == "seq2seq":
        example = _source_and_target(value, settings, normalize)
    else:
        example = _question(value, settings, normalize)
    try:
        return "" if example is None else orjson.dumps(tuple(example)).decode()
    except TypeError:
        raise Refused("its text holds half of a surrogate pair, which no UTF-8 can tell") from None


def converter(settings: FinetuneSettings, normalize: Normalize) -> Convert | None:
    """What readers put records into plain form with; None for pre-training, whose records are a text each."""
    if settings.task == "none":
        return None
    return lambda value: example_of(value, settings, normalize)


def readable(settings: FinetuneSettings, normalize: Normalize) -> Convert | None:
    """What readers show records with: their texts, a line each; None for pre-training."""
    convert = converter(settings, normalize)
    if convert is None:
        return None

    def shown(value: object) -> str:
        text = convert(value)
        return plain_text(parse_example(text)) if text else ""

    return shown


def parse_example(text: str) -> Example:
    """Of what `example_of` wrote."""
    return Example(*orjson.loads(text))


def plain_text(example: Example) -> str:
    """All texts of a record, a line each: what its language is told by, and what `glmdata why` shows."""
    lines = [example.system, *(text for turn in example.turns for text in turn)]
    lines.append("".join(MASKS[part] if isinstance(part, int) else part[1] for part in example.parts))
    return "\n".join(line for line in [*lines, *example.choices] if line)


def _dialogue(value: Mapping[str, Any], settings: FinetuneSettings, normalize: Normalize) -> Example | None:
    fields = settings.fields
    if "messages" in fields:
        listed = _first(value, fields["messages"], (), "list of messages")
        return _messages(value[listed], listed, normalize)
    listed = next((name for name in _MESSAGES if name in value), "")
    if listed and "prompt" not in fields and "response" not in fields:
        return _messages(value[listed], listed, normalize)
    names = _pick(value, _PROMPTS, fields, ("prompt", "response"), f"or a list {', '.join(_MESSAGES[:2])}")
    prompt, response = (_text(value, names[role], normalize) for role in ("prompt", "response"))
    more = names.get("input", "")
    if more in value and value[more] not in (None, ""):
        prompt = f"{prompt}\n{_text(value, more, normalize)}"
    system, history = fields.get("system", "system"), fields.get("history", "history")
    turns = list(_history(value.get(history), history, normalize))
    if not prompt.strip() or not response.strip():
        return None
    given = _text(value, system, normalize) if value.get(system) is not None else ""
    return Example(system=given, turns=[*turns, (prompt, response)], first=len(turns))


def _history(value: object, field: str, normalize: Normalize) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if not isinstance(value, list):
        raise Refused(f'field "{field}" is {json_name(value)}, not a list of prompts with their responses')
    for number, pair in enumerate(value):
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise Refused(f'"{field}" has at place {number} no pair of prompt and response')
        prompt, response = (normalize(text) for text in pair)
        yield prompt, response


def _messages(value: object, field: str, normalize: Normalize) -> Example | None:
    """Turns of user and assistant; a last message of the user that nobody answered has no row."""
    if not isinstance(value, list):
        raise Refused(f'field "{field}" is {json_name(value)}, not a list of messages')
    system, said = "", list[str]()
    for number, message in enumerate(value):
        role, text = _message(message, field, number)
        text = normalize(text)
        if role == "system" and number == 0:
            system = text
        elif role != ("assistant" if len(said) % 2 else "user"):
            raise Refused(f'"{field}": message {number} is of {role}, where one of the other side belongs')
        elif not text.strip():
            raise Refused(f'"{field}": message {number} is empty')
        else:
            said.append(text)
    turns = list(zip(said[::2], said[1::2], strict=False))
    if not turns and not said:
        return None
    if not turns:
        raise Refused(f'"{field}" has no message of an assistant')
    return Example(system=system, turns=turns)


def _message(message: object, field: str, number: int) -> tuple[str, str]:
    pairs = (("role", "content"), ("from", "value"))
    for who, what in pairs:
        if isinstance(message, dict) and who in message and what in message:
            role, text = message[who], message[what]
            if not isinstance(text, str):
                raise Refused(f'"{field}": message {number} has {json_name(text)} for "{what}", not a string')
            if not isinstance(role, str) or role not in _ROLES:
                raise Refused(f'"{field}": message {number} is of {str(role)[:40]!r}, not of user, assistant or system')
            return _ROLES[role], text
    raise Refused(f'"{field}": message {number} has neither role and content nor from and value')


def _source_and_target(value: Mapping[str, Any], settings: FinetuneSettings, normalize: Normalize) -> Example | None:
    names = _pick(value, _SOURCES, settings.fields, ("source", "target"), "")
    source, target = (_text(value, names[role], normalize) for role in ("source", "target"))
    more = names.get("input", "")
    if more in value and value[more] not in (None, ""):
        source = f"{source}\n{_text(value, more, normalize)}"
    if not source.strip() or not target.strip():
        return None
    parts = _parts({**value, "source": source}, settings.template, normalize)
    return Example(parts=parts, choices=[target])


def _question(value: Mapping[str, Any], settings: FinetuneSettings, normalize: Normalize) -> Example | None:
    parts = _parts(value, settings.template, normalize)
    field = _first(value, settings.fields.get("label"), _LABELS, "label")
    label = value[field]
    if settings.verbalizers:
        name = orjson.dumps(label).decode() if isinstance(label, bool | int) else label
        if not isinstance(name, str) or name not in settings.verbalizers:
            raise Refused(f'field "{field}" is {str(label)[:40]!r}, which has no verbalizer in the recipe')
        return Example(
            parts=parts, choices=list(settings.verbalizers.values()), label=list(settings.verbalizers).index(name)
        )
    listed = _first(value, settings.fields.get("choices"), _CHOICES, "list of choices")
    choices = value[listed]
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, str) for choice in choices):
        raise Refused(f'field "{listed}" is no list of texts')
    choices = [normalize(choice) for choice in choices]
    if not all(choice.strip() for choice in choices):
        raise Refused(f'field "{listed}" has an empty choice')
    place = choices.index(normalize(label)) if isinstance(label, str) and normalize(label) in choices else label
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(choices):
        raise Refused(f'field "{field}" is {str(label)[:40]!r}: neither one of the choices nor its number from 0 on')
    return Example(parts=parts, choices=choices, label=place)


def _parts(value: Mapping[str, Any], template: str, normalize: Normalize) -> list[tuple[bool, str] | int]:
    """The template with the fields in their places, cut at its mask.

    White space before the mask goes, as where the original parses it from text (reference section 1.8).
    """
    parts: list[tuple[bool, str] | int] = []
    for number, piece in enumerate(_FIELD.split(template)):
        text = _text(value, piece, normalize) if number % 2 else piece
        last = 0
        for found in _MASK.finditer(text):
            _add(parts, number % 2 == 1, text[last : found.start()])
            parts.append(MASKS.index(found[0]))
            last = found.end()
        _add(parts, number % 2 == 1, text[last:])
    masks = [place for place, part in enumerate(parts) if isinstance(part, int)]
    if len(masks) != 1:
        raise Refused(f"the context has {len(masks)} mask tokens; it needs one, as [MASK]")
    before = masks[0] - 1
    if before >= 0:
        field, text = parts[before]  # type: ignore[misc]  # not a mask, there is but one
        parts[before] = (field, text.rstrip())
    return parts


def _add(parts: list[tuple[bool, str] | int], field: bool, text: str) -> None:
    if text:
        parts.append((field, text))


def _pick(
    value: Mapping[str, Any],
    conventions: tuple[dict[str, str], ...],
    fields: Mapping[Any, str],
    roles: tuple[str, str],
    other: str,
) -> Mapping[str, str]:
    """The fields by role: those of the recipe, or of the first convention that the record has."""
    if any(role in fields for role in roles):
        names = {**dict(zip(roles, roles, strict=True)), **fields}
        missing = [names[role] for role in roles if names[role] not in value]
        if missing:
            raise Refused(f'no field "{missing[0]}"{_there(value)}')
        return names
    for names in conventions:
        if all(names[role] in value for role in roles):
            return {**names, **fields}
    wanted = " and ".join(roles)
    raise Refused(f"no {wanted} under a known name{' ' + other if other else ''}{_there(value)}")


def _first(value: Mapping[str, Any], given: str | None, names: tuple[str, ...], what: str) -> str:
    for name in [given] if given else names:
        if name in value:
            return name
    raise Refused(f'no {what}: no field "{given or names[0]}"{_there(value)}')


def _text(value: Mapping[str, Any], field: str, normalize: Normalize) -> str:
    if field not in value:
        raise Refused(f'no field "{field}"{_there(value)}')
    text = value[field]
    if isinstance(text, int | float) and not isinstance(text, bool):
        return str(text)
    if not isinstance(text, str):
        raise Refused(f'field "{field}" is {json_name(text)}, not a string')
    return normalize(text)


def _there(value: Mapping[str, Any]) -> str:
    names = ", ".join(list(value)[:MAX_NAMED])
    return f"; there are {names[:80]}" if names else ""
