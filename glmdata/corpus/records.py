"""Records of fine-tuning data: from a JSON object, or a row of a table, to what a row is made of.

A record is put into one plain form, told by `Example`, which is what travels through a build as the record's text. The
fields are those that the recipe names, or else the first of the task's conventions that a record has whole; they are
here and in `dialogues` and `preferences`. What fits none is refused with a reason; what has no prompt or no answer is
empty.
"""

import re

import orjson

from glmdata.corpus.batches import Convert, Refused
from glmdata.corpus.dialogues import PROMPTS, dialogue
from glmdata.corpus.examples import MASKS, Example, parse_example, plain_text
from glmdata.corpus.fields import Fields, Normalize, first_of, pick, prompt_of, text_of
from glmdata.corpus.lines import json_name
from glmdata.corpus.preferences import preference
from glmdata.recipe import FinetuneSettings

__all__ = ["converter", "example_of", "readable"]

_SOURCES = (
    {"source": "source", "target": "target"},
    {"source": "article", "target": "highlights"},
    {"source": "document", "target": "summary"},
    {"source": "content", "target": "summary"},
    {"source": "text", "target": "summary"},
    *({"source": names["prompt"], "target": names["response"]} for names in PROMPTS),
)
_CHOICES, _LABELS = ("choices", "candidates", "options"), ("label", "answer")
_FIELD = re.compile(r"\{(\w+)\}")
_MASK = re.compile("|".join(map(re.escape, MASKS)))


def example_of(value: object, settings: FinetuneSettings, normalize: Normalize) -> str:
    """The record in plain form, "" where it has no prompt or no answer. Raises Refused."""
    if not isinstance(value, dict):
        raise Refused(f"not an object with fields but {json_name(value)}")
    read = {"sft": dialogue, "preference": preference, "seq2seq": _source_and_target, "cloze": _question}
    example = read[settings.task](value, settings, normalize)
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


def _source_and_target(value: Fields, settings: FinetuneSettings, normalize: Normalize) -> Example | None:
    names = pick(value, _SOURCES, settings.fields, ("source", "target"), "")
    source, target = prompt_of(value, names, "source", normalize), text_of(value, names["target"], normalize)
    if not source.strip() or not target.strip():
        return None
    parts = _parts({**value, "source": source}, settings.template, normalize)
    return Example(parts=parts, choices=[target])


def _question(value: Fields, settings: FinetuneSettings, normalize: Normalize) -> Example | None:
    parts = _parts(value, settings.template, normalize)
    field = first_of(value, settings.fields.get("label"), _LABELS, "label")
    label = value[field]
    if settings.verbalizers:
        name = orjson.dumps(label).decode() if isinstance(label, bool | int) else label
        if not isinstance(name, str) or name not in settings.verbalizers:
            raise Refused(f'field "{field}" is {str(label)[:40]!r}, which has no verbalizer in the recipe')
        return Example(
            parts=parts, choices=list(settings.verbalizers.values()), label=list(settings.verbalizers).index(name)
        )
    listed = first_of(value, settings.fields.get("choices"), _CHOICES, "list of choices")
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


def _parts(value: Fields, template: str, normalize: Normalize) -> list[tuple[bool, str] | int]:
    """The template with the fields in their places, cut at its mask.

    White space before the mask goes, as where the original parses it from text (reference section 1.8).
    """
    parts: list[tuple[bool, str] | int] = []
    for number, piece in enumerate(_FIELD.split(template)):
        text = text_of(value, piece, normalize) if number % 2 else piece
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
