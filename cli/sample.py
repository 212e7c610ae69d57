"""`glmdata inspect --sample`, `--random` and `--document`."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from glmdata.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from glmdata.samples import Part, Sample, SampleReader
    from glmdata.shards.reader import Shards

__all__ = ["show_document", "show_random", "show_sample"]

T = TypeVar("T")

CONTEXT_TOKENS = 4
"""Tokens of Part A shown on each side of a mask token; all with --all."""
SPAN_TOKENS = 12
"""Tokens shown at each end of a long span in Part B; all with --all."""
FETCHED_LEDGER_BYTES = 64 << 20
"""A ledger in an object store that is larger is not fetched for a sample."""
ARROW_COLUMNS = 44
"""Columns of one arrow from a mask token to its span."""
SKETCH_CELLS = 32
"""Cells of the attention sketch, each way."""
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def show_sample(folder: str, number: int, all_tokens: bool, as_json: bool) -> None:
    """One sample: its text with the spans in place, both rows of positions, where it came from."""
    from glmdata.samples import SampleReader
    from glmdata.shards.reader import Shards

    shards = Shards(folder)
    if number >= shards.rows:
        raise ConfigError(f"--sample {number}: {shards.folder} has {shards.rows} samples, 0 to {shards.rows - 1}")
    reader = SampleReader(shards)
    sample = reader.read(number)
    if as_json:
        click.echo(json.dumps(_as_object(reader, sample, _places(shards, [sample])), ensure_ascii=False))
    else:
        _show(reader, sample, _places(shards, [sample]), all_tokens)


def show_random(folder: str, count: int, seed: int, all_tokens: bool, as_json: bool) -> None:
    """Samples drawn by a seed, none twice."""
    import numpy as np

    from glmdata.samples import SampleReader
    from glmdata.shards.reader import Shards
    from glmdata.streaming.order import rows_at

    shards = Shards(folder)
    if count > shards.rows:
        raise ConfigError(f"--random {count}: {shards.folder} has {shards.rows} samples")
    reader = SampleReader(shards)
    samples = [reader.read(number) for number in rows_at(np.arange(count), seed=seed, size=shards.rows).tolist()]
    places = _places(shards, samples)
    if as_json:
        found = {"seed": seed, "samples": [_as_object(reader, sample, places) for sample in samples]}
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for sample in samples:
        _show(reader, sample, places, all_tokens)


def show_document(folder: str, name: str, as_json: bool) -> None:
    """What became of a document, and the samples that hold it."""
    from glmdata.ledger import Ledger
    from glmdata.shards.holding import rows_holding

    ledger = Ledger(folder)
    entry = ledger.find(name)
    rows = rows_holding(folder, ledger.manifest, entry.document_id)
    where = ledger.folder
    if as_json:
        found = {
            "document_id": entry.document_id.hex(),
            "uri": entry.uri,
            "record": entry.record,
            "outcome": entry.outcome,
            "language": entry.language,
            "tokens": entry.tokens,
            "detail": entry.detail,
            "rows": rows,
        }
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    from rich.text import Text

    from glmdata.cli.batch import sample_table, summarise
    from glmdata.cli.render import counted, make_console, visible
    from glmdata.samples import SampleReader
    from glmdata.shards.reader import Shards

    console = make_console()
    head = Text.assemble((f"document {entry.document_id.hex()}", "bold"), f"   {visible(entry.place)}")
    console.print(head, soft_wrap=True)
    told = f"{entry.outcome}   {entry.language or 'no language'}   {counted(entry.tokens, 'token')}"
    console.print(Text(told + (f"   {visible(entry.detail)}" if entry.detail else "")))
    if rows:
        reader = SampleReader(Shards(folder))
        console.print(Text(f"in {counted(len(rows), 'sample')}:\n"))
        console.print(sample_table(console, [summarise(reader.read(row)) for row in rows[:SKETCH_CELLS]]))
        if len(rows) > SKETCH_CELLS:
            console.print(Text(f"and {len(rows) - SKETCH_CELLS:,} more: --json has their numbers", "dim"))
        console.print(Text(f"\nOne of them: glmdata inspect {where} --sample {rows[0]}", "dim"))
    else:
        console.print(Text(f"in no sample; why: glmdata why {where} {entry.document_id.hex()}", "dim"))


def _places(shards: "Shards", samples: "Sequence[Sample]") -> dict[bytes, tuple[str, int]]:
    """Uri and record of the samples' documents, by the ledger; not told where that is far away and large."""
    from glmdata.ledger import Ledger

    size = sum(file.bytes for name, file in shards.manifest.files.items() if name.startswith("ledger/"))
    if shards.place.remote and size > FETCHED_LEDGER_BYTES:
        return {}
    ledger = Ledger(shards.place)
    return ledger.places(document for sample in samples for document in sample.document_ids)


