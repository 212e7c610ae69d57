"""`glmdata report`."""

import json
from pathlib import Path

import click

from glmdata.cli.options import json_option

__all__ = ["command"]


@click.command("report", no_args_is_help=True)
@click.argument("folder", metavar="DIR")
@click.option("--open", "open_", is_flag=True, help="Open it in the browser.")
@json_option
def command(folder: str, open_: bool, as_json: bool) -> None:
    """Make report.html of a finished build again, and print where it is.

    A build makes it by itself; this does it for builds of other versions, and after a change of the page.
    """
    from glmdata.pipelines.folder import PAGE_NAME
    from glmdata.pipelines.page import write_page
    from glmdata.pipelines.places import open_place
    from glmdata.remote import is_remote

    path = write_page(folder)
    if as_json:
        size = open_place(folder).sizes([PAGE_NAME])[PAGE_NAME]
        click.echo(json.dumps({"path": path, "bytes": size}))
    else:
        click.echo(path)
    if open_:
        import webbrowser

        webbrowser.open(path if is_remote(path) else Path(path).resolve().as_uri())
