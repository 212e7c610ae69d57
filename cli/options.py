"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from glmdata.errors import ConfigError

if TYPE_CHECKING:
    from glmdata.model.reference import Kind

__all__ = [
    "ORIGINALS",
    "address_option",
    "batch_option",
    "corpus_option",
    "holdout_option",
    "json_option",
    "need_training_packages",
    "recipe_option",
    "run_options",
    "set_option",
    "workers_option",
]

ORIGINALS: "dict[str, Kind]" = {"thudm-glm": "glm", "chatglm-6b": "chatglm-6b"}
"""Whose state dicts are read and written, by their names on the command line."""
F = TypeVar("F", bound=Callable[..., Any])

corpus_option = click.option(
    "--corpus",
    "corpora",
    multiple=True,
    required=True,
    metavar="PATH|URI",
    help="Folder, file or URI (s3://bucket/prefix) of raw text: .jsonl and .txt (also .gz, .zst), .parquet, .arrow. "
    "Repeat it for each.",
)
recipe_option = click.option(
    "--recipe", default="glm", show_default=True, metavar="NAME|FILE", help="A recipe of glmdata, or a YAML file."
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting of the recipe, e.g. --set sequence_length=1024. Repeat it for each.",
)
address_option = click.option(
    "--address",
    default="auto",
    show_default=True,
    metavar="auto|none|local|HOST:PORT",
    help="none: in this process. local: start Ray on this machine. HOST:PORT or ray://HOST:PORT: that cluster. "
    "auto: $RAY_ADDRESS, else what is faster for the size of the corpus.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Partitions worked on at a time; never changes the result. Default: all processors.",
)
holdout_option = click.option(
    "--holdout",
    type=click.IntRange(min=0),
    default=0,
    metavar="ROWS",
    help="Only the last ROWS of the build: those that `glmdata train --holdout` kept. Default: all.",
)
batch_option = click.option(
    "--batch-size", type=click.IntRange(min=1), default=8, show_default=True, metavar="N", help="Rows at a time."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")

_RUN_OPTIONS = (
    click.option("--shards", required=True, metavar="DIR|URI", help="A finished build."),
    click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="RUN"),
    click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Updates; the same as --set steps=N."),
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting, e.g. --set batch_size=16."
    ),
    click.option("--holdout", type=click.IntRange(min=0), default=0, metavar="ROWS", help="Rows kept for evaluation."),
    click.option("--evaluation", metavar="DIR|URI", help="Another build to evaluate on."),
    click.option(
        "--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Ray actors."
    ),
    click.option("--gpus", type=click.FloatRange(min=0), default=0, show_default=True, help="GPUs of each Ray actor."),
    address_option,
    click.option("--list", "listing", is_flag=True, help="Print all settings with what they mean, and stop."),
    json_option,
)


def run_options(command: F) -> F:
    """Options of commands that train something; see cli/runs.py."""
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


def need_training_packages() -> None:
    """Raise ConfigError, in one line, where PyTorch or safetensors is not installed."""
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f'{error.name} is not installed: pip install "glmdata[train]"') from None
