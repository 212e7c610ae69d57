"""Records of fine-tuning in the one plain form in which they travel through a build."""

from typing import NamedTuple

import orjson

__all__ = ["MASKS", "Example", "parse_example", "plain_text"]

MASKS = ("[MASK]", "[sMASK]", "[gMASK]")
"""How mask tokens are written in templates and fields; a part of an example that is a number is one of them."""


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
    """The answers one can give; one alone where there are no others. Of a dialogue they take the place of its last
    response: the chosen one and the rejected one."""
    label: int = 0
    """Which of them is right."""


def parse_example(text: str) -> Example:
    """Of what `example_of` wrote."""
    return Example(*orjson.loads(text))


def plain_text(example: Example) -> str:
    """All texts of a record, a line each: what its language is told by, and what `glmdata why` shows."""
    lines = [example.system, *(text for turn in example.turns for text in turn)]
    lines.append("".join(MASKS[part] if isinstance(part, int) else part[1] for part in example.parts))
    return "\n".join(line for line in [*lines, *example.choices] if line)
