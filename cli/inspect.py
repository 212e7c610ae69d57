"""`glmdata inspect`."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from glmdata.errors import ConfigError

__all__ = ["command"]

T = TypeVar("T")

CONTEXT_TOKENS = 4
"""Tokens of Part A shown on each side of a mask token; all with --all."""
SPAN_TOKENS = 12
"""Tokens shown at each end of a long span in Part B; all with --all."""


@click.command("inspect", no_args_is_help=True)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    metavar="I",
    help="Show the I-th sample, counted from 0 in the shards' order.",
)
@click.option(
    "--all",
    "all_tokens",
    is_flag=True,
    help="With --sample: all tokens, not only those around masks and at the ends of spans.",
)
@click.option(
    "--verify", "verify_", is_flag=True, help="Check every file, hash and sample; exit 1 and the place of each fault."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(folder: Path, sample: int | None, all_tokens: bool, verify_: bool, as_json: bool) -> None:
    """Look into a finished build.

    Without options one screen of figures, from the manifest alone.
    """
    if sample is not None and verify_:
        raise click.UsageError("give --sample or --verify, not both")
    if verify_:
        _verify(folder, as_json)
    elif sample is not None:
        _sample(folder, sample, all_tokens, as_json)
    else:
        _overview(folder, as_json)


def _console() -> Any:
    from rich.console import Console

    width = None if os.environ.get("COLUMNS") or os.isatty(1) else 120
    return Console(highlight=False, width=width)


def _overview(folder: Path, as_json: bool) -> None:
    from glmdata.shards.manifest import Manifest

    manifest = Manifest.load(str(folder))
    report = _report(folder)
    shards = [{"path": shard.path, "rows": shard.rows, "bytes": shard.bytes} for shard in manifest.shards]
    rows, size = sum(shard.rows for shard in manifest.shards), sum(shard.bytes for shard in manifest.shards)
    if as_json:
        found = {
            "fingerprint": manifest.fingerprint,
            "format_version": manifest.format_version,
            "sequence_length": manifest.sequence_length,
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

    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column()
    records = manifest.counts.get("records_in", 0)
    outcomes = ", ".join(
        f"{count:,} {name.removeprefix('outcome_').replace('_', ' ')}"
        for name, count in manifest.counts.items()
        if name.startswith("outcome_") and count
    )
    tokens = "  ".join(f"{code} {manifest.counts.get(f'tokens_{code}', 0):,}" for code in manifest.languages)
    mix = "  ".join(
        f"{name} {count:,} ({count / max(1, rows):.0%})" for name, count in report.get("samples", {}).items()
    )
    tokenizer = manifest.tokenizer
    table.add_row(
        "build", f"{folder}   format {manifest.format_version}, glmdata {manifest.versions.get('glmdata', '?')}"
    )
    table.add_row("fingerprint", manifest.fingerprint)
    table.add_row("recipe", f"{manifest.recipe.get('name', '?')}   seed {manifest.recipe.get('seed', '?')}")
    table.add_row("records", f"{records:,}: {outcomes}")
    table.add_row("samples", f"{rows:,} of {manifest.sequence_length} tokens   {mix}")
    table.add_row("text tokens", tokens + (f"   padding {report['padding']:.1%}" if "padding" in report else ""))
    table.add_row(
        "tokenizer",
        f"{tokenizer.vocabulary_size:,} ids, {len(set(tokenizer.special_tokens.values()))} special   {tokenizer.hash}",
    )
    batches = sum(len(shard.record_batches) for shard in manifest.shards)
    table.add_row("shards", f"{len(shards)}   {size / 1e6:,.1f} MB   {batches} record batches")
    console = _console()
    console.print(table)
    console.print(
        f"\n[dim]A sample: glmdata inspect {folder} --sample 0      All checks: glmdata inspect {folder} --verify[/dim]"
    )


def _report(folder: Path) -> dict[str, Any]:
    """report.json, which a build can do without."""
    try:
        found = json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _verify(folder: Path, as_json: bool) -> None:
    from glmdata.shards.verify import verify

    problems = list(verify(str(folder)))
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
        click.echo(f"{folder}: every file, hash and sample is as it should be")
    if problems:
        raise SystemExit(1)


def _sample(folder: Path, number: int, all_tokens: bool, as_json: bool) -> None:
    from glmdata.infilling.restore import restore
    from glmdata.shards.reader import Shards
    from glmdata.shards.schema import OBJECTIVES
    from glmdata.tokenization import Tokenizer

    shards = Shards(str(folder))
    if number >= shards.rows:
        raise ConfigError(f"--sample {number}: {folder} has {shards.rows} samples, 0 to {shards.rows - 1}")
    row = shards.row(number)
    tokenizer = Tokenizer.load(folder / "tokenizer.model")
    length, context = int(row["length"]), int(row["context_length"])
    restored = restore(row["input_ids"], row["position_ids"], row["block_position_ids"], context, length)
    sources = _sources(folder, list(row["document_ids"]))
    objective = OBJECTIVES[int(row["objective"])]
    language = shards.manifest.languages[int(row["language"])]
    if as_json:
        found = {
            "sample": number,
            "sample_id": int(row["sample_id"]),
            "objective": objective,
            "language": language,
            "context_length": context,
            "length": length,
            "text": tokenizer.decode(restored.tokens),
            "spans": [
                {"start": int(s), "end": int(e), "text": tokenizer.decode(restored.tokens[s:e])}
                for s, e in restored.spans
            ],
            "part_b_order": restored.order.tolist(),
            "documents": sources,
            **{
                name: [int(value) for value in row[name][:length]]
                for name in ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids")
            },
        }
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    _show(number, row, tokenizer, restored, objective, language, sources, all_tokens)


def _show(
    number: int,
    row: dict[str, Any],
    tokenizer: Any,
    restored: Any,
    objective: str,
    language: str,
    sources: list[dict[str, Any]],
    all_tokens: bool,
) -> None:
    import numpy as np
    from rich.text import Text

    from glmdata.cli.render import Token, span_colour, token_grid

    console = _console()
    length, context = int(row["length"]), int(row["context_length"])
    masked = sum(int(end - start) for start, end in restored.spans)
    console.print(
        f"[bold]sample {number}[/bold]   {objective}   {language}   length {length}/{len(row['input_ids'])}   "
        f"context_length {context}   {len(restored.spans)} spans, {masked} of {len(restored.tokens)} tokens masked   "
        f"id {int(row['sample_id'])}"
    )
    for source in sources:
        console.print(f"from {source['uri']}:{source['record']}", style="dim", markup=False)
    console.print()

    place_in_b = {int(span): place for place, span in enumerate(restored.order)}
    text, last = Text(), 0
    for span, (start, end) in enumerate(restored.spans):
        text.append(tokenizer.decode(restored.tokens[last:start]))
        text.append(tokenizer.decode(restored.tokens[start:end]), f"reverse {span_colour(place_in_b[span])}")
        last = end
    text.append(tokenizer.decode(restored.tokens[last:]))
    console.print(text, soft_wrap=False)
    console.print()

    positions = row["position_ids"]
    starts = {int(positions[at]): None for at in range(context, length)}
    in_b = {position: place for place, position in enumerate(starts)}

    def token(at: int, span: int | None) -> Token:
        number = int(row["input_ids"][at])
        text = "[sop]" if number == tokenizer.special.sop else tokenizer.piece(number)
        return Token(text, int(positions[at]), int(row["block_position_ids"][at]), span)

    edges = np.array([at for at in range(context, length) if int(row["block_position_ids"][at]) == 1] + [length])
    masks = np.array([0, context - 1, *starts])
    part_a = [at for at in range(context) if all_tokens or np.abs(masks - at).min() <= CONTEXT_TOKENS]
    part_b = [at for at in range(context, length) if all_tokens or np.abs(edges - at).min() <= SPAN_TOKENS]
    token_grid(console, "Part A", _with_gaps(part_a, lambda at: token(at, in_b.get(at))))
    token_grid(console, "Part B", _with_gaps(part_b, lambda at: token(at, in_b[int(positions[at])])))


def _with_gaps(places: list[int], token: Callable[[int], T]) -> list[T | None]:
    """Tokens at rising places, None where places are left out."""
    found: list[T | None] = []
    for before, at in zip([at - 1 for at in places[:1]] + places, places, strict=False):
        found += [token(at)] if at == before + 1 else [None, token(at)]
    return found


def _sources(folder: Path, ids: list[bytes]) -> list[dict[str, Any]]:
    """Where documents came from, by the ledger."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[bytes, dict[str, Any]] = {}
    for path in sorted((folder / "ledger").glob("*.parquet")):
        table = pq.read_table(path, columns=["document_id", "uri", "record"])
        chosen = table.filter(pc.is_in(table["document_id"], pa.array(ids, pa.binary(16))))
        found |= {row["document_id"]: {"uri": row["uri"], "record": row["record"]} for row in chosen.to_pylist()}
    return [{"document_id": i.hex(), **found.get(i, {"uri": "?", "record": -1})} for i in ids]
