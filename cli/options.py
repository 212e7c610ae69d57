"""Options that several commands share."""

import click

__all__ = ["address_option", "corpus_option", "json_option", "recipe_option", "set_option", "workers_option"]

corpus_option = click.option(
    "--corpus",
    "corpora",
    multiple=True,
    required=True,
    metavar="PATH|URI",
    help="Folder, file or URI (s3://bucket/prefix) of raw text: .jsonl and .txt (also .gz, .zst), .parquet, .arrow. "
    "Repeat it for each.",
)
recipe_option = click.option(
    "--recipe", default="glm", show_default=True, metavar="NAME|FILE", help="A recipe of glmdata, or a YAML file."
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting of the recipe, e.g. --set sequence_length=1024. Repeat it for each.",
)
address_option = click.option(
    "--address",
    default="auto",
    show_default=True,
    metavar="auto|none|local|HOST:PORT",
    help="none: in this process. local: start Ray on this machine. HOST:PORT or ray://HOST:PORT: that cluster. "
    "auto: $RAY_ADDRESS, else what is faster for the size of the corpus.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Partitions worked on at a time; never changes the result. Default: all processors.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
