"""Checkpoints of a run: folders that are whole or not there.

RUN/checkpoints/step-00000500/  model.safetensors, config.json, tokenizer.model, optimizer.safetensors, state.json

Runs that train an adapter have adapter.safetensors for model.safetensors.
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
from glmdata.storage import storage_errors, whole_folder

__all__ = ["checkpoints", "load_part", "newest_checkpoint", "read_state", "save_checkpoint"]

_NAME = re.compile(r"step-(\d{8})")


def checkpoints(run: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """(step, folder) of a run's checkpoints, rising."""
    folder = Path(run) / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(
        (int(found[1]), path) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name)) and path.is_dir()
    )


def newest_checkpoint(folder: str | os.PathLike[str]) -> Path:
    """The newest checkpoint of a run; a folder that is no run is taken for a checkpoint itself."""
    found = checkpoints(folder)
    return found[-1][1] if found else Path(folder)


def save_checkpoint(
    run: Path,
    step: int,
    *,
    parts: Mapping[str, Mapping[str, Tensor]],
    texts: Mapping[str, Mapping[str, Any]],
    tokenizer: bytes,
    keep: int,
) -> Path:
    """Write a checkpoint beside its place and rename it when it is whole; then remove all but the `keep` newest.

    `parts` are tensors by file and name: model or adapter, and optimizer. `texts` are JSON files by name, config.json
    and state.json among them. Raises StorageError.
    """
    folder = run / "checkpoints" / f"step-{step:08d}"
    with storage_errors("writing a checkpoint"):
        folder.parent.mkdir(exist_ok=True)
    with whole_folder(folder) as beside:
        for name, tensors in parts.items():
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, beside / f"{name}.safetensors")
        for name, content in texts.items():
            (beside / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
        (beside / "tokenizer.model").write_bytes(tokenizer)
    with storage_errors("removing a checkpoint"):
        for _, old in checkpoints(run)[:-keep]:
            shutil.rmtree(old)
    return folder


def read_state(checkpoint: Path) -> dict[str, Any]:
    """state.json of a checkpoint. Raises ConfigError where it is none."""
    path = checkpoint / "state.json"
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; remove its folder to go on from another") from None
    if not isinstance(found, dict) or not isinstance(found.get("step"), int):
        raise ConfigError(f"{path} says no step; remove its folder to go on from another")
    return found


def load_part(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one of its parts. Raises ConfigError."""
    path = checkpoint / f"{name}.safetensors"
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own kind, and OSError
        raise ConfigError(f"{path}: cannot be read: {error}; remove the folder to go on from another") from None