def _as_object(reader: "SampleReader", sample: "Sample", places: dict[bytes, tuple[str, int]]) -> dict[str, Any]:
    restored, decode = sample.restored, reader.tokenizer.decode
    names = ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids")
    return {
        "sample": sample.number,
        "sample_id": sample.sample_id,
        "objective": sample.objective,
        "language": sample.language,
        "context_length": sample.context_length,
        "length": sample.length,
        "text": sample.text,
        "spans": [
            {"start": int(start), "end": int(end), "text": decode(restored.tokens[start:end])}
            for start, end in restored.spans
        ],
        "part_b_order": restored.order.tolist(),
        "segments": [
            {
                "start": part.start,
                "length": part.length,
                "context_length": part.context_length,
                "arrows": [
                    {"mask": part.start + span.mask, "span": [part.start + span.first, part.start + span.stop]}
                    for span in part.spans
                ],
            }
            for part in sample.parts
        ],
        "documents": [
            {
                "document_id": document.hex(),
                **dict(zip(("uri", "record"), places.get(document, ("?", -1)), strict=True)),
            }
            for document in sample.document_ids
        ],
        **({"choices": list(sample.choices), "label": sample.label} if sample.choices else {}),
        **{name: [int(value) for value in sample.row[name][: sample.length]] for name in names},
    }


def _show(reader: "SampleReader", sample: "Sample", places: dict[bytes, tuple[str, int]], all_tokens: bool) -> None:
    """A head line, then each part: text, arrows, both rows of positions; last the attention."""
    from rich.text import Text

    from glmdata.cli.render import counted, make_console, visible

    console = make_console()
    head = Text.assemble(
        (f"sample {sample.number}", "bold"),
        f"   {sample.objective}   {sample.language}   length {sample.length}/{len(sample.row['input_ids'])}   "
        f"context_length {sample.context_length}   {counted(len(sample.restored.spans), 'span')}, "
        f"{sample.masked} of {len(sample.restored.tokens)} tokens masked   id {sample.sample_id}",
    )
    console.print(head)
    for document in dict.fromkeys(sample.document_ids):
        uri, record = places.get(document, ("?", -1))
        console.print(Text(f"from {visible(uri)}:{record}", "dim"), soft_wrap=True)
    console.print()
    for number, part in enumerate(sample.parts, 1):
        if len(sample.parts) > 1:
            told = (
                f"segment {number} of {len(sample.parts)}: length {part.length}, context_length {part.context_length}"
            )
            console.print(Text(told, "bold"))
        console.print(_text(console, part))
        console.print()
        _print_arrows(console, part)
        _print_tokens(console, reader, part, all_tokens)
    marks = ("chosen", "rejected") if sample.objective == "preference" else ("answer", "choice")
    for place, choice in enumerate(sample.choices):
        mark = marks[place != sample.label]
        console.print(Text(f"{mark} {place}: {visible(choice)}"))
    _print_attention(console, sample)


def _text(console: "Console", part: "Part") -> Any:
    """The text, its spans in colour or between marks, each with its number."""
    from rich.text import Text

    from glmdata.cli.render import is_plain, span_colour, visible

    plain, text = is_plain(console), Text()
    for number, before in enumerate(part.texts):
        text.append(visible(before))
        if number < len(part.spans):
            span = part.spans[number]
            inside, colour = visible(span.text), span_colour(span.place)
            text.append(f"⟦{inside}⟧" if plain else inside, f"reverse {colour}")
            text.append(_raised(span.place), colour)
    return text


