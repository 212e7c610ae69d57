"""Attention of GLM: Part A sees all of Part A, Part B what comes before it.

Legend: B rows, L tokens, K keys (those of earlier calls and L new ones), H hidden size, N heads, D = H / N.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from glmdata.model.config import GLMConfig
from glmdata.model.rotary import Rotation, rotate

__all__ = ["Attention", "KeyValueCache", "PrefixStates", "visibility"]


def visibility(
    length: int,
    context_length: Tensor | None = None,
    segment_ids: Tensor | None = None,
    segment_context_ends: Tensor | None = None,
    *,
    past: int = 0,
    device: torch.device | None = None,
) -> Tensor:
    """Which query sees which key: bool [B or 1, 1, L, past + L].

    Query q sees key k where ``k <= q or k < context_length``; of segments, where both are of one and ``k <= q or
    k < segment_context_ends[q]``. Keys of earlier calls are seen by all.

    Args:
        length: L.
        context_length: int64 [B], the length of Part A; None: none, all is causal.
        segment_ids: int64 [B, L], in builds that pack segments.
        segment_context_ends: int64 [B, L], the place behind the Part A of a token's segment.
        past: keys of earlier calls.
        device: of the result.
    """
    places = torch.arange(length, device=device)
    seen = (places <= places[:, None])[None]
    if segment_ids is not None and segment_context_ends is not None:
        seen = seen | (places < segment_context_ends[:, :, None])
        seen = seen & (segment_ids[:, :, None] == segment_ids[:, None, :])
    elif context_length is not None:
        seen = seen | (places < context_length.reshape(-1, 1, 1))
    if past:
        seen = functional.pad(seen, (past, 0), value=True)
    return seen[:, None]


class PrefixStates(NamedTuple):
    """Keys and values of a prefix (see prefix.Prefix), [layers, N, P, D]: what every row has read before its text."""

    keys: Tensor
    values: Tensor

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values [B, N, L, D] behind those of the prefix: [B, N, P + L, D]."""
        both = zip((self.keys[layer], self.values[layer]), (keys, values), strict=True)
        first, second = (torch.cat((old.to(new.dtype).expand(len(new), -1, -1, -1), new), 2) for old, new in both)
        return first, second


class KeyValueCache:
    """Keys and values of the tokens that a model has read, for the next call."""

    def __init__(
        self, config: GLMConfig, rows: int, capacity: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Room for `capacity` tokens of `rows` rows: 2 x layers x rows x capacity x hidden_size numbers."""
        shape = (config.num_layers, rows, config.num_heads, capacity, config.head_size)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0
        """Tokens read."""
        self.prefix = 0
        """Keys and values of a prefix before them."""

    def begin(self, states: PrefixStates) -> None:
        """Put a prefix before everything; of a cache in which nothing was read."""
        self.prefix = states.keys.shape[2]
        self.keys, self.values = (
            torch.cat((old[:, None].to(room.dtype).expand(-1, room.shape[1], -1, -1, -1), room), 3)
            for old, room in ((states.keys, self.keys), (states.values, self.values))
        )

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's new keys and values [B, N, L, D] behind the others; all of them [B, N, K, D]."""
        start = self.prefix + self.length
        end, room = start + keys.shape[2], self.keys.shape[3]
        if end > room:
            raise ValueError(f"the cache has room for {room - self.prefix} tokens, {end - self.prefix} were given")
        self.keys[layer, :, :, start:end] = keys
        self.values[layer, :, :, start:end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, int64 [R]; a row may come several times."""
        kept = slice(self.prefix + self.length)
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old if len(rows) == old.shape[1] else old.new_empty((old.shape[0], len(rows), *old.shape[2:]))
            new[:, :, :, kept] = old[:, rows, :, kept]
            setattr(self, name, new)


class Attention(nn.Module):
    """Multi-head self-attention. Queries, keys and values are the first, second and third H rows of one matrix."""

    def __init__(self, config: GLMConfig, layer: int) -> None:
        """Attention of layer number `layer`."""
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden: Tensor,
        visible: Tensor | None,
        angles: Rotation | None,
        cache: KeyValueCache | PrefixStates | None,
    ) -> Tensor:
        """[B, L, H] -> [B, L, H]. `visible` as `visibility` gives it; None: every key is seen."""
        heads = self.query_key_value(hidden).unflatten(-1, (3, self.num_heads, -1))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # [B, N, L, D] each
        if angles is not None:
            queries, keys = rotate(queries, angles), rotate(keys, angles)
        if cache is not None:
            keys, values = cache.extend(self.layer, keys, values)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=visible, dropout_p=dropout)
        return self.dense(mixed.transpose(1, 2).flatten(2))
