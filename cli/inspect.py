"""`glmdata inspect`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmdata.cli.options import json_option

if TYPE_CHECKING:
    from glmdata.shards.folder import Folder

__all__ = ["command"]


@click.command("inspect", no_args_is_help=True)
@click.argument("folder", metavar="DIR")
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    metavar="I",
    help="Show the I-th sample, counted from 0 in the shards' order.",
)
@click.option("--random", "count", type=click.IntRange(1, 1 << 20), metavar="K", help="Show K samples drawn by --seed.")
@click.option(
    "--document", metavar="ID|URI:RECORD", help="Show which samples hold a document, named as for `glmdata why`."
)
@click.option(
    "--all",
    "all_tokens",
    is_flag=True,
    help="With --sample and --random: all tokens, not only those around masks and at the ends of spans.",
)
@click.option(
    "--stats", is_flag=True, help="Count all samples: lengths, spans, mask ratios, objectives, languages, sources."
)
@click.option(
    "--verify", "verify_", is_flag=True, help="Check every file, hash and sample; exit 1 and the place of each fault."
)
@click.option(
    "--at", "step", type=click.IntRange(0, 1 << 40), metavar="STEP", help="Show the batch of a training step."
)
@click.option(
    "--state",
    "state_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Show where the ShardStream stands whose state was saved as JSON; with --at use its order.",
)
@click.option(
    "--rank",
    metavar="R",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="With --at and --state: whose batch.",
)
@click.option(
    "--world",
    metavar="W",
    type=click.IntRange(1, 1 << 20),
    default=1,
    show_default=True,
    help="With --at and --state: how many ranks.",
)
@click.option(
    "--batch-size",
    metavar="B",
    type=click.IntRange(1, 1 << 16),
    default=1,
    show_default=True,
    help="With --at and --state: of one rank.",
)
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, (1 << 63) - 1),
    help="With --at: of the order. With --random: which samples. Default: 0.",
)
@click.option("--remask", is_flag=True, help="With --at: of a stream with remask, whose masks are new each epoch.")
@json_option
def command(
    folder: str,
    sample: int | None,
    count: int | None,
    document: str | None,
    all_tokens: bool,
    stats: bool,
    verify_: bool,
    step: int | None,
    state_file: Path | None,
    rank: int,
    world: int,
    batch_size: int,
    seed: int | None,
    remask: bool,
    as_json: bool,
) -> None:
    """Look into a finished build, by folder or URI (s3://, gs://, ...).

    Without options one screen of figures, from the manifest alone.
    """
    of_stream = step is not None or state_file is not None
    chosen = [sample is not None, count is not None, document is not None, stats, verify_, of_stream]
    if sum(chosen) > 1:
        raise click.UsageError("give one of --sample, --random, --document, --stats, --verify and --at or --state")
    if all_tokens and sample is None and count is None:
        raise click.UsageError("--all goes with --sample and --random")
    if not of_stream and (rank, world, batch_size) != (0, 1, 1):
        raise click.UsageError("--rank, --world and --batch-size go with --at and --state")
    if seed is not None and state_file is not None:
        raise click.UsageError("give --seed or --state, which has a seed of its own")
    if remask and (step is None or state_file is not None):
        raise click.UsageError("--remask goes with --at; a --state knows by itself")
    if seed is not None and step is None and count is None:
        raise click.UsageError("--seed goes with --at and --random")
    if verify_:
        _verify(folder, as_json)
    elif stats:
        from glmdata.cli.statistics import show_statistics

        show_statistics(folder, as_json)
    elif sample is not None:
        from glmdata.cli.sample import show_sample

        show_sample(folder, sample, all_tokens, as_json)
    elif count is not None:
        from glmdata.cli.sample import show_random

        show_random(folder, count, seed or 0, all_tokens, as_json)
    elif document is not None:
        from glmdata.cli.sample import show_document

        show_document(folder, document, as_json)
    elif step is not None:
        from glmdata.cli.batch import Ranks, show_batch

        ranks = Ranks(rank=rank, world=world, batch_size=batch_size)
        show_batch(folder, step, ranks, seed or 0, remask, state_file, as_json)
    elif state_file is not None:
        from glmdata.cli.batch import Ranks, show_state

        show_state(folder, state_file, Ranks(rank=rank, world=world, batch_size=batch_size), as_json)
    else:
        _overview(folder, as_json)


def _overview(folder: str, as_json: bool) -> None:
    from glmdata.shards.folder import open_folder
    from glmdata.shards.manifest import Manifest

    place = open_folder(folder)
    manifest = Manifest.load(place)
    report = _report(place)
    shards = [{"path": shard.path, "rows": shard.rows, "bytes": shard.bytes} for shard in manifest.shards]
    rows, size = sum(shard.rows for shard in manifest.shards), sum(shard.bytes for shard in manifest.shards)
    if as_json:
        found = {
            "fingerprint": manifest.fingerprint,
            "format_version": manifest.format_version,
            "sequence_length": manifest.sequence_length,
            "layout": manifest.layout,
            "rows": rows,
            "bytes": size,
            "languages": list(manifest.languages),
            "counts": manifest.counts,
            "samples": report.get("samples", {}),
            "padding": report.get("padding"),
            "tokenizer": manifest.tokenizer.model_dump(mode="json"),
            "shards": shards,
            "versions": manifest.versions,
        }
        click.echo(json.dumps(found))
        return
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import describe_outcomes, make_console

    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column()

    def add(name: str, text: str) -> None:
        table.add_row(name, Text(text))

    records = manifest.counts.get("records_in", 0)
    prefix = "outcome_"
    outcomes = describe_outcomes(
        {name.removeprefix(prefix): n for name, n in manifest.counts.items() if name.startswith(prefix)}
    )
    tokens = "  ".join(f"{code} {manifest.counts.get(f'tokens_{code}', 0):,}" for code in manifest.languages)
    mix = "  ".join(
        f"{name} {count:,} ({count / max(1, rows):.0%})" for name, count in report.get("samples", {}).items()
    )
    tokenizer = manifest.tokenizer
    add("build", f"{place.name}   format {manifest.format_version}, glmdata {manifest.versions.get('glmdata', '?')}")
    add("fingerprint", manifest.fingerprint)
    add("recipe", f"{manifest.recipe.get('name', '?')}   seed {manifest.recipe.get('seed', '?')}")
    add("records", f"{records:,}: {outcomes}")
    add("samples", f"{rows:,} of {manifest.sequence_length} tokens   {mix}")
    add("text tokens", tokens + (f"   padding {report['padding']:.1%}" if "padding" in report else ""))
    add(
        "tokenizer",
        f"{tokenizer.vocabulary_size:,} ids, {len(set(tokenizer.special_tokens.values()))} special   {tokenizer.hash}",
    )
    batches = sum(len(shard.record_batches) for shard in manifest.shards)
    add("shards", f"{len(shards)}   {size / 1e6:,.1f} MB   {batches} record batches   {manifest.layout}")
    console = make_console()
    console.print(table)
    told = f"\nA sample: glmdata inspect {place.name} --sample 0      Histograms: --stats      All checks: --verify"
    console.print(Text(told, "dim"))


def _report(place: "Folder") -> dict[str, Any]:
    """report.json, which a build can do without."""
    try:
        found = json.loads(place.read("report.json").decode("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _verify(folder: str, as_json: bool) -> None:
    from glmdata.shards.folder import open_folder
    from glmdata.shards.verify import verify

    problems = list(verify(folder))
    if as_json:
        click.echo(
            json.dumps(
                {"ok": not problems, "problems": [{"path": p.path, "place": p.place, "what": p.what} for p in problems]}
            )
        )
    elif problems:
        for problem in problems[:50]:
            click.echo(" ".join(part for part in (f"{problem.path}:", problem.place, problem.what) if part))
        if len(problems) > 50:
            click.echo(f"... and {len(problems) - 50} more")
    else:
        click.echo(f"{open_folder(folder).name}: every file, hash and sample is as it should be")
    if problems:
        raise SystemExit(1)
