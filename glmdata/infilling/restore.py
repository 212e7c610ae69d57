"""A finished row back to its text: the spans put back where their mask tokens stand.

A span's tokens are what its places predict, eop left out: inputs may be corrupted, and an open suffix has its last
token as a target only. So rows of every style can be undone.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glmdata.infilling.segments import split_segments
from glmdata.infilling.style import Style

__all__ = ["Restored", "restore"]


class Restored(NamedTuple):
    """The unmasked row.

    tokens: int64[n]; spans: int64[k, 2], half-open places in `tokens`, in text order; order: int64[k], which of them
    stands first, second, ... in Part B.
    """

    tokens: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]


def restore(row: Mapping[str, Any], style: Style) -> Restored:
    """Undo `finish_row`; `row` has the columns of a shard by name, arrays [L] and integers.

    Example: input a [M] d | sop b c, targets a [M] d | b c eop, positions 0 1 2 1 1 1 -> a b c d, span [1, 3).
    Segments are restored one by one and joined; `order` is then that of the first, of the second, and so on.
    """
    parts, tokens, spans = list[Restored](), 0, 0
    for sample in split_segments(row, style):
        part = _restore(sample, style)
        parts.append(Restored(part.tokens, part.spans + tokens, part.order + spans))
        tokens, spans = tokens + len(part.tokens), spans + len(part.order)
    return Restored(*(np.concatenate(joined) for joined in zip(*parts, strict=True)))


def _restore(sample: Mapping[str, Any], style: Style) -> Restored:
    context, length = int(sample["context_length"]), int(sample["length"])
    ids, targets, positions = (
        np.asarray(sample[name][:length]).astype(np.int64) for name in ("input_ids", "target_ids", "position_ids")
    )
    starts = np.flatnonzero(np.isin(ids[context:], style.all_sop_ids())) + context
    stops = np.append(starts[1:], length)
    masks = _sentinel_places(ids[:context], len(starts), style) if style.sentinels else positions[starts] - positions[0]
    in_text = np.argsort(masks, kind="stable")
    parts, spans, size, last = list[npt.NDArray[np.int64]](), list[tuple[int, int]](), 0, 0
    for span in in_text:
        before = ids[last : masks[span]]
        inside = targets[starts[span] : stops[span]]
        if len(inside) and inside[-1] == style.eop:
            inside = inside[:-1]
        parts += [before, inside]
        size += len(before)
        spans.append((size, size + len(inside)))
        size += len(inside)
        last = int(masks[span]) + 1
    parts.append(ids[last:context])
    return Restored(np.concatenate(parts), np.array(spans, np.int64).reshape(-1, 2), np.argsort(in_text, kind="stable"))


def _sentinel_places(part_a: npt.NDArray[np.int64], spans: int, style: Style) -> npt.NDArray[np.int64]:
    """Where the mask tokens of the first, second, ... span of Part B stand."""
    plain = np.flatnonzero(np.isin(part_a, style.mask_ids))[:1]
    own = [np.flatnonzero(part_a == style.first_sentinel + 2 * place)[:1] for place in range(spans - 1)]
    return np.concatenate([plain, *own])
