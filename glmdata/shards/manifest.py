"""`manifest.json`: what a finished build consists of, with a hash of every byte.

It is written last, so a folder with a manifest is a whole build. It holds no clock, host or path of the machine that
built it: equal builds have equal manifests. `checksum` is the xxh3-64 of the canonical JSON (keys sorted, no spaces,
ASCII) of everything else in it.
"""

import json
import os
import re
from collections.abc import Sequence
from typing import Annotated, Any

import pyarrow as pa
import xxhash
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from glmdata.errors import ShardCorruptError, ShardError, StorageError
from glmdata.infilling.style import Style, style_of
from glmdata.recipe import CHOICE_TASKS, SpanSettings
from glmdata.shards.folder import Folder, open_folder
from glmdata.shards.schema import FORMAT_VERSION, LAYOUTS, shard_schema

__all__ = ["FileEntry", "Manifest", "ShardEntry", "TokenizerEntry", "fingerprint_of", "manifest_text"]

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 28
"""14 million record batches; what stands for more is no manifest, and would be held in memory five times over."""
MAX_ROWS = 1 << 60
ROLES = ("mask", "gmask", "smask", "sop", "eop", "cls", "eos", "pad")
"""Special tokens that every build has."""


def _plain_name(name: str) -> str:
    parts = name.split("/")
    if not re.fullmatch(r"[A-Za-z0-9._/-]+", name) or any(part in ("", ".", "..") for part in parts):
        raise ValueError("names are relative paths of A-Z, a-z, 0-9, '.', '_' and '-' that stay in the folder")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 60)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FileEntry(_Entry):
    """A file of the build that is not a shard."""

    bytes: Count
    xxh3: Hash


class ShardEntry(_Entry):
    """A shard; `record_batches` are the xxh3-64 of each record batch's message."""

    path: Name
    rows: Count
    bytes: Count
    xxh3: Hash
    record_batches: Annotated[tuple[Hash, ...], Field(strict=False)]


class TokenizerEntry(_Entry):
    """The tokenizer in `tokenizer.model` and the special tokens above it."""

    hash: str = Field(min_length=1)
    vocabulary_size: int = Field(ge=1, le=1 << 32)
    special_tokens: dict[str, Count]
    special_token_texts: dict[str, str]

    @model_validator(mode="after")
    def _all_there(self) -> "TokenizerEntry":
        missing = [role for role in ROLES if role not in self.special_tokens]
        if missing:
            raise ValueError(f"special_tokens lacks {', '.join(missing)}")
        if max(self.special_tokens.values()) >= self.vocabulary_size:
            raise ValueError("special_tokens reach beyond vocabulary_size")
        return self


