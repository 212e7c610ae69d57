"""The network: embedding, positions, layers, head.

Legend: B rows, L tokens, V vocabulary, H hidden size.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from glmdata.model.attention import KeyValueCache, PrefixStates, visibility
from glmdata.model.block import Block
from glmdata.model.config import GLMConfig
from glmdata.model.rotary import Rotation, rotation

if TYPE_CHECKING:
    from glmdata.model.prefix import Prefix

__all__ = ["GLM"]


class GLM(nn.Module):
    """A decoder of the GLM family, as its configuration says."""

    def __init__(
        self,
        config: GLMConfig,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """A model with fresh weights, drawn from PyTorch's generator.

        On device "meta" it has shapes and no weights, so that the largest can be looked at; `to_empty(device=...)` and
        `reset_parameters()` then give it some.
        """
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        """Whether layers are computed twice while training instead of remembered."""
        self.prefix: Prefix | None = None
        """What adapters.add_adapter puts before the text."""
        with torch.device("meta"):
            self.word_embeddings = nn.Embedding(config.vocabulary_size, config.hidden_size)
            if config.positions == "learned-2d":
                self.position_embeddings = nn.Embedding(config.max_positions + 1, config.hidden_size)
                self.block_position_embeddings = nn.Embedding(config.max_positions + 1, config.hidden_size)
            self.dropout = nn.Dropout(config.dropout)
            self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
            self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
            if config.head == "separate":
                self.lm_head = nn.Linear(config.hidden_size, config.vocabulary_size, bias=False)
        self.to(dtype or torch.get_default_dtype())
        device = torch.get_default_device() if device is None else torch.device(device)
        if device.type != "meta":
            self.to_empty(device=device)
            self.reset_parameters()

    def num_parameters(self) -> int:
        """How many numbers are trained; a tied head is counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        context_length: Tensor | None = None,
        *,
        segment_ids: Tensor | None = None,
        segment_context_ends: Tensor | None = None,
        loss_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Logits of the next tokens: [B, L, V], or [n, V] with a loss mask.

        Args:
            input_ids: int64 [B, L].
            position_ids: int64 [B, 2, L], position and block position; for rotary-1d also [B, L], see rotary.one_row.
            context_length: int64 [B], the length of Part A, which all see; None: all is causal.
            segment_ids: int64 [B, L] in builds that pack segments; see attention.visibility.
            segment_context_ends: int64 [B, L], with segment_ids.
            loss_mask: [B, L]; logits are made only of the n places where it is not 0, row by row.
            cache: of the tokens that these follow, all of them seen; these are added to it. context_length comes with
                the first tokens alone.
        """
        hidden = self.hidden_states(
            input_ids,
            position_ids,
            context_length,
            segment_ids=segment_ids,
            segment_context_ends=segment_context_ends,
            cache=cache,
        )
        return self.logits(hidden if loss_mask is None else hidden[loss_mask != 0])

    def hidden_states(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        context_length: Tensor | None = None,
        *,
        segment_ids: Tensor | None = None,
        segment_context_ends: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """What the head reads: [B, L, H]. Arguments as of `forward`."""
        hidden = self.dropout(self._embed(input_ids, position_ids))
        length, past = input_ids.shape[1], 0 if cache is None else cache.length
        memory: KeyValueCache | PrefixStates | None = cache
        if self.prefix is not None and self.prefix.enabled:
            past += self.prefix.length
            if cache is None:
                memory = self.prefix()
            elif not cache.prefix:
                cache.begin(self.prefix())
        visible = None
        if length > 1 or cache is None:
            visible = visibility(
                length, context_length, segment_ids, segment_context_ends, past=past, device=input_ids.device
            )
        angles = self._angles(position_ids)
        for layer in self.layers:
            if self.activation_checkpointing and self.training:
                hidden = checkpoint(layer, hidden, visible, angles, memory, use_reentrant=False)
            else:
                hidden = layer(hidden, visible, angles, memory)
        if cache is not None:
            cache.length += length
        return self.final_layernorm(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """The head: [..., H] -> [..., V]."""
        if self.config.head == "separate":
            return self.lm_head(hidden)
        return functional.linear(hidden, self.word_embeddings.weight)

    def load_reference(self, state: Mapping[str, Tensor], kind: Literal["glm", "chatglm-6b"]) -> "GLM":
        """Take the weights of an original checkpoint and return the model; see reference.to_ours."""
        from glmdata.model.reference import load_weights, to_ours

        load_weights(self, to_ours(state, kind, self.config.num_heads), f"the {kind} checkpoint")
        return self

    def reset_parameters(self) -> None:
        """Fresh weights: N(0, init_std), biases 0, gains 1.

        pre-norm: what writes into the residual (attention.dense, dense_4h_to_h) has init_std / sqrt(2 layers).
        deep-norm: linear layers are Xavier normal, with gain 1 / residual_scale for values, dense and feed-forward part
        (GLM-130B's paper).
        """
        std, size = self.config.init_std, self.config.hidden_size
        deep_norm = self.config.residual == "deep-norm"
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("layernorm.weight"):
                    parameter.fill_(1.0)
                elif name.endswith("bias"):
                    parameter.zero_()
                elif not deep_norm or not name.startswith("layers."):
                    writes = name.endswith(("attention.dense.weight", "dense_4h_to_h.weight"))
                    parameter.normal_(0.0, std / math.sqrt(2 * self.config.num_layers) if writes else std)
                elif name.endswith("query_key_value.weight"):
                    for part, gain in zip(parameter.split(size), (1, 1, 1 / self.config.residual_scale), strict=True):
                        nn.init.xavier_normal_(part, gain)
                else:
                    nn.init.xavier_normal_(parameter, 1 / self.config.residual_scale)

    def _embed(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        words = self.word_embeddings(input_ids)
        share = self.config.embedding_gradient_scale
        if share != 1.0:
            words = words * share + words.detach() * (1 - share)
        if self.config.positions == "learned-2d":
            words = words + self.position_embeddings(position_ids[:, 0])
            words = words + self.block_position_embeddings(position_ids[:, 1])
        return words

    def _angles(self, position_ids: Tensor) -> Rotation | None:
        if self.config.positions == "learned-2d":
            return None
        if position_ids.dim() == 2:
            position_ids = position_ids[:, None]
        rows = 2 if self.config.positions == "rotary-2d" else 1
        return rotation(position_ids[:, :rows], self.config.head_size)
