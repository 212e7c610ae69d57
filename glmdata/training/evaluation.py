"""A finished model on rows of a build: its loss, and what their task says besides."""

import math
import os
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from glmdata.errors import ConfigError, TrainingError
from glmdata.model.checkpoint import Checkpoint
from glmdata.streaming import ShardStream
from glmdata.training.checkpoint import read_state
from glmdata.training.cloze import Cloze, answers_of
from glmdata.training.finetune_settings import ClozeSettings
from glmdata.training.language_modelling import LanguageModelling
from glmdata.training.run import gmask_of, task_name
from glmdata.training.task import Task

__all__ = ["cloze_settings", "evaluate", "evaluate_task", "evaluation_rows"]


def evaluation_rows(
    checkpoint: Checkpoint, shards: str | os.PathLike[str], *, holdout: int = 0, batch_size: int = 8
) -> ShardStream:
    """The rows of a build once, in order: all, or the last `holdout` of them, as `glmdata train --holdout` keeps them.

    Rows of cloze questions come with their choices.

    Raises:
        ConfigError: their ids, lengths or tokenizer are not the model's, or there are fewer rows.
        ShardError: there is no such build.
    """
    stream = ShardStream(shards, batch_size, shuffle=False, epochs=1)
    manifest, rows = stream.shards.manifest, stream.shards.rows
    checkpoint.model.config.check_rows(manifest.tokenizer.vocabulary_size, manifest.sequence_length)
    if checkpoint.tokenizer is not None and checkpoint.tokenizer.hash != manifest.tokenizer.hash:
        raise ConfigError(f"{stream.shards.folder} has another tokenizer than the checkpoint; build it with the same")
    if holdout > rows:
        raise ConfigError(f"{stream.shards.folder} has {rows} rows, {holdout} were asked for; give a lower number")
    first, choices = rows - holdout if holdout else 0, task_name(stream.shards) == "cloze"
    if not (first or choices):
        return stream
    return ShardStream(shards, batch_size, shuffle=False, epochs=1, rows=(first, rows), choices=choices)


def evaluate(checkpoint: Checkpoint, stream: ShardStream) -> dict[str, Any]:
    """Losses of all target tokens, by objective and by language, and `perplexity`, of all.

    Raises TrainingError where no row has a target.
    """
    model, shards = checkpoint.model, stream.shards
    device = model.word_embeddings.weight.device
    task = LanguageModelling(shards.manifest.languages, device, gmask_of(model.config, shards))
    found = _summed(checkpoint, stream, task)
    return {**found, "perplexity": math.exp(found["loss"])}


def cloze_settings(folder: Path) -> ClozeSettings:
    """How the finetuning run that left a checkpoint weighs choices; the defaults for checkpoints of anything else.

    Raises ConfigError where its state.json is damaged.
    """
    if not (folder / "state.json").exists():
        return ClozeSettings()
    settings = read_state(folder).get("settings")
    given = settings.get("cloze") if isinstance(settings, dict) else None
    try:
        return ClozeSettings() if given is None else ClozeSettings.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{folder / 'state.json'} has no settings of a run: {error.errors()[0]['msg']}") from None


def evaluate_task(checkpoint: Checkpoint, stream: ShardStream, settings: ClozeSettings | None = None) -> dict[str, Any]:
    """What a finetuning run says of an evaluation: of cloze questions accuracy and more, else as `evaluate`.

    settings: how choices are weighed; by default without a length penalty. Raises as `evaluate`.
    """
    model, shards = checkpoint.model, stream.shards
    if task_name(shards) != "cloze":
        return evaluate(checkpoint, stream)
    device = model.word_embeddings.weight.device
    task = Cloze([answers_of(shards)], settings or ClozeSettings(), device, gmask_of(model.config, shards))
    return _summed(checkpoint, stream, task)


@torch.no_grad()
def _summed(checkpoint: Checkpoint, stream: ShardStream, task: Task[Any]) -> dict[str, Any]:
    sums, device = task.sums(), checkpoint.model.word_embeddings.weight.device
    for batch in stream:
        task.losses(checkpoint.model, {name: tensor.to(device) for name, tensor in batch.items()}, sums)
    found: dict[str, Any] = sums.means()
    if not found["target_tokens"]:
        raise TrainingError(f"{stream.shards.folder} has no target tokens in these rows; give others")
    return found
