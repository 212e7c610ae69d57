"""`glmdata build`."""

import json
from typing import Any

import click

from glmdata.cli.options import (
    address_option,
    corpus_option,
    json_option,
    recipe_option,
    set_option,
    workers_option,
)
from glmdata.cli.progress import make_progress
from glmdata.cli.render import counted, describe_outcomes

__all__ = ["command"]

MAX_REFUSALS_SHOWN = 4
MUCH_PADDING = 0.25


@click.command("build", no_args_is_help=True)
@corpus_option
@click.option("--out", required=True, metavar="DIR", help="Folder of the build, or s3://bucket/prefix.")
@recipe_option
@click.option(
    "--tokenizer",
    type=click.Path(),
    metavar="FILE.model",
    help="SentencePiece model; without it one is trained on the corpus.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="DIR|URI",
    help="Leave out what this earlier build, or index of `glmdata dedupe index`, holds. Repeat it for each.",
)
@set_option
@address_option
@workers_option
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="The recipe's seed.")
@click.option("--fresh", is_flag=True, help="Remove the build that is in --out and build anew.")
@json_option
def command(
    corpora: tuple[str, ...],
    out: str,
    recipe: str,
    tokenizer: str | None,
    against: tuple[str, ...],
    overrides: tuple[str, ...],
    address: str,
    workers: int | None,
    seed: int | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Build GLM training shards from raw text files.

    Reads the corpus, removes duplicates, balances the languages by token, tokenizes, masks spans and writes Arrow
    shards to DIR. A build that was stopped goes on with the same command; one that is finished is left as it is.
    """
    from glmdata.pipelines.executors import check_engine
    from glmdata.recipe import load_recipe

    settings = load_recipe(recipe, overrides, seed=seed)
    check_engine(address)
    from glmdata.pipelines.build import build
    from glmdata.pipelines.executors import choose_executor

    progress = make_progress()
    try:
        built = build(
            corpora,
            out,
            settings,
            make_executor=lambda size: choose_executor(address, workers, size),
            progress=progress,
            tokenizer_path=tokenizer,
            against=against,
            fresh=fresh,
        )
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(_summary(built.out, built.manifest, built.report, built.already_there)))
    else:
        _print(built.out, built.manifest, built.report, built.already_there)


def _summary(folder: str, manifest: dict[str, Any], report: dict[str, Any], already_there: bool) -> dict[str, Any]:
    return {
        "out": folder,
        "fingerprint": manifest["fingerprint"],
        "shards": len(manifest["shards"]),
        "rows": report["rows"],
        "records_in": report["records_in"],
        "outcomes": report["outcomes"],
        "cleaning": report.get("cleaning"),
        "quarantined": report["quarantined"],
        "files_not_read": report["files_not_read"],
        "tokens": report["tokens"],
        "times_taken": report.get("times_taken", {}),
        "samples": report["samples"],
        "padding": report["padding"],
        "already_there": already_there,
    }


def _print(folder: str, manifest: dict[str, Any], report: dict[str, Any], already_there: bool) -> None:
    click.echo(f"{report['records_in']:,} records: {describe_outcomes(report['outcomes'])}")
    cleaning = report.get("cleaning") or {}
    if cleaning.get("documents_cut"):
        click.echo(f"  cut: {cleaning['bytes_cut']:,} bytes of {counted(cleaning['documents_cut'], 'document')} kept")
    for refusal in report["quarantined"][:MAX_REFUSALS_SHOWN]:
        click.echo(f"  quarantined: {refusal['count']:,} x {refusal['reason']} (first {refusal['first']})")
    if len(report["quarantined"]) > MAX_REFUSALS_SHOWN:
        click.echo(
            f"  quarantined: {len(report['quarantined']) - MAX_REFUSALS_SHOWN} more kinds, in {folder}/quarantine"
        )
    tokens = " : ".join(f"{code} {count:,}{_repeated(report, code)}" for code, count in report["tokens"].items())
    click.echo(
        f"{counted(report['rows'], 'sample')} of {manifest['sequence_length']} tokens in "
        f"{counted(len(manifest['shards']), 'shard')}; text tokens {tokens}; padding {report['padding']:.1%}"
    )
    balance = report.get("balance", {})
    if balance.get("unit", "token") != "token":
        taken = " : ".join(f"{code} {count:,}" for code, count in balance["taken"].items())
        click.echo(f"balanced by {balance['unit']}: {taken}")
    for warning in warnings(report):
        click.echo(f"note: {warning}")
    state = "was there already" if already_there else "done"
    click.echo(f"{folder} {state}, fingerprint {manifest['fingerprint'][:16]}")
    click.echo(f"look at it: glmdata inspect {folder}, or {folder}/report.html in a browser")


def _repeated(report: dict[str, Any], code: str) -> str:
    """How often a language was taken, where that is more than once."""
    times = report.get("times_taken", {}).get(code, 0)
    return f" (taken {times:.2f} times)" if times > 1 else ""


def warnings(report: dict[str, Any]) -> list[str]:
    """What a user may not have wanted."""
    from glmdata.recipe import CHOICE_TASKS

    found = []
    outcomes = report["outcomes"]
    given, kept = outcomes.get("balance", 0), outcomes.get("kept", 0)
    times = report.get("times_taken", {})
    if given > kept and min(times.values(), default=1) < 1:  # else the weights of sources did it
        scarce = max(times, key=lambda code: times[code])
        found.append(
            f"balancing left out {given:,} documents and kept {kept:,}: {scarce} has only "
            f"{report['tokens'][scarce]:,} tokens (balance.languages, balance.strategy=upsample or off)"
        )
    if report["padding"] > MUCH_PADDING and "finetune" in report:
        packed = "" if report["finetune"]["task"] in CHOICE_TASKS else "packing=segments with finetune.cls=true, or "
        found.append(f"{report['padding']:.0%} of the rows is padding: {packed}a smaller sequence_length has less")
    elif report["padding"] > MUCH_PADDING:
        found.append(
            f"{report['padding']:.0%} of the rows is padding: packing=concat or a smaller sequence_length has less"
        )
    return [*found, *report.get("hints", ())]
