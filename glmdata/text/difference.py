"""In what two texts differ, for a person to read: by lines first, then by words and Han characters inside what changed.

1. Equal items at both ends are passed over; items that stand once in both texts are anchors, and the longest chain of
   them in the same order in both cuts the rest into gaps (patience diff, Cohen 2009). That much is O(n log n).
2. A small gap goes to `difflib`, whose time is quadratic and worse; a large one, or any once WORK is used up, is shown
   as wholly replaced. Two unlike halves of a novel, 268,000 characters each, took 0.4 s.
3. What differs by lines is compared again by units in the same way. Equal units between two changes that are longer
   than they are counted as changed: three sentences that share nothing but 的 are not interleaved.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

__all__ = ["Kind", "Piece", "compare", "rows", "split_units"]

Kind = Literal["=", "-", "+"]

POPULAR_FROM = 200
"""Items of the second side from which on difflib passes over items that make up more than 1 % of it."""
GAP, SMALL_GAP = 1 << 20, 1 << 16
"""Product of the lengths of the two sides up to which a gap goes to difflib, with and without that: 1024 items against
1024 took 9 ms at worst with it; 328 against 198 of two periods took 150 ms without."""
POPULAR_COST = 8
WORK = 1 << 27
"""What difflib may do in the comparison of lines, and in those of units: the product of a gap's sides times the shorter
one, to which its time is in proportion at worst (1.2 s for 10^8), or times POPULAR_COST where items are passed over."""

_HAN_AND_KANA = "\u3005-\u3007\u3021-\u303c\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNITS = re.compile(rf"[{_HAN_AND_KANA}]|(?:(?![{_HAN_AND_KANA}])[\w\u0300-\u036f])+|\n|[^\S\n]+|.", re.DOTALL)
_LINES = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch that both texts have ("="), only the first has ("-"), or only the second has ("+"). Never empty."""

    kind: Kind
    text: str


_Span = tuple[bool, int, int, int, int]  # equal, start and end in a, start and end in b


def compare(a: str, b: str) -> list[Piece]:
    """The pieces that make both texts: without "+" they join to `a`, without "-" to `b`.

    Neighbours are of unlike kinds, and where both stand at one place "-" comes before "+".
    """
    before, after = _LINES.findall(a), _LINES.findall(b)
    matcher, units = _Matcher(), _Matcher()
    pieces: list[Piece] = []
    for equal, a0, a1, b0, b1 in matcher.spans(before, after):
        gone, come = "".join(before[a0:a1]), "".join(after[b0:b1])
        pieces += [Piece("=", gone)] if equal else _by_units(units, gone, come)
    return _joined(pieces)


def split_units(text: str) -> list[str]:
    """Words, single Han and kana characters, white space, single marks; joined they are the text."""
    return _UNITS.findall(text)


def rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces in the rows of a side-by-side view: a row ends where both texts have the same end of line.

    A changed piece may hold line ends of its own; an equal one holds none but at its end.
    """
    found: list[list[Piece]] = [[]]
    for piece in pieces:
        for line in _LINES.findall(piece.text) if piece.kind == "=" else [piece.text]:
            found[-1].append(Piece(piece.kind, line))
            if piece.kind == "=" and line.endswith("\n"):
                found.append([])
    return [row for row in found if row]


def _by_units(matcher: "_Matcher", a: str, b: str) -> list[Piece]:
    """Pieces of two texts that differ."""
    before, after = split_units(a), split_units(b)
    pieces: list[Piece] = []
    for equal, a0, a1, b0, b1 in matcher.spans(before, after):
        gone, come = "".join(before[a0:a1]), "".join(after[b0:b1])
        pieces += [Piece("=", gone)] if equal else [p for p in (Piece("-", gone), Piece("+", come)) if p.text]
    return _without_crumbs(pieces)


def _without_crumbs(pieces: Sequence[Piece]) -> list[Piece]:
    """Equal pieces that are no longer than the changes on both sides of them become changes; line ends stay."""
    kept: list[Piece] = []
    sizes = [len(piece.text) for piece in pieces]
    for at, piece in enumerate(pieces):
        if piece.kind == "=" and "\n" not in piece.text:
            left = max((sizes[i] for i in range(max(0, at - 2), at) if _touches(pieces, i, at)), default=0)
            right = max(
                (sizes[i] for i in range(at + 1, min(len(sizes), at + 3)) if _touches(pieces, at, i)), default=0
            )
            if sizes[at] <= min(left, right):
                kept += [Piece("-", piece.text), Piece("+", piece.text)]
                continue
        kept.append(piece)
    return kept


def _touches(pieces: Sequence[Piece], first: int, last: int) -> bool:
    """Whether only changes stand between an equal piece and a change, which is one itself."""
    kinds = [pieces[i].kind for i in range(first, last + 1)]
    return kinds.count("=") == 1


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbouring changes as one "-" and one "+", neighbouring equal pieces as one."""
    found: list[Piece] = []
    parts: dict[Kind, list[str]] = {"=": [], "-": [], "+": []}

    def close() -> None:
        for kind, texts in parts.items():
            if texts:
                found.append(Piece(kind, "".join(texts)))
                texts.clear()

    for piece in pieces:
        if (piece.kind == "=") != bool(parts["="]):
            close()
        parts[piece.kind].append(piece.text)
    close()
    return found


class _Matcher:
    """Equal and unequal spans of two sequences; what difflib may still do is counted over all calls."""

    def __init__(self) -> None:
        self._left = WORK

    def spans(self, a: Sequence[str], b: Sequence[str]) -> Iterator[_Span]:
        """Spans in order, all items of both sequences among them."""
        a0 = b0 = 0
        for a1, b1 in (*_anchors(a, b), (len(a), len(b))):
            yield from self._gap(a, b, a0, a1, b0, b1)
            if a1 < len(a):
                yield True, a1, a1 + 1, b1, b1 + 1
            a0, b0 = a1 + 1, b1 + 1

    def _gap(self, a: Sequence[str], b: Sequence[str], a0: int, a1: int, b0: int, b1: int) -> Iterator[_Span]:
        head = 0
        while head < min(a1 - a0, b1 - b0) and a[a0 + head] == b[b0 + head]:
            head += 1
        tail = 0
        while tail < min(a1 - a0, b1 - b0) - head and a[a1 - 1 - tail] == b[b1 - 1 - tail]:
            tail += 1
        if head:
            yield True, a0, a0 + head, b0, b0 + head
        a0, b0, product = a0 + head, b0 + head, (a1 - a0 - head - tail) * (b1 - b0 - head - tail)
        popular = b1 - tail - b0 >= POPULAR_FROM
        work = product * (POPULAR_COST if popular else min(a1 - tail - a0, b1 - tail - b0))
        if 0 < product <= (GAP if popular else SMALL_GAP) and work <= self._left:
            self._left -= work
            matcher = SequenceMatcher(None, a[a0 : a1 - tail], b[b0 : b1 - tail])
            for tag, i0, i1, j0, j1 in matcher.get_opcodes():
                yield tag == "equal", a0 + i0, a0 + i1, b0 + j0, b0 + j1
        elif a1 - a0 > tail or b1 - b0 > tail:
            yield False, a0, a1 - tail, b0, b1 - tail
        if tail:
            yield True, a1 - tail, a1, b1 - tail, b1


def _anchors(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Places of items that stand once in each, the longest chain that rises in both."""
    once_a, once_b = Counter(a), Counter(b)
    places = {item: place for place, item in enumerate(b) if once_b[item] == 1}
    pairs = [(place, places[item]) for place, item in enumerate(a) if once_a[item] == 1 and item in places]
    # Longest increasing subsequence by patience sorting: tops[k] is the least last place of a chain of k + 1.
    tops: list[int] = []
    ends: list[int] = []
    back: list[int] = []
    for at, (_, place) in enumerate(pairs):
        pile = bisect_left(tops, place)
        back.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1], ends[pile : pile + 1] = [place], [at]
    chain = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chain.append(pairs[at])
        at = back[at]
    return chain[::-1]
