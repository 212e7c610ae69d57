"""Beam search for one blank.

Continuations are kept side by side as rows of a Reader. One that ends (eop, eos, or the limit) gets the score
sum of log probabilities / length^length_penalty, its end counted in the length. The search is over when no
continuation that goes on can pass the worst of the `num_beams` best that ended.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from glmdata.model.decoding import Decoding, repeats, scores
from glmdata.model.reading import Reader

__all__ = ["search"]


class _Ended(NamedTuple):
    score: float
    tokens: list[int]
    end: str


def search(
    reader: Reader, decoding: Decoding, limit: int, ends: Mapping[int, str], banned: Tensor
) -> tuple[list[int], str]:
    """The best continuation of a reader of one row and how it ended; the reader has then read on with it.

    Args:
        reader: stands behind a sop.
        decoding: num_beams, length_penalty, no_repeat_ngram.
        limit: tokens that a blank may have.
        ends: tokens that end it, and what they are called.
        banned: int64 [n], tokens that never come.
    """
    width, penalty = decoding.num_beams, decoding.length_penalty
    beams: list[list[int]] = [[]]
    sums = torch.zeros(1, dtype=torch.float64)
    ended: list[_Ended] = []
    start = reader.mark()
    while beams:
        found = scores(reader.logits(), banned, [repeats(tokens, decoding.no_repeat_ngram) for tokens in beams])
        totals = (found.double() + sums[:, None]).flatten()
        # So many that, whatever ends, `width` are left that go on.
        best, places = totals.topk(min(len(totals), (1 + len(ends)) * width))
        chosen: list[tuple[float, int, int]] = []
        for total, place in zip(best.tolist(), places.tolist(), strict=True):
            row, token = divmod(place, found.shape[1])
            if total == -torch.inf or len(chosen) == width:
                break
            if token in ends:
                ended.append(_Ended(total / (len(beams[row]) + 1) ** penalty, beams[row], ends[token]))
            else:
                chosen.append((total, row, token))
        beams = [[*beams[row], token] for _, row, token in chosen]
        sums = torch.tensor([total for total, _, _ in chosen], dtype=torch.float64)
        if beams and len(beams[0]) == limit:
            ended += [
                _Ended(total / limit**penalty, tokens, "length") for total, tokens in zip(sums, beams, strict=True)
            ]
            break
        ended = sorted(ended, key=lambda one: one.score, reverse=True)[:width]
        if not beams or _is_over(ended, width, float(sums[0]), len(beams[0]), limit, penalty):
            break
        reader.select(torch.tensor([row for _, row, _ in chosen]))
        reader.append(torch.tensor([token for _, _, token in chosen]))
    best_one = max(ended, key=lambda one: one.score)
    reader.rewind(start)
    for token in best_one.tokens:
        reader.append(torch.tensor([token]))
    return best_one.tokens, best_one.end


def _is_over(ended: list[_Ended], width: int, best: float, length: int, limit: int, penalty: float) -> bool:
    """Whether none that goes on, of log probability `best` at most, can pass the worst of the best that ended."""
    longest = limit if penalty > 0 else length + 1
    return len(ended) >= width and ended[-1].score >= best / longest**penalty
