"""Languages and sources of a build: records that came in, documents and tokens that were kept, by its ledger.

The ledger is read file by file; what is kept in memory are some thousand names at most.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from glmdata.ledger import Ledger

__all__ = ["OTHERS", "UNKNOWN", "LedgerShares", "Tally", "count_shares", "fold_sources"]

MAX_NAMES = 4096
"""Sources held apart while counting; more are folded into the folders above them."""
MAX_SOURCES = 12
"""Sources told of."""
OTHERS = "others"
UNKNOWN = "unknown"
"""The language of what could not be read."""


@dataclass(slots=True)
class Tally:
    """Of the records of one language or source."""

    records: int = 0
    tokens: int = 0
    """In the samples."""
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> int:
        """Documents in the samples."""
        return self.outcomes["kept"]

    def add(self, other: "Tally") -> None:
        """Count the records of another one too."""
        self.records += other.records
        self.tokens += other.tokens
        self.outcomes.update(other.outcomes)

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"records": self.records, "tokens": self.tokens, "outcomes": dict(sorted(self.outcomes.items()))}


@dataclass(frozen=True, slots=True)
class LedgerShares:
    """Tallies, those of most records first."""

    languages: dict[str, Tally]
    sources: dict[str, Tally]
    """By file, or by folder where there are many files."""


def count_shares(ledger: Ledger) -> LedgerShares:
    """Read the ledger. Raises ShardError, ShardCorruptError where a file of it is missing or damaged."""
    languages: dict[str, Tally] = {}
    sources: dict[str, Tally] = {}
    depth = 1 << 30
    for table in ledger.tables(["uri", "language", "outcome", "tokens"]):
        grouped = table.group_by(["uri", "language", "outcome"]).aggregate([("tokens", "sum"), ("tokens", "count")])
        for row in grouped.to_pylist():
            kept = row["outcome"] == "kept"
            records = row["tokens_count"]
            one = Tally(records, row["tokens_sum"] if kept else 0, Counter({row["outcome"]: records}))
            languages.setdefault(row["language"] or UNKNOWN, Tally()).add(one)
            sources.setdefault(_above(row["uri"], depth), Tally()).add(one)
        while len(sources) > MAX_NAMES and depth > 1:
            depth = min(depth, max(name.count("/") + 1 for name in sources)) - 1
            sources = _folded(sources, depth)
    return LedgerShares(_most_first(languages), fold_sources(sources))


def fold_sources(sources: Mapping[str, Tally]) -> dict[str, Tally]:
    """Files in the folders above them until there are few; what is then still too much is one, `others`."""
    found = dict(sources)
    depth = max((name.count("/") + 1 for name in found), default=1)
    while len(found) > MAX_SOURCES and depth > 1:
        depth -= 1
        found = _folded(found, depth)
    ordered = _most_first(found)
    if len(ordered) <= MAX_SOURCES:
        return ordered
    names = list(ordered)
    rest = Tally()
    for name in names[MAX_SOURCES - 1 :]:
        rest.add(ordered[name])
    return {name: ordered[name] for name in names[: MAX_SOURCES - 1]} | {OTHERS: rest}


def _above(name: str, depth: int) -> str:
    """A file or folder (its name ends in /), or the folder of `depth` parts that it lies in."""
    parts = name.split("/")
    return name if len(parts) <= depth or (len(parts) == depth + 1 and not parts[-1]) else "/".join(parts[:depth]) + "/"


def _folded(sources: Mapping[str, Tally], depth: int) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for name, tally in sources.items():
        found.setdefault(_above(name, depth), Tally()).add(tally)
    return found


def _most_first(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
    return dict(sorted(tallies.items(), key=lambda item: (-item[1].records, item[0])))
