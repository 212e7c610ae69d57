"""`glmdata train`."""

import json
import os
from pathlib import Path
from typing import Any

import click

from glmdata.cli.options import address_option, json_option

__all__ = ["command"]


@click.command("train", no_args_is_help=True)
@click.option("--shards", required=True, metavar="DIR|URI", help="A finished build.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="RUN")
@click.option("--preset", default="tiny", show_default=True, metavar="NAME", help="Of the model: glm-base, ...")
@click.option("--model", "changes", multiple=True, metavar="KEY=VALUE", help="Change one field of the preset.")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Updates; the same as --set steps=N.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting, e.g. --set batch_size=16."
)
@click.option("--holdout", type=click.IntRange(min=0), default=0, metavar="ROWS", help="Rows kept for evaluation.")
@click.option("--evaluation", metavar="DIR|URI", help="Another build to evaluate on.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Ray actors.")
@click.option("--gpus", type=click.FloatRange(min=0), default=0, show_default=True, help="GPUs of each Ray actor.")
@address_option
@click.option("--list", "listing", is_flag=True, help="Print all settings with what they mean, and stop.")
@json_option
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
    from rich.console import Console

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
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    every = max(1, settings.steps // 50)

    def report(line: dict[str, Any]) -> None:
        if line["step"] % every == 0 or line["step"] in (1, settings.steps) or "evaluation" in line:
            console.print(_told(line, settings.steps), highlight=False)

    if workers > 1:
        from glmdata.pipelines.train import train_on_ray

        where = address if address not in ("auto", "none") else os.environ.get("RAY_ADDRESS") or "local"
        line = train_on_ray(train, options, workers, where, gpus=gpus, report=report)
    else:
        line = train(options, report)
    if os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks
        return
    if not line:
        console.print(f"{out} has been trained to step {settings.steps} already")
        return
    if as_json:
        click.echo(json.dumps(line))
    else:
        console.print(f"{out}: metrics.jsonl, curve.png, checkpoints/")


def _told(line: dict[str, Any], steps: int) -> str:
    """A step as one line."""
    parts = [f"step {line['step']:>{len(str(steps))}}/{steps}", f"loss {line['loss']:.4f}"]
    parts += [f"{name} {loss:.3f}" for name, loss in line["objectives"].items()]
    parts.append(f"{line['tokens_per_second']:,.0f} targets/s")
    if line["loader_wait"] >= 0.01:
        parts.append(f"waiting {line['loader_wait']:.0%}")
    if "evaluation" in line:
        parts.append(f"held-out loss {line['evaluation']['loss']:.4f}")
    return "   ".join(parts)
