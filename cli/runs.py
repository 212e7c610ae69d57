"""What commands that train something say while they do, and where they do it."""

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from glmdata.training.run import Report, RunOptions

__all__ = ["carry_out"]

Options = TypeVar("Options", bound="RunOptions")


def carry_out(
    work: "Callable[[Options, Report], dict[str, Any]]",
    options: Options,
    *,
    steps: int,
    workers: int,
    gpus: float,
    address: str,
    as_json: bool,
) -> None:
    """Run `work` here or as Ray actors, to its last step, number `steps`, and tell of it on stderr."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    every = max(1, steps // 50)

    def report(line: dict[str, Any]) -> None:
        if line["step"] % every == 0 or line["step"] in (1, steps) or "evaluation" in line:
            console.print(_told(line, steps), highlight=False)

    if workers > 1:
        from glmdata.pipelines.train import train_on_ray

        where = address if address not in ("auto", "none") else os.environ.get("RAY_ADDRESS") or "local"
        line = train_on_ray(work, options, workers, where, gpus=gpus, report=report)
    else:
        line = work(options, report)
    if os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks
        return
    if not line:
        console.print(f"{options.out} has been trained to step {steps} already")
    elif as_json:
        click.echo(json.dumps(line))
    else:
        console.print(f"{options.out}: metrics.jsonl, curve.png, checkpoints/")


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
