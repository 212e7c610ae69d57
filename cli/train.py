"""`glmdata train`."""

from pathlib import Path

import click

from glmdata.cli.options import run_options

__all__ = ["command"]


@click.command("train", no_args_is_help=True)
@click.option("--preset", default="tiny", show_default=True, metavar="NAME", help="Of the model: glm-base, ...")
@click.option("--model", "changes", multiple=True, metavar="KEY=VALUE", help="Change one field of the preset.")
@run_options
def command(
    shards: str,
    out: Path,
    preset: str,
    changes: tuple[str, ...],
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
    """Train a GLM on a finished build, from the newest checkpoint in RUN on.

    The same command goes on after any interruption, with the losses that it would have had without. RUN gets
    checkpoints/, metrics.jsonl and curve.png. With --workers, or under torchrun, each process trains on its part of
    every batch; batch_size is that of one of them.
    """
    from glmdata.cli.runs import carry_out
    from glmdata.recipe import parse_fields, read_settings, render_settings
    from glmdata.training.run import TrainOptions, train
    from glmdata.training.settings import TrainSettings

    last = {} if steps is None else {"steps": steps}
    settings = read_settings(TrainSettings, "the training settings", {}, overrides, last)
    if listing:
        click.echo(render_settings(settings))
        return
    options = TrainOptions(
        shards=shards,
        out=out,
        preset=preset,
        model=parse_fields("--model", changes),
        settings=settings,
        holdout=holdout,
        evaluation=evaluation,
    )
    carry_out(train, options, steps=settings.steps, workers=workers, gpus=gpus, address=address, as_json=as_json)
