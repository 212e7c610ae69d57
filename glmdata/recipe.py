"""Every knob of a build: typed, checked, read from YAML, fingerprinted.

A recipe is YAML with the sections of `glmdata.recipe_sections`; what it leaves out takes the defaults, which are those
of `glm.yaml`. Keys that do not exist are refused with the nearest one that does.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from glmdata.errors import ConfigError
from glmdata.recipe_sections import (
    CHOICE_TASKS,
    BalanceSettings,
    CorpusSettings,
    DecontaminationSettings,
    DedupeSettings,
    FinetuneSettings,
    LanguageSettings,
    NormalizationSettings,
    ObjectiveWeights,
    ParagraphSettings,
    Section,
    ShardSettings,
    SpanSettings,
    TokenizerSettings,
)

__all__ = [
    "CHOICE_TASKS",
    "BalanceSettings",
    "CorpusSettings",
    "DecontaminationSettings",
    "DedupeSettings",
    "FinetuneSettings",
    "LanguageSettings",
    "NormalizationSettings",
    "ObjectiveWeights",
    "ParagraphSettings",
    "Recipe",
    "ShardSettings",
    "SpanSettings",
    "TokenizerSettings",
    "describe_difference",
    "differences",
    "load_recipe",
    "parse_fields",
    "read_settings",
    "recipe_names",
    "render_recipe",
    "render_settings",
]

S = TypeVar("S", bound=Section)

MAX_RECIPE_BYTES = 1 << 16
"""The default with all its comments has 11 kB. PyYAML reads some 60 kB a second, so more would be a way to hang."""


class Recipe(Section):
    """All of a build that is not its corpus or its tokenizer file."""

    name: str = Field("glm", min_length=1)
    """How the recipe is called in manifests."""
    seed: int = Field(1234, ge=0, lt=1 << 63)
    """Decides the order of documents and all masks."""
    sequence_length: int = Field(512, ge=16, le=65535)
    """Tokens a row after masking, constant; positions are stored as uint16."""
    packing: Literal["concat", "document", "segments"] = "concat"
    """concat: documents joined until the row is full, one sample. document: one document a row, long ones in several.
    segments: samples of a document each, masked by themselves, in a row until it is full; no document sees another."""
    corpus: CorpusSettings = CorpusSettings()
    normalization: NormalizationSettings = NormalizationSettings()
    language: LanguageSettings = LanguageSettings()
    dedupe: DedupeSettings = DedupeSettings()
    paragraphs: ParagraphSettings = ParagraphSettings()
    decontamination: DecontaminationSettings = DecontaminationSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    balance: BalanceSettings = BalanceSettings()
    objectives: ObjectiveWeights = ObjectiveWeights()
    spans: SpanSettings = SpanSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    shards: ShardSettings = ShardSettings()

    @model_validator(mode="after")
    def _thresholds_are_of_its_languages(self) -> "Recipe":
        for name in ("min_score_of", "min_share_of"):
            strange = sorted(set(getattr(self.language, name)) - set(self.balance.languages))
            if strange:
                wanted = ", ".join(self.balance.languages)
                raise ValueError(f"language.{name} names {strange[0]}, but balance.languages has {wanted}")
        return self

    @model_validator(mode="after")
    def _segments_are_closed(self) -> "Recipe":
        if self.packing == "segments" and not self.spans.document_eop:
            raise ValueError("packing segments closes each sample by eop: leave spans.document_eop true")
        return self

    @model_validator(mode="after")
    def _fits_fine_tuning(self) -> "Recipe":
        settings, spans = self.finetune, self.spans
        if settings.task == "none":
            return self
        if self.packing == "segments" and (settings.task in CHOICE_TASKS or not settings.cls):
            raise ValueError(
                "packing segments begins each answer's context with cls, and choices have a row of their own"
            )
        if self.shards.layout != "materialised":
            raise ValueError(f"shards.layout {self.shards.layout} holds masked text; finetune.task needs materialised")
        if spans.random_positions or spans.sentinels or spans.block_mask_ratio:
            raise ValueError("spans: random_positions, sentinels and block_mask_ratio are of pre-training alone")
        if self.decontamination.benchmarks:
            raise ValueError("decontamination is of pre-training alone")
        if (settings.max_source_length or 0) > self.sequence_length - 2:
            raise ValueError(
                f"finetune.max_source_length {settings.max_source_length} leaves no room for an answer in rows of "
                f"{self.sequence_length}; give a lower one, e.g. --set finetune.max_source_length="
                f"{self.sequence_length // 2}, or longer rows"
            )
        if (settings.max_target_length or 0) > self.sequence_length:
            raise ValueError(
                f"finetune.max_target_length {settings.max_target_length} is more than sequence_length "
                f"{self.sequence_length}; give a lower one, or longer rows"
            )
        return self

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of all settings."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def render_settings(settings: Section) -> str:
    """Settings as YAML, each with what it means and may be as a comment."""
    return "\n".join(_rendered(settings, "")) + "\n"


def render_recipe(recipe: Recipe) -> str:
    """The recipe as YAML that `load_recipe` reads, each setting with what it means and may be as a comment."""
    return render_settings(recipe)


def _rendered(section: Section, indent: str) -> Iterator[str]:
    meanings = section.meanings()
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield f"\n{indent}{name}:  # {(type(value).__doc__ or '').splitlines()[0]}"
            yield from _rendered(value, indent + "  ")
            continue
        for line in meanings.get(name, "").splitlines():
            yield f"{indent}# {line}"
        choices = (
            f"  # {' | '.join(map(str, get_args(field.annotation)))}" if get_origin(field.annotation) is Literal else ""
        )
        yield f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}{choices}"


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases (a billion laughs fit in a kilobyte), without a key given twice, and with `off` a word."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own name and kind)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"aliases are not taken in a recipe (line {event.start_mark.line + 1})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in getattr(node, "value", ()):
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} is given twice (line {key.start_mark.line + 1})")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes 4e-4 for a word, as it has no point; learning rates are written so.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+\Z"), list("-+0123456789")
)


def recipe_names() -> list[str]:
    """Names of the recipes that come with glmdata."""
    folder = resources.files("glmdata.pipelines") / "recipes"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_recipe(name: str = "glm", overrides: Sequence[str] = (), *, seed: int | None = None) -> Recipe:
    """Read a recipe by name or file, then apply `key.path=value` overrides (values are YAML) and the seed.

    Raises ConfigError, naming the file and the key, for anything that is not a recipe.
    """
    source, text = _recipe_text(name)
    settings = _parse(source, text)
    return read_settings(Recipe, source, settings, overrides, {} if seed is None else {"seed": seed})


def read_settings(
    kind: type[S], source: str, settings: dict[str, Any], overrides: Sequence[str], last: Mapping[str, Any]
) -> S:
    """Settings of a kind from `settings`, `key.path=value` overrides and, before all else, `last`.

    Raises ConfigError naming `source` and the key.
    """
    for override in overrides:
        _override(settings, override)
    try:
        return kind.model_validate(settings | dict(last))
    except ValidationError as error:
        raise ConfigError(_explain(error, source, kind)) from None


def _recipe_text(name: str) -> tuple[str, str]:
    if name in recipe_names():
        return f"recipe {name}", (resources.files("glmdata.pipelines") / "recipes" / f"{name}.yaml").read_text("utf-8")
    path = Path(name)
    if not path.is_file() and path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"--recipe {name}: no such file")
    if not path.is_file():
        hint = difflib.get_close_matches(name, recipe_names(), 1)
        known = f"did you mean {hint[0]}?" if hint else f"there are {', '.join(recipe_names())}, or give a YAML file"
        raise ConfigError(f"no recipe {name!r}: {known}")
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise ConfigError(f"{name}: a recipe is at most {MAX_RECIPE_BYTES} bytes")
        return name, path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: cannot be read as a recipe: {error}") from None


def _parse(source: str, text: str) -> dict[str, Any]:
    try:
        settings = yaml.load(text, Loader=_PlainLoader)  # noqa: S506  (a SafeLoader)
    except Exception as error:  # PyYAML raises half a dozen kinds on hostile text
        raise ConfigError(f"{source}: not a recipe in YAML{_yaml_problem(error)}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{source}: a recipe is a mapping of keys to values, this is a {type(settings).__name__}")
    return settings


def _yaml_problem(error: Exception) -> str:
    """Where and what, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f", line {error.problem_mark.line + 1}: {error.problem}"
    return f": {' '.join(str(error).split())[:200]}"


