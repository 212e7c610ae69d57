"""Sizes of published models.

Sources: THUDM/GLM `config/` and `config_tasks/` (layers, width, heads, tokenizer, positions; vocabularies are padded to
a multiple of 128), GLM-130B's paper and its `configs/model_glm_130b.sh`, ChatGLM-6B's `config.json`.
"""

import dataclasses
import difflib
from typing import Any

from glmdata.errors import ConfigError
from glmdata.model.config import GLMConfig

__all__ = ["PRESETS", "preset"]

BERT = 30592
"""BERT's uncased vocabulary of 30,522 with GLM's special tokens."""
GPT2 = 50304
"""GPT-2's of 50,257 with GLM's special tokens."""


def _glm(layers: int, width: int, heads: int, vocabulary: int, positions: int) -> GLMConfig:
    return GLMConfig(
        num_layers=layers, hidden_size=width, num_heads=heads, vocabulary_size=vocabulary, max_positions=positions
    )


PRESETS = {
    # Ours, for a laptop: 3.4 million parameters beside the embedding of whatever tokenizer there is.
    "tiny": _glm(4, 256, 4, 8192, 512),
    "glm-base": _glm(12, 768, 12, BERT, 512),  # config/ds_block_base.sh; 109,338,624 parameters
    "glm-large": _glm(24, 1024, 16, BERT, 512),  # config/ds_block_large.sh
    "glm-410m": _glm(30, 1024, 16, BERT, 512),  # model_blocklm_1.25_generation.sh
    "glm-515m": _glm(30, 1152, 18, BERT, 512),  # model_blocklm_1.5_generation.sh
    "glm-2b": _glm(36, 2048, 32, GPT2, 1024),  # model_blocklm_2B.sh
    "glm-10b": _glm(48, 4096, 64, GPT2, 1024),  # model_blocklm_10B.sh
    # Paper and configuration: inner size 32,768 of GeGLU, DeepNorm, initial deviation .0052, embedding gradients x 0.1.
    "glm-130b": GLMConfig(
        num_layers=70,
        hidden_size=12288,
        num_heads=96,
        vocabulary_size=150528,
        max_positions=2048,
        positions="rotary-1d",
        init_std=0.0052,
        embedding_gradient_scale=0.1,
    ),
    # The form since 2023-04-06, without 20,000 ids of images.
    "chatglm-6b": GLMConfig(
        num_layers=28,
        hidden_size=4096,
        num_heads=32,
        vocabulary_size=130528,
        max_positions=2048,
        positions="rotary-2d",
        dropout=0.0,
    ),
}
"""Name -> configuration."""


def preset(name: str, **changes: Any) -> GLMConfig:
    """A preset with some fields changed; what depends on them (the inner size, say) is worked out anew.

    Raises ConfigError for a name or field that does not exist.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PRESETS)}"
        raise ConfigError(f"no preset {name!r}; {hint}")
    base = PRESETS[name]
    derived = {"residual": "auto", "residual_scale": 0.0, "activation": "auto", "inner_size": 0, "head": "auto"}
    named = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)} | derived
    return GLMConfig.from_json(named | changes)
