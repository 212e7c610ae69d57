"""`glmdata report`."""

import json
from pathlib import Path

import click

from glmdata.cli.options import json_option

__all__ = ["command"]


@click.command("report", no_args_is_help=True)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--open", "open_", is_flag=True, help="Open it in the browser.")
@json_option
def command(folder: Path, open_: bool, as_json: bool) -> None:
    """Make report.html of a finished build again, and print where it is.

    A build makes it by itself; this does it for builds of other versions, and after a change of the page.
    """
    from glmdata.pipelines.page import write_page

    path = write_page(folder)
    if as_json:
        click.echo(json.dumps({"path": str(path), "bytes": path.stat().st_size}))
    else:
        click.echo(str(path))
    if open_:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
