"""How the rows of a build look: ids of their special tokens and the reference's variants (section 1.5).

Each variant is a setting of the recipe's section `spans`:

random_positions   random_position: the first row of positions begins anywhere that keeps it below the row's length
block_positions    no_block_position where false: the second row of positions is 1 in all of Part B
sentinels          sentinel_token: spans have mask and sop tokens of their own, and one position behind all others
block_mask_ratio   block_mask_prob: inputs of Part B at token level are replaced by [dBLOCK], targets are not
document_eop       where false a document-level suffix is closed by the text's own eos, not by eop

With `packing: segments` a row is several samples one behind the other, a document each (`apart`): in the row before
masking a segment goes from a cls to the next, in the finished one it has a Part A and a Part B of its own.

Targets are never changed by any of them, so that every row can be unmasked.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from glmdata.recipe import SpanSettings

__all__ = ["Style", "style_of"]

_NO_MASKS = np.zeros(3, np.int64)


class Style(NamedTuple):
    """What kernels need to know; the defaults are the plain layout."""

    sop: int
    eop: int
    cls: int = 0
    eos: int = 0
    pad: int = 0
    dblock: int = 0
    mask_ids: NDArray[np.int64] = _NO_MASKS
    """[3] by objective: [MASK], [sMASK], [gMASK]."""
    block_positions: bool = True
    random_positions: bool = False
    block_mask_ratio: float = 0.0
    sentinels: int = 0
    """Spans that can have tokens of their own beside the first, which has the plain ones; 0 for none."""
    first_sentinel: int = 0
    """Mask id of the second span of Part B, the next id its sop; the third span has the two ids behind, and so on."""
    sentinel_position: int = 0
    apart: bool = False
    """Whether each document of a row is a segment of its own."""

    def all_mask_ids(self) -> list[int]:
        """Ids of mask tokens of any kind."""
        own = range(self.first_sentinel, self.first_sentinel + 2 * self.sentinels, 2)
        return sorted({*self.mask_ids.tolist(), *own})

    def all_sop_ids(self) -> list[int]:
        """Ids of sop tokens."""
        return [self.sop, *range(self.first_sentinel + 1, self.first_sentinel + 2 * self.sentinels, 2)]


def style_of(special: Mapping[str, int], spans: "SpanSettings", sequence_length: int, packing: str = "concat") -> Style:
    """The style of a build: ids by role, as in its manifest, its recipe's settings, row length and packing."""
    return Style(
        sop=special["sop"],
        eop=special["eop"],
        cls=special["cls"],
        eos=special["eos"],
        pad=special["pad"],
        dblock=special.get("dblock", 0),
        mask_ids=np.array([special["mask"], special["smask"], special["gmask"]], np.int64),
        block_positions=spans.block_positions,
        random_positions=spans.random_positions,
        block_mask_ratio=spans.block_mask_ratio,
        sentinels=spans.sentinels,
        first_sentinel=special.get("mask1", 0),
        sentinel_position=sequence_length,
        apart=packing == "segments",
    )
