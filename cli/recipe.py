"""`glmdata recipe`."""

import click

__all__ = ["command"]


@click.command("recipe")
@click.argument("name", default="glm", metavar="[NAME|FILE]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
def command(name: str, overrides: tuple[str, ...]) -> None:
    """Print a recipe with all its settings, as YAML: a file to begin one's own with."""
    import yaml

    from glmdata.recipe import load_recipe, recipe_names

    settings = load_recipe(name, overrides)
    click.echo(f"# recipes that come with glmdata: {', '.join(recipe_names())}")
    click.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
