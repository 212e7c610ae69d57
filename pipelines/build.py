"""The stage graph: raw files in, a finished build out."""

import fnmatch
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glmdata.balance import require_languages
from glmdata.corpus.benchmarks import Benchmark, find_benchmarks
from glmdata.corpus.files import InputFile, Listing, find_files
from glmdata.errors import ConfigError, InputError, ShardCorruptError
from glmdata.pipelines.against import Earlier, fetch_earlier, open_earlier
from glmdata.pipelines.assemble import assemble, cut_into_shards
from glmdata.pipelines.balance import balance
from glmdata.pipelines.benchmarks import index_benchmarks
from glmdata.pipelines.clean import clean
from glmdata.pipelines.compiling import Compilation
from glmdata.pipelines.dedupe import deduplicate
from glmdata.pipelines.engine import Engine, FileRef, Progress, Result, default_workers
from glmdata.pipelines.finetune import finetune
from glmdata.pipelines.folder import PAGE_NAME, BuildFolder, identity_of
from glmdata.pipelines.ingest import ingest
from glmdata.pipelines.merge import merge
from glmdata.pipelines.partitions import Partition
from glmdata.pipelines.report import build_report, write_ledger
from glmdata.pipelines.scheduling import Executor
from glmdata.pipelines.tokenize import tokenize, tokenizer_file, trained_tokenizer
from glmdata.recipe import Recipe
from glmdata.remote import is_remote, without_secrets
from glmdata.shards.manifest import FileEntry, Manifest, ShardEntry, TokenizerEntry, fingerprint_of
from glmdata.storage import absolute
from glmdata.tokenization import SpecialTokens, Tokenizer
from glmdata.versions import versions

__all__ = ["Built", "build", "describe_files"]

