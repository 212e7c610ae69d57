"""Tokens of many partitions in one file each, so that a stretch of a stream is read from few files.

merge  a run of partitions -> their documents, ordered by language and order key

A bucket of the next stages reads its key range from every file there is. With a file a partition that would be
quadratic: 12,500 partitions (100 GB of text) take 2 s a bucket, 780 merged files 0.14.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import read_columns, write_columns

__all__ = ["merge"]

PARTITIONS_PER_FILE = 16
"""About 128 MB of text, 65 MB of tokens, which a job holds once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeArguments:
    """tokens.arrow of some partitions."""

    tokens: tuple[FileRef, ...]


def merge(engine: Engine, tokens: Sequence[FileRef]) -> list[FileRef]:
    """Run the stage; a build of few partitions is left as it is."""
    if len(tokens) <= PARTITIONS_PER_FILE:
        return list(tokens)
    runs = [tuple(tokens[at : at + PARTITIONS_PER_FILE]) for at in range(0, len(tokens), PARTITIONS_PER_FILE)]
    results = engine.run(
        "merge",
        [
            Job(
                function=merge_tokens,
                arguments=MergeArguments(tokens=run),
                weight=sum(file.bytes for file in run),
            )
            for run in runs
        ],
    )
    return [result.files["tokens.arrow"] for result in results]


def merge_tokens(arguments: MergeArguments, attempt: Attempt) -> dict[str, Any]:
    """Join and order. Writes tokens.arrow."""
    parts = [read_columns(attempt, file) for file in arguments.tokens]
    table = pa.Table.from_batches(parts)
    order = np.lexsort([table[name].to_numpy() for name in ("row", "key", "language")])
    sizes = [part.num_rows for part in parts]
    firsts = np.cumsum(sizes) - sizes
    sources = np.repeat(np.arange(len(parts)), sizes)[order]
    places = list(zip(sources.tolist(), (order - firsts[sources]).tolist(), strict=True))
    write_columns(
        attempt.output("tokens.arrow"),
        {
            field.name: _ordered_lists([part[field.name] for part in parts], places)
            if pa.types.is_large_list(field.type)
            else table[field.name].combine_chunks().take(pa.array(order))
            for field in table.schema
        },
    )
    return {"records": table.num_rows}


def _ordered_lists(parts: Sequence[pa.LargeListArray], places: Sequence[tuple[int, int]]) -> pa.LargeListArray:
    """The lists at (part, row), copied from the mapped files once: Arrow's `take` makes an int64 for every token."""
    lists = [(part.offsets.to_numpy(), part.values.to_numpy()) for part in parts]
    sizes = [np.diff(offsets) for offsets, _ in lists]
    ends = np.zeros(len(places) + 1, np.int64)
    np.cumsum([sizes[part][row] for part, row in places], out=ends[1:])
    joined = np.empty(ends[-1], lists[0][1].dtype)
    for at, (part, row) in enumerate(places):
        offsets, values = lists[part]
        joined[ends[at] : ends[at + 1]] = values[offsets[row] : offsets[row + 1]]
    return pa.LargeListArray.from_arrays(ends, pa.array(joined))
