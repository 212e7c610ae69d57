"""`glmdata convert`."""

import json
from pathlib import Path

import click

from glmdata.cli.options import ORIGINALS, json_option, need_training_packages
from glmdata.errors import ConfigError

__all__ = ["command"]


@click.command("convert", no_args_is_help=True)
@click.argument("original", type=click.Path(path_type=Path), metavar="FILE|DIR")
@click.option("--from", "kind", required=True, type=click.Choice(list(ORIGINALS)), help="Whose weights they are.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="CKPT", help="A new folder.")
@click.option("--preset", metavar="NAME", help="Of the model: glm-large, ... Default for chatglm-6b: chatglm-6b.")
@click.option("--model", "changes", multiple=True, metavar="KEY=VALUE", help="Change one field of the preset.")
@click.option("--tokenizer", type=click.Path(path_type=Path), metavar="FILE.model", help="Kept beside the weights.")
@json_option
def command(
    original: Path,
    kind: str,
    out: Path,
    preset: str | None,
    changes: tuple[str, ...],
    tokenizer: Path | None,
    as_json: bool,
) -> None:
    """Make a checkpoint of an original's weights, for `glmdata generate` and `glmdata evaluate`.

    The file is .safetensors, or one of torch.save, read without running what it holds; or a folder of such files. The
    weights keep their precision. `glmdata export CKPT --to ...` is the way back, and gives what was read, bit by bit.
    """
    need_training_packages()
    from glmdata import model as models
    from glmdata.model.checkpoint import save_pretrained
    from glmdata.model.reference import load_reference_file
    from glmdata.recipe import parse_fields
    from glmdata.tokenization import Tokenizer

    if preset is None and kind != "chatglm-6b":
        raise ConfigError(f"--from {kind}: give the model's size with --preset, one of {', '.join(models.PRESETS)}")
    config = models.preset(preset or kind, **parse_fields("--model", changes))
    pieces = None if tokenizer is None else Tokenizer.load(tokenizer)
    model = load_reference_file(original, ORIGINALS[kind], config, dtype="file")
    save_pretrained(model, out, pieces)
    precision = str(next(model.parameters()).dtype).removeprefix("torch.")
    if as_json:
        found = {"out": str(out), "from": kind, "parameters": model.num_parameters(), "dtype": precision}
        click.echo(json.dumps(found))
        return
    click.echo(f"{out}: {kind}, {model.num_parameters():,} parameters, {precision}")
