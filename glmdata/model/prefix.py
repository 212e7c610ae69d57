"""P-Tuning v2: trained keys and values that stand before those of the text in every layer (Liu et al. 2021).

As ChatGLM-6B has them: seen by every query, turned by no position, and the positions of the text stay what they are.
The order of the numbers in a row of the table is ChatGLM-6B's, [layers, key | value, heads, D].

Legend: B rows, P = prefix length, N heads, D = hidden_size / N.
"""

import torch
from torch import Tensor, nn

from glmdata.model.adapter_settings import PrefixSettings
from glmdata.model.attention import PrefixStates
from glmdata.model.config import GLMConfig

__all__ = ["Prefix"]


class Prefix(nn.Module):
    """The table, and the MLP behind it where there is one."""

    def __init__(self, config: GLMConfig, settings: PrefixSettings, device: torch.device | None = None) -> None:
        """Fresh numbers, N(0, 1) in the table as in the original."""
        super().__init__()
        self.length = settings.length
        self.enabled = True
        """False: the model reads as if it had none."""
        self.shape = (settings.length, config.num_layers, 2, config.num_heads, config.head_size)
        hidden, width = config.hidden_size, 2 * config.num_layers * config.hidden_size
        self.embedding = nn.Embedding(settings.length, hidden if settings.projection else width, device=device)
        self.trans: nn.Module = nn.Identity()
        if settings.projection:
            self.trans = nn.Sequential(
                nn.Linear(hidden, hidden, device=device), nn.Tanh(), nn.Linear(hidden, width, device=device)
            )
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self) -> PrefixStates:
        """Keys and values, [layers, N, P, D] each."""
        states: Tensor = self.dropout(self.trans(self.embedding.weight)).view(self.shape)
        keys, values = states.permute(2, 1, 3, 0, 4)
        return PrefixStates(keys, values)
