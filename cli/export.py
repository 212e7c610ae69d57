"""`glmdata export`."""

import json
from pathlib import Path

import click

from glmdata.cli.options import ORIGINALS, base_option, json_option, load_checkpoint

__all__ = ["command"]


@click.command("export", no_args_is_help=True)
@click.argument("folder", metavar="DIR")
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice(["parquet", "jsonl", "megatron", "model", *ORIGINALS]),
    help="The format.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="OUT", help="A new folder; of a model, a new file."
)
@base_option
@json_option
def command(folder: str, form: str, out: Path, base: Path | None, as_json: bool) -> None:
    """Write a finished build, by folder or URI, or a trained model in a format that other tools read.

    Of a build, parquet: the columns of the shards. jsonl: a line a row, its text with the spans marked, ids and
    decoded. megatron: an indexed dataset (text.bin, text.idx) of the texts before masking.

    Of a checkpoint, thudm-glm and chatglm-6b: the state dict that the original's code loads, in a file
    .safetensors, .pt or .bin. `glmdata convert` is the way back. model: a checkpoint of its own, LoRA merged into it.
    """
    if form == "model" or form in ORIGINALS:
        _export_model(Path(folder), form, out, base, as_json=as_json)
        return
    if base is not None:
        raise click.UsageError("--base is of an adapter; a build has none")
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


def _export_model(folder: Path, form: str, out: Path, base: Path | None, *, as_json: bool) -> None:
    model, tokenizer = load_checkpoint(folder, base=base)
    from glmdata.model.checkpoint import save_pretrained
    from glmdata.model.reference import save_reference_file

    if form == "model":
        save_pretrained(model, out, tokenizer)
        size = sum(path.stat().st_size for path in out.iterdir())
    else:
        size = save_reference_file(model, ORIGINALS[form], out)
    if as_json:
        found = {"out": str(out), "format": form, "parameters": model.num_parameters(), "bytes": size}
        click.echo(json.dumps(found))
        return
    click.echo(f"{out}: {form}, {model.num_parameters():,} parameters, {size / 1e6:,.1f} MB")
