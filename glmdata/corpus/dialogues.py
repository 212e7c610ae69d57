"""Dialogues in records: a prompt with its response and history, or a list of messages."""

from collections.abc import Iterator
from typing import Any

from glmdata.corpus.batches import Refused
from glmdata.corpus.examples import Example
from glmdata.corpus.fields import Fields, Normalize, first_of, pick, prompt_of, text_of
from glmdata.corpus.lines import json_name
from glmdata.recipe import FinetuneSettings

__all__ = ["MESSAGES", "PROMPTS", "dialogue", "history_of", "message_of", "system_of", "what_was_said"]

PROMPTS = (
    {"prompt": "prompt", "response": "response"},
    {"prompt": "instruction", "input": "input", "response": "output"},
    {"prompt": "content", "response": "summary"},
    {"prompt": "question", "response": "answer"},
    {"prompt": "input", "response": "output"},
)
"""Dialogues of one prompt, or with `history`: as in many sets; Alpaca; ChatGLM-6B's ptuning; question and answer."""
MESSAGES = ("messages", "conversations", "conversation")
"""Lists of messages: OpenAI's {role, content}, ShareGPT's {from, value}."""
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
    "system": "system",
}


def dialogue(value: Fields, settings: FinetuneSettings, normalize: Normalize) -> Example | None:
    """The dialogue of a record, None where its prompt or its response is white space. Raises Refused."""
    fields = settings.fields
    if "messages" in fields:
        listed = first_of(value, fields["messages"], (), "list of messages")
        return _messages(value[listed], listed, normalize)
    listed = next((name for name in MESSAGES if name in value), "")
    if listed and "prompt" not in fields and "response" not in fields:
        return _messages(value[listed], listed, normalize)
    names = pick(value, PROMPTS, fields, ("prompt", "response"), f"or a list {', '.join(MESSAGES[:2])}")
    prompt, response = prompt_of(value, names, "prompt", normalize), text_of(value, names["response"], normalize)
    turns = history_of(value, settings, normalize)
    if not prompt.strip() or not response.strip():
        return None
    system = system_of(value, settings, normalize)
    return Example(system=system, turns=[*turns, (prompt, response)], first=len(turns))


def system_of(value: Fields, settings: FinetuneSettings, normalize: Normalize) -> str:
    """The text in the record's field for the system, "" where it has none."""
    field = settings.fields.get("system", "system")
    return text_of(value, field, normalize) if value.get(field) is not None else ""


def history_of(value: Fields, settings: FinetuneSettings, normalize: Normalize) -> list[tuple[str, str]]:
    """The rounds before a record's prompt."""
    field = settings.fields.get("history", "history")
    return list(_rounds(value.get(field), field, normalize))


def _rounds(value: object, field: str, normalize: Normalize) -> Iterator[tuple[str, str]]:
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
    system, said = what_was_said(value, field, normalize)
    turns = list(zip(said[::2], said[1::2], strict=False))
    if not turns and not said:
        return None
    if not turns:
        raise Refused(f'"{field}" has no message of an assistant')
    return Example(system=system, turns=turns)


def what_was_said(value: object, field: str, normalize: Normalize) -> tuple[str, list[str]]:
    """The system's text, and what user and assistant said in turns, the user first. Raises Refused."""
    if not isinstance(value, list):
        raise Refused(f'field "{field}" is {json_name(value)}, not a list of messages')
    system, said = "", list[str]()
    for number, message in enumerate(value):
        role, text = message_of(message, field, number)
        text = normalize(text)
        if role == "system" and number == 0:
            system = text
        elif role != ("assistant" if len(said) % 2 else "user"):
            raise Refused(f'"{field}": message {number} is of {role}, where one of the other side belongs')
        elif not text.strip():
            raise Refused(f'"{field}": message {number} is empty')
        else:
            said.append(text)
    return system, said


def message_of(message: Any, field: str, number: int) -> tuple[str, str]:
    """Role, as user, assistant or system, and text of a message. Raises Refused."""
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
