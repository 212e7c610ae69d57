"""Every knob of a build: typed, checked, read from YAML, fingerprinted.

A recipe is YAML with the sections below; what it leaves out takes the defaults, which are those of `glm.yaml`.
Keys that do not exist are refused with the nearest one that does. Numbers name their source.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from glmdata.errors import ConfigError

__all__ = [
    "BalanceSettings",
    "CorpusSettings",
    "DecontaminationSettings",
    "DedupeSettings",
    "LanguageSettings",
    "NormalizationSettings",
    "ObjectiveWeights",
    "ParagraphSettings",
    "Recipe",
    "ShardSettings",
    "SpanSettings",
    "TokenizerSettings",
    "load_recipe",
    "recipe_names",
    "render_recipe",
]

MAX_RECIPE_BYTES = 1 << 20
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A part of the recipe: fixed once made, no unknown keys, no silent conversions of text to numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class CorpusSettings(Section):
    """How raw files become documents."""

    text_field: str = Field("text", min_length=1)
    """Field of a JSON object, or column of a parquet or Arrow file, that holds the text."""
    txt_documents: Literal["paragraphs", "lines", "file"] = "paragraphs"
    """What a document of a .txt file is: what stands between blank lines, a line, or the whole file."""
    max_record_bytes: int = Field(32 << 20, ge=1024, le=1 << 30)
    """A longer line or paragraph is quarantined; bounds the memory of a worker."""
    split_bytes: int = Field(8 << 20, ge=1 << 16, le=1 << 30)
    """Plain files are cut about here, at record boundaries, so that several workers share a big file."""
    partition_bytes: int = Field(8 << 20, ge=1 << 16, le=1 << 30)
    """Text in one unit of later work; a matter of content, never of the number of workers."""


class NormalizationSettings(Section):
    """What is changed in the text that is kept; everything else stays as it was."""

    unicode_form: Literal["NFC", "none"] = "NFC"
    newlines: Literal["lf", "keep"] = "lf"
    """lf: CRLF and lone CR become LF."""
    control_characters: Literal["remove", "keep"] = "remove"
    """remove: C0 and C1 controls but tab and newline, U+FEFF, and non-characters go."""


class LanguageSettings(Section):
    """How the language of a document is found."""

    engine: Literal["scripts", "fasttext", "langdetect"] = "scripts"
    """scripts: by script, fastText lid.176 among Latin and other shared scripts."""
    min_score: Share = 0.0
    """Documents whose guess scores lower leave with outcome `language`."""
    min_score_of: dict[str, Share] = Field(default_factory=dict)
    """Instead of `min_score` for some languages, as in {zh: 0.5}."""
    min_share: Share = 0.0
    """So do documents with a smaller share of letters in the scripts of their language: Han for zh, Latin for en."""
    min_share_of: dict[str, Share] = Field(default_factory=dict)
    """Instead of `min_share` for some languages; {zh: 0.3} leaves out Chinese pages that are mostly code names."""


class DedupeSettings(Section):
    """Exact and near duplicates (MinHash over shingles of Han characters and words)."""

    exact: bool = True
    """Whether of documents whose text differs in nothing but case, width, white space and punctuation one is kept."""
    near: bool = True
    """Whether documents of similar text are removed but one; the exact ones with them."""
    shingle_size: int = Field(5, ge=1, le=64)
    """Units (Han and kana characters, words) in a shingle."""
    num_perm: int = Field(128, ge=16, le=1024)
    """Permutations of a MinHash signature."""
    num_bands: int | None = Field(None, ge=1)
    """Bands of the signature; two documents that agree in one are compared. null: what finds pairs of the threshold
    best, by datasketch's optimiser: 18 bands of 7 rows for 0.75 and 128 permutations."""
    rows_per_band: int | None = Field(None, ge=1)
    """18 x 7 finds pairs of similarity s with probability 1 - (1 - s^7)^18: 0.92 at 0.75, 0.986 at 0.8."""
    jaccard_threshold: float = Field(0.75, gt=0, le=1)
    """Documents go only if their similarity to one that stays reaches this."""
    verify: bool = True
    """Whether pairs found by bands are compared by their true similarity. Without, all that hang together by bands are
    taken for duplicates of the best among them, which is quicker and may remove some that are less alike."""
    seed: int = Field(1, ge=0, lt=1 << 32)
    """Of the permutations; that of datasketch by default."""
    source_priority: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list, max_length=60)
    """Of duplicates the one stays whose file matches an earlier pattern, as in ["wiki/*", "books/*"]; then the longer
    one. Files that match none come last."""
    index: bool = True
    """Whether the build keeps the signatures of its documents, 550 bytes each, so that later builds can leave out what
    it holds (--against)."""

    @model_validator(mode="after")
    def _bands_fit(self) -> "DedupeSettings":
        if (self.num_bands is None) != (self.rows_per_band is None):
            raise ValueError("give both num_bands and rows_per_band, or neither")
        if self.num_bands and self.rows_per_band and self.num_bands * self.rows_per_band > self.num_perm:
            raise ValueError(
                f"num_bands {self.num_bands} x rows_per_band {self.rows_per_band} needs "
                f"{self.num_bands * self.rows_per_band} permutations, num_perm is {self.num_perm}"
            )
        return self


