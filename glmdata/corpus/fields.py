"""Fields of records, by name: found, told of where they are missing, and read as text."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from glmdata.corpus.batches import Refused
from glmdata.corpus.lines import json_name

__all__ = ["Fields", "Normalize", "first_of", "pick", "prompt_of", "text_of", "there_are"]

Fields: TypeAlias = Mapping[str, Any]
"""A record: an object of JSON, or a row of a table."""
Normalize: TypeAlias = Callable[[str], str]
MAX_NAMED = 5


def pick(
    value: Fields,
    conventions: tuple[dict[str, str], ...],
    fields: Mapping[Any, str],
    roles: tuple[str, ...],
    other: str,
) -> Mapping[str, str]:
    """The fields by role: those of the recipe, or of the first convention that the record has."""
    if any(role in fields for role in roles):
        names = {**dict(zip(roles, roles, strict=True)), **fields}
        missing = [names[role] for role in roles if names[role] not in value]
        if missing:
            raise Refused(f'no field "{missing[0]}"{there_are(value)}')
        return names
    for names in conventions:
        if all(names[role] in value for role in roles):
            return {**names, **fields}
    wanted = " and ".join(roles)
    raise Refused(f"no {wanted} under a known name{' ' + other if other else ''}{there_are(value)}")


def first_of(value: Fields, given: str | None, names: tuple[str, ...], what: str) -> str:
    """The field that the recipe gives, or the first of `names` that the record has; `what` it holds."""
    for name in [given] if given else names:
        if name in value:
            return name
    raise Refused(f'no {what}: no field "{given or names[0]}"{there_are(value)}')


def text_of(value: Fields, field: str, normalize: Normalize) -> str:
    """A field's text, normalised; a number as it is written."""
    if field not in value:
        raise Refused(f'no field "{field}"{there_are(value)}')
    text = value[field]
    if isinstance(text, int | float) and not isinstance(text, bool):
        return str(text)
    if not isinstance(text, str):
        raise Refused(f'field "{field}" is {json_name(text)}, not a string')
    return normalize(text)


def prompt_of(value: Fields, names: Mapping[str, str], role: str, normalize: Normalize) -> str:
    """The text of `role`, and below it that of role `input` where the record has some."""
    prompt, more = text_of(value, names[role], normalize), names.get("input", "")
    if more in value and value[more] not in (None, ""):
        prompt = f"{prompt}\n{text_of(value, more, normalize)}"
    return prompt


def there_are(value: Fields) -> str:
    """What fields the record has, as the end of a reason."""
    names = ", ".join(list(value)[:MAX_NAMED])
    return f"; there are {names[:80]}" if names else ""