def _raised(place: int) -> str:
    """The number of a span, from 1 in the order of Part B."""
    return str(place + 1).translate(_RAISED)


def _print_arrows(console: "Console", part: "Part") -> None:
    """From each mask token to its span: place in Part A, places in Part B, text; as many beside each other as fit."""
    from rich.text import Text

    from glmdata.cli.render import drawn, span_colour

    across = max(1, min(len(part.spans), console.width // ARROW_COLUMNS))
    down = -(-len(part.spans) // across)
    width, digits = console.width // across - 2, len(str(part.length))
    lines = [Text(no_wrap=True) for _ in range(down)]
    for number, span in enumerate(part.spans):
        arrow = Text.assemble(
            (f"{span.place + 1:>3} ", span_colour(span.place)),
            (f"mask {span.mask:>{digits}} ──▸ {span.first:>{digits}}–{span.stop - 1:<{digits}} ", "dim"),
            (drawn(span.text), span_colour(span.place)),
        )
        arrow.truncate(width, overflow="ellipsis", pad=True)
        lines[number % down].append_text(arrow).append("  ")
    for line in lines:
        line.rstrip()
        console.print(line, crop=False, soft_wrap=True)
    console.print()


def _print_tokens(console: "Console", reader: "SampleReader", part: "Part", all_tokens: bool) -> None:
    """Tokens over both rows of positions, far ones left out."""
    import numpy as np

    from glmdata.cli.render import Token, token_grid

    columns, context = part.columns, part.context_length
    masks = {span.mask: span.place for span in part.spans}
    starts = np.array(sorted(span.first for span in part.spans), np.int64)

    def token(at: int, span: int | None, numbered: bool) -> Token:
        text = reader.spell(int(columns["input_ids"][at]))
        text += _raised(span) if numbered and span is not None else ""
        return Token(text, int(columns["position_ids"][at]), int(columns["block_position_ids"][at]), span)

    def in_b(at: int) -> Token:
        span = int(np.searchsorted(starts, at, "right")) - 1
        return token(at, span if span >= 0 else None, at in starts)

    edges = np.array([*starts, part.length])
    near = np.array([0, context - 1, *masks])
    part_a = [at for at in range(context) if all_tokens or np.abs(near - at).min() <= CONTEXT_TOKENS]
    part_b = [at for at in range(context, part.length) if all_tokens or np.abs(edges - at).min() <= SPAN_TOKENS]
    token_grid(console, "Part A", _with_gaps(part_a, lambda at: token(at, masks.get(at), at in masks)))
    token_grid(console, "Part B", _with_gaps(part_b, in_b))


def _with_gaps(places: list[int], token: Callable[[int], T]) -> list[T | None]:
    """Tokens at rising places, None where places are left out."""
    found: list[T | None] = []
    for before, at in zip([at - 1 for at in places[:1]] + places, places, strict=False):
        found += [token(at)] if at == before + 1 else [None, token(at)]
    return found


def _print_attention(console: "Console", sample: "Sample") -> None:
    """A sketch of what sees what, half a character a cell, beside what it says."""
    from rich.table import Table
    from rich.text import Text

    from glmdata.samples import attention_sketch

    parts = sample.parts
    if len(parts) > 1:
        told = f"{len(parts)} segments;\nnone sees another"
    else:
        in_b = sample.length - sample.context_length
        told = f"all see Part A ({sample.context_length}),\nPart B ({in_b}) what comes before"
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    table.add_column(style="dim", vertical="middle")
    sketch = "\n".join(_half_blocks(attention_sketch(parts, sample.length, SKETCH_CELLS)))
    table.add_row(Text(sketch, "cyan"), Text(f"attention\na row is a query, a column a key\n{told}"))
    console.print(table)
    console.print()


def _half_blocks(cells: Any) -> Iterator[str]:
    """Two rows of cells as one line."""
    for upper, lower in zip(cells[::2].tolist(), cells[1::2].tolist(), strict=True):
        yield "".join("·▄▀█"[2 * up + low] for up, low in zip(upper, lower, strict=True))
