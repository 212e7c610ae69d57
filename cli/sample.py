"""`glmdata inspect --sample` and `--at`."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from glmdata.errors import ConfigError

__all__ = ["show_batch", "show_sample"]

if TYPE_CHECKING:
    from glmdata.shards.reader import Shards

T = TypeVar("T")

CONTEXT_TOKENS = 4
"""Tokens of Part A shown on each side of a mask token; all with --all."""
WIDE = 90
"""Columns from which on a batch is shown with all its figures."""
FETCHED_LEDGER_BYTES = 64 << 20
"""A ledger in an object store that is larger is not fetched for a sample."""
SPAN_TOKENS = 12
"""Tokens shown at each end of a long span in Part B; all with --all."""


def show_sample(folder: str, number: int, all_tokens: bool, as_json: bool) -> None:
    """One sample: its text with the spans in place, both rows of positions, where it came from."""
    import numpy as np

    from glmdata.infilling.restore import restore
    from glmdata.infilling.segments import split_segments
    from glmdata.shards.reader import Shards
    from glmdata.shards.schema import OBJECTIVES
    from glmdata.tokenization import Tokenizer

    shards = Shards(folder)
    if number >= shards.rows:
        raise ConfigError(f"--sample {number}: {shards.folder} has {shards.rows} samples, 0 to {shards.rows - 1}")
    row = shards.row(number)
    tokenizer = Tokenizer.load(shards.file("tokenizer.model"))
    length, context = int(row["length"]), int(row["context_length"])
    restored = restore(row, shards.style)
    sources = _sources(shards, list(row["document_ids"]))
    objective = OBJECTIVES[int(row["objective"])]
    language = shards.manifest.languages[int(row["language"])]
    choices = (
        [tokenizer.decode(ids) for ids in np.split(row["choices"], row["choice_ends"][:-1])] if "label" in row else []
    )
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
            **({"choices": choices, "label": int(row["label"])} if choices else {}),
            **{
                name: [int(value) for value in row[name][:length]]
                for name in ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids")
            },
        }
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    entry = shards.manifest.tokenizer
    spelled = {entry.special_tokens[role]: text for role, text in entry.special_token_texts.items()}
    _show_head(number, row, restored, objective, language, sources)
    samples = split_segments(row, shards.style)
    for place, sample in enumerate(samples):
        if len(samples) > 1:
            click.echo(f"segment {place + 1} of {len(samples)}: length {sample['length']}, "
                       f"context_length {sample['context_length']}")  # fmt: skip
        _show(sample, tokenizer, spelled, restore(sample, shards.style._replace(apart=False)), all_tokens)
    for place, choice in enumerate(choices):
        mark = "answer" if place == int(row["label"]) else "choice"
        click.echo(f"{mark} {place}: {choice}")


def _show_head(
    number: int, row: dict[str, Any], restored: Any, objective: str, language: str, sources: list[dict[str, Any]]
) -> None:
    from glmdata.cli.render import counted, make_console

    console = make_console()
    length, context = int(row["length"]), int(row["context_length"])
    masked = sum(int(end - start) for start, end in restored.spans)
    console.print(
        f"[bold]sample {number}[/bold]   {objective}   {language}   length {length}/{len(row['input_ids'])}   "
        f"context_length {context}   {counted(len(restored.spans), 'span')}, "
        f"{masked} of {len(restored.tokens)} tokens masked   id {int(row['sample_id'])}"
    )
    for source in sources:
        console.print(f"from {source['uri']}:{source['record']}", style="dim", markup=False)
    console.print()


def _show(row: dict[str, Any], tokenizer: Any, spelled: dict[int, str], restored: Any, all_tokens: bool) -> None:
    """Text with the spans in place, then Part A and Part B, of one sample."""
    import numpy as np
    from rich.text import Text

    from glmdata.cli.render import Token, is_plain, make_console, span_colour, token_grid

    console = make_console()
    length, context = int(row["length"]), int(row["context_length"])
    plain = is_plain(console)
    place_in_b = {int(span): place for place, span in enumerate(restored.order)}
    text, last = Text(), 0
    for span, (start, end) in enumerate(restored.spans):
        text.append(tokenizer.decode(restored.tokens[last:start]))
        inside = tokenizer.decode(restored.tokens[start:end])
        text.append(f"⟦{inside}⟧" if plain else inside, f"reverse {span_colour(place_in_b[span])}")
        last = end
    text.append(tokenizer.decode(restored.tokens[last:]))
    console.print(text, soft_wrap=False)
    console.print()

    sizes = restored.spans[:, 1] - restored.spans[:, 0]
    masks = restored.spans[:, 0] - np.cumsum(sizes - 1) + sizes - 1
    starts = context + np.cumsum(sizes[restored.order] + 1) - sizes[restored.order] - 1
    in_b = {int(masks[span]): place for span, place in place_in_b.items()}

    def token(at: int, span: int | None) -> Token:
        number = int(row["input_ids"][at])
        text = "[sop]" if number == tokenizer.special.sop else spelled.get(number) or tokenizer.piece(number)
        return Token(text, int(row["position_ids"][at]), int(row["block_position_ids"][at]), span)

    edges = np.array([*starts, length])
    near = np.array([0, context - 1, *masks])
    part_a = [at for at in range(context) if all_tokens or np.abs(near - at).min() <= CONTEXT_TOKENS]
    part_b = [at for at in range(context, length) if all_tokens or np.abs(edges - at).min() <= SPAN_TOKENS]
    token_grid(console, "Part A", _with_gaps(part_a, lambda at: token(at, in_b.get(at))))
    token_grid(
        console, "Part B", _with_gaps(part_b, lambda at: token(at, int(np.searchsorted(starts, at, "right")) - 1))
    )


def _with_gaps(places: list[int], token: Callable[[int], T]) -> list[T | None]:
    """Tokens at rising places, None where places are left out."""
    found: list[T | None] = []
    for before, at in zip([at - 1 for at in places[:1]] + places, places, strict=False):
        found += [token(at)] if at == before + 1 else [None, token(at)]
    return found


def _sources(shards: "Shards", ids: list[bytes]) -> list[dict[str, Any]]:
    """Where documents came from, by the ledger; not told where that is far away and large."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[bytes, dict[str, Any]] = {}
    files = shards.manifest.files
    names = sorted(name for name in files if name.startswith("ledger/"))
    if shards.place.remote and sum(files[name].bytes for name in names) > FETCHED_LEDGER_BYTES:
        names = []
    for name in names:
        table = pq.read_table(shards.file(name), columns=["document_id", "uri", "record"])
        chosen = table.filter(pc.is_in(table["document_id"], pa.array(ids, pa.binary(16))))
        found |= {row["document_id"]: {"uri": row["uri"], "record": row["record"]} for row in chosen.to_pylist()}
    return [{"document_id": i.hex(), **found.get(i, {"uri": "?", "record": -1})} for i in ids]


