"""`glmdata generate`."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmdata.cli.options import json_option, need_training_packages
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
@click.option("--base", type=click.Path(path_type=Path), metavar="DIR", help="An adapter's model, if it was moved.")
@click.option("--tokenizer", type=click.Path(path_type=Path), metavar="FILE.model", help="If DIR has none.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=128, show_default=True, help="Of each blank.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: the likeliest; above 0: drawn.")
@click.option("--top-k", type=click.IntRange(min=0), default=0, help="Draw among so many tokens. Default: all.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Draw among tokens of this probability.")
@click.option("--beams", type=click.IntRange(min=1), default=1, show_default=True, help="Continuations side by side.")
@click.option(
    "--length-penalty", type=float, default=1.0, show_default=True, help="Of beams; above 0 favours long ones."
)
@click.option("--no-repeat-ngram", type=click.IntRange(min=0), default=0, help="No run of so many tokens comes twice.")
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), default=0, show_default=True, help="Of what is drawn.")
@click.option("--quantize", type=click.Choice(["8", "4"]), metavar="8|4", help="Weights of so many bits.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda|...", help="Where the model is.")
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
    as_json: bool,
    **settings: Any,
) -> None:
    """Fill the blanks of prompts with a trained model, from left to right.

    DIR is a checkpoint (model.safetensors, config.json, tokenizer.model), or a run, whose newest one is taken. That
    of an adapter is read together with its model.
    """
    if chat == bool(prompts):
        raise click.UsageError("give --prompt TEXT or --chat")
    need_training_packages()
    from glmdata.model.decoding import Decoding

    settings["num_beams"] = settings.pop("beams")
    decoding = Decoding(**settings)
    model, pieces = _load(checkpoint, base, tokenizer, quantize, device)
    if chat:
        _chat(model, pieces, decoding, cls=bool(cls), as_json=as_json)
        return
    texts = [sys.stdin.read().rstrip("\n") if text == "-" else text for text in prompts]
    _fill(model, pieces, texts, decoding, cls=cls is not False, as_json=as_json)


def _load(
    run: Path, base: Path | None, tokenizer: Path | None, bits: str | None, device: str
) -> "tuple[GLM, Tokenizer]":
    from glmdata.model.checkpoint import load_pretrained
    from glmdata.model.quantize import quantize_model
    from glmdata.tokenization import Tokenizer
    from glmdata.training.checkpoint import newest_checkpoint

    folder = newest_checkpoint(run)
    model, found = load_pretrained(folder, device=device, base=base)
    found = found if tokenizer is None else Tokenizer.load(tokenizer)
    if found is None:
        raise InputError(f"{folder}: no tokenizer.model; give the model's with --tokenizer")
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
