"""What is trained beside a frozen model, and how large it is. No PyTorch here."""

from typing import Any, Literal

from pydantic import Field, ValidationError

from glmdata.errors import ConfigError
from glmdata.recipe_sections import Section

__all__ = ["AdapterSettings", "LoRASettings", "PrefixSettings", "adapter_json", "read_adapter"]


class LoRASettings(Section):
    """Low-rank updates of linear layers (Hu et al. 2021): W x + alpha / rank B A x, merged into W when it is learnt."""

    rank: int = Field(8, ge=1, le=1 << 14)
    """Rows of A and columns of B; 8 in ChatGLM-Tuning, as alpha and dropout."""
    alpha: float = Field(32.0, gt=0)
    """The update is multiplied by alpha / rank."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of what A reads, while training."""
    targets: list[Literal["qkv", "dense", "ffn"]] = Field(["qkv"], min_length=1)
    """Which linear layers: queries, keys and values; the output of attention; both of the feed-forward part."""


class PrefixSettings(Section):
    """Trained keys and values before those of the text, in every layer (P-Tuning v2, Liu et al. 2021)."""

    length: int = Field(128, ge=1, le=65535)
    """How many; ChatGLM-6B's pre_seq_len."""
    projection: bool = False
    """Whether they come out of an MLP of hidden_size (ChatGLM-6B's prefix_projection)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of keys and values, while training."""


AdapterSettings = LoRASettings | PrefixSettings
_KINDS: dict[str, type[LoRASettings] | type[PrefixSettings]] = {"lora": LoRASettings, "prefix": PrefixSettings}


def adapter_json(adapter: AdapterSettings) -> dict[str, Any]:
    """What config.json of a checkpoint says of an adapter."""
    kind = next(name for name, section in _KINDS.items() if isinstance(adapter, section))
    return {"kind": kind, **adapter.model_dump(mode="json")}


def read_adapter(found: object, source: str) -> AdapterSettings:
    """What `adapter_json` gave. Raises ConfigError naming `source`."""
    if not isinstance(found, dict) or found.get("kind") not in _KINDS:
        raise ConfigError(f"{source}: an adapter of a kind that is none of {', '.join(_KINDS)}")
    try:
        return _KINDS[found["kind"]].model_validate({name: found[name] for name in found if name != "kind"})
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(f"{source}: adapter.{where} cannot be used: {error.errors()[0]['msg']}") from None