def _override(settings: dict[str, Any], override: str, option: str = "--set") -> None:
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"{option} {override}: give key=value")
    *sections, key = path.split(".")
    target = settings
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{option} {override}: {section} is a value, not a section")
    target[key] = _parse(f"{option} {override}", f"value: {value}")["value"]


def parse_fields(option: str, fields: Sequence[str]) -> dict[str, Any]:
    """Fields from `key=value`, as a command got them after `option`; values are YAML. Raises ConfigError."""
    found: dict[str, Any] = {}
    for field in fields:
        _override(found, field, option)
    return found


def _explain(error: ValidationError, source: str, kind: type[Section]) -> str:
    """One line for the first of what pydantic found."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = dict(_keys(kind))
        hint = difflib.get_close_matches(where, known, 1, 0.5) or [
            k for k in known if k.split(".")[-1] == where.split(".")[-1]
        ]
        hint = hint or difflib.get_close_matches(where.split(".")[-1], known, 1, 0.6)
        return (
            f"{source}: no key {where}"
            + (
                f"; did you mean {hint[0]}?"
                if hint
                else f"; the keys are {', '.join(k for k in known if '.' not in k)}"
            )
            + more
        )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("model_type", "model_attributes_type", "dataclass_type"):
        message = "this is a section; give its keys, as `glmdata recipe` prints them"
    return f"{source}: {where or 'recipe'}: {message[:1].lower() + message[1:]}{more}"


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield prefix + name, field
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")


def describe_difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """`key is a, there it is b` for each setting in which two dumped recipes differ."""
    return [f"{key} is {a}, there it is {b}" for key, a, b in differences(mine, theirs)]


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, value here, value there) of each setting in which two dumped recipes differ; None where it is missing."""
    for key in sorted({*mine, *theirs}):
        a, b = mine.get(key), theirs.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b
