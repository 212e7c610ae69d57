"""Options that several commands share."""

import importlib.util
from typing import TYPE_CHECKING

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
    "set_option",
    "workers_option",
]

ORIGINALS: "dict[str, Kind]" = {"thudm-glm": "glm", "chatglm-6b": "chatglm-6b"}
"""Whose state dicts are read and written, by their names on the command line."""

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


def need_training_packages() -> None:
    """Raise ConfigError, in one line, where PyTorch or safetensors is not installed."""
    for name in ("torch", "safetensors"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f'{name} is not installed: pip install "glmdata[train]"')
