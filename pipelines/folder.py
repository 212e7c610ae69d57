"""The folder of a build: whose it is, who works in it, and how a finished build appears there at once."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glmdata.corpus.benchmarks import Benchmark
from glmdata.corpus.files import InputFile
from glmdata.errors import BuildExistsError, ShardCorruptError
from glmdata.pipelines import lock, object_lock
from glmdata.pipelines.places import LocalPlace, RemotePlace, open_place
from glmdata.pipelines.work import GO_ON, FileRef
from glmdata.recipe import Recipe, describe_difference
from glmdata.remote import Remote, without_secrets
from glmdata.shards.manifest import Manifest
from glmdata.storage import storage_errors
from glmdata.versions import versions

__all__ = ["PAGE_NAME", "BuildFolder", "identity_of"]

WORK = ".build"
IDENTITY, CORPUS = f"{WORK}/identity.json", f"{WORK}/corpus.json"
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

    def __init__(self, path: str | Path) -> None:
        """A path or a URI; nothing is read yet."""
        self.place = open_place(path)
        self.work = self.place.path / WORK if isinstance(self.place, LocalPlace) else self.place.store.below(WORK)
        self._lock: lock.BuildLock | object_lock.ObjectLock | None = None

    @contextlib.contextmanager
    def locked(self, tell: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold the folder for one process; `tell` is called where that takes time."""
        self._refuse_strangers()
        if isinstance(self.place, RemotePlace):
            with object_lock.hold(Remote(self.place.store.below(WORK), GO_ON), tell) as self._lock:
                yield
            return
        with storage_errors("making the output folder"):
            (self.place.path / WORK).mkdir(parents=True, exist_ok=True)
        with lock.hold(self.place.path, self.place.path / WORK / "lock", tell) as self._lock:
            yield

    def check(self) -> None:
        """Raise BuildRunningError where another process took the build over."""
        if self._lock is not None:
            self._lock.check()

    def finished(self) -> bool:
        """Whether a whole build is here."""
        return bool(self.place.sizes(["manifest.json"]))

    def check_sizes(self) -> None:
        """Raise ShardCorruptError where a file of the finished build is gone or has another size."""
        manifest = Manifest.load(self.place.uri)
        sizes = {shard.path: shard.bytes for shard in manifest.shards}
        sizes |= {name: file.bytes for name, file in manifest.files.items()}
        found = self.place.sizes(sizes)
        for name, size in sizes.items():
            if found.get(name) != size:
                state = f"has {found[name]} bytes, not {size}" if name in found else "is missing"
                raise ShardCorruptError(f"{self.place.name}/{name} {state}; build again with --fresh")

    def claim(self, identity: dict[str, Any]) -> None:
        """Make the folder this build's, or raise BuildExistsError naming what differs."""
        found = self.place.read(IDENTITY)
        there = None if found is None else _read_object(found)
        if there is None and self.finished():
            raise BuildExistsError(
                f"{self.place.name} holds a finished build without its {IDENTITY}, so what it is made of is not "
                "known; choose another --out, or pass --fresh to remove it and build anew"
            )
        if there is None:
            self.place.write(IDENTITY, json.dumps(identity, sort_keys=True).encode())
        elif there != identity:
            state = "holds a build" if self.finished() else "holds an unfinished build"
            raise BuildExistsError(
                f"{self.place.name} {state} of something else ({_difference(identity, there)}); "
                "choose another --out, or pass --fresh to remove it and build anew"
            )

    def remember_corpus(self, roots: Sequence[str]) -> None:
        """Note where the corpus lies, for `glmdata why`: a path of this machine, so it has no place in the manifest."""
        shown = [without_secrets(root) for root in roots]
        if shown != self.corpus_roots():
            self.place.write(CORPUS, json.dumps({"roots": shown}).encode())

    def corpus_roots(self) -> list[str]:
        """What `remember_corpus` noted; nothing where that is gone, or the build was copied without it."""
        roots = _read_object(self.place.read(CORPUS)).get("roots")
        return [root for root in roots if isinstance(root, str)] if isinstance(roots, list) else []

    def inputs(self) -> dict[str, tuple[int, int]]:
        """Size and time of last change (ns) of each corpus file when it was built, as far as that is known here."""
        there = _read_object(self.place.read(IDENTITY)).get("inputs")
        return {uri: (size, changed) for uri, size, changed in there} if isinstance(there, list) else {}

    def clear(self) -> None:
        """Remove what a build of ours wrote, and nothing else."""
        with storage_errors("removing the old build"):
            self.place.remove(["manifest.json"])
            self.place.remove([name for name in _FILES if name != "manifest.json"])
            for folder, patterns in _FOLDERS.items():
                self.place.remove_matching(folder, patterns)
            self.place.remove([IDENTITY, CORPUS])
            self.remove_work()

    def publish(self, files: Mapping[str, FileRef]) -> None:
        """Put committed files at their places in the build; not yet visible, since no manifest names them."""
        self.check()
        self.place.publish(WORK, files)

    def finish(self, manifest: str) -> None:
        """Make the build visible by one rename or request, then remove the work."""
        if isinstance(self._lock, object_lock.ObjectLock):
            self._lock.check(look=True)
        self.check()
        self.place.settle(_FOLDERS)
        self.place.write("manifest.json", manifest.encode())
        self.remove_work()

    def remove_work(self) -> None:
        """Remove the work of the stages."""
        self.place.remove_folders(WORK, keep=[object_lock.CLAIMS])

    def _refuse_strangers(self) -> None:
        """A folder with other people's files is not built into, let alone cleared."""
        entries = self.place.entries()
        if entries and WORK not in entries and "manifest.json" not in entries:
            raise BuildExistsError(
                f"--out {self.place.name} holds other files ({', '.join(sorted(entries)[:3])}) and no build of "
                "glmdata; choose an empty or a new folder"
            )


def _read_object(data: bytes | None) -> dict[str, Any]:
    """A JSON object, empty where there is none or something else."""
    try:
        found = json.loads(data or b"")
    except ValueError:
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
