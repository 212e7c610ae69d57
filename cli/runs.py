"""What commands that train something share: their options, where the work is done, and what they say of it."""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from glmdata.cli.options import json_option, need_training_packages

if TYPE_CHECKING:
    from glmdata.training.run import Report, RunOptions
    from glmdata.training.settings import TrainSettings

__all__ = ["RunArguments", "carry_out", "run_options"]

Options = TypeVar("Options", bound="RunOptions")
Settings = TypeVar("Settings", bound="TrainSettings")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunArguments:
    """What `run_options` read."""

    shards: str
    out: Path
    steps: int | None
    overrides: tuple[str, ...]
    holdout: int
    evaluation: str | None
    workers: int
    gpus: float
    address: str
    listing: bool
    as_json: bool

    @property
    def on_ray(self) -> bool:
        """Whether the work is that of Ray actors; otherwise it is done here."""
        return self.workers > 1 or self.gpus > 0 or self.address not in ("auto", "none")

    @property
    def processes(self) -> int:
        """How many train together: Ray actors, or those that torchrun started."""
        return self.workers if self.on_ray else int(os.environ.get("WORLD_SIZE", "1"))

    def settings(self, kind: type[Settings], source: str, given: Mapping[str, Any]) -> Settings:
        """Those of --set, those of options of their own (None: not given) before them. Raises ConfigError."""
        from glmdata.recipe import read_settings

        last = {name: value for name, value in {"steps": self.steps, **given}.items() if value is not None}
        return read_settings(kind, source, {}, self.overrides, last)


_OPTIONS = (
    click.option("--shards", required=True, metavar="DIR|URI", help="A finished build."),
    click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="RUN"),
    click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Updates; the same as --set steps=N."),
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting, e.g. --set batch_size=16."
    ),
    click.option("--holdout", type=click.IntRange(min=0), default=0, metavar="ROWS", help="Rows kept for evaluation."),
    click.option("--evaluation", metavar="DIR|URI", help="Another build to evaluate on."),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Train with so many Ray actors. One without --gpus and --address: in this process.",
    ),
    click.option("--gpus", type=click.FloatRange(min=0), default=0, show_default=True, help="GPUs of each Ray actor."),
    click.option(
        "--address",
        default="auto",
        show_default=True,
        metavar="auto|none|local|HOST:PORT",
        help="Where Ray actors are placed. local: a Ray of this machine, started and stopped. HOST:PORT or "
        "ray://HOST:PORT: that cluster. auto: $RAY_ADDRESS, else local. none: no actors, this process.",
    ),
    click.option("--list", "listing", is_flag=True, help="Print all settings with what they mean, and stop."),
    json_option,
)


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of commands that train something; they reach the command as one argument, `run`."""

    @functools.wraps(command)
    def collected(**given: Any) -> None:
        run = RunArguments(**{field.name: given.pop(field.name) for field in dataclasses.fields(RunArguments)})
        command(run=run, **given)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected


def carry_out(
    work: "Callable[[Options, Report], dict[str, Any]]", options: Options, run: RunArguments, steps: int
) -> None:
    """Run `work` here or as Ray actors, to its last step, number `steps`, and tell of it on stderr."""
    from rich.console import Console

    need_training_packages()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    every = max(1, steps // 50)

    def report(line: dict[str, Any]) -> None:
        if line["step"] % every == 0 or line["step"] in (1, steps) or "evaluation" in line:
            console.print(_told(line, steps), highlight=False)

    if run.on_ray:
        from glmdata.pipelines.executors import ray_address
        from glmdata.pipelines.train import train_on_ray

        line = train_on_ray(work, options, run.workers, ray_address(run.address), gpus=run.gpus, report=report)
    else:
        line = work(options, report)
    if os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks
        return
    if not line:
        console.print(f"{options.out} has been trained to step {steps} already")
    if run.as_json:
        click.echo(json.dumps(line or _last_line(options.out)))
    elif line:
        console.print(f"{options.out}: metrics.jsonl, curve.png, checkpoints/")


def _last_line(run: Path) -> dict[str, Any]:
    """What a run said last; nothing where its metrics are gone."""
    from glmdata.training.metrics import read_metrics

    return next(reversed(read_metrics(run)), {})


def _told(line: dict[str, Any], steps: int) -> str:
    """A step as one line."""
    parts = [f"step {line['step']:>{len(str(steps))}}/{steps}", f"loss {line['loss']:.4f}"]
    parts += [f"{name} {loss:.3f}" for name, loss in line.get("objectives", {}).items()]
    parts += _figures(line)
    parts.append(f"{line['tokens_per_second']:,.0f} targets/s")
    if line["loader_wait"] >= 0.01:
        parts.append(f"waiting {line['loader_wait']:.0%}")
    if "evaluation" in line:
        parts += [f"held-out loss {line['evaluation']['loss']:.4f}", *_figures(line["evaluation"])]
    return "   ".join(parts)


def _figures(found: dict[str, Any]) -> list[str]:
    """What a task of choices says besides its loss."""
    names = ("accuracy", "macro_f1", "reward_accuracy", "reward_margin")
    return [f"{name.replace('_', ' ')} {found[name]:.3f}" for name in names if name in found]
