"""A model in a folder: model.safetensors, config.json, tokenizer.model.

An adapter is a folder with adapter.safetensors instead of the model; config.json says where its base lies and how that
hashes, and the model is loaded from both.

Folders are written beside their place and renamed when whole, so that a killed process leaves either a checkpoint or
none. Nothing in it can run code.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from glmdata.errors import ConfigError, InputError
from glmdata.model.adapter_settings import read_adapter
from glmdata.model.adapters import add_adapter, has_adapter, load_adapter, merge_lora
from glmdata.model.config import GLMConfig
from glmdata.model.glm import GLM
from glmdata.model.quantize import quantize_model, quantized_bits
from glmdata.model.reference import load_weights, read_tensors
from glmdata.storage import file_digest, storage_errors, whole_folder
from glmdata.tokenization import Tokenizer

__all__ = [
    "Checkpoint",
    "base_json",
    "config_json",
    "load_pretrained",
    "read_config",
    "read_config_json",
    "save_pretrained",
    "write_checkpoint",
]

FORMAT_VERSION = 1
CONFIG, WEIGHTS, ADAPTER, TOKENIZER = "config.json", "model.safetensors", "adapter.safetensors", "tokenizer.model"


class Checkpoint(NamedTuple):
    """What a folder holds."""

    model: GLM
    """In evaluation mode."""
    tokenizer: Tokenizer | None
    """None where the folder has none."""


def save_pretrained(model: GLM, folder: str | Path, tokenizer: Tokenizer | None = None) -> None:
    """Write a new folder with a model, quantised or not, and its tokenizer.

    Raises:
        BuildExistsError: the folder is there already.
        ConfigError: the tokenizer has more ids than the model.
        StorageError: it cannot be written.
    """
    with whole_folder(Path(folder)) as beside:
        write_checkpoint(model, beside, tokenizer)


def write_checkpoint(model: GLM, folder: Path, tokenizer: Tokenizer | None = None) -> None:
    """The same files into a folder that is there; for those who put more beside them inside a `whole_folder`."""
    from safetensors.torch import save_file

    if has_adapter(model):
        what = "LoRA on quantised weights" if model.prefix is None else "a prefix"
        raise ConfigError(f"{what} is no part of a model's weights; keep the checkpoint of the run that trained it")
    if tokenizer is not None:
        model.config.check_tokenizer(tokenizer.vocabulary_size)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    found = config_json(model.config, quantized_bits(model))
    with storage_errors("writing"):
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        if tokenizer is not None:
            (folder / TOKENIZER).write_bytes(tokenizer.model)


def config_json(config: GLMConfig, bits: int = 0) -> dict[str, Any]:
    """What config.json of a checkpoint holds."""
    return {"format_version": FORMAT_VERSION, "bits": bits, "model": config.as_json()}


def base_json(folder: Path) -> dict[str, str]:
    """What config.json of a tuned model says of the checkpoint that it was tuned from. Raises InputError."""
    return {"path": str(folder.resolve()), "xxh3": file_digest(_weights(folder))[1]}


def load_pretrained(
    folder: str | Path,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    base: str | Path | None = None,
) -> Checkpoint:
    """Read a checkpoint. One of an adapter is read with its base; LoRA is merged into that, if it is not quantised.

    Args:
        folder: what `save_pretrained` or a run wrote.
        device: where the model is to be; None: the default device.
        dtype: of its weights; None: as they were saved.
        base: where an adapter's base lies now, if not where it was.

    Raises:
        InputError: a file is missing or damaged.
        ConfigError: the files do not fit each other, or there is no such device.
    """
    folder = Path(folder)
    place = _device(device)
    found = read_config_json(folder)
    if base is not None and "adapter" not in found:
        raise ConfigError(f"{folder}: a whole model, without an adapter; leave the base out")
    model = _load_adapted(folder, found, base) if "adapter" in found else _load_whole(folder)
    if dtype is not None:
        for parameter in model.parameters():  # not the buffers: quantised weights and their scales stay what they are
            parameter.data = parameter.data.to(dtype)
    model.to(place).eval()
    tokenizer = None
    if (folder / TOKENIZER).is_file():
        tokenizer = Tokenizer.load(folder / TOKENIZER)
        model.config.check_tokenizer(tokenizer.vocabulary_size)
    return Checkpoint(model, tokenizer)


def _load_whole(folder: Path) -> GLM:
    config, bits = read_config(folder)
    model = GLM(config, device="meta")
    if bits:
        quantize_model(model, bits)
    path = _weights(folder)
    load_weights(model, read_tensors(path), str(path), assign=True)
    return model


def _load_adapted(folder: Path, found: dict[str, Any], base: str | Path | None) -> GLM:
    """The base with the adapter on it, on the CPU."""
    told = found.get("base")
    if not isinstance(told, dict) or not isinstance(told.get("path"), str):
        raise InputError(f"{folder / CONFIG}: does not say what model the adapter is for; take another checkpoint")
    place = Path(told["path"] if base is None else base)
    if not (place / CONFIG).is_file():
        raise InputError(f"{folder}: its base is not at {place}; give the folder where it is now as base (--base)")
    if base_json(place)["xxh3"] != told.get("xxh3"):
        raise ConfigError(f"{folder}: the model in {place} is not its base; give the one it was tuned from (--base)")
    model = load_pretrained(place, device="cpu").model
    add_adapter(model, read_adapter(found["adapter"], str(folder / CONFIG)))
    load_adapter(model, read_tensors(_weights(folder)), str(folder / ADAPTER))
    merge_lora(model)
    return model


def _weights(folder: Path) -> Path:
    """The file of a checkpoint's weights or adapter. Raises InputError where there is none."""
    name = ADAPTER if "adapter" in read_config_json(folder) else WEIGHTS
    if not (folder / name).is_file():
        raise InputError(f"{folder}: no {name}; give the folder of a checkpoint or a run")
    return folder / name


def read_config_json(folder: str | Path) -> dict[str, Any]:
    """config.json of a checkpoint as it is. Raises InputError where it is none."""
    path = Path(folder) / CONFIG
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: no {CONFIG}; give the folder of a checkpoint or a run") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path}: not the configuration of a checkpoint of this version of glmdata")
    return found


def read_config(folder: str | Path) -> tuple[GLMConfig, int]:
    """A checkpoint's configuration and the bits of its weights, 0 if they are not quantised.

    Raises InputError and ConfigError as `load_pretrained`.
    """
    path, found = Path(folder) / CONFIG, read_config_json(folder)
    bits, fields = found.get("bits", 0), found.get("model")
    if bits not in (0, 4, 8) or not isinstance(fields, dict):
        raise InputError(f"{path}: no fields of a model, or bits that are none of 0, 4, 8")
    try:
        return GLMConfig.from_json(fields), bits
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _device(name: torch.device | str | None) -> torch.device:
    if name is None:
        return torch.get_default_device()
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):  # what PyTorch raises for one it knows but has not
        raise ConfigError(f"device {name}: there is none of that name here") from None
    return torch.device(name)
