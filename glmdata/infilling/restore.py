"""A finished row back to its text: the spans put back where their mask tokens stand."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Restored", "restore"]


class Restored(NamedTuple):
    """The unmasked row.

    tokens: int64[n]; spans: int64[k, 2], half-open places in `tokens`, in text order; order: int64[k], which of them
    stands first, second, ... in Part B.
    """

    tokens: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]


def restore(
    input_ids: npt.NDArray[Any],
    position_ids: npt.NDArray[Any],
    block_position_ids: npt.NDArray[Any],
    context_length: int,
    length: int,
) -> Restored:
    """Undo `lay_out` for one row of `length` real tokens.

    Example: input a [M] d | sop b c, positions 0 1 2 1 1 1, block positions 0 0 0 1 2 3 -> a b c d, span [1, 3).
    """
    ids = np.asarray(input_ids[:length]).astype(np.int64)
    starts = np.flatnonzero(np.asarray(block_position_ids[context_length:length]) == 1) + context_length
    stops = np.append(starts[1:], length)
    masks = np.asarray(position_ids)[starts].astype(np.int64)
    in_text = np.argsort(masks, kind="stable")
    parts, spans, size, last = list[npt.NDArray[np.int64]](), list[tuple[int, int]](), 0, 0
    for span in in_text:
        before = ids[last : masks[span]]
        inside = ids[starts[span] + 1 : stops[span]]
        parts += [before, inside]
        size += len(before)
        spans.append((size, size + len(inside)))
        size += len(inside)
        last = int(masks[span]) + 1
    parts.append(ids[last:context_length])
    return Restored(np.concatenate(parts), np.array(spans, np.int64).reshape(-1, 2), np.argsort(in_text, kind="stable"))
