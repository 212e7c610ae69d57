"""Two texts side by side in a terminal, what differs in colour or in marks, what is equal mostly left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, get_character_cell_size
from rich.console import Console
from rich.text import Text

from glmdata.cli.render import counted, is_plain, visible
from glmdata.text.difference import Kind, Piece, rows, split_units

__all__ = ["excerpt", "side_by_side"]

CONTEXT = 2
"""Equal lines shown on each side of a changed one."""
EDGE = 60
"""Columns of a long equal stretch shown where it meets a change."""
MAX_CHANGE = 1200
"""Columns of one changed stretch that are shown."""
MAX_ROWS = 200
"""Rows shown; --json has all."""
NARROW = 60
"""Columns below which the two texts stand in one column."""
_STYLES: dict[Kind, str] = {"=": "", "-": "bold red", "+": "bold green"}
_MARKS: dict[Kind, tuple[str, str]] = {"-": ("[-", "-]"), "+": ("{+", "+}")}
_CLOSING = frozenset("，。、；：？！”’）》〉」』】〕…,.;:?!)]}%")
_OPENING = frozenset("“‘（《〈「『【〔([{")
_WHITE = str.maketrans({" ": "·", "\t": "⇥", "\u3000": "□", "\u00a0": "⍽"})


@dataclass(frozen=True, slots=True)
class _Atom:
    """What is not broken between two lines, as long as it fits on one."""

    text: str
    style: str


def side_by_side(console: Console, pieces: Sequence[Piece], left: str, right: str) -> None:
    """Print the pieces of `glmdata.text.difference.compare` under two titles."""
    plain = is_plain(console)
    if console.width < NARROW:
        columns: tuple[tuple[Kind, ...], ...] = (("=", "-", "+"),)
        titles = [f"[-{left}-] {{+{right}+}}" if plain else f"{left} / {right}"]
    else:
        columns, titles = (("=", "-"), ("=", "+")), [left, right]
    width = (console.width - 3 * (len(columns) - 1)) // len(columns)
    _print(console, [[_Atom(unit, "bold") for unit in split_units(title)] for title in titles], width)
    _print(console, [[_Atom("─" * width, "dim")] for _ in columns], width)
    for row in _chosen(rows(pieces)):
        if isinstance(row, str):
            console.print(Text(row, "dim"), soft_wrap=True)
        else:
            _print(console, [_atoms(row, kinds, plain) for kinds in columns], width)


def excerpt(console: Console, text: str, lines: int = 8) -> None:
    """Print the beginning of a text."""
    head = text[: lines * console.width]
    wrapped = list(_wrapped([_Atom(unit, "") for unit in _unbroken(split_units(visible(head)))], console.width))
    for line in wrapped[:lines]:
        console.print(_as_text(line), soft_wrap=True)
    if len(wrapped) > lines or len(head) < len(text):
        console.print(Text(f"… it has {counted(len(text), 'character')} …", "dim"))


def _chosen(table: Sequence[list[Piece]]) -> Iterator[list[Piece] | str]:
    """Changed rows and those around them; in place of the others how many they are."""
    changed = [number for number, row in enumerate(table) if any(piece.kind != "=" for piece in row)]
    near = {number + step for number in changed for step in range(-CONTEXT, CONTEXT + 1)}
    shown, last = 0, -1
    for at in sorted(near & set(range(len(table)))):
        if shown == MAX_ROWS:
            yield f"… {counted(sum(row >= at for row in changed), 'more changed line')}; --json has all of them …"
            return
        if at > last + 1:
            yield _left_out(at - last - 1)
        yield table[at]
        shown, last = shown + 1, at
    if last < len(table) - 1:
        yield _left_out(len(table) - 1 - last)


def _left_out(count: int) -> str:
    return f"… {counted(count, 'equal line')} …"


def _atoms(row: Sequence[Piece], kinds: Sequence[Kind], plain: bool) -> list[_Atom]:
    """One row of one column."""
    whole = all(piece.kind == "=" for piece in row)
    found: list[_Atom] = []
    for at, piece in enumerate(row):
        if piece.kind not in kinds:
            continue
        if piece.kind == "=":
            found += _equal(piece.text.removesuffix("\n"), at == 0 and not whole, at == len(row) - 1 and not whole)
        else:
            found += _changed(piece, plain)
    return [_Atom(atom.text, "dim") for atom in found] if whole else found


def _equal(text: str, first: bool, last: bool) -> list[_Atom]:
    """An equal stretch between changes, its middle left out; its beginning (`first`) or end meets no change."""
    units = _unbroken(split_units(visible(text)))
    head = 0 if first else _reach(units)
    tail = 0 if last else _reach(units[::-1])
    gap = units[head : len(units) - tail]
    if head + tail >= len(units) or cell_len("".join(gap)) <= EDGE:
        return [_Atom(unit, "") for unit in units]
    told = f"… {counted(sum(map(len, gap)), 'equal character')} …"
    start, end = units[:head], units[len(units) - tail :]
    return [_Atom(unit, "") for unit in start] + [_Atom(told, "dim")] + [_Atom(unit, "") for unit in end]


def _reach(units: Sequence[str], columns: int = EDGE) -> int:
    """How many of the units fit in so many columns."""
    used = 0
    for at, unit in enumerate(units):
        used += cell_len(unit)
        if used > columns:
            return at
    return len(units)


def _changed(piece: Piece, plain: bool) -> list[_Atom]:
    """A changed stretch, between marks where there is no colour. White space alone, and ends of lines, are drawn."""
    style = _STYLES[piece.kind]
    head = piece.text[:MAX_CHANGE]
    shown = visible(head if head.strip() else head.translate(_WHITE)).replace("\n", "⏎\n")
    units = _unbroken(split_units(shown))
    units = units[: max(1, _reach(units, MAX_CHANGE))]
    if len(piece.text) > len(head):
        units.append(f" … {counted(len(piece.text) - len(head), 'more character')} … ")
    if plain:
        opening, closing = _MARKS[piece.kind]
        ending = "\n" if units[-1] == "\n" else ""
        units = units[:-1] if ending else units
        units[0], units[-1] = opening + units[0], units[-1] if len(units) > 1 else opening + units[0]
        units[-1] += closing
        units += [ending] if ending else []
    return [_Atom(unit, style) for unit in units]


def _unbroken(units: Sequence[str]) -> list[str]:
    """Units between which a line may be broken: no closing mark begins a line, no opening one ends it."""
    found: list[str] = []
    for unit in units:
        if found and not found[-1].isspace() and (unit in _CLOSING or (found[-1] in _OPENING and unit != "\n")):
            found[-1] += unit
        else:
            found.append(unit)
    return found


def _wrapped(atoms: Sequence[_Atom], width: int) -> Iterator[list[_Atom]]:
    """Lines of at most `width` columns; a Han character takes two."""
    line: list[_Atom] = []
    used = 0
    for atom in atoms:
        if atom.text == "\n":
            yield line
            line, used = [], 0
            continue
        size = cell_len(atom.text)
        if line and used + size > width:
            yield line
            line, used = [], 0
            if atom.text.isspace():
                continue
        rest = atom.text
        while cell_len(rest) > width:
            cut = _fitting(rest, width)
            yield [_Atom(rest[:cut], atom.style)]
            rest = rest[cut:]
        line.append(_Atom(rest, atom.style))
        used += cell_len(rest)
    yield line


def _fitting(text: str, width: int) -> int:
    """How many characters of a text that is too wide fit, at least one."""
    used = 0
    for at, character in enumerate(text):
        used += get_character_cell_size(character)
        if used > width:
            return max(1, at)
    return len(text)


def _print(console: Console, columns: Sequence[Sequence[_Atom]], width: int) -> None:
    """One row: each column wrapped, the shorter ones filled up."""
    cells = [list(_wrapped(atoms, width)) for atoms in columns]
    for number in range(max(map(len, cells))):
        text = Text()
        for place, lines in enumerate(cells):
            line = lines[number] if number < len(lines) else []
            if place:
                text.append(" │ ", "dim")
            text.append_text(_as_text(line))
            if place < len(cells) - 1:
                text.append(" " * (width - sum(cell_len(atom.text) for atom in line)))
        text.rstrip()
        console.print(text, soft_wrap=True)


def _as_text(line: Sequence[_Atom]) -> Text:
    text = Text()
    for atom in line:
        text.append(atom.text, atom.style)
    return text
