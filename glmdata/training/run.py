"""A training run from its options: model, streams and world, then the loop."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from glmdata.errors import ConfigError
from glmdata.model import GLMConfig, preset
from glmdata.shards.reader import Shards
from glmdata.training.settings import TrainSettings

__all__ = ["RunOptions", "config_of", "train"]

VOCABULARY_UNIT = 64
"""Rows of the embedding are a multiple of this, which matrix products are made for."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What is trained on what, and where to."""

    shards: str
    """Folder or URI of a build."""
    out: Path
    """Folder of the run; one that has checkpoints goes on from the newest."""
    preset: str = "tiny"
    """Of the model."""
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the preset that are other."""
    settings: TrainSettings
    holdout: int = 0
    """Rows at the end of the build that are not trained on but evaluated on."""
    evaluation: str | None = None
    """Another build to evaluate on."""


def config_of(options: RunOptions, shards: Shards) -> GLMConfig:
    """The model's configuration; vocabulary and positions are the build's where nothing else is said.

    Raises ConfigError where the rows do not fit the model.
    """
    size, length = shards.manifest.tokenizer.vocabulary_size, shards.manifest.sequence_length
    fitting = {"vocabulary_size": -(-size // VOCABULARY_UNIT) * VOCABULARY_UNIT, "max_positions": length}
    config = preset(options.preset, **{**fitting, **options.model})
    config.check_rows(size, length)
    return config


def train(options: RunOptions, report: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Train to the last step in this process, one of a world or the only one; the metrics of the last step.

    Raises ConfigError, ShardError, TrainingError, StorageError.
    """
    from glmdata.streaming import ShardStream
    from glmdata.training.distributed import join_world, leave_world
    from glmdata.training.metrics import draw_curve
    from glmdata.training.trainer import Trainer, make_model

    settings, shards = options.settings, Shards(options.shards)
    if options.holdout and options.evaluation:
        raise ConfigError("evaluate on held-out rows or on another build, not on both")
    if not 0 <= options.holdout < shards.rows:
        raise ConfigError(f"{options.holdout} held-out rows leave none of {shards.rows} to train on")
    config = config_of(options, shards)
    world = join_world()
    try:
        common: Any = {"dp_rank": world.rank, "dp_world": world.size}
        end = shards.rows - options.holdout
        stream = ShardStream(
            options.shards,
            settings.batch_size,
            seed=settings.seed,
            remask=settings.remask,
            rows=(0, end),
            prefetch=settings.accumulation + 1,  # a step takes its micro-batches at once
            **common,
        )
        evaluation = None
        if options.holdout or options.evaluation:
            rows = (end, shards.rows) if options.holdout else None
            place = options.evaluation or options.shards
            evaluation = ShardStream(place, settings.batch_size, shuffle=False, epochs=1, rows=rows, **common)
            _require_alike(shards, evaluation.shards)
        options.out.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(
            make_model(config, settings.seed, world.device),
            stream,
            settings,
            options.out,
            world=world,
            manifest=shards.manifest,
            tokenizer=Path(shards.file("tokenizer.model")).read_bytes(),
            evaluation=evaluation,
            report=report,
        )
        last = trainer.fit()
        if world.rank == 0:
            draw_curve(options.out)
        return last
    finally:
        leave_world(world)


def _require_alike(trained: Shards, held: Shards) -> None:
    """Losses on another tokenizer's tokens would mean nothing."""
    if trained.manifest.tokenizer.hash != held.manifest.tokenizer.hash:
        raise ConfigError(f"{held.folder} has another tokenizer than {trained.folder}; build it with the same")
    if trained.manifest.sequence_length < held.manifest.sequence_length:
        raise ConfigError(
            f"{held.folder} has rows of {held.manifest.sequence_length}, longer than those of {trained.folder}"
        )
