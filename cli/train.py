"""`glmdata train`."""

import click

from glmdata.cli.runs import RunArguments, carry_out, run_options

__all__ = ["command"]


@click.command("train", no_args_is_help=True)
@click.option("--preset", default="tiny", show_default=True, metavar="NAME", help="Of the model: glm-base, ...")
@click.option("--model", "changes", multiple=True, metavar="KEY=VALUE", help="Change one field of the preset.")
@run_options
def command(run: RunArguments, preset: str, changes: tuple[str, ...]) -> None:
    """Train a GLM on a finished build, from the newest checkpoint in RUN on.

    The same command goes on after any interruption, with the losses that it would have had without. RUN gets
    checkpoints/, metrics.jsonl and curve.png. With --workers, or under torchrun, each process trains on its part of
    every batch; batch_size is that of one of them.
    """
    from glmdata.recipe import parse_fields, render_settings
    from glmdata.training.run import TrainOptions, train
    from glmdata.training.settings import TrainSettings

    settings = run.settings(TrainSettings, "the training settings", {})
    if run.listing:
        click.echo(render_settings(settings))
        return
    options = TrainOptions(
        shards=run.shards,
        out=run.out,
        preset=preset,
        model=parse_fields("--model", changes),
        settings=settings,
        holdout=run.holdout,
        evaluation=run.evaluation,
    )
    carry_out(train, options, run, settings.steps)
