"""Benchmark files: which there are, and every text in their records.

They are read as corpora are, but strictly: a benchmark that is only half read would be only half looked for, so what
cannot be read is an error and no row of a quarantine.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from glmdata.corpus.documents import Outcome
from glmdata.corpus.files import Compression, Format, InputFile, find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.corpus.streams import UnreadableError, open_checked, read_blocks, without_mark
from glmdata.corpus.tables import ARROW_MAGIC
from glmdata.errors import ConfigError, InputError
from glmdata.recipe import CorpusSettings
from glmdata.remote import CHUNK_BYTES, is_remote, without_secrets
from glmdata.storage import PLACE, absolute, file_digest, storage_errors

__all__ = ["Benchmark", "find_benchmarks", "read_benchmark"]

KEY = "decontamination.benchmarks"
MAX_BENCHMARK_BYTES = 1 << 30
"""Larger files are no benchmarks, but a corpus given by mistake; they would be held in memory."""
TABLE_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One file, known by its content."""

    uri: str
    """Path inside the folder that was given, or the file's name."""
    path: str = field(metadata=PLACE, repr=False)
    """Or URI."""
    format: Format
    compression: Compression | None
    bytes: int
    xxh3: str

    @property
    def name(self) -> str:
        """Where it lies, as it may be shown."""
        return without_secrets(self.path)


def find_benchmarks(places: Sequence[str]) -> tuple[Benchmark, ...]:
    """The files of `decontamination.benchmarks`, sorted by uri, each hashed.

    Raises:
        ConfigError: a place does not exist, or is a URI with what must not be shown.
        StorageError: an object store does not answer.
        InputError: a place holds no readable file, or two files have one uri.
    """
    found: dict[str, Benchmark] = {}
    for place in places:
        if is_remote(place) and without_secrets(place) != place.rstrip("/"):
            raise ConfigError(
                f"{KEY}: {without_secrets(place)}: the build keeps its recipe, so give the URI without user, password "
                "and query; credentials, and the endpoint of a store of your own, are taken from the environment"
            )
        if "://" not in place and not Path(place).exists():
            raise ConfigError(f"{KEY}: {place}: no such file or folder")
        try:
            listing = find_files([absolute(place)])
        except InputError as error:
            raise InputError(f"{KEY}: {str(error).removeprefix('--corpus ')}") from None
        if not listing.files:
            raise InputError(f"{KEY}: no .jsonl, .txt, .parquet or .arrow file in {without_secrets(place)}")
        for file in listing.files:
            benchmark = _hashed(file)
            if found.setdefault(file.uri, benchmark).path != benchmark.path:
                raise InputError(
                    f"{KEY}: {found[file.uri].name} and {benchmark.name} are both called {file.uri}; give the folder "
                    "that holds both"
                )
    return tuple(found[uri] for uri in sorted(found))


def _hashed(file: InputFile) -> Benchmark:
    name = without_secrets(file.path)
    if file.problem is not None:
        raise InputError(f"{KEY}: {name}: {file.problem}")
    if file.size > MAX_BENCHMARK_BYTES:
        raise InputError(f"{KEY}: {name} has {file.size:,} bytes; a benchmark file has at most {MAX_BENCHMARK_BYTES:,}")
    with storage_errors("reading a benchmark"), _at_hand(file.path) as path:
        size, digest = file_digest(path)
    return Benchmark(
        uri=file.uri, path=file.path, format=file.format, compression=file.compression, bytes=size, xxh3=digest
    )


def read_benchmark(benchmark: Benchmark, fields: Sequence[str]) -> Iterator[list[str]]:
    """The texts of each record: those in `fields`, or every string in it, however deep.

    Raises InputError where a record cannot be read or lacks a field, naming the place, and if the file changed.
    """
    name = benchmark.name
    with storage_errors("reading a benchmark"), _at_hand(benchmark.path) as path:
        if file_digest(path) != (benchmark.bytes, benchmark.xxh3):
            raise InputError(f"{name} changed since the build began; run the command again with --fresh")
        try:
            for number, record in enumerate(_records(replace(benchmark, path=path))):
                yield _texts(record, fields, f"{KEY}: {name}, record {number}")
        except UnreadableError as error:
            raise InputError(f"{KEY}: {name}: {error.reason}") from None


@contextlib.contextmanager
def _at_hand(place: str) -> Iterator[str]:
    """The path of a file, or of a copy of an object that is gone afterwards: parquet is read from anywhere in it."""
    if not is_remote(place):
        yield place
        return
    with tempfile.NamedTemporaryFile() as copy:
        with open_checked(place) as source:
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
        copy.flush()
        yield copy.name


def _records(benchmark: Benchmark) -> Iterator[Any]:
    if benchmark.format == "jsonl":
        return _json_records(benchmark)
    if benchmark.format == "txt":
        return _text_records(benchmark)
    return _table_records(benchmark)


def _json_records(benchmark: Benchmark) -> Iterator[Any]:
    with open_checked(benchmark.path) as file:
        _, blocks = without_mark(read_blocks(file, benchmark.compression), benchmark.compression)
        held: list[bytes] = []
        size = 0
        for block in blocks:
            held.append(block)
            size += len(block)
            if size > MAX_BENCHMARK_BYTES:
                raise UnreadableError(f"expands to more than {MAX_BENCHMARK_BYTES:,} bytes")
    for number, line in enumerate(b"".join(held).split(b"\n"), 1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UnreadableError(f"line {number} is not JSON: {error.msg}") from None


def _text_records(benchmark: Benchmark) -> Iterator[Any]:
    file = InputFile(
        uri=benchmark.uri,
        path=benchmark.path,
        size=benchmark.bytes,
        mtime_ns=0,
        format=benchmark.format,
        compression=benchmark.compression,
        problem=None,
    )
    settings = CorpusSettings()
    for split in plan_splits([file], settings):
        for batch in read_split(split, settings, str):
            refused = pc.equal(batch["outcome"], int(Outcome.QUARANTINED))
            if pc.any(refused).as_py():
                raise UnreadableError(batch["detail"].filter(refused)[0].as_py())
            yield from batch["text"].to_pylist()


def _table_records(benchmark: Benchmark) -> Iterator[Any]:
    try:
        if benchmark.format == "parquet":
            batches = pq.ParquetFile(benchmark.path).iter_batches(TABLE_ROWS, use_threads=False)
        else:
            source = pa.memory_map(benchmark.path)
            is_file = source.read(len(ARROW_MAGIC)) == ARROW_MAGIC
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            batch.validate(full=True)
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"cannot be read as {benchmark.format}: {' '.join(str(error).split())[:200]}") from None


def _texts(record: Any, fields: Sequence[str], place: str) -> list[str]:
    """Strings of a record in its order; a stack, since records may be nested deeper than Python calls."""
    if fields and not isinstance(record, str):
        missing = [name for name in fields if not isinstance(record, dict) or name not in record]
        if missing:
            raise InputError(f'{place}: no field "{missing[0]}" (decontamination.fields)')
        record = [record[name] for name in fields]
    found, waiting = [], [record]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list | tuple):
            waiting += reversed(value)
    return found
