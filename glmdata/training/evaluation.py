"""The loss of a finished model on rows of a build."""

import math
import os
from typing import Any

import torch

from glmdata.errors import ConfigError, TrainingError
from glmdata.model.checkpoint import Checkpoint
from glmdata.streaming import ShardStream
from glmdata.training.language_modelling import LanguageModelling
from glmdata.training.run import gmask_of

__all__ = ["evaluate", "evaluation_rows"]


def evaluation_rows(
    checkpoint: Checkpoint, shards: str | os.PathLike[str], *, holdout: int = 0, batch_size: int = 8
) -> ShardStream:
    """The rows of a build once, in order: all, or the last `holdout` of them, as `glmdata train --holdout` keeps them.

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
    if not holdout:
        return stream
    return ShardStream(shards, batch_size, shuffle=False, epochs=1, rows=(rows - holdout, rows))


def evaluate(checkpoint: Checkpoint, stream: ShardStream) -> dict[str, Any]:
    """What a run says of an evaluation (losses of all, by objective, by language) and `perplexity`, of all.

    Raises TrainingError where no row has a target.
    """
    model, shards = checkpoint.model, stream.shards
    device = model.word_embeddings.weight.device
    task = LanguageModelling(shards.manifest.languages, device, gmask_of(model.config, shards))
    sums = task.sums()
    with torch.no_grad():
        for batch in stream:
            task.losses(model, {name: tensor.to(device) for name, tensor in batch.items()}, sums)
    found = sums.means()
    if not found["target_tokens"]:
        raise TrainingError(f"{shards.folder} has no target tokens in these rows; give others")
    return {**found, "perplexity": math.exp(found["loss"])}
