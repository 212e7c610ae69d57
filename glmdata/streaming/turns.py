"""How several sources take turns by weight: a short table that repeats for ever, exact every time it ends.

Position p of the mix is in slot p % period of cycle p // period; the slot names the source, and which of the source's
samples of that cycle it is. So each source's own position follows from p, and nothing is counted along.
"""

import math
import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glmdata.errors import ConfigError

__all__ = ["MAX_PERIOD", "Turns", "counts_of", "take_turns_evenly"]

MAX_PERIOD = 10_000
"""Longest table: 40 ms to make for ten sources. Weights of up to four digits fit."""
_SAME = Fraction(1, 100_000)
"""0.142857 is taken for a seventh; `plan` tells the shares as they are."""


class Turns(NamedTuple):
    """The table: how many slots each source has, whose each slot is, and which of that source's slots it is."""

    counts: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]

    @classmethod
    def by_weight(cls, weights: Sequence[Any]) -> "Turns":
        """The table for these weights. Raises ConfigError as `counts_of`."""
        counts = counts_of(weights)
        source = np.array(take_turns_evenly(counts), np.int64)
        place = np.empty_like(source)
        for number, count in enumerate(counts):
            place[source == number] = np.arange(count)
        return cls(np.array(counts, np.int64), source, place)

    def at(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Sources at positions of any shape, and the positions in those sources' own streams."""
        cycles, slots = np.divmod(positions, len(self.source))
        sources = self.source[slots]
        return sources, cycles * self.counts[sources] + self.place[slots]

    def taken(self, position: int) -> list[int]:
        """How many samples of each source stand before a position."""
        cycles, slot = divmod(position, len(self.source))
        begun = np.bincount(self.source[:slot], minlength=len(self.counts))
        return [cycles * count + more for count, more in zip(self.counts.tolist(), begun.tolist(), strict=True)]


def counts_of(weights: Sequence[Any]) -> list[int]:
    """The smallest whole numbers in the ratio of the weights: integers, fractions, or decimals such as 0.7.

    Raises ConfigError where a weight is not above 0, or the numbers' sum exceeds MAX_PERIOD.
    """
    exact = [_fraction(weight) for weight in weights]
    if not exact:
        raise ConfigError("a mix needs at least one build")
    shares = [weight / sum(exact) for weight in exact]
    near = [share.limit_denominator(MAX_PERIOD) for share in shares]
    if all(abs(rounded - share) <= share * _SAME for rounded, share in zip(near, shares, strict=True)):
        shares = near
    scale = math.lcm(*(share.denominator for share in shares))
    whole = [int(share * scale) for share in shares]
    divisor = math.gcd(*whole)
    counts = [number // divisor for number in whole]
    if sum(counts) > MAX_PERIOD:
        raise ConfigError(
            f"weights {', '.join(map(str, weights))} repeat after {sum(counts):,} samples, at most {MAX_PERIOD:,} are "
            "allowed; round them, for example to whole percent"
        )
    return counts


def take_turns_evenly(counts: Sequence[int]) -> list[int]:
    """Whose turn it is in each slot; in every prefix each source is less than one slot from its share.

    The rule by which builds of several languages interleave their rows (`glmdata.balance`; R. Tijdeman, The chairman
    assignment problem, 1980), for turns of one size and without its compiled kernel, which training need not load.
    """
    period, parts = sum(counts), max(1, 2 * len(counts) - 2)
    given, order = [0] * len(counts), list[int]()
    for slot in range(period):
        due = -1
        for source, count in enumerate(counts):
            if given[source] == count or parts * (count * (slot + 1) - given[source] * period) < period:
                continue
            deadline = parts * given[source] + parts - 1
            if due < 0 or deadline * counts[due] < (parts * given[due] + parts - 1) * count:
                due = source
        given[due] += 1
        order.append(due)
    return order


def _fraction(weight: Any) -> Fraction:
    try:
        whole = isinstance(weight, numbers.Integral) and not isinstance(weight, bool)
        exact = Fraction(int(weight) if whole else -1 if isinstance(weight, bool) else weight)
    except (TypeError, ValueError, OverflowError):
        exact = Fraction(-1)
    if exact <= 0:
        raise ConfigError(f"weights must be numbers above 0, found {weight!r}")
    return exact
