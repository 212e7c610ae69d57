"""The folder of a build: whose it is, who works in it, and how a finished build appears there at once."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from glmdata.corpus.benchmarks import Benchmark
from glmdata.corpus.files import InputFile
from glmdata.errors import BuildExistsError, ShardCorruptError
from glmdata.pipelines.lock import BuildLock, hold
from glmdata.recipe import Recipe, describe_difference
from glmdata.shards.manifest import Manifest
from glmdata.storage import storage_errors, sync_file, sync_folder, write_whole
from glmdata.versions import versions

__all__ = ["PAGE_NAME", "BuildFolder", "identity_of"]

WORK = ".build"
PAGE_NAME = "report.html"
_FILES = ("manifest.json", "report.json", PAGE_NAME, "tokenizer.model")
_FOLDERS = {
    "shards": ("part-*-of-*.arrow",),
    "ledger": ("part-*-of-*.parquet",),
    "quarantine": ("part-*-of-*.parquet",),
    "signatures": ("part-*-of-*.arrow",),
}


def identity_of(
    recipe: Recipe,
    tokenizer: str | None,
    files: Sequence[InputFile],
    earlier: Sequence[str] = (),
    benchmarks: Sequence[Benchmark] = (),
) -> dict[str, Any]:
    """What a build is made of: recipe, hash of the given tokenizer, inputs (uri, size, time of last change), the
    digests of the signatures it leaves out, and benchmarks (uri, hash).
    """
    return {
        "versions": versions(),
        "recipe": recipe.model_dump(mode="json"),
        "tokenizer": tokenizer,
        "against": list(earlier),
        "inputs": [[file.uri, file.size, file.mtime_ns] for file in files],
        "benchmarks": [[file.uri, file.xxh3] for file in benchmarks],
    }


class BuildFolder:
    """`--out`: the finished build, and .build/ with the work of an unfinished one."""

    def __init__(self, path: Path) -> None:
        self.path, self.work = path, path / WORK
        self._identity = self.work / "identity.json"
        self._corpus = self.work / "corpus.json"
        self._lock: BuildLock | None = None

    @contextlib.contextmanager
    def locked(self, tell: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold the folder for one process; `tell` is called where that takes time."""
        self._refuse_strangers()
        with storage_errors("making the output folder"):
            self.work.mkdir(parents=True, exist_ok=True)
        with hold(self.path, self.work / "lock", tell) as self._lock:
            yield

    def finished(self) -> bool:
        """Whether a whole build is here."""
        return (self.path / "manifest.json").is_file()

    def check_sizes(self) -> None:
        """Raise ShardCorruptError where a file of the finished build is gone or has another size."""
        manifest = Manifest.load(self.path)
        sizes = {shard.path: shard.bytes for shard in manifest.shards}
        sizes |= {name: file.bytes for name, file in manifest.files.items()}
        for name, size in sizes.items():
            try:
                there = (self.path / name).stat().st_size
            except OSError:
                there = -1
            if there != size:
                state = "is missing" if there < 0 else f"has {there} bytes, not {size}"
                raise ShardCorruptError(f"{self.path / name} {state}; build again with --fresh")

    def claim(self, identity: dict[str, Any]) -> None:
        """Make the folder this build's, or raise BuildExistsError naming what differs."""
        there = self._read_identity()
        if there is None and self.finished():
            raise BuildExistsError(
                f"{self.path} holds a finished build without its {WORK}/identity.json, so what it is made of is not "
                "known; choose another --out, or pass --fresh to remove it and build anew"
            )
        if there is None:
            with storage_errors("writing"):
                write_whole(self._identity, json.dumps(identity, sort_keys=True).encode())
        elif there != identity:
            state = "holds a build" if self.finished() else "holds an unfinished build"
            raise BuildExistsError(
                f"{self.path} {state} of something else ({_difference(identity, there)}); "
                "choose another --out, or pass --fresh to remove it and build anew"
            )

    def remember_corpus(self, roots: Sequence[str]) -> None:
        """Note where the corpus lies, for `glmdata why`: a path of this machine, so it has no place in the manifest."""
        if list(roots) != self.corpus_roots():
            with storage_errors("writing"):
                write_whole(self._corpus, json.dumps({"roots": list(roots)}).encode())

    def corpus_roots(self) -> list[str]:
        """What `remember_corpus` noted; nothing where that is gone, or the build was copied without it."""
        roots = _read_object(self._corpus).get("roots")
        return [root for root in roots if isinstance(root, str)] if isinstance(roots, list) else []

    def inputs(self) -> dict[str, tuple[int, int]]:
        """Size and time of last change (ns) of each corpus file when it was built, as far as that is known here."""
        there = _read_object(self._identity).get("inputs")
        return {uri: (size, changed) for uri, size, changed in there} if isinstance(there, list) else {}

    def clear(self) -> None:
        """Remove what a build of ours wrote, and nothing else."""
        with storage_errors("removing the old build"):
            (self.path / "manifest.json").unlink(missing_ok=True)
            for name in _FILES:
                (self.path / name).unlink(missing_ok=True)
            for folder, patterns in _FOLDERS.items():
                for pattern in patterns:
                    for file in (self.path / folder).glob(pattern):
                        file.unlink()
                with contextlib.suppress(OSError):
                    (self.path / folder).rmdir()
            self._identity.unlink(missing_ok=True)
            self._corpus.unlink(missing_ok=True)
            self.remove_work()

    def publish(self, source: Path, name: str) -> None:
        """Put a committed file at its place in the build; not yet visible, since no manifest names it."""
        target = self.path / name
        with storage_errors("publishing"):
            target.parent.mkdir(exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                target.hardlink_to(source)
            except OSError:  # a file system without links
                shutil.copyfile(source, target)
                sync_file(target)

    def finish(self, manifest: str) -> None:
        """Make the build visible by one rename, then remove the work."""
        if self._lock is not None:
            self._lock.check()
        with storage_errors("publishing"):
            for name in (*_FOLDERS, "."):
                if (self.path / name).is_dir():
                    sync_folder(self.path / name)
            with contextlib.suppress(PermissionError):  # may be written to, not listed, by us
                sync_folder(self.path.parent)
            write_whole(self.path / "manifest.json", manifest.encode())
        self.remove_work()

    def remove_work(self) -> None:
        """Remove the work of the stages; twice, since a late worker may write a file between two looks."""
        for _ in range(2):
            for entry in self.work.iterdir() if self.work.is_dir() else ():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)

    def _read_identity(self) -> dict[str, Any] | None:
        return _read_object(self._identity) if self._identity.exists() else None

    def _refuse_strangers(self) -> None:
        """A folder with other people's files is not built into, let alone cleared."""
        with storage_errors("--out"):
            try:
                entries = {entry.name for entry in self.path.iterdir()}
            except FileNotFoundError:
                return
        if entries and WORK not in entries and "manifest.json" not in entries:
            raise BuildExistsError(
                f"--out {self.path} holds other files ({', '.join(sorted(entries)[:3])}) and no build of glmdata; "
                "choose an empty or a new folder"
            )


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is gone or holds something else."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _difference(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The first things in which two identities differ."""
    found = describe_difference(mine.get("recipe", {}), theirs.get("recipe", {}))
    if mine.get("tokenizer") != theirs.get("tokenizer"):
        found.append("another tokenizer")
    if mine.get("against") != theirs.get("against"):
        found.append("another --against")
    found += describe_difference(mine.get("versions", {}), theirs.get("versions", {}))
    for name, files in (("inputs", "corpus files"), ("benchmarks", "benchmark files")):
        inputs, others = ({uri: rest for uri, *rest in identity.get(name, ())} for identity in (mine, theirs))
        for kind, uris in (
            ("new", [uri for uri in inputs if uri not in others]),
            ("gone", [uri for uri in others if uri not in inputs]),
            ("changed", [uri for uri in inputs if uri in others and inputs[uri] != others[uri]]),
        ):
            if uris:
                found.append(f"{files} {kind}: {uris[0]}" + (f" and {len(uris) - 1} more" if len(uris) > 1 else ""))
    return "; ".join(found[:4]) or "its record cannot be read"
