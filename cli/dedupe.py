"""`glmdata dedupe`."""

import json
from pathlib import Path

import click

from glmdata.cli.options import address_option, corpus_option, json_option, recipe_option, set_option, workers_option

__all__ = ["command"]


@click.group("dedupe")
def command() -> None:
    """Make an index of what a corpus holds, so that later builds leave it out."""


@command.command("index", no_args_is_help=True)
@corpus_option
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@recipe_option
@set_option
@click.option("--against", multiple=True, metavar="DIR|URI", help="Leave out what this build or index holds already.")
@address_option
@workers_option
@json_option
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
