"""Masks: rows a second on one core, and the bytes of both layouts.

    python benchmarks/masks.py [--rows 20000] [--length 512]

Text is made up: articles of 700 tokens in sentences of 25, both of geometric length, mixed objectives. Measured, best
of five runs: spans + layout (fill_rows); fresh masks and layout of rows in memory, from finished rows and from compact
ones; reading shuffled batches of 16 from shards of both layouts, stored and fresh; bytes of the shards, and of a
compact one with zstd. Shards are in the page cache.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from timing import least_seconds

from glmdata.infilling.remask import mask_again
from glmdata.infilling.spans import span_rules
from glmdata.infilling.style import style_of
from glmdata.infilling.unmask import Tensors, lay_out_rows
from glmdata.infilling.windows import Rows, fill_rows
from glmdata.recipe import Recipe, ShardSettings
from glmdata.shards.compact import compact_batch, unmasked
from glmdata.shards.manifest import Manifest, ShardEntry, TokenizerEntry, fingerprint_of
from glmdata.shards.schema import MATRIX_COLUMNS, column_views, make_batch, shard_schema, trim_batch
from glmdata.shards.writer import ShardInfo, write_shard
from glmdata.streaming import ShardStream
from glmdata.tokenization import SpecialTokens

PIECES = 32_000
SPECIAL = SpecialTokens.above(PIECES)
VOCABULARY = PIECES + 7
BATCH = 16


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=512)
    args = parser.parse_args()
    recipe = Recipe(sequence_length=args.length)
    text = make_text(args.rows * args.length)

    def fill() -> Rows:
        return fill_rows(
            *text,
            continued=False,
            complete=True,
            special=SPECIAL,
            sequence_length=args.length,
            packing="concat",
            objectives=recipe.objectives,
            spans=recipe.spans,
            seed=recipe.seed,
            first_sample_id=0,
            token_dtype=np.uint16,
        )

    rows = fill()
    count = len(rows.length)
    tell("spans + layout", count, least_seconds(fill))
    with tempfile.TemporaryDirectory() as folder:
        batches = batches_of(rows, recipe)
        sizes = {}
        for name, settings in {
            "materialised": ShardSettings(),
            "compact": ShardSettings(layout="compact"),
            "compact, zstd": ShardSettings(layout="compact", compression="zstd"),
        }.items():
            path = Path(folder, name)
            sizes[name] = write_build(path, batches, recipe.model_copy(update={"shards": settings}))
        in_memory(batches, recipe, count)
        for name in sizes:
            for remask in (False, True):
                read(Path(folder, name), count, name, remask=remask)
        for name, size in sizes.items():
            print(f"{name:14} {size / count:8.0f} bytes a row   {size / sizes['materialised']:.1%}")


def make_text(tokens: int) -> tuple[Any, Any, Any]:
    """Tokens, document offsets and sentence ends."""
    rng = np.random.default_rng(1)
    ends = np.cumsum(rng.geometric(1 / 25, tokens // 25))
    last = rng.random(len(ends)) < 25 / 700
    last[-1] = True
    offsets = np.concatenate([[0], ends[last]])
    return rng.integers(0, PIECES, int(ends[-1]), np.uint32), offsets, ends


def batches_of(rows: Rows, recipe: Recipe) -> list[pa.RecordBatch]:
    """Record batches of 64 rows in the materialised schema."""
    schema = shard_schema(recipe.sequence_length, VOCABULARY)
    count = len(rows.length)
    columns = {name: getattr(rows, name) for name in (*MATRIX_COLUMNS, "sample_id", "context_length", "length")}
    ids = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), pa.array([bytes(16)] * count, pa.binary(16)))
    ends = pa.ListArray.from_arrays(rows.sentence_end_offsets.astype(np.int32), pa.array(rows.sentence_ends))
    whole = make_batch(
        schema,
        **columns,
        objective=rows.objective,
        language=np.zeros(count, np.uint8),
        sentence_ends=ends,
        document_ids=ids,
    )
    return [whole.slice(start, 64) for start in range(0, count, 64)]


def write_build(folder: Path, batches: list[pa.RecordBatch], recipe: Recipe) -> int:
    """A folder with one shard, as far as ShardStream wants one; returns the shard's bytes."""
    (folder / "shards").mkdir(parents=True)
    schema = shard_schema(recipe.sequence_length, VOCABULARY, recipe.shards.layout)
    if recipe.shards.layout == "compact":
        style = style_of(SPECIAL.by_role(), recipe.spans, recipe.sequence_length)
        batches = [compact_batch(exact(batch), schema, style) for batch in batches]
    name = "shards/part-00000-of-00001.arrow"
    compression = None if recipe.shards.compression == "none" else "zstd"
    info: ShardInfo = write_shard(folder / name, schema, batches, compression=compression)  # type: ignore[arg-type]
    entry = ShardEntry(path=name, rows=info.rows, bytes=info.bytes, xxh3=info.xxh3, record_batches=info.record_batches)
    manifest = Manifest(
        fingerprint=fingerprint_of([info.xxh3]),
        recipe=recipe.model_dump(mode="json"),
        sequence_length=recipe.sequence_length,
        languages=("en",),
        tokenizer=TokenizerEntry(
            hash="none",
            vocabulary_size=VOCABULARY,
            special_tokens=SPECIAL.by_role(),
            special_token_texts=SPECIAL.texts(),
        ),
        shards=(entry,),
        files={},
        counts={},
        versions={},
    )
    (folder / "manifest.json").write_text(manifest.dumps(), "utf-8")
    return info.bytes


