"""Checkpoints of a run: folders that are whole or not there.

RUN/checkpoints/step-00000500/  model.safetensors, config.json, tokenizer.model, optimizer.safetensors, state.json
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from glmdata.errors import ConfigError
from glmdata.storage import storage_errors, sync_file, sync_folder

__all__ = ["checkpoints", "load_part", "read_json", "read_state", "save_checkpoint"]

_NAME = re.compile(r"step-(\d{8})")


def checkpoints(run: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """(step, folder) of a run's checkpoints, rising."""
    folder = Path(run) / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(
        (int(found[1]), path) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name)) and path.is_dir()
    )


def save_checkpoint(
    run: Path,
    step: int,
    *,
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    texts: Mapping[str, Mapping[str, Any]],
    tokenizer: bytes,
    keep: int,
) -> Path:
    """Write a checkpoint under another name, sync it, rename it into place; then remove all but the `keep` newest.

    `texts` are JSON files by name, config.json and state.json among them. Raises StorageError.
    """
    with storage_errors("writing a checkpoint"):
        folder = run / "checkpoints" / f"step-{step:08d}"
        beside = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, tensors in (("model", model), ("optimizer", optimizer)):
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, beside / f"{name}.safetensors")
        for name, content in texts.items():
            (beside / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
        (beside / "tokenizer.model").write_bytes(tokenizer)
        for path in sorted(beside.iterdir()):
            sync_file(path)
        sync_folder(beside)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
        sync_folder(folder.parent)
        for _, old in checkpoints(run)[:-keep]:
            shutil.rmtree(old)
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint. Raises ConfigError where it is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; remove its folder to go on from another") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is no JSON object; remove its folder to go on from another")
    return found


def read_state(checkpoint: Path) -> dict[str, Any]:
    """state.json of a checkpoint. Raises ConfigError where it is none."""
    found = read_json(checkpoint / "state.json")
    if not isinstance(found.get("step"), int):
        raise ConfigError(f"{checkpoint}/state.json says no step; remove the folder to go on from another")
    return found


def load_part(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """The tensors of `model` or `optimizer`. Raises ConfigError."""
    path = checkpoint / f"{name}.safetensors"
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own kind, and OSError
        raise ConfigError(f"{path}: cannot be read: {error}; remove the folder to go on from another") from None
