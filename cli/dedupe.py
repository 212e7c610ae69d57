"""`glmdata dedupe`."""

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.group("dedupe")
def command() -> None:
    """Make an index of what a corpus holds, so that later builds leave it out."""


@command.command("index", no_args_is_help=True)
@click.option("--corpus", "corpora", multiple=True, required=True, metavar="PATH", help="Folder or file of raw text.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--recipe", default="glm", show_default=True, metavar="NAME|FILE", help="How the corpus is read.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting of the recipe.")
@click.option("--against", multiple=True, metavar="DIR", help="Leave out what this build or index holds already.")
@click.option("--address", default="auto", show_default=True, metavar="auto|none|local|HOST:PORT", help="As for build.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Never changes the index.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def index(
    corpora: tuple[str, ...],
    out: Path,
    recipe: str,
    overrides: tuple[str, ...],
    against: tuple[str, ...],
    address: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write the signatures of a corpus's documents to DIR, for `glmdata build --against DIR`.

    A finished build needs none: it can be given to --against itself. An index is for text that was never built, such as
    what another tool trained on.
    """
    from glmdata.cli.progress import make_progress
    from glmdata.pipelines.executors import check_engine, choose_executor
    from glmdata.recipe import load_recipe

    settings = load_recipe(recipe, overrides)
    check_engine(address)
    from glmdata.pipelines.index import index_corpus

    progress = make_progress()
    try:
        documents = index_corpus(
            corpora,
            out,
            settings,
            make_executor=lambda size: choose_executor(address, workers, size),
            progress=progress,
            against=against,
        )
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps({"out": str(out), "documents": documents}))
    else:
        click.echo(f"{out}: {documents:,} documents; leave them out with: glmdata build --against {out}")