def exact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A slice on memory of its own."""
    return trim_batch(batch, batch.schema)


def in_memory(batches: list[pa.RecordBatch], recipe: Recipe, count: int) -> None:
    """Unmasking, masking and layout without any reading."""
    style = style_of(SPECIAL.by_role(), recipe.spans, recipe.sequence_length)
    rules, views = span_rules(recipe.spans), [column_views(exact(batch)) for batch in batches]
    ends = [batch.column("sentence_ends").to_pylist() for batch in batches]
    taken = [unmasked(view, recipe.sequence_length, style) for view in views]
    for rows, lists in zip(taken, ends, strict=True):
        for row, values in enumerate(lists):
            rows.sentence_ends[row, : len(values)] = values
            rows.num_ends[row] = len(values)
    tensors = Tensors.empty(64, recipe.sequence_length)
    lost = masked = 0

    def again(*, from_finished: bool) -> None:
        nonlocal lost, masked
        lost = masked = 0
        for rows, view in zip(taken, views, strict=True):
            if from_finished:
                unmasked(view, recipe.sequence_length, style)
            n = len(rows.size)
            epochs = np.ones(n, np.int64)
            lost += mask_again(rows, epochs, rules, style, recipe.seed)
            part = Tensors(*(array[:n] for array in tensors))
            context, length = lay_out_rows(rows, epochs, style, recipe.seed, part)
            masked += int((length - context - rows.num_spans).sum())

    tell("fresh masks + layout, compact rows in memory", count, least_seconds(lambda: again(from_finished=False)))
    tell(
        "unmasking + fresh masks + layout, finished rows in memory",
        count,
        least_seconds(lambda: again(from_finished=True)),
    )
    print(f"{'':58} {lost} tokens not placed, {masked} masked ({lost / masked:.3%})")


def read(folder: Path, count: int, name: str, *, remask: bool) -> None:
    """A shuffled epoch in batches of 16; with fresh masks the second one."""
    stream = ShardStream(folder, BATCH, seed=1, remask=remask)
    state = stream.state_dict() | {"samples_consumed": count if remask else 0}

    def epoch() -> None:
        stream.load_state_dict(state)
        batches = iter(stream)
        for _ in range(count // BATCH):
            next(batches)

    epoch()
    tell(f"read {name}{', fresh masks' if remask else ''}", count // BATCH * BATCH, least_seconds(epoch))


def tell(what: str, count: int, seconds: float) -> None:
    """One line."""
    print(f"{what:58} {count / seconds:10,.0f} samples/s")


if __name__ == "__main__":
    main()