class ParagraphSettings(Section):
    """Lines that many documents share (menus, licences, footers), cut after duplicates are removed."""

    max_documents: int = Field(0, ge=0, lt=1 << 32)
    """Lines seen in more documents than this are cut; 0: none. 50 leaves common headings and phrases alone."""
    min_characters: int = Field(40, ge=1, le=1 << 20)
    """Letters that a run of such lines has at least (a Han or kana character counts as two, a digit as none): shorter
    ones, most of them headings, stay."""
    min_left: int = Field(100, ge=1, le=1 << 20)
    """A document that was cut and has fewer of them left leaves with outcome `too_short`."""


class DecontaminationSettings(Section):
    """Benchmarks that must not be trained on, looked for after duplicates are removed."""

    benchmarks: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Files or folders of jsonl, txt, parquet or Arrow, as corpora; without any, nothing is looked for."""
    fields: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Fields of their records that are compared; without any, every string in a record is."""
    ngram_size: int = Field(13, ge=4, le=100)
    """Words that a document has in common with a benchmark, in a row (a Han or kana character is half a word), to be
    contaminated; 13 as in GPT-3 (Brown et al. 2020, appendix C). Shorter benchmark texts of 8 words and more are found
    whole."""
    action: Literal["remove", "cut"] = "remove"
    """remove: such documents leave with outcome `contaminated`. cut: only the sentences with matches go, and documents
    of fewer than `paragraphs.min_left` characters then leave as `too_short`."""


class TokenizerSettings(Section):
    """The tokenizer trained when `--tokenizer` gives none."""

    type: Literal["unigram", "bpe"] = "unigram"
    """unigram encodes four times as fast as bpe (32 and 8 MB/s a core)."""
    vocabulary_size: int = Field(32000, ge=300, le=1_000_000)
    """SentencePiece pieces asked for; small corpora get fewer."""
    sample_bytes: int = Field(4 << 20, ge=1 << 16, le=1 << 34)
    """Text to train on, shared among the languages as the balance asks."""
    character_coverage: float = Field(0.9995, gt=0, le=1)
    """Rarer characters are spelled in bytes; 0.9995 is SentencePiece's advice for Chinese."""


class BalanceSettings(Section):
    """The languages of the build and their ratio."""

    languages: dict[str, Annotated[float, Field(ge=1e-6, le=1e6)]] = Field(
        {"zh": 1, "en": 1}, min_length=1, max_length=255
    )
    """Their codes (ISO 639-1) and weights; documents of others leave with outcome `language`."""
    unit: Literal["token", "character", "document"] = "token"
    """What the ratio counts: text tokens (without special ones), characters of the text, or documents. Whatever it is,
    the languages take turns by tokens: in every prefix each has given the same share of all its tokens."""
    strategy: Literal["downsample", "upsample", "off"] = "downsample"
    """downsample: the language with too much gives up documents, in the order of a hash. upsample: the one with too
    little is repeated, up to max_repeats times; only what is still missing is given up. off: all are kept."""
    max_repeats: int = Field(4, ge=1, le=100)
    """How often upsample takes a text at most. Up to 4 times, repeated text is nearly as good as new (Muennighoff et
    al. 2023, Scaling Data-Constrained Language Models). Each time it lies in other rows and is masked anew."""
    source_weights: dict[Annotated[str, Field(min_length=1)], Annotated[float, Field(ge=0, le=100)]] = Field(
        default_factory=dict, max_length=250
    )
    """How often the documents of some files are there before the languages are balanced. {"web/*": 0.5, "books/*": 2}:
    half of them, chosen by hash; each twice. Of several patterns that a file matches the longest counts."""

    @field_validator("languages", mode="before")
    @classmethod
    def _some(cls, languages: Any) -> Any:
        if languages == {}:
            raise ValueError("name at least one language, as in {zh: 1, en: 1}")
        for code, weight in languages.items() if isinstance(languages, dict) else ():
            if weight == 0:
                raise ValueError(f"{code} has weight 0; leave it out, its documents then go with outcome `language`")
        return languages

    @field_validator("languages")
    @classmethod
    def _sorted(cls, languages: dict[str, float]) -> dict[str, float]:
        """The order in which they are written has no part in the build."""
        return dict(sorted(languages.items()))