def show_batch(folder: str, step: int, rank: int, world: int, batch_size: int, seed: int, as_json: bool) -> None:
    """The samples that a rank gets at a step of a shuffled stream, as ShardStream would give them."""
    import numpy as np

    from glmdata.infilling.restore import restore
    from glmdata.shards.reader import Shards
    from glmdata.shards.schema import OBJECTIVES
    from glmdata.streaming.order import rows_at
    from glmdata.streaming.window import default_window
    from glmdata.tokenization import Tokenizer

    if rank >= world:
        raise ConfigError(f"--rank {rank}: ranks of --world {world} are 0 to {world - 1}")
    shards = Shards(folder)
    first = (step * world + rank) * batch_size
    places = np.arange(first, first + batch_size)
    numbers = rows_at(places, seed=seed, size=shards.rows, window=default_window(shards))
    tokenizer, style = Tokenizer.load(shards.file("tokenizer.model")), shards.style
    found = []
    for number in numbers.tolist():
        row = shards.row(number)
        length, context = int(row["length"]), int(row["context_length"])
        restored = restore(row, style)
        found.append(
            {
                "sample": number,
                "sample_id": int(row["sample_id"]),
                "objective": OBJECTIVES[int(row["objective"])],
                "language": shards.manifest.languages[int(row["language"])],
                "length": length,
                "context_length": context,
                "text": tokenizer.decode(restored.tokens),
            }
        )
    if as_json:
        place = {"step": step, "rank": rank, "world": world, "batch_size": batch_size, "seed": seed}
        click.echo(json.dumps({**place, "epoch": first // shards.rows, "samples": found}, ensure_ascii=False))
        return
    from rich.table import Table
    from rich.text import Text

    from glmdata.cli.render import make_console

    console = make_console()
    console.print(f"step {step}, rank {rank} of {world}, batch {batch_size}, seed {seed}, epoch {first // shards.rows}")
    names = ["sample", "objective", "language"]
    if console.width >= WIDE:
        names += ["sample_id", "length", "context_length"]
    table = Table(box=None, header_style="dim")
    for name in (*names, "text"):
        table.add_column(name, no_wrap=True)
    for sample in found:
        text = Text(" ".join(str(sample["text"]).split()))
        text.truncate(max(20, console.width - (70 if console.width >= WIDE else 34)), overflow="ellipsis")
        table.add_row(*(str(sample[name]) for name in names), text)
    console.print(table)
