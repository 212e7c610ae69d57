"""Options that several commands share."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmdata.errors import ConfigError

if TYPE_CHECKING:
    from glmdata.model.checkpoint import Checkpoint
    from glmdata.model.reference import Kind

__all__ = [
    "ORIGINALS",
    "address_option",
    "base_option",
    "batch_option",
    "corpus_option",
    "decoding_options",
    "device_option",
    "holdout_option",
    "json_option",
    "load_checkpoint",
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
base_option = click.option(
    "--base", type=click.Path(path_type=Path), metavar="DIR", help="An adapter's model, if it was moved."
)
device_option = click.option(
    "--device", default="cpu", show_default=True, metavar="cpu|cuda|...", help="Where the model is."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")

_DECODING = {
    "max_tokens": click.option(
        "--max-tokens", type=click.IntRange(min=1), default=128, show_default=True, help="Of each blank."
    ),
    "temperature": click.option(
        "--temperature", type=float, default=0.0, show_default=True, help="0: the likeliest; above 0: drawn."
    ),
    "top_k": click.option(
        "--top-k", type=click.IntRange(min=0), default=0, help="Draw among so many tokens. Default: all."
    ),
    "top_p": click.option(
        "--top-p", type=float, default=1.0, show_default=True, help="Draw among tokens of this probability."
    ),
    "num_beams": click.option(
        "--beams",
        "num_beams",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Continuations side by side.",
    ),
    "length_penalty": click.option(
        "--length-penalty", type=float, default=1.0, show_default=True, help="Of beams; above 0 favours long ones."
    ),
    "no_repeat_ngram": click.option(
        "--no-repeat-ngram", type=click.IntRange(min=0), default=0, help="No run of so many tokens comes twice."
    ),
    "seed": click.option(
        "--seed", type=click.IntRange(0, (1 << 63) - 1), default=0, show_default=True, help="Of what is drawn."
    ),
}
"""By the fields of decoding.Decoding."""


def decoding_options(command: Callable[..., None]) -> Callable[..., None]:
    """How tokens are chosen; the command gets the fields of decoding.Decoding as one argument, `decoding`."""

    @functools.wraps(command)
    def collected(**given: Any) -> None:
        command(decoding={name: given.pop(name) for name in _DECODING}, **given)

    for option in reversed(_DECODING.values()):
        collected = option(collected)
    return collected


def need_training_packages() -> None:
    """Raise ConfigError, in one line, where PyTorch or safetensors is not installed."""
    for name in ("torch", "safetensors"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f'{name} is not installed: pip install "glmdata[train]"')


def load_checkpoint(folder: Path, *, base: Path | None = None, device: str | None = None) -> "Checkpoint":
    """The model in a checkpoint, or in the newest one of a run; of an adapter with its base, as checkpoint or run.

    Raises as `model.checkpoint.load_pretrained`.
    """
    need_training_packages()
    from glmdata.model.checkpoint import load_pretrained
    from glmdata.training.checkpoint import newest_checkpoint

    return load_pretrained(
        newest_checkpoint(folder), device=device, base=None if base is None else newest_checkpoint(base)
    )