class Manifest(_Entry):
    """A build: its shards in order, its other files, and what made them."""

    format_version: int = Field(FORMAT_VERSION, ge=FORMAT_VERSION, le=FORMAT_VERSION)
    fingerprint: str
    """`fingerprint_of` the shards."""
    recipe: dict[str, Any]
    sequence_length: int = Field(ge=1, le=65535)
    languages: Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=256)]
    """Codes; a row's `language` indexes them."""
    tokenizer: TokenizerEntry
    shards: Annotated[tuple[ShardEntry, ...], Field(strict=False)]
    files: dict[Name, FileEntry]
    counts: dict[str, int]
    versions: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        names = [shard.path for shard in self.shards] + list(self.files)
        if len(set(names)) != len(names):
            raise ValueError("a file is listed twice")
        if self.rows >= MAX_ROWS:
            raise ValueError(f"{self.rows} rows are more than there can be")
        if self.fingerprint != fingerprint_of([shard.xxh3 for shard in self.shards]):
            raise ValueError("fingerprint is not that of the shards")
        step, _ = self.rows_per_record_batch, self.layout
        for shard in self.shards:
            if len(shard.record_batches) != -(-shard.rows // step):
                raise ValueError(f"{shard.path}: {shard.rows} rows in {len(shard.record_batches)} batches of {step}")
        return self

    @property
    def rows_per_record_batch(self) -> int:
        """Rows of every record batch but a shard's last, by the recipe: rows are found by arithmetic."""
        settings = self.recipe.get("shards")
        step = settings.get("rows_per_record_batch") if isinstance(settings, dict) else None
        if not isinstance(step, int) or not 1 <= step < MAX_ROWS:
            raise ValueError("recipe.shards.rows_per_record_batch is missing, or no number of rows")
        return step

    @property
    def rows(self) -> int:
        """Rows of the build."""
        return sum(shard.rows for shard in self.shards)

    @property
    def layout(self) -> str:
        """The shards' layout by the recipe, one of LAYOUTS."""
        settings = self.recipe.get("shards")
        found = settings.get("layout", LAYOUTS[0]) if isinstance(settings, dict) else LAYOUTS[0]
        if found not in LAYOUTS:
            raise ValueError(f"recipe.shards.layout {found!r} is none of {', '.join(LAYOUTS)}")
        return str(found)

    @property
    def has_choices(self) -> bool:
        """Whether the shards have CHOICE_COLUMNS, by the recipe: those of CHOICE_TASKS."""
        settings = self.recipe.get("finetune")
        return isinstance(settings, dict) and settings.get("task") in CHOICE_TASKS

    @property
    def packing(self) -> str:
        """How rows are filled, by the recipe."""
        return str(self.recipe.get("packing", "concat"))

    @property
    def segments(self) -> bool:
        """Whether a row is several samples, which must not see each other."""
        return self.packing == "segments"

    def shard_schema(self, layout: str | None = None) -> pa.Schema:
        """The schema of the build's shards; of its rows in another layout where one is given."""
        size = self.tokenizer.vocabulary_size
        return shard_schema(
            self.sequence_length, size, layout or self.layout, segments=self.segments, choices=self.has_choices
        )

    @property
    def seed(self) -> int:
        """The build's seed."""
        found = self.recipe.get("seed")
        if not isinstance(found, int):
            raise ShardError("the manifest's recipe has no seed; copy the build again")
        return found

    @property
    def span_settings(self) -> SpanSettings:
        """What the recipe says of masks and layout. Raises ShardError where another glmdata wrote it."""
        try:
            return SpanSettings.model_validate(self.recipe.get("spans", {}))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, ("spans", *first["loc"])))
            raise ShardError(f"the manifest's recipe: {where}: {first['msg']}; use the glmdata that built it") from None

    @property
    def style(self) -> Style:
        """How rows are laid out. Raises as `span_settings`."""
        return style_of(self.tokenizer.special_tokens, self.span_settings, self.sequence_length, self.packing)

    def dumps(self) -> str:
        """The text of `manifest.json`, checksum included; equal manifests have equal texts."""
        content = self.model_dump(mode="json")
        return manifest_text(content | {"checksum": _checksum(content)})

    @classmethod
    def load(cls, folder: str | os.PathLike[str] | Folder) -> "Manifest":
        """Read and check the manifest of a build's folder, or URI.

        Raises ShardError where there is no finished build or one of another format version, ShardCorruptError where
        the manifest is damaged.
        """
        place = open_folder(folder)
        path = f"{place.name}/{MANIFEST_NAME}"
        try:
            data = place.read(MANIFEST_NAME, MAX_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise ShardError(f"{place.name} holds no finished build: no {MANIFEST_NAME}") from None
        except StorageError:
            raise
        except OSError as error:
            raise ShardError(f"{path}: cannot be read: {error.strerror}") from None
        if len(data) > MAX_MANIFEST_BYTES:
            raise ShardCorruptError(f"{path}: more than {MAX_MANIFEST_BYTES:,} bytes are no manifest")
        try:
            content = json.loads(data.decode("utf-8"))
            if not isinstance(content, dict):
                raise ValueError("not an object")
            checksum = content.pop("checksum", None)
            intact = checksum == _checksum(content)
        except (ValueError, RecursionError):
            raise ShardCorruptError(f"{path}: damaged: not a JSON object; copy the build again") from None
        version = content.get("format_version")
        if isinstance(version, int) and version != FORMAT_VERSION:
            raise ShardError(
                f"{path}: format version {version}; this glmdata reads version {FORMAT_VERSION}, "
                "use the one that built it"
            )
        if not intact:
            raise ShardCorruptError(f"{path}: damaged: its checksum does not fit its content; copy the build again")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "manifest"
            raise ShardCorruptError(f"{path}: not a manifest: {where}: {first['msg']}") from None


def manifest_text(content: dict[str, Any]) -> str:
    """`manifest.json` as it is written, from all that is in it."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def fingerprint_of(shards: Sequence[str]) -> str:
    """The fingerprint of a build: xxh3-128 in hex over the shards' own hashes, in order, one a line.

    Equal fingerprints mean equal rows in equal order, in equal bytes.
    """
    return xxhash.xxh3_128_hexdigest("".join(f"{digest}\n" for digest in shards).encode())


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_64_hexdigest(canonical.encode())
