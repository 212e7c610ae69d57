"""`glmdata quantize`."""

import json
from pathlib import Path
from typing import Any

import click

from glmdata.cli.options import base_option, batch_option, holdout_option, json_option, load_checkpoint

__all__ = ["command"]


@click.command("quantize", no_args_is_help=True)
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="CKPT")
@click.option("--bits", required=True, type=click.Choice(["8", "4"]), help="Of a weight.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="A new checkpoint.")
@click.option("--shards", metavar="DIR|URI", help="A build to measure the perplexity on.")
@holdout_option
@batch_option
@base_option
@json_option
def command(
    checkpoint: Path,
    bits: str,
    out: Path | None,
    shards: str | None,
    holdout: int,
    batch_size: int,
    base: Path | None,
    as_json: bool,
) -> None:
    """Round the weights of a model's layers to int8 or int4; print its memory before and after.

    CKPT is a checkpoint, or a run, whose newest one is taken. With --shards the perplexity before and after as well.
    What is written to DIR is read by `glmdata generate` and `glmdata evaluate`. Embeddings, biases and norms keep
    their precision.
    """
    if out is None and shards is None:
        raise click.UsageError("give --out for a checkpoint, --shards for perplexities, or both")
    if holdout and shards is None:
        raise click.UsageError("--holdout is of the rows of --shards; give that too")
    loaded = load_checkpoint(checkpoint, base=base)
    from glmdata.model.checkpoint import save_pretrained
    from glmdata.model.quantize import model_bytes, quantize_model
    from glmdata.training.evaluation import evaluate, evaluation_rows

    stream = None
    if shards is not None:
        stream = evaluation_rows(loaded, shards, holdout=holdout, batch_size=batch_size)

    def measured() -> dict[str, Any]:
        size = {"bytes": model_bytes(loaded.model), "layer_bytes": model_bytes(loaded.model.layers)}
        return size if stream is None else {**size, "perplexity": evaluate(loaded, stream)["perplexity"]}

    before = measured()
    quantize_model(loaded.model, int(bits))
    after = measured()
    if out is not None:
        save_pretrained(loaded.model, out, loaded.tokenizer)
    if as_json:
        found = {"bits": int(bits), "out": None if out is None else str(out), "before": before, "after": after}
        click.echo(json.dumps(found | ({} if stream is None else {"rows": stream.num_rows})))
        return
    _print(before, after, f"int{bits}", out)


def _print(before: dict[str, Any], after: dict[str, Any], name: str, out: Path | None) -> None:
    from rich.table import Table

    from glmdata.cli.render import make_console

    table = Table()
    for column in ("", "before", name):
        table.add_column(column, justify="right" if column else "left")
    for title, key in (("layers, MB", "layer_bytes"), ("model, MB", "bytes")):
        table.add_row(title, f"{before[key] / 1e6:,.2f}", f"{after[key] / 1e6:,.2f}")
    if "perplexity" in before:
        table.add_row("perplexity", f"{before['perplexity']:,.2f}", f"{after['perplexity']:,.2f}")
    make_console().print(table)
    if out is not None:
        click.echo(f"{out}: {name}")
