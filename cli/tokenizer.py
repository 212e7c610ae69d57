"""`glmdata tokenizer`."""

import json
from pathlib import Path
from typing import Any

import click

from glmdata.cli.options import address_option, corpus_option, json_option, recipe_option, set_option, workers_option
from glmdata.errors import ConfigError

__all__ = ["command"]

SAMPLES = ("春天的河水慢慢变暖，孩子们在院子里数星星。", "The ferry leaves the harbour at seven, and nobody hurries.")


@click.group("tokenizer")
def command() -> None:
    """Train a SentencePiece model for a build, or look into one."""


@command.command("train", no_args_is_help=True)
@corpus_option
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.model")
@click.option("--vocabulary-size", type=click.IntRange(min=300), default=32000, show_default=True, metavar="N")
@click.option("--type", "kind", type=click.Choice(["unigram", "bpe"]), default="unigram", show_default=True)
@click.option("--balance", default="zh=1,en=1", show_default=True, metavar="LANGUAGE=WEIGHT,...", help="Whose text.")
@click.option(
    "--sample-megabytes",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Text to train on, shared among the languages.",
)
@recipe_option
@set_option
@address_option
@workers_option
@json_option
def train(
    corpora: tuple[str, ...],
    out: Path,
    vocabulary_size: int,
    kind: str,
    balance: str,
    sample_megabytes: int,
    recipe: str,
    overrides: tuple[str, ...],
    address: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Train a tokenizer on a corpus.

    Duplicates and other languages are left out, as in a build; the sample is chosen by content, so that the same texts
    give the same model whatever their files and the number of processors.
    """
    from glmdata.cli.progress import make_progress
    from glmdata.pipelines.executors import check_engine, choose_executor
    from glmdata.recipe import load_recipe

    settings = load_recipe(
        recipe,
        [
            *overrides,
            f"tokenizer.vocabulary_size={vocabulary_size}",
            f"tokenizer.type={kind}",
            f"tokenizer.sample_bytes={sample_megabytes << 20}",
            f"balance.languages={json.dumps(_weights(balance))}",
        ],
    )
    check_engine(address)
    from glmdata.pipelines.train_tokenizer import train_on_corpus

    progress = make_progress()
    try:
        tokenizer = train_on_corpus(
            corpora,
            out,
            settings,
            make_executor=lambda size: choose_executor(address, workers, size),
            progress=progress,
        )
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps({"out": str(out), "pieces": tokenizer.num_pieces, "hash": tokenizer.hash}))
    else:
        click.echo(
            f"{out}: {tokenizer.num_pieces:,} pieces, {tokenizer.hash}; look at it with: glmdata tokenizer info {out}"
        )


def _weights(balance: str) -> dict[str, float]:
    """`zh=1,en=2` as numbers."""
    weights = {}
    for part in balance.split(","):
        code, _, weight = part.partition("=")
        try:
            weights[code.strip()] = float(weight)
        except ValueError:
            raise ConfigError(f"--balance {balance}: give LANGUAGE=WEIGHT,..., for example zh=1,en=1") from None
    return weights


@command.command("info", no_args_is_help=True)
@click.argument("model", type=click.Path(path_type=Path), metavar="FILE.model")
@click.option("--text", multiple=True, help="Text to show in pieces, instead of two samples.")
@click.option("--corpus", "corpora", multiple=True, metavar="URI", help="Measure on a sample of this text.")
@click.option(
    "--sample-megabytes",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Text of --corpus to read at most.",
)
@recipe_option
@json_option
def info(
    model: Path, text: tuple[str, ...], corpora: tuple[str, ...], sample_megabytes: int, recipe: str, as_json: bool
) -> None:
    """Show a tokenizer: its vocabulary by script, its special ids, how it cuts text.

    With --corpus also bytes and characters a token by language, and what the tokens are: whole words, parts of words,
    Chinese (cjk), bytes of characters that no piece has, unknown. The same corpus gives the same figures.
    """
    from glmdata.tokenization import Tokenizer
    from glmdata.tokenization.usage import pieces_by_script

    tokenizer = Tokenizer.load(model)
    found: dict[str, Any] = {
        "hash": tokenizer.hash,
        "pieces": tokenizer.num_pieces,
        "vocabulary_size": tokenizer.vocabulary_size,
        "special_tokens": tokenizer.special.by_role(),
        "pieces_by_script": pieces_by_script(tokenizer),
        "splits": {
            sample: [tokenizer.piece(int(token)) for token in tokenizer.encode([sample])[0]]
            for sample in text or SAMPLES
        },
    }
    if corpora:
        from glmdata.pipelines.tokenizer_usage import usage_on_corpus
        from glmdata.recipe import load_recipe

        usages = usage_on_corpus(tokenizer, corpora, load_recipe(recipe, []), sample_megabytes << 20)
        found["languages"] = {usage.language: usage.as_json() for usage in usages}
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    from glmdata.cli.render import make_console, tokenizer_tables

    console = make_console()
    for table in tokenizer_tables(str(model), found):
        console.print(table)