LARGE_DOCUMENT = 1 << 20
"""A .txt whose documents are larger on average was perhaps meant to be read by lines."""
MAX_HINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished build."""

    out: str
    """Its path, or its URI as it may be shown."""
    manifest: dict[str, Any]
    report: dict[str, Any]
    already_there: bool

    @property
    def folder(self) -> Path:
        """Its path, of a build on this machine."""
        return Path(self.out)


def build(
    corpora: Sequence[str],
    out: str | Path,
    recipe: Recipe,
    *,
    make_executor: Callable[[int], Executor],
    progress: Progress,
    tokenizer_path: str | None = None,
    against: Sequence[str] = (),
    fresh: bool = False,
) -> Built:
    """Build `corpora` into `out`, resuming what is committed there; what the builds `against` hold is left out.

    `make_executor` is called with the bytes of the input, and only if there is work to do.
    Raises GlmdataError of the kind that fits; whatever happens, `out` holds a whole build or none.
    """
    place = absolute(str(out))
    shown = without_secrets(str(out))
    if not shown.isprintable():
        raise ConfigError(f"--out {shown!r}: give a folder whose name is printable UTF-8")
    if recipe.finetune.task != "none" and not tokenizer_path:
        raise ConfigError("fine-tuning goes on with a model: give its tokenizer with --tokenizer FILE.model")
    if recipe.finetune.task != "none" and against:
        raise ConfigError("--against is of pre-training alone: no duplicates are looked for in fine-tuning data")
    tokenizer = Tokenizer.load(tokenizer_path) if tokenizer_path else None
    earlier = open_earlier(against, recipe.dedupe)
    benchmarks = find_benchmarks(recipe.decontamination.benchmarks)
    roots = [absolute(corpus) for corpus in corpora]
    listing = find_files(roots, exclude=[place])
    if not listing.files:
        raise InputError(_nothing_found(roots, place, listing))
    folder = BuildFolder(place)
    with folder.locked(progress.message):
        if fresh:
            folder.clear()
        signatures = [file.xxh3 for file in earlier.files]
        made_of = identity_of(recipe, tokenizer.hash if tokenizer else None, listing.files, signatures, benchmarks)
        folder.claim(made_of)
        folder.remember_corpus(roots)
        if folder.finished():
            folder.remove_work()
            folder.check_sizes()
            if not folder.place.sizes([PAGE_NAME]):  # stopped on its last step, or built by a version without it
                _write_page(folder)
            manifest, report = (_read_json(folder, name) for name in ("manifest.json", "report.json"))
            return Built(out=shown, manifest=manifest, report=report, already_there=True)
        size = sum(file.size for file in listing.files)
        executor = make_executor(size)
        compilation = Compilation(default_workers()) if executor.on_this_machine else None
        try:
            progress.message(f"{describe_files(listing)}; {executor.name}")
            engine = Engine(folder.work, executor, progress, compilation, folder.check)
            given = absolute(tokenizer_path) if tokenizer_path else None
            made = _run(engine, folder, listing, roots, benchmarks, recipe, tokenizer, given, earlier)
            return replace(made, out=shown)
        finally:
            if compilation:
                compilation.stop()
            executor.close()


def _run(
    engine: Engine,
    folder: BuildFolder,
    listing: Listing,
    roots: Sequence[str],
    benchmarks: Sequence[Benchmark],
    recipe: Recipe,
    tokenizer: Tokenizer | None,
    tokenizer_path: str | None,
    earlier: Earlier,
) -> Built:
    if recipe.finetune.task != "none" and tokenizer is not None and tokenizer_path is not None:
        return _run_finetune(engine, folder, listing, roots, recipe, tokenizer, tokenizer_path)
    index = index_benchmarks(engine, benchmarks, recipe)
    earlier = fetch_earlier(engine, earlier)
    partitions = _read_corpus(engine, folder, listing, roots, recipe)
    hints = _hints(listing, partitions, recipe) + _idle_weights(listing, recipe)
    deduplicated = deduplicate(engine, partitions, recipe, earlier)
    if deduplicated.held:
        hints.append(f"{deduplicated.held:,} documents are in the builds of --against already")
    cleaned = clean(engine, partitions, deduplicated, index, recipe)
    partitions, deduplicated = cleaned.partitions, cleaned.deduplicated
    hints += cleaned.hints
    try:
        require_languages(deduplicated.language_bytes, recipe.balance.languages, recipe.balance.strategy)
    except InputError as error:
        raise InputError("; ".join([str(error), *hints])) from None
    if tokenizer is not None and tokenizer_path is not None:
        model = tokenizer_file(engine, tokenizer, tokenizer_path)
    else:
        model = trained_tokenizer(engine, partitions, deduplicated, recipe)
        tokenizer = Tokenizer.load(engine.path(model))
    tokens, bins = tokenize(engine, partitions, deduplicated, model, recipe)
    streams = merge(engine, tokens)
    plan = balance(engine, bins, streams, model, recipe)
    special = tokenizer.special.extended(dblock=recipe.spans.block_mask_ratio > 0, sentinels=recipe.spans.sentinels)
    vocabulary_size = tokenizer.vocabulary_size + special.num_added
    assembled = assemble(engine, plan, streams, special, vocabulary_size, recipe)
    shards = cut_into_shards(engine, assembled, vocabulary_size, recipe)
    ledgers = write_ledger(engine, partitions, deduplicated, tokens, plan, recipe.dedupe, earlier)
    report = build_report(
        engine, plan, assembled, ledgers, recipe.sequence_length, listing.ignored, hints, cleaned.figures
    )
    entry = _tokenizer_entry(tokenizer, special)
    return _publish(folder, recipe, entry, model, plan.languages, shards, ledgers, report)


def _run_finetune(
    engine: Engine,
    folder: BuildFolder,
    listing: Listing,
    roots: Sequence[str],
    recipe: Recipe,
    tokenizer: Tokenizer,
    tokenizer_path: str,
) -> Built:
    partitions = _read_corpus(engine, folder, listing, roots, recipe)
    model = tokenizer_file(engine, tokenizer, tokenizer_path)
    made = finetune(engine, partitions, tokenizer, model, recipe, listing.ignored)
    entry = _tokenizer_entry(tokenizer, tokenizer.special)
    return _publish(folder, recipe, entry, model, made.languages, made.shards, made.ledgers, made.report)


def _tokenizer_entry(tokenizer: Tokenizer, special: SpecialTokens) -> TokenizerEntry:
    return TokenizerEntry(
        hash=tokenizer.hash,
        vocabulary_size=tokenizer.vocabulary_size + special.num_added,
        special_tokens=special.by_role(),
        special_token_texts=special.texts(),
    )


def _publish(
    folder: BuildFolder,
    recipe: Recipe,
    tokenizer: TokenizerEntry,
    model: FileRef,
    languages: tuple[str, ...],
    shards: Sequence[Result],
    ledgers: Sequence[Result],
    report: dict[str, Any],
) -> Built:
    listed: list[ShardEntry] = []
    published: dict[str, FileRef] = {}
    for number, shard in enumerate(shards):
        name = f"shards/part-{number:05d}-of-{len(shards):05d}.arrow"
        file = published[name] = shard.files["shard.arrow"]
        batches = tuple(shard.counts["record_batches"])
        listed.append(
            ShardEntry(path=name, rows=shard.counts["rows"], bytes=file.bytes, xxh3=file.xxh3, record_batches=batches)
        )
    named = {"tokenizer.model": model}
    for number, result in enumerate(ledgers):
        for file_name, file in sorted(result.files.items()):
            kind, _, ending = file_name.partition(".")
            named[f"{kind}/part-{number:05d}-of-{len(ledgers):05d}.{ending}"] = file
    files = {name: FileEntry(bytes=file.bytes, xxh3=file.xxh3) for name, file in named.items()}
    folder.publish(published | named)
    manifest = Manifest(
        fingerprint=fingerprint_of([shard.xxh3 for shard in listed]),
        recipe=recipe.model_dump(mode="json"),
        sequence_length=recipe.sequence_length,
        languages=languages,
        tokenizer=tokenizer,
        shards=tuple(listed),
        files=files,
        counts={
            "records_in": report["records_in"],
            "rows": report["rows"],
            "tokens": sum(report["tokens"].values()),
            **{f"outcome_{name}": count for name, count in report["outcomes"].items()},
            **{f"tokens_{code}": count for code, count in report["tokens"].items()},
        },
        versions=versions(),
    )
    folder.place.write("report.json", json.dumps(report, indent=2, ensure_ascii=False).encode())
    folder.finish(manifest.dumps())
    _write_page(folder)
    return Built(out=folder.place.name, manifest=json.loads(manifest.dumps()), report=report, already_there=False)


def _write_page(folder: BuildFolder) -> None:
    """Make report.html; it reads the finished build, and is no part of what the manifest names."""
    from glmdata.pipelines.page import write_page

    write_page(folder.place.uri)


def _read_corpus(
    engine: Engine, folder: BuildFolder, listing: Listing, roots: Sequence[str], recipe: Recipe
) -> list[Partition]:
    """The partitions of the corpus. Raises InputError where there is no record in it, or it changed meanwhile."""
    partitions = ingest(engine, listing.files, recipe)
    _check_unchanged(listing, roots, folder.place.uri)
    if not partitions:
        count = len(listing.files)
        raise InputError(f"no record in the corpus: {'its file is' if count == 1 else f'its {count} files are'} empty")
    return partitions


def _check_unchanged(listing: Listing, roots: Sequence[str], exclude: str) -> None:
    """Raise InputError where a file was written to while it was read."""
    far: dict[str, InputFile] | None = None
    for file in listing.files:
        if file.problem is not None:
            continue
        if is_remote(file.path):
            if far is None:  # a listing is a request for 1,000 files
                remote = [root for root in roots if is_remote(root)]
                far = {now.uri: now for now in find_files(remote, exclude=[exclude]).files}
            there = (far[file.uri].size, far[file.uri].mtime_ns) if file.uri in far else None
            why = "not listed any more"
        else:
            there, why = _state_of(file)
        if there is None:
            raise InputError(
                f"{file.uri} was there when the build began and is gone ({why}); run the command again with --fresh"
            )
        if there != (file.size, file.mtime_ns):
            raise InputError(f"{file.uri} changed while it was read; run the command again with --fresh")


def _state_of(file: InputFile) -> tuple[tuple[int, int] | None, str]:
    """Size and time of last change (ns) of a local file, or why there are none."""
    try:
        status = os.stat(file.path)  # noqa: PTH116  (odd bytes in names)
    except OSError as error:
        return None, str(error.strerror)
    return (status.st_size, status.st_mtime_ns), ""


def _hints(listing: Listing, partitions: Sequence[Partition], recipe: Recipe) -> list[str]:
    """What looks like a corpus read in another way than it is meant."""
    if recipe.corpus.txt_documents != "paragraphs":
        return []
    records: Counter[str] = Counter()
    for partition in partitions:
        for segment in partition.segments:
            records[segment.uri] += segment.rows
    return [
        f"{file.uri} has {records[file.uri]:,} documents in {file.size / 1e6:.1f} MB; if every line is a document, "
        "--set corpus.txt_documents=lines"
        for file in listing.files
        if file.format == "txt" and file.size > LARGE_DOCUMENT * max(1, records[file.uri])
    ][:MAX_HINTS]


def _idle_weights(listing: Listing, recipe: Recipe) -> list[str]:
    """Patterns of balance.source_weights that no file matches."""
    return [
        f"balance.source_weights: no file matches {pattern!r}"
        for pattern in recipe.balance.source_weights
        if not any(fnmatch.fnmatchcase(file.uri, pattern) for file in listing.files)
    ][:MAX_HINTS]


def describe_files(listing: Listing) -> str:
    """What is read, and what is not."""
    size = sum(file.size for file in listing.files) / 1e6
    count = len(listing.files)
    told = f"{count} file{'s' if count != 1 else ''}, {size:.1f} MB"
    if listing.ignored:
        kinds = ", ".join(f"{number} {ending}" for ending, number in listing.ignored.items())
        told += f" (not read: {kinds})"
    return told


def _nothing_found(corpora: Sequence[str], out: str, listing: Listing) -> str:
    if out in corpora:
        return f"--out {without_secrets(out)} is the corpus folder; choose another"
    others = ", ".join(f"{number} {ending}" for ending, number in listing.ignored.items())
    told = f"; there are only {others}" if others else ""
    return f"no .jsonl, .txt, .parquet or .arrow file in {', '.join(map(without_secrets, corpora))}{told}"


def _read_json(folder: BuildFolder, name: str) -> dict[str, Any]:
    data = folder.place.read(name)
    if data is None:
        raise ShardCorruptError(f"{folder.place.name}/{name} is missing; build again with --fresh")
    found: dict[str, Any] = json.loads(data)
    return found
