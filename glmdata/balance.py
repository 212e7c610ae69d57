"""Language quotas, and the order in which the languages take turns."""

import fnmatch
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from glmdata.errors import InputError
from glmdata.kernels import njit

__all__ = ["copies_of", "quotas", "require_languages", "source_weight", "take_turns"]


def source_weight(uri: str, weights: Mapping[str, float]) -> float:
    """The weight of a file: that of the longest pattern it matches, of equally long ones the last by alphabet; or 1."""
    matching = [pattern for pattern in weights if fnmatch.fnmatchcase(uri, pattern)]
    return weights[max(matching, key=lambda pattern: (len(pattern), pattern))] if matching else 1.0


def copies_of(weights: npt.NDArray[np.float64], draws: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """How often each document is there: its weight, rounded down or up so that the expectation is kept.

    Args: weights: float64[n]. draws: uint64[n], uniform; one that is drawn at a weight is drawn at every higher one.
    """
    whole = np.floor(weights)
    threshold = (weights - whole) * 2.0**64  # exact: a fraction has 53 bits
    return whole.astype(np.int64) + (draws < threshold.astype(np.uint64))


def quotas(
    there: Mapping[str, int], weights: Mapping[str, float], strategy: str, max_repeats: int = 1
) -> dict[str, int]:
    """How much of each language the build takes.

    Args:
        there: tokens there are, by language.
        weights: the wanted ratio, e.g. {"zh": 1, "en": 1}.
        strategy: "downsample": the scarcest language, by its weight, is taken whole, the others as the ratio asks;
            "upsample": the richest is taken whole and the others repeated as the ratio asks; where that would repeat
            one more than `max_repeats` times, it is taken just so often, and the others as the ratio asks;
            "off": everything once.
        max_repeats: how often "upsample" takes a text at most; with 1 it is "downsample".

    Returns:
        Tokens, by language; more than there are where a language is repeated.

    Raises InputError where nothing is left, or a wanted language has no tokens, since no ratio can then be kept.
    """
    require_languages(there, weights, strategy)
    if strategy == "off":
        return {code: there[code] for code in weights}
    most = max_repeats if strategy == "upsample" else 1
    order = sorted(weights, key=lambda code: (there[code] / weights[code], code))
    scarce, rich = order[0], order[-1]
    whole, amount = scarce, most * there[scarce]
    if amount / weights[scarce] > there[rich] / weights[rich]:
        whole, amount = rich, there[rich]
    scale = amount / weights[whole]
    return {
        code: amount if code == whole else min(most * there[code], int(scale * weight))
        for code, weight in weights.items()
    }


def require_languages(there: Mapping[str, int], weights: Mapping[str, float], strategy: str) -> None:
    """Raise InputError where nothing is left, or a wanted language has nothing and a ratio is asked for.

    `there` are tokens, or bytes of text, by language.
    """
    missing = [code for code in weights if not there[code]]
    if len(missing) == len(weights):
        raise InputError(f"no document of {' or '.join(weights)} is left; nothing can be built from this corpus")
    if missing and strategy != "off":
        raise InputError(
            f"no document of {' and '.join(missing)} is left to balance; add some, change balance.languages, or set "
            "balance.strategy=off (and pass --fresh)"
        )


def take_turns(row_tokens: Sequence[npt.NDArray[np.int32]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Interleave the rows of several languages: always the one furthest behind its share, in cumulative tokens.

    Of two languages that is the one that has given less of its tokens. Of more it would leave a large one behind by
    a row for each small one (2.7 rows with four); then rows have deadlines instead, after R. Tijdeman, The chairman
    assignment problem, 1980: with rows of equal length no language is ever a whole one ahead of or behind its share.

    Args:
        row_tokens: for each language, the text tokens of its rows, in their order.

    Returns:
        Language and row index of each row of the mixed order.
    """
    counts = [len(tokens) for tokens in row_tokens]
    languages = np.repeat(np.arange(len(row_tokens)), counts)
    rows = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    there = [place for place, count in enumerate(counts) if count]
    if len(there) > 2:
        tokens = np.concatenate([row_tokens[place] for place in there]).astype(np.int64)
        order = _by_deadline(tokens, np.cumsum([0, *(counts[place] for place in there)], dtype=np.int64))
    else:
        behind = [(np.cumsum(t, dtype=np.int64) - t) / max(1, int(t.sum(dtype=np.int64))) for t in row_tokens]
        order = np.lexsort((rows, languages, np.concatenate(behind)))
    return languages[order], rows[order]


@njit(nogil=True, cache=True)
def _by_deadline(tokens, offsets):  # type: ignore[no-untyped-def]
    """The order of rows, int64[rows]: of the languages that may go next the one whose row is due first.

    N languages; language i has the rows [offsets[i], offsets[i + 1]). With T of all S tokens, g given and G given by
    all, its next row of t tokens may go as soon as T/S (G + t) >= g + d t, d = 1 / (2N - 2), and is due before
    T/S G > g + (1 - d) t. In integers, so that no rounding decides.
    """
    count = len(offsets) - 1
    parts = 2 * count - 2
    totals, given = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for language in range(count):
        totals[language] = tokens[offsets[language] : offsets[language + 1]].sum()
    everything, given_by_all = totals.sum(), 0
    following = offsets[:-1].copy()
    order = np.empty(len(tokens), np.int64)
    for place in range(len(tokens)):
        due, lagging = -1, -1
        first = most = 0
        for language in range(count):
            if following[language] == offsets[language + 1]:
                continue
            size = tokens[following[language]]
            behind = totals[language] * (given_by_all + size) - given[language] * everything
            deadline = parts * given[language] + (parts - 1) * size
            if lagging < 0 or behind > most:
                lagging, most = language, behind
            if parts * behind >= size * everything and (due < 0 or deadline * totals[due] < first * totals[language]):
                due, first = language, deadline
        chosen = due if due >= 0 else lagging
        order[place] = following[chosen]
        given[chosen] += tokens[following[chosen]]
        given_by_all += tokens[following[chosen]]
        following[chosen] += 1
    return order
