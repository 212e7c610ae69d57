"""One layer: attention and a feed-forward part, each around a residual."""

from torch import Tensor, nn
from torch.nn import functional

from glmdata.model.attention import Attention, KeyValueCache, PrefixStates
from glmdata.model.config import GLMConfig
from glmdata.model.rotary import Rotation

__all__ = ["Block", "FeedForward"]


class FeedForward(nn.Module):
    """W2 gelu(W1 x), or with geglu W2 (a * gelu(b)), [a, b] = W1 x."""

    def __init__(self, config: GLMConfig) -> None:
        """Two linear maps through `inner_size` features."""
        super().__init__()
        self.gated = config.activation == "geglu"
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.inner_size * (2 if self.gated else 1))
        self.dense_4h_to_h = nn.Linear(config.inner_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, L, H] -> [B, L, H]."""
        inner = self.dense_h_to_4h(hidden)
        if self.gated:
            first, second = inner.chunk(2, dim=-1)
            inner = first * functional.gelu(second)
        else:
            inner = functional.gelu(inner, approximate="tanh")
        return self.dense_4h_to_h(inner)


class Block(nn.Module):
    """pre-norm: h + f(LN(h)). deep-norm: with x = LN(h), alpha x + f(x)."""

    def __init__(self, config: GLMConfig, layer: int) -> None:
        """Layer number `layer`."""
        super().__init__()
        self.deep_norm = config.residual == "deep-norm"
        self.scale = config.residual_scale
        size, epsilon = config.hidden_size, config.layer_norm_epsilon
        self.input_layernorm = nn.LayerNorm(size, eps=epsilon)
        self.attention = Attention(config, layer)
        self.post_attention_layernorm = nn.LayerNorm(size, eps=epsilon)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: Tensor,
        visible: Tensor | None,
        angles: Rotation | None,
        cache: KeyValueCache | PrefixStates | None = None,
    ) -> Tensor:
        """[B, L, H] -> [B, L, H]."""
        normed = self.input_layernorm(hidden)
        kept = normed * self.scale if self.deep_norm else hidden
        hidden = kept + self.dropout(self.attention(normed, visible, angles, cache))
        normed = self.post_attention_layernorm(hidden)
        kept = normed * self.scale if self.deep_norm else hidden
        return kept + self.dropout(self.mlp(normed))
