"""Pairs of answers in records: of two answers to the same prompt the one that was preferred, and the other.

Each answer is a text, a message or a list of messages. It stands alone, with its prompt in another field, or ends a
whole dialogue; then both dialogues are the same up to their last message. Pairs that do not differ are left to the
build, which sees their tokens.
"""

import re
from collections.abc import Mapping

from glmdata.corpus.batches import Refused
from glmdata.corpus.dialogues import MESSAGES, history_of, message_of, system_of, what_was_said
from glmdata.corpus.examples import Example
from glmdata.corpus.fields import Fields, Normalize, pick, prompt_of, there_are
from glmdata.corpus.lines import json_name
from glmdata.recipe import FinetuneSettings

__all__ = ["preference"]

_ANSWERS = (
    {"chosen": "chosen", "rejected": "rejected"},
    {"chosen": "response_j", "rejected": "response_k"},
    {"chosen": "output", "rejected": "output"},
)
"""As in most sets; stack-exchange-paired; comparison_gpt4_data, whose `output` is a list of the two."""
_ASKED = (
    {"prompt": "prompt"},
    {"prompt": "instruction", "input": "input"},
    {"prompt": "question"},
    {"prompt": "input"},
    *({"prompt": name} for name in MESSAGES),
)
"""The field with the prompt where the answers stand alone: a text, or a list of messages."""
_SPOKEN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
"""How Anthropic's HH writes a dialogue as one text: `\\n\\nHuman: ...\\n\\nAssistant: ...`."""


def preference(value: Fields, settings: FinetuneSettings, normalize: Normalize) -> Example | None:
    """The pair of a record: its dialogue, whose last response is open, and as choices the chosen and the rejected one.

    None where the prompt or an answer is white space. Raises Refused.
    """
    names = pick(value, _ANSWERS, settings.fields, ("chosen", "rejected"), "")
    asked = _asked(value, settings)
    sides = []
    for told, field in zip(_two(value, names), (names["chosen"], names["rejected"]), strict=True):
        sides.append(_side(told, field, normalize, alone=asked is not None))
    (system, chosen), (other_system, rejected) = sides
    if chosen[:-1] != rejected[:-1] or system != other_system:
        raise Refused(f'"{names["chosen"]}" and "{names["rejected"]}" differ before their last message')
    if len(chosen) > 1:
        said = chosen[:-1]
    elif asked is None:
        raise Refused(f"no prompt under a known name, and the answers are no whole dialogues{there_are(value)}")
    else:
        system, said = _context(value, asked, normalize)
    turns = [*history_of(value, settings, normalize), *zip(said[:-1:2], said[1::2], strict=True)]
    if not all(text.strip() for text in (said[-1], chosen[-1], rejected[-1])):
        return None
    return Example(
        system=system or system_of(value, settings, normalize),
        turns=[*turns, (said[-1], "")],
        first=len(turns),
        choices=[chosen[-1], rejected[-1]],
    )


def _asked(value: Fields, settings: FinetuneSettings) -> dict[str, str] | None:
    """The fields with the prompt, by role; None where the record has none."""
    fields = {str(role): name for role, name in settings.fields.items()}
    given = fields.get("prompt", fields.get("messages"))
    if given is not None:
        return {"prompt": given, **{role: name for role, name in fields.items() if role == "input"}}
    return next(({**names, **fields} for names in _ASKED if names["prompt"] in value), None)


def _two(value: Fields, names: Mapping[str, str]) -> list[object]:
    """What the record has for the chosen answer and for the rejected one; one field may be a list of both."""
    chosen, rejected = names["chosen"], names["rejected"]
    if chosen != rejected:
        return [value[chosen], value[rejected]]
    both = value[chosen]
    if not isinstance(both, list) or len(both) != 2:
        raise Refused(f'field "{chosen}" is no list of two answers, the preferred one first')
    return both


def _side(told: object, field: str, normalize: Normalize, *, alone: bool) -> tuple[str, list[str]]:
    """The system's text, and what was said, the answer last: nothing before it where it stands alone."""
    if isinstance(told, str) and alone:
        return "", [normalize(told)]
    if isinstance(told, str):
        told = _spoken(normalize(told))
        if told is None:
            raise Refused(f'field "{field}" is no dialogue, as "Human: ... Assistant: ...", and no prompt is beside it')
    if isinstance(told, dict):
        told = [told]
    if not isinstance(told, list) or not told:
        raise Refused(f'field "{field}" is {json_name(told)}, neither an answer nor a list of messages')
    role, text = message_of(told[0], field, 0)
    if len(told) == 1 and role == "assistant":
        return "", [normalize(text)]
    system, said = what_was_said(told, field, normalize)
    if len(said) % 2 or not said:
        raise Refused(f'"{field}" does not end with a message of an assistant')
    return system, said


def _context(value: Fields, names: Mapping[str, str], normalize: Normalize) -> tuple[str, list[str]]:
    """The system's text, and what was said before an answer that stands alone, the prompt last."""
    field = names["prompt"]
    messages = value.get(field)
    spoken = _spoken(normalize(messages)) if isinstance(messages, str) else messages
    if not isinstance(spoken, list):
        return "", [prompt_of(value, names, "prompt", normalize)]
    if isinstance(messages, str) and not spoken[-1]["content"]:  # "Human: ...\n\nAssistant:", the answer to come
        spoken.pop()
    system, said = what_was_said(spoken, field, normalize)
    if not len(said) % 2:
        raise Refused(f'"{field}" does not end with a message of a user')
    return system, said


def _spoken(text: str) -> list[dict[str, str]] | None:
    """The messages of a dialogue that is written as one text; None where it is none."""
    first = _SPOKEN.match(text)
    if first is None:
        return None
    parts = _SPOKEN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": said.strip()} for who, said in zip(parts[1::2], parts[2::2], strict=True)]