class ObjectiveWeights(Section):
    """Share of rows by objective; reference section 1.7: 0.5 / 0.3 / 0.2 for GLM-10B and GLM-10B-Chinese."""

    token: Weight = 0.5
    """[MASK]: spans of Poisson lengths."""
    sentence: Weight = 0.3
    """[sMASK]: whole sentences."""
    document: Weight = 0.2
    """[gMASK]: one long span, at the end of a document or inside it."""

    @model_validator(mode="after")
    def _some(self) -> "ObjectiveWeights":
        if self.token + self.sentence + self.document <= 0:
            raise ValueError("at least one objective needs a weight above 0")
        return self


class SpanSettings(Section):
    """What is masked (GLM paper section 2; reference section 1.4)."""

    mask_ratio: float = Field(0.15, gt=0, le=0.9)
    """Share of the text masked by token-level spans."""
    length_lambda: float = Field(3.0, gt=0, le=20)
    """Mean of the Poisson distribution of span lengths, zero excluded."""
    sentence_ratio: float = Field(0.15, gt=0, le=0.9)
    """Share of the text masked by whole sentences."""
    document_min_ratio: float = Field(0.25, gt=0, le=1)
    """Least share of the masked document, the longest of its row, that its one span takes: 0.25 in all released
    multi-task recipes, 0.5 in the paper."""
    document_infill: Share = 0.5
    """Share of document-level spans anywhere inside the document; the others end where it ends."""
    document_eop: bool = True
    """Whether a document-level span that ends where its document ends is closed by eop like any other. false, as in the
    reference: it is closed by the text's own eos where that is in the row, by nothing where the row ends before."""
    shuffle: bool = True
    """Spans in Part B in random order; in text order where false."""
    block_positions: bool = True
    """false: the second row of positions is 1 in all of Part B (the reference's no_block_position)."""
    random_positions: bool = False
    """true: the first row of positions begins at a random number that keeps Part A below sequence_length."""
    sentinels: int = Field(0, ge=0, le=4096)
    """Mask and sop tokens added, so that spans have their own (sentinel_token): the first of Part B the plain ones. All
    of Part B then has the position `sequence_length`. A row has at most one span more than this; 0: no sentinels."""
    block_mask_ratio: Share = 0.0
    """Share of the inputs of Part B at token level that are [dBLOCK] instead; their targets stay (block_mask_prob, 0.1
    in the released multi-task recipes)."""


class ShardSettings(Section):
    """The files that training reads."""

    layout: Literal["materialised", "compact"] = "materialised"
    """materialised: finished rows, read without work. compact: text and spans, a quarter of the bytes, laid out while
    they are read; the batches are the same."""
    rows: int = Field(8192, ge=1, le=1 << 24)
    """Rows a shard; the last may be short."""
    rows_per_record_batch: int = Field(64, ge=1, le=1 << 16)
    """Rows a record batch; the unit that is hashed, and decompressed."""
    compression: Literal["none", "zstd"] = "none"
    """zstd: a fifth of the bytes, for slow or distant storage; batches are then decoded whole."""


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

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of all settings."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def render_recipe(recipe: Recipe) -> str:
    """The recipe as YAML that `load_recipe` reads, each setting with what it means and may be as a comment."""
    return "\n".join(_rendered(recipe, "")) + "\n"


def _rendered(section: Section, indent: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield f"\n{indent}{name}:  # {(type(value).__doc__ or '').splitlines()[0]}"
            yield from _rendered(value, indent + "  ")
            continue
        for line in (field.description or "").splitlines():
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
    for override in overrides:
        _override(settings, override)
    if seed is not None:
        settings["seed"] = seed
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from None


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


def _override(settings: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {override}: give key=value, for example --set sequence_length=1024")
    *sections, key = path.split(".")
    target = settings
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section} is a value, not a section of the recipe")
    target[key] = _parse(f"--set {override}", f"value: {value}")["value"]


def _explain(error: ValidationError, source: str) -> str:
    """One line for the first of what pydantic found."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = dict(_keys(Recipe))
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


def describe_difference(mine: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key is a, there it is b` for each setting in which two dumped recipes differ."""
    found = []
    for key in sorted({*mine, *theirs}):
        a, b = mine.get(key), theirs.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += describe_difference(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} is {a}, there it is {b}")
    return found
