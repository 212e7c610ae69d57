"""Builds of small corpora: run in this process, their ledger, their bytes."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from progress import Stops

from glmdata.pipelines.build import Built, build
from glmdata.pipelines.executors import choose_executor
from glmdata.recipe import load_recipe

__all__ = ["OPTIONS", "SPEED", "STAGES", "contents", "ledger", "ledger_of", "run"]

OPTIONS = (
    "tokenizer.vocabulary_size=800",
    "sequence_length=96",
    "shards.rows=48",
    "shards.rows_per_record_batch=16",
    "corpus.partition_bytes=65536",
    "corpus.split_bytes=65536",
)
"""Small, and in many partitions."""
SPEED = re.compile(rb'<section id="speed">.*?</section>', re.DOTALL)
"""Where report.html tells seconds."""
STAGES = (
    "ingest",
    "sign",
    "gather",
    "match",
    "verify",
    "settle",
    "sample",
    "train",
    "tokenize",
    "balance",
    "assemble",
    "shards",
    "ledger",
)


def run(corpus: Path, out: Path, *options: str, address: str = "none", workers: int = 2, **more: Any) -> Built:
    """Build with the test's settings, by an `executor` if one is given."""
    seed, executor = more.pop("seed", None), more.pop("executor", None)
    return build(
        [str(corpus)],
        out,
        load_recipe("glm", [*OPTIONS, *options], seed=seed),
        make_executor=lambda size: executor or choose_executor(address, workers, size),
        progress=more.pop("progress", Stops()),
        **more,
    )


def ledger_of(folder: Path) -> list[dict[str, Any]]:
    """All its rows."""
    files = sorted((folder / "ledger").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def ledger(made: Built) -> list[dict[str, Any]]:
    """All its rows."""
    return ledger_of(made.folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte of a build but the reports' seconds."""
    return {
        path.relative_to(folder).as_posix(): SPEED.sub(b"", path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".build" not in path.parts and path.name != "report.json"
    }
