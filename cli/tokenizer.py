"""`glmdata tokenizer`."""

import json
from pathlib import Path
from typing import Any

import click

from glmdata.errors import ConfigError

__all__ = ["command"]

SAMPLES = ("春天的河水慢慢变暖，孩子们在院子里数星星。", "The ferry leaves the harbour at seven, and nobody hurries.")


@click.group("tokenizer")
def command() -> None:
    """Train a SentencePiece model for a build, or look into one."""


@command.command("train", no_args_is_help=True)
@click.option("--corpus", "corpora", multiple=True, required=True, metavar="URI", help="Folder or file of raw text.")
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
@click.option("--recipe", default="glm", show_default=True, metavar="NAME|FILE", help="How the corpus is read.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting of the recipe.")
@click.option("--address", default="auto", show_default=True, metavar="auto|none|local|HOST:PORT", help="As for build.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Never changes the model.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def info(model: Path, text: tuple[str, ...], as_json: bool) -> None:
    """Show a tokenizer: its vocabulary by script, its special ids, how it cuts text."""
    from glmdata.tokenization import SPECIAL_TEXTS, Tokenizer

    tokenizer = Tokenizer.load(model)
    scripts = _pieces_by_script(tokenizer)
    splits = {
        sample: [tokenizer.piece(int(token)) for token in tokenizer.encode([sample])[0]] for sample in text or SAMPLES
    }
    special = tokenizer.special.by_role()
    if as_json:
        found = {
            "hash": tokenizer.hash,
            "pieces": tokenizer.num_pieces,
            "vocabulary_size": tokenizer.vocabulary_size,
            "special_tokens": special,
            "pieces_by_script": scripts,
            "splits": splits,
        }
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import make_console

    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("tokenizer", Text(f"{model}   {tokenizer.hash}"))
    table.add_row("ids", f"{tokenizer.vocabulary_size:,}: {tokenizer.num_pieces:,} pieces, special tokens above them")
    table.add_row("special", Text("  ".join(f"{role} {special[role]} {SPECIAL_TEXTS[role]}" for role in special)))
    table.add_row("pieces", "  ".join(f"{script} {count:,}" for script, count in scripts.items()))
    for sample, pieces in splits.items():
        size = len(sample.encode()) / max(1, len(pieces))
        table.add_row(f"{size:.1f} bytes", Text("|".join(pieces)))
    make_console().print(table)


def _pieces_by_script(tokenizer: Any) -> dict[str, int]:
    """Pieces counted by the script of most of their letters, most first."""
    import numpy as np
    import pyarrow as pa

    from glmdata.text.scripts import SCRIPTS, script_counts

    names = pa.array([tokenizer.piece(token) for token in range(tokenizer.num_pieces)], pa.string())
    counts = script_counts(names)
    kinds = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), len(SCRIPTS))
    found = np.bincount(kinds, minlength=len(SCRIPTS) + 1)
    labels = [*SCRIPTS, "no letters"]
    return {labels[kind]: int(found[kind]) for kind in np.argsort(-found, kind="stable") if found[kind]}
