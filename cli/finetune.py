"""`glmdata finetune`."""

import os
from pathlib import Path

import click

from glmdata.cli.options import run_options

__all__ = ["command"]


@click.command("finetune", no_args_is_help=True)
@click.option(
    "--checkpoint",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The model to begin with: a checkpoint, or a run, whose newest one is taken.",
)
@click.option(
    "--adapter",
    type=click.Choice(["none", "lora", "prefix"]),
    help="What is trained; the same as --set adapter=... Default: none, all weights.",
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Passes over the rows; as --set epochs=N.")
@run_options
def command(
    checkpoint: Path,
    shards: str,
    out: Path,
    adapter: str | None,
    epochs: int | None,
    steps: int | None,
    overrides: tuple[str, ...],
    holdout: int,
    evaluation: str | None,
    workers: int,
    gpus: float,
    address: str,
    listing: bool,
    as_json: bool,
) -> None:
    """Finetune a trained GLM on rows of recipe sft, seq2seq, cloze or preference, as the build says.

    RUN gets checkpoints/, metrics.jsonl and curve.png; the same command goes on after any interruption. With an adapter
    its checkpoints hold that alone and say where the model lies; `glmdata generate RUN` reads both.
    """
    from glmdata.cli.runs import carry_out
    from glmdata.recipe import read_settings, render_settings
    from glmdata.training.finetune import FinetuneOptions, finetune, steps_of
    from glmdata.training.finetune_settings import FinetuneSettings

    if epochs and steps:
        raise click.UsageError("give --epochs or --steps, not both")
    given = {"adapter": adapter, "epochs": epochs, "steps": steps}
    last = {name: value for name, value in given.items() if value is not None}
    settings = read_settings(FinetuneSettings, "the finetuning settings", {}, overrides, last)
    if listing:
        click.echo(render_settings(settings))
        return
    options = FinetuneOptions(
        shards=shards, out=out, checkpoint=checkpoint, settings=settings, holdout=holdout, evaluation=evaluation
    )
    total = steps_of(options, workers if workers > 1 else int(os.environ.get("WORLD_SIZE", "1")))
    carry_out(finetune, options, steps=total, workers=workers, gpus=gpus, address=address, as_json=as_json)
