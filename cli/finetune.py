"""`glmdata finetune`."""

from pathlib import Path

import click

from glmdata.cli.options import base_option
from glmdata.cli.runs import RunArguments, carry_out, run_options

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
@base_option
@run_options
def command(run: RunArguments, checkpoint: Path, adapter: str | None, epochs: int | None, base: Path | None) -> None:
    """Finetune a trained GLM on rows of recipe sft, seq2seq, cloze or preference, as the build says.

    RUN gets checkpoints/, metrics.jsonl and curve.png; the same command goes on after any interruption. With an adapter
    its checkpoints hold that alone and say where the model lies; `glmdata generate RUN` reads both.
    """
    from glmdata.recipe import render_settings
    from glmdata.training.finetune import FinetuneOptions, finetune, steps_of
    from glmdata.training.finetune_settings import FinetuneSettings

    if epochs and run.steps:
        raise click.UsageError("give --epochs or --steps, not both")
    given = {"adapter": adapter, "epochs": epochs}
    settings = run.settings(FinetuneSettings, "the finetuning settings", given)
    if run.listing:
        click.echo(render_settings(settings))
        return
    options = FinetuneOptions(
        shards=run.shards,
        out=run.out,
        checkpoint=checkpoint,
        base=base,
        settings=settings,
        holdout=run.holdout,
        evaluation=run.evaluation,
    )
    carry_out(finetune, options, run, steps_of(options, run.processes))
