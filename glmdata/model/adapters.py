"""Adapters on a model: put on, taken off, merged, and their tensors by name. See lora and prefix."""

import contextlib
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from glmdata.errors import ConfigError
from glmdata.model.adapter_settings import AdapterSettings, LoRASettings
from glmdata.model.glm import GLM
from glmdata.model.lora import LoRALinear
from glmdata.model.prefix import Prefix
from glmdata.model.quantize import QuantizedLinear
from glmdata.model.reference import load_weights

__all__ = ["add_adapter", "has_adapter", "is_adapter", "load_adapter", "merge_lora", "without_adapter"]

_TARGETS = {
    "qkv": ("attention.query_key_value",),
    "dense": ("attention.dense",),
    "ffn": ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
}


def add_adapter(model: GLM, settings: AdapterSettings) -> None:
    """Freeze a model and put an adapter with fresh numbers on it, the only part that is trained.

    Raises ConfigError where it has one already.
    """
    if has_adapter(model):
        raise ConfigError("the model has an adapter already; merge it first, or begin with its base")
    model.requires_grad_(False)
    if not isinstance(settings, LoRASettings):
        model.prefix = Prefix(model.config, settings, model.word_embeddings.weight.device)
        return
    for block in model.layers:
        for target in settings.targets:
            for name in _TARGETS[target]:
                linear = block.get_submodule(name)
                assert isinstance(linear, nn.Linear | QuantizedLinear)
                block.set_submodule(name, LoRALinear(linear, settings))


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter."""
    return name.startswith("prefix.") or name.endswith((".lora_a", ".lora_b"))


def has_adapter(model: nn.Module) -> bool:
    """Whether there is one that is not merged: a prefix, or LoRA on quantised layers once it was loaded."""
    return any(is_adapter(name) for name, _ in model.named_parameters())


def load_adapter(model: GLM, found: Mapping[str, Tensor], source: str) -> None:
    """Fill an adapter that is on a model; all or none. Raises ConfigError where `found` is of another one."""
    rest = {name: tensor for name, tensor in model.state_dict().items() if not is_adapter(name)}
    load_weights(model, {**rest, **found}, source)


def merge_lora(model: GLM) -> None:
    """Put the updates of LoRA into the weights: the same model, within rounding, and as fast as its base.

    On quantised layers they stay beside them.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, LoRALinear):
            model.set_submodule(name, module.merged())
    model.requires_grad_(True)


@contextlib.contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """Inside, the model is its base: the reference that preferences are compared with, without a copy of it."""
    parts = [module for module in model.modules() if isinstance(module, LoRALinear | Prefix)]
    for part in parts:
        part.enabled = False
    try:
        yield
    finally:
        for part in parts:
            part.enabled = True
