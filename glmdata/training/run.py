"""A training run from its options: model, streams and world, then the loop.

What `glmdata train` and `glmdata finetune` share is `run`; what is a command's own is in a function that it is given.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from glmdata.errors import ConfigError
from glmdata.model import GLMConfig, preset
from glmdata.shards.reader import Shards
from glmdata.training.settings import TrainSettings

if TYPE_CHECKING:
    from glmdata.model.glm import GLM
    from glmdata.training.distributed import World
    from glmdata.training.task import Task

__all__ = ["Prepared", "Report", "RunOptions", "TrainOptions", "config_of", "gmask_of", "run", "task_name", "train"]

VOCABULARY_UNIT = 64
"""Rows of the embedding are a multiple of this, which matrix products are made for."""

Report = Callable[[dict[str, Any]], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What any run is told."""

    shards: str
    """Folder or URI of a build."""
    out: Path
    """Folder of the run; one that has checkpoints goes on from the newest."""
    settings: TrainSettings
    holdout: int = 0
    """Rows at the end of the build that are not trained on but evaluated on."""
    evaluation: str | None = None
    """Another build to evaluate on."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions(RunOptions):
    """A run that begins with fresh weights."""

    preset: str = "tiny"
    """Of the model."""
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the preset that are other."""


class Prepared(NamedTuple):
    """What a command makes of its options on each rank."""

    model: "GLM"
    """On the rank's device, the same on all of them."""
    task: "Task[Any]"
    config: Mapping[str, Any]
    """Of its checkpoints, see trainer.Trainer."""
    settings: TrainSettings


def config_of(options: TrainOptions, shards: Shards) -> GLMConfig:
    """The model's configuration; vocabulary and positions are the build's where nothing else is said.

    Raises ConfigError where the rows do not fit the model.
    """
    size, length = shards.manifest.tokenizer.vocabulary_size, shards.manifest.sequence_length
    fitting = {"vocabulary_size": -(-size // VOCABULARY_UNIT) * VOCABULARY_UNIT, "max_positions": length}
    config = preset(options.preset, **{**fitting, **options.model})
    config.check_rows(size, length)
    return config


def train(options: TrainOptions, report: Report | None = None) -> dict[str, Any]:
    """Train to the last step in this process, one of a world or the only one; the metrics of the last step.

    Raises ConfigError, ShardError, TrainingError, StorageError.
    """
    shards = Shards(options.shards)
    config = config_of(options, shards)

    def prepare(world: "World") -> Prepared:
        from glmdata.model.checkpoint import config_json
        from glmdata.training.language_modelling import LanguageModelling
        from glmdata.training.trainer import make_model

        task = LanguageModelling(shards.manifest.languages, world.device, gmask_of(config, shards))
        model = make_model(config, options.settings.seed, world.device)
        return Prepared(model, task, config_json(config), options.settings)

    return run(options, shards, prepare, report)


def gmask_of(config: GLMConfig, shards: Shards) -> int | None:
    """The id of [gMASK] for models whose one row of positions depends on it; None for others."""
    return shards.manifest.tokenizer.special_tokens["gmask"] if config.positions == "rotary-1d" else None


def task_name(shards: Shards) -> str:
    """What a build's rows are for: `sft`, `seq2seq`, `cloze`, `preference`, or `none`, pre-training."""
    settings = shards.manifest.recipe.get("finetune")
    return str(settings.get("task", "none")) if isinstance(settings, dict) else "none"


def run(
    options: RunOptions,
    shards: Shards,
    prepare: "Callable[[World], Prepared]",
    report: Report | None = None,
) -> dict[str, Any]:
    """Train what `prepare` makes on each rank; the metrics of the last step.

    Raises as `train`.
    """
    from glmdata.streaming import ShardStream
    from glmdata.training.distributed import join_world, leave_world
    from glmdata.training.metrics import draw_curve
    from glmdata.training.trainer import Trainer

    if options.holdout and options.evaluation:
        raise ConfigError("evaluate on held-out rows or on another build, not on both")
    if not 0 <= options.holdout < shards.rows:
        raise ConfigError(f"{options.holdout} held-out rows leave none of {shards.rows} to train on")
    world = join_world()
    try:
        model, task, config, settings = prepare(world)
        common: Any = {"dp_rank": world.rank, "dp_world": world.size, "choices": task.choices}
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
            model,
            stream,
            settings,
            options.out,
            world=world,
            task=task,
            config=config,
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
