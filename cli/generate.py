"""`glmdata generate`."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmdata.cli.options import (
    base_option,
    decoding_options,
    device_option,
    json_option,
    load_checkpoint,
    need_training_packages,
)
from glmdata.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from glmdata.model.decoding import Decoding
    from glmdata.model.glm import GLM
    from glmdata.model.text import Fragment
    from glmdata.tokenization import Tokenizer

__all__ = ["command"]


@click.command("generate", no_args_is_help=True)
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="TEXT",
    help="With [MASK], [sMASK] or [gMASK] where text is wanted. Repeat it; - reads one from stdin.",
)
@click.option("--chat", is_flag=True, help="Answer lines of stdin, in ChatGLM's rounds.")
@click.option(
    "--cls/--no-cls",
    "cls",
    default=None,
    help="Whether [CLS] and eos stand around a prompt. Default: yes, in chats no.",
)
@base_option
@click.option("--tokenizer", type=click.Path(path_type=Path), metavar="FILE.model", help="If DIR has none.")
@decoding_options
@click.option("--quantize", type=click.Choice(["8", "4"]), metavar="8|4", help="Weights of so many bits.")
@device_option
@json_option
def command(
    checkpoint: Path,
    prompts: tuple[str, ...],
    chat: bool,
    cls: bool | None,
    base: Path | None,
    tokenizer: Path | None,
    quantize: str | None,
    device: str,
    decoding: dict[str, Any],
    as_json: bool,
) -> None:
    """Fill the blanks of prompts with a trained model, from left to right.

    DIR is a checkpoint (model.safetensors, config.json, tokenizer.model), or a run, whose newest one is taken. That
    of an adapter is read together with its model.
    """
    if chat == bool(prompts):
        raise click.UsageError("give --prompt TEXT or --chat")
    need_training_packages()
    from glmdata.model.decoding import Decoding

    chosen = Decoding(**decoding)
    model, pieces = _load(checkpoint, base, tokenizer, quantize, device)
    if chat:
        _chat(model, pieces, chosen, cls=bool(cls), as_json=as_json)
        return
    texts = [sys.stdin.read().rstrip("\n") if text == "-" else text for text in prompts]
    _fill(model, pieces, texts, chosen, cls=cls is not False, as_json=as_json)


def _load(
    run: Path, base: Path | None, tokenizer: Path | None, bits: str | None, device: str
) -> "tuple[GLM, Tokenizer]":
    from glmdata.model.quantize import quantize_model
    from glmdata.tokenization import Tokenizer

    model, found = load_checkpoint(run, base=base, device=device)
    found = found if tokenizer is None else Tokenizer.load(tokenizer)
    if found is None:
        raise InputError(f"{run}: no tokenizer.model; give the model's with --tokenizer")
    return (quantize_model(model, int(bits)) if bits else model), found


def _fill(
    model: "GLM", tokenizer: "Tokenizer", texts: list[str], decoding: "Decoding", *, cls: bool, as_json: bool
) -> None:
    from glmdata.cli.render import make_console
    from glmdata.model.text import stream_text

    console, told = make_console(), []
    started = time.perf_counter()
    for text in texts:
        fragments = list if as_json else lambda found: list(_show(console, found))
        found = fragments(stream_text(model, tokenizer, text, decoding, cls=cls))
        blanks = [
            {
                "text": "".join(one.text for one in found if one.blank == blank),
                "tokens": sum(one.tokens for one in found if one.blank == blank),
                "end": next(one.end for one in found if one.blank == blank and one.end),
            }
            for blank in range(1 + max(one.blank for one in found if one.blank is not None))
        ]
        told.append({"prompt": text, "text": "".join(one.text for one in found), "blanks": blanks})
    if as_json:
        seconds = time.perf_counter() - started
        click.echo(json.dumps({"prompts": told, "seconds": seconds}, ensure_ascii=False))


def _chat(model: "GLM", tokenizer: "Tokenizer", decoding: "Decoding", *, cls: bool, as_json: bool) -> None:
    """Until stdin ends; an empty line begins a new conversation."""
    from glmdata.cli.render import make_console
    from glmdata.model.text import stream_chat

    console, told = make_console(), []
    history: list[tuple[str, str]] = []
    asks = sys.stdin.isatty() and not as_json
    while True:
        if asks:
            click.echo("> ", err=True, nl=False)
        line = sys.stdin.readline()
        if not line:
            break
        query = line.rstrip("\n")
        if not query:
            history = []
            continue
        fragments = stream_chat(model, tokenizer, history, query, decoding, cls=cls)
        answer = "".join(one.text for one in (fragments if as_json else _show(console, fragments)))
        told.append({"query": query, "answer": answer, "round": len(history)})
        history.append((query, answer))
    if as_json:
        click.echo(json.dumps({"rounds": told}, ensure_ascii=False))


def _show(console: "Console", fragments: "Iterator[Fragment]") -> "Iterator[Fragment]":
    """Print fragments as they come, what was chosen in colour, and pass them on."""
    from glmdata.cli.render import visible

    for fragment in fragments:
        style = None if fragment.blank is None else "bright_cyan"
        console.out(visible(fragment.text), style=style, end="")
        console.file.flush()
        yield fragment
    console.out("")
