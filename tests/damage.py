"""Builds that are damaged: by a flipped bit, or by somebody who makes the hashes right again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash

from glmdata.shards.footer import FooterError, record_batch_hashes
from glmdata.shards.manifest import fingerprint_of, manifest_text


def copied(build: Path, folder: Path) -> Path:
    """A copy to damage."""
    for path in build.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(build)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(build)).write_bytes(path.read_bytes())
    return folder


def rewritten_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and make its checksum right again, as somebody who means harm would."""
    content = json.loads((folder / "manifest.json").read_text())
    del content["checksum"]
    change(content)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["checksum"] = xxhash.xxh3_64_hexdigest(canonical.encode())
    (folder / "manifest.json").write_text(manifest_text(content))


def flipped(data: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    found = bytearray(data)
    found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def rehashed(folder: Path) -> None:
    """Give the manifest the hashes of the shards as they are: damage by somebody who knows the format."""

    def change(content: dict[str, Any]) -> None:
        for shard in content["shards"]:
            data = (folder / shard["path"]).read_bytes()
            shard["xxh3"] = xxhash.xxh3_64_hexdigest(data)
            try:
                hashes = record_batch_hashes(memoryview(data))
            except FooterError:
                continue
            if len(hashes) == len(shard["record_batches"]):
                shard["record_batches"] = hashes
        content["fingerprint"] = fingerprint_of([shard["xxh3"] for shard in content["shards"]])

    rewritten_manifest(folder, change)
