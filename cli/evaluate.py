"""`glmdata evaluate`."""

import json
import math
from pathlib import Path

import click

from glmdata.cli.options import batch_option, holdout_option, json_option, need_training_packages

__all__ = ["command"]


@click.command("evaluate", no_args_is_help=True)
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="CKPT")
@click.option("--shards", required=True, metavar="DIR|URI", help="A finished build with the model's tokenizer.")
@holdout_option
@batch_option
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda|...", help="Where the model is.")
@json_option
def command(checkpoint: Path, shards: str, holdout: int, batch_size: int, device: str, as_json: bool) -> None:
    """Loss and perplexity of a model on the rows of a build, by objective and language.

    CKPT is a checkpoint: model.safetensors, config.json, tokenizer.model; quantised ones too.
    """
    need_training_packages()
    from glmdata.model.checkpoint import load_pretrained
    from glmdata.training.evaluation import evaluate, evaluation_rows

    loaded = load_pretrained(checkpoint, device=device)
    stream = evaluation_rows(loaded, shards, holdout=holdout, batch_size=batch_size)
    found = evaluate(loaded, stream)
    if as_json:
        click.echo(json.dumps({"rows": stream.num_rows, **found}))
        return
    from rich.table import Table

    from glmdata.cli.render import counted, make_console

    table = Table(title=f"{counted(stream.num_rows, 'row')}, {counted(found['target_tokens'], 'target token')}")
    table.add_column("")
    table.add_column("loss, nats a token", justify="right")
    table.add_column("perplexity", justify="right")
    for name, loss in {"all": found["loss"], **found["objectives"], **found["languages"]}.items():
        table.add_row(name, f"{loss:.4f}", f"{math.exp(loss):,.2f}")
    make_console().print(table)
