"""A finetuning run from its options: a trained model, all of it or an adapter on it, on rows that know their task."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmdata.errors import ConfigError, InputError
from glmdata.shards.reader import Shards
from glmdata.training.finetune_settings import FinetuneSettings
from glmdata.training.run import Prepared, Report, RunOptions, gmask_of, run, task_name

if TYPE_CHECKING:
    import torch

    from glmdata.model.checkpoint import Checkpoint
    from glmdata.model.glm import GLM
    from glmdata.training.distributed import World
    from glmdata.training.task import Task

__all__ = ["FinetuneOptions", "finetune", "steps_of"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneOptions(RunOptions):
    """A run that begins with trained weights."""

    checkpoint: Path
    """Folder of a checkpoint, or of a run, whose newest one is taken."""
    settings: FinetuneSettings
    base: Path | None = None
    """Where the model lies that `checkpoint` is an adapter of, if it was moved."""


def steps_of(options: FinetuneOptions, workers: int) -> int:
    """Updates of a run of so many processes. Raises ShardError."""
    settings = options.settings
    if settings.steps:
        return settings.steps
    rows = max(1, Shards(options.shards).rows - options.holdout)
    return -(-settings.epochs * rows // (settings.batch_size * settings.accumulation * workers))


def finetune(options: FinetuneOptions, report: Report | None = None) -> dict[str, Any]:
    """Finetune to the last step in this process, one of a world or the only one; the metrics of the last step.

    Raises ConfigError, InputError, ShardError, TrainingError, StorageError.
    """
    shards = Shards(options.shards)

    def prepare(world: "World") -> Prepared:
        from glmdata.model.adapter_settings import adapter_json
        from glmdata.model.checkpoint import base_json, config_json, load_pretrained
        from glmdata.model.quantize import quantized_bits
        from glmdata.training.checkpoint import newest_checkpoint

        settings = options.settings.model_copy(update={"steps": steps_of(options, world.size)})
        folder = newest_checkpoint(options.checkpoint)
        base = None if options.base is None else newest_checkpoint(options.base)
        found = load_pretrained(folder, device="cpu", base=base)
        _require_fit(found, folder, shards, settings)
        config = config_json(found.model.config, quantized_bits(found.model)) | {"base": base_json(folder)}
        if settings.adapter_settings is not None:
            config["adapter"] = adapter_json(settings.adapter_settings)
        model = _prepared(found.model, settings).to(world.device)
        return Prepared(model, _task(options, shards, model, world.device), config, settings)

    return run(options, shards, prepare, report)


def _require_fit(found: "Checkpoint", folder: Path, shards: Shards, settings: FinetuneSettings) -> None:
    """Raises ConfigError, InputError where the model, the rows and what is to be trained do not go together."""
    from glmdata.model.adapters import has_adapter
    from glmdata.model.quantize import quantized_bits

    if found.tokenizer is None:
        raise InputError(f"{folder}: no tokenizer.model; put the tokenizer that the model was trained with beside it")
    if found.tokenizer.hash != shards.manifest.tokenizer.hash:
        raise ConfigError(
            f"{shards.folder} was built with another tokenizer than the model's; "
            f"build it with --tokenizer {folder / 'tokenizer.model'}"
        )
    found.model.config.check_rows(shards.manifest.tokenizer.vocabulary_size, shards.manifest.sequence_length)
    if has_adapter(found.model):
        what = "LoRA on quantised weights" if found.model.prefix is None else "a prefix"
        raise ConfigError(f"{folder}: a model with {what} is not tuned further; give the checkpoint that it is for")
    if quantized_bits(found.model) and settings.adapter == "none":
        raise ConfigError(
            f"{folder}: int{quantized_bits(found.model)} weights cannot be trained; "
            "give the model before quantisation, or --adapter lora or prefix, which leave them alone"
        )


def _prepared(model: "GLM", settings: FinetuneSettings) -> "GLM":
    """The model with what is trained in float32, and frozen linear layers as the matrix products want them."""
    import torch

    from glmdata.model.adapters import add_adapter
    from glmdata.training.trainer import seeded

    for parameter in model.parameters():
        parameter.data = parameter.data.float()
    if settings.adapter_settings is None:
        return model
    if settings.precision != "fp32" and settings.parallel != "fsdp":  # FSDP wants one dtype in a layer
        half = torch.bfloat16 if settings.precision == "bf16" else torch.float16
        for module in model.layers.modules():
            if isinstance(module, torch.nn.Linear):
                module.to(half)
    with seeded(settings.seed, "adapter"):
        add_adapter(model, settings.adapter_settings)
    return model


def _task(options: FinetuneOptions, shards: Shards, model: "GLM", device: "torch.device") -> "Task[Any]":
    """What the rows are for, by their recipe; rows of pre-training are language modelling as well."""
    from glmdata.training.cloze import Cloze, answers_of
    from glmdata.training.language_modelling import LanguageModelling
    from glmdata.training.preference import Preference

    gmask_id = gmask_of(model.config, shards)
    builds = [shards, *([Shards(options.evaluation)] if options.evaluation else [])]
    tasks = {task_name(build) for build in builds}
    if len(tasks) > 1:
        mine, other = (f"{build.folder} is for {task_name(build)}" for build in builds)
        raise ConfigError(f"{mine}, {other}; evaluate on a build of the same recipe")
    smoothing = options.settings.label_smoothing
    if smoothing and tasks & {"cloze", "preference"}:
        raise ConfigError(
            f"label_smoothing={smoothing:g} is of the tokens of answers, {shards.folder} is for {tasks.pop()}; "
            "leave it out (pairs have preference.label_smoothing)"
        )
    if tasks == {"cloze"}:
        return Cloze([answers_of(build) for build in builds], options.settings.cloze, device, gmask_id)
    if tasks == {"preference"}:
        return Preference(model, options.settings.preference, device, gmask_id)
    return LanguageModelling(shards.manifest.languages, device, gmask_id, label_smoothing=smoothing)
