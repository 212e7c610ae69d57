"""A tiny finished build, written without the pipeline: random token rows laid out by plain Python below."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from glmdata.recipe import Recipe
from glmdata.shards.manifest import Manifest, fingerprint_of
from glmdata.shards.schema import MATRIX_COLUMNS, SCALAR_COLUMNS, make_batch, numpy_dtype, shard_schema
from glmdata.shards.writer import ShardInfo, write_shard
from glmdata.storage import file_digest

LENGTH = 32
VOCABULARY = 300
SPECIAL = {"eos": 290, "pad": 290, "cls": 291, "mask": 292, "smask": 293, "gmask": 294, "sop": 295, "eop": 296}
TEXTS = {role: f"<{role}>" for role in SPECIAL} | {"pad": "<eos>"}
MASKS = ("mask", "smask", "gmask")


def lay_out(
    tokens: list[int], spans: list[tuple[int, int]], order: list[int], mask: int, length: int
) -> dict[str, Any]:
    """One row by the rules, as lists padded to `length`."""
    ids, last = [], 0
    places = []
    for start, end in spans:
        ids += tokens[last:start]
        places.append(len(ids))
        ids.append(mask)
        last = end
    ids += tokens[last:]
    context = len(ids)
    targets, positions, blocks = list(ids), list(range(context)), [0] * context
    for k in order:
        text = tokens[slice(*spans[k])]
        ids += [SPECIAL["sop"], *text]
        targets += [*text, SPECIAL["eop"]]
        positions += [places[k]] * (len(text) + 1)
        blocks += range(1, len(text) + 2)
    real = len(ids)
    loss = [0] * context + [1] * (real - context)
    spare = length - real
    return {
        "input_ids": ids + [SPECIAL["pad"]] * spare,
        "target_ids": targets + [0] * spare,
        "position_ids": positions + [0] * spare,
        "block_position_ids": blocks + [0] * spare,
        "loss_mask": loss + [0] * spare,
        "context_length": context,
        "length": real,
    }


def random_row(number: int, length: int = LENGTH) -> dict[str, Any]:
    """Row `number`: token-, sentence- and document-level in turn, Chinese and English in turn."""
    rng = random.Random(number)
    objective = number % 3
    spans = [(2, 5), (7, 8)] if objective < 2 else [(4, 10)]
    tokens = [rng.randrange(290) for _ in range(rng.randrange(12, length - 2 * len(spans) + 1))]
    order = list(range(len(spans)))
    rng.shuffle(order)
    row = lay_out(tokens, spans, order, SPECIAL[MASKS[objective]], length)
    return row | {
        "sample_id": number * 10 + 7,
        "objective": objective,
        "language": number % 2,
        "sentence_ends": [6, len(tokens)],
        "document_ids": [number.to_bytes(16, "big")] * (1 + number % 2),
    }


def batch_of(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """The rows as a record batch, on fresh arrays."""
    columns: dict[str, Any] = {}
    for name in (*MATRIX_COLUMNS, *SCALAR_COLUMNS):
        kind = schema.field(name).type
        dtype = numpy_dtype(kind.value_type if name in MATRIX_COLUMNS else kind)
        values = np.array([row[name] for row in rows], dtype)
        columns[name] = values.reshape(len(rows), kind.list_size) if name in MATRIX_COLUMNS else values
    for name in ("sentence_ends", "document_ids"):
        columns[name] = pa.array([row[name] for row in rows], schema.field(name).type)
    return make_batch(schema, **columns)


def write_build(
    folder: Path,
    *,
    rows: int = 100,
    shard_rows: int = 40,
    rows_per_record_batch: int = 8,
    length: int = LENGTH,
    compression: str = "none",
    changes: Mapping[int, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Write a build of `random_row` 0, 1, ..., `changes` applied, and return its rows.

    tokenizer.model holds arbitrary bytes; the ledger has one record a document, the quarantine is empty.
    """
    recipe = Recipe.model_validate(
        {
            "sequence_length": length,
            "shards": {"rows": shard_rows, "rows_per_record_batch": rows_per_record_batch, "compression": compression},
        }
    )
    schema = shard_schema(length, VOCABULARY)
    made = [random_row(number, length) | dict((changes or {}).get(number, {})) for number in range(rows)]
    (folder / "shards").mkdir(parents=True)
    cuts = range(0, rows, shard_rows)
    shards = []
    for place, start in enumerate(cuts):
        name = f"shards/part-{place:05d}-of-{len(cuts):05d}.arrow"
        mine = made[start : start + shard_rows]
        step = rows_per_record_batch
        batches = [batch_of(mine[at : at + step], schema) for at in range(0, len(mine), step)]
        info = write_shard(folder / name, schema, batches, compression=None if compression == "none" else "zstd")
        shards.append(entry_of(name, info))
    manifest = Manifest(
        fingerprint=fingerprint_of([shard["xxh3"] for shard in shards]),
        recipe=recipe.model_dump(mode="json"),
        sequence_length=length,
        languages=["zh", "en"],
        tokenizer={
            "hash": "0123456789abcdef",
            "vocabulary_size": VOCABULARY,
            "special_tokens": SPECIAL,
            "special_token_texts": TEXTS,
        },
        shards=shards,
        files=_write_others(folder, rows),
        counts={"records_in": rows, "rows": rows, "outcome_kept": rows},
        versions={"glmdata": "0.1.0"},
    )
    (folder / "manifest.json").write_text(manifest.dumps(), "utf-8")
    return made


def entry_of(name: str, info: ShardInfo) -> dict[str, Any]:
    """A shard as the manifest lists it."""
    return {
        "path": name,
        "rows": info.rows,
        "bytes": info.bytes,
        "xxh3": info.xxh3,
        "record_batches": list(info.record_batches),
    }


def _write_others(folder: Path, documents: int) -> dict[str, Any]:
    ids = [number.to_bytes(16, "big") for number in range(documents)]
    ledger = pa.table(
        {
            "document_id": pa.array(ids, pa.binary(16)),
            "uri": ["corpus.jsonl"] * documents,
            "record": pa.array(range(documents), pa.int64()),
            "outcome": ["kept"] * documents,
            "survivor_id": pa.array([None] * documents, pa.binary(16)),
            "language": ["zh", "en"] * (documents // 2) + ["zh"] * (documents % 2),
            "tokens": pa.array([20] * documents, pa.int64()),
            "detail": [""] * documents,
        }
    )
    (folder / "tokenizer.model").write_bytes(b"no SentencePiece model, only bytes\n")
    for kind, table in (("ledger", ledger), ("quarantine", ledger.slice(0, 0))):
        (folder / kind).mkdir()
        pq.write_table(table, folder / kind / "part-00000-of-00001.parquet")
    names = ["tokenizer.model", "ledger/part-00000-of-00001.parquet", "quarantine/part-00000-of-00001.parquet"]
    return {name: dict(zip(("bytes", "xxh3"), file_digest(folder / name), strict=True)) for name in names}


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes cut, or a few of them changed."""
    places = st.integers(0, len(data) - 1)
    changes = st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)

    def changed(pairs: list[tuple[int, int]]) -> bytes:
        found = bytearray(data)
        for place, value in pairs:
            found[place] = value
        return bytes(found)

    return st.builds(lambda end: data[:end], places) | changes.map(changed)


def refusal(use: Callable[[], object], *errors: type[Exception]) -> str | None:
    """What was told where `use` was refused by one of these; None where it was not. Other errors pass."""
    try:
        use()
    except errors as error:
        return str(error)
    return None
