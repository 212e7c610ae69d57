"""`glmdata export`."""

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command("export", no_args_is_help=True)
@click.argument("folder", metavar="DIR")
@click.option("--to", "form", required=True, type=click.Choice(["parquet", "jsonl", "megatron"]), help="The format.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="OUT", help="A new folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(folder: str, form: str, out: Path, as_json: bool) -> None:
    """Write a finished build, by folder or URI, in a format that other tools read.

    parquet: the columns of the shards. jsonl: a line a row, its text with the spans marked, ids and decoded. megatron:
    an indexed dataset (text.bin, text.idx) of the texts before masking.
    """
    from glmdata.shards.export import export

    done = export(folder, form, out)
    size = sum(done.files.values())
    if as_json:
        found = {"out": str(out), "format": form, "rows": done.rows, "sequences": done.sequences, "files": done.files}
        click.echo(json.dumps(found))
        return
    from glmdata.cli.render import counted

    more = "" if done.sequences == done.rows else f", {done.sequences:,} sequences"
    click.echo(f"{out}: {counted(done.rows, 'row')}{more} in {counted(len(done.files), 'file')}, {size / 1e6:,.1f} MB")
