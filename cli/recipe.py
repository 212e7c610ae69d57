"""`glmdata recipe`."""

import click

__all__ = ["command"]


@click.command("recipe")
@click.argument("name", default="glm", metavar="[NAME|FILE]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
def command(name: str, overrides: tuple[str, ...]) -> None:
    """Print a recipe with all its settings and what they mean, as YAML: a file to begin one's own with."""
    from glmdata.recipe import load_recipe, render_recipe

    click.echo(render_recipe(load_recipe(name, overrides)), nl=False)
