"""The grams of all benchmarks in one file, which all partitions look into.

benchmarks  all benchmark files -> index.arrow

It runs before anything else, so that a benchmark that cannot be read stops a build at once. One job: benchmarks are
megabytes; 116 MB of them take 23 s and 1.4 GB of memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.corpus.benchmarks import Benchmark, read_benchmark
from glmdata.dedupe.contamination import SHORTEST, GramIndex, IndexedTexts, index_texts, join_indexed
from glmdata.errors import InputError
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job
from glmdata.pipelines.partitions import read_columns, write_columns
from glmdata.recipe import NormalizationSettings, Recipe
from glmdata.text.normalization import Normalizer

__all__ = ["BenchmarkIndex", "OpenIndex", "index_benchmarks", "open_index"]

TEXT_PER_STEP = 8 << 20
_ARRAYS = ("grams", "gram_owners", "filter", "shorts", "short_owners", "pair_filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkArguments:
    """All benchmark files, known by their content."""

    files: tuple[Benchmark, ...]
    fields: tuple[str, ...]
    ngram_size: int
    normalization: NormalizationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkIndex:
    """What the stage left."""

    file: FileRef
    counts: dict[str, int]
    """files, records, grams, short_texts (found whole), ignored_texts (too short)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIndex:
    """index.arrow, memory-mapped."""

    index: GramIndex
    uris: list[str]
    record_files: npt.NDArray[np.int64]
    """For each record of all benchmarks: its file, and its number there."""
    record_numbers: npt.NDArray[np.int64]

    def name(self, record: int) -> str:
        """A record as the ledger names it: file:number."""
        return f"{self.uris[self.record_files[record]]}:{self.record_numbers[record]}"


def index_benchmarks(engine: Engine, files: Sequence[Benchmark], recipe: Recipe) -> BenchmarkIndex | None:
    """Run the stage; None without benchmarks."""
    if not files:
        return None
    settings = recipe.decontamination
    arguments = BenchmarkArguments(
        files=tuple(files),
        fields=tuple(settings.fields),
        ngram_size=settings.ngram_size,
        normalization=recipe.normalization,
    )
    job = Job(function=index_files, arguments=arguments, weight=max(1, sum(file.bytes for file in files)))
    result = engine.run("benchmarks", [job])[0]
    return BenchmarkIndex(file=result.files["index.arrow"], counts=result.counts)


def index_files(arguments: BenchmarkArguments, attempt: Attempt) -> dict[str, Any]:
    """Read all benchmarks. Writes index.arrow, one row of lists."""
    record_files: list[int] = []
    record_numbers: list[int] = []
    parts = list(_parts(arguments, record_files, record_numbers))
    index = join_indexed(parts, arguments.ngram_size)
    ignored = sum(part.too_short for part in parts)
    if not len(index.grams) + len(index.shorts):
        names = ", ".join(file.uri for file in arguments.files[:3])
        raise InputError(
            f"decontamination.benchmarks: {names}: there is no text of {min(SHORTEST, arguments.ngram_size)} words or "
            "more to look for"
        )
    columns = {name: _list(getattr(index, name)) for name in _ARRAYS}
    columns["record_files"] = _list(np.array(record_files, np.int64))
    columns["record_numbers"] = _list(np.array(record_numbers, np.int64))
    columns["uris"] = pa.array([[file.uri for file in arguments.files]], pa.list_(pa.string()))
    columns["ngram_size"] = pa.array([arguments.ngram_size])
    write_columns(attempt.output("index.arrow"), columns)
    return {
        "files": len(arguments.files),
        "records": len(record_files),
        "grams": len(index.grams),
        "short_texts": len(index.shorts),
        "ignored_texts": ignored,
    }


def _parts(arguments: BenchmarkArguments, record_files: list[int], record_numbers: list[int]) -> Iterator[IndexedTexts]:
    """Grams of TEXT_PER_STEP at a time; the records met are added to the lists."""
    normalize = Normalizer(arguments.normalization)
    texts: list[str] = []
    owners: list[int] = []
    held = 0
    for place, file in enumerate(arguments.files):
        for number, found in enumerate(read_benchmark(file, arguments.fields)):
            owners += [len(record_files)] * len(found)
            texts += map(normalize, found)
            held += sum(map(len, found))
            record_files.append(place)
            record_numbers.append(number)
            if held >= TEXT_PER_STEP:
                yield index_texts(texts, np.array(owners, np.int64), arguments.ngram_size)
                texts, owners, held = [], [], 0
    yield index_texts(texts, np.array(owners, np.int64), arguments.ngram_size)


def _list(values: npt.NDArray[np.generic]) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(np.array([0, len(values)], np.int64), pa.array(values))


def open_index(attempt: Attempt, index: FileRef) -> OpenIndex:
    """Map index.arrow; partitions of one machine share its pages."""
    columns = read_columns(attempt, index)
    arrays = {name: columns[name].values.to_numpy() for name in (*_ARRAYS, "record_files", "record_numbers")}
    return OpenIndex(
        index=GramIndex(ngram_size=columns["ngram_size"][0].as_py(), **{name: arrays[name] for name in _ARRAYS}),
        uris=columns["uris"][0].as_py(),
        record_files=arrays["record_files"],
        record_numbers=arrays["record_numbers"],
    )
