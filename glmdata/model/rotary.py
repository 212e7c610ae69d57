"""Rotary positions, in two rows (ChatGLM-6B) or one (GLM-130B).

Legend: B rows, L tokens, D features of a head, G groups of them: one a row of positions.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Rotation", "inverse_frequencies", "one_row", "rotate", "rotation"]

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, float32 [B, 1, L, G, D / (2 G)]."""


def inverse_frequencies(size: int, device: torch.device | None = None) -> Tensor:
    """float32[size / 2]: 10000^(-2i/size), rounded to half precision as the originals' buffers are.

    Left unrounded, ChatGLM's logits move by 1e-3.
    """
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
    return (1.0 / 10000**exponents).half().float()


def rotation(position_ids: Tensor, head_size: int) -> Rotation:
    """The angles of a batch, the same for all layers and heads.

    Args:
        position_ids: int64 [B, G, L].
        head_size: D.
    """
    groups = position_ids.shape[1]
    frequencies = inverse_frequencies(head_size // groups, position_ids.device)
    angles = position_ids.transpose(1, 2)[:, None, :, :, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(features: Tensor, angles: Rotation) -> Tensor:
    """Queries or keys [B, heads, L, D] turned; in each group feature i goes with feature i + D/(2G)."""
    cosines, sines = angles
    first, second = features.unflatten(-1, (cosines.shape[-2], -1)).chunk(2, dim=-1)
    turned = torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)
    return turned.flatten(-2).to(features.dtype)


def one_row(position_ids: Tensor, input_ids: Tensor, gmask_id: int, segment_ids: Tensor | None = None) -> Tensor:
    """GLM-130B's single row of positions, of rows without sentinels and random positions.

    A span of [gMASK] counts on from its mask token; of other masks every token has the position of its mask token.

    Args:
        position_ids: int64 [B, 2, L]; the first row is the index of a Part-B token's mask.
        input_ids: int64 [B, L].
        gmask_id: the id of [gMASK].
        segment_ids: int64 [B, L] in builds that pack segments, whose positions begin at 0 each.

    Returns:
        int64 [B, L].
    """
    first, second = position_ids.unbind(1)
    masks = first
    if segment_ids is not None:
        begins = functional.pad(segment_ids[:, 1:] != segment_ids[:, :-1], (1, 0), value=True)
        places = torch.arange(segment_ids.shape[1], device=segment_ids.device)
        masks = first + (begins * places).cummax(dim=1).values
    return first + second * (input_ids.gather(1, masks) == gmask_id)
