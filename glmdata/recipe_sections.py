"""The sections of a recipe: every setting with what it means, its limits and its default.

Numbers name their source. `glmdata.recipe` puts the sections together.
"""

import ast
import inspect
import itertools
import re
import textwrap
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
    "Section",
    "ShardSettings",
    "SpanSettings",
    "TokenizerSettings",
]

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]

CHOICE_TASKS = ("cloze", "preference")
"""Values of finetune.task whose rows have several answers beside them."""


class Section(BaseModel):
    """A part of the recipe: fixed once made, no unknown keys, no silent conversions of text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """What each setting means, by its name: the string below it in the source.

        Pydantic's `use_attribute_docstrings` reads the source at every import: a twentieth of the start of a build.
        """
        found: dict[str, str] = {}
        for section in (one for one in cls.__mro__ if issubclass(one, Section)):
            body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0].body  # type: ignore[attr-defined]
            for setting, below in itertools.pairwise(body):
                match setting, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found.setdefault(name, inspect.cleandoc(text))
        return found


class CorpusSettings(Section):
    """How raw files become documents."""

    text_field: str = Field("text", min_length=1)
    """Field of a JSON object, or column of a parquet or Arrow file, that holds the text."""
    txt_documents: Literal["paragraphs", "lines", "file"] = "paragraphs"
    """What a document of a .txt file is: what stands between blank lines, a line, or the whole file."""
    max_record_bytes: int = Field(32 << 20, ge=1024, le=1 << 30)
    """A longer line or paragraph is quarantined; bounds the memory of a worker."""
    max_expansion: int = Field(500, ge=10, le=1 << 20)
    """A compressed file, or row group of parquet, that expands to more than so many times its size is read no further,
    once it is past 256 MiB: a decompression bomb. Text is seldom past 20; gzip ends near 1,030, zstd near 32,000."""
    max_expanded_bytes: int = Field(1 << 38, ge=1 << 20, le=1 << 50)
    """Nor is a compressed file that expands to more than this, 256 GiB."""
    split_bytes: int = Field(8 << 20, ge=1 << 16, le=1 << 30)
    """Plain files are cut about here, at record boundaries, so that several workers share a big file."""
    partition_bytes: int = Field(8 << 20, ge=1 << 16, le=1 << 30)
    """Text in one unit of later work; a matter of content, never of the number of workers."""


class NormalizationSettings(Section):
    """What is changed in the text that is kept; everything else stays as it was."""

    unicode_form: Literal["NFC", "none"] = "NFC"
    """NFC: a letter and the marks on it become one character where there is one."""
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
    """Files, folders or URIs of jsonl, txt, parquet or Arrow, as corpora; without any, nothing is looked for."""
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


class FinetuneSettings(Section):
    """Rows of fine-tuning: contexts and their answers, read from records, instead of masked text."""

    task: Literal["none", "sft", "cloze", "seq2seq", "preference"] = "none"
    """none: pre-training. sft: dialogues, a row for each response. seq2seq: a source and its target. cloze: a text with
    a [MASK], the choices for it and which of them is right. preference: a dialogue with two last responses, of which
    one was preferred."""
    fields: dict[
        Literal[
            "messages",
            "prompt",
            "input",
            "response",
            "history",
            "system",
            "source",
            "target",
            "choices",
            "label",
            "chosen",
            "rejected",
        ],
        Annotated[str, Field(min_length=1)],
    ] = Field(default_factory=dict)
    """Fields of the records by what they hold, as in {prompt: question, response: answer}; without any, the names in
    use are looked for (docs/finetuning.md)."""
    template: str = "{text}"
    """cloze and seq2seq: the context. {name} stands for the field of that name, {source} in seq2seq for the source; one
    [MASK], [sMASK] or [gMASK], here or in a field, for the answer."""
    verbalizers: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict, max_length=1000)
    """cloze: the choices, by the label that stands for each, as in {"0": " No", "1": " Yes"}; without, records bring
    choices of their own."""
    first_template: str = "{prompt}"
    """sft and preference: a prompt without history. ChatGLM-6B takes it as it is."""
    round_template: str = "[Round {round}]\n问：{prompt}\n答："
    """sft and preference: a prompt with history; earlier rounds are the same, each with its response and a line end
    behind it. {round} counts from 0 (ChatGLM-6B)."""
    responses: Literal["all", "last"] = "all"
    """sft: the responses of a list of messages that get a row each; of a prompt with a `history` the last one does."""
    cls: bool = True
    """Whether the context begins with cls. Contexts of GLM do, those of ChatGLM-6B do not."""
    eos: bool = False
    """Whether it ends with eos; so in GLM's cloze tasks."""
    causal: bool = False
    """Whether the context stands in Part B, before the answer and without loss, behind a Part A of cls and the mask
    alone (build_uni_input_from_ids)."""
    max_source_length: int | None = Field(None, ge=2, le=65535)
    """Tokens of the context, special ones counted; null: what the answer leaves of the row."""
    max_target_length: int | None = Field(None, ge=3, le=65535)
    """Tokens of the answer, sop and eop counted; null: what the context leaves of the row, half of it at least."""
    pad_source: bool = False
    """Whether contexts are filled up with pad to max_source_length, as in GLM's seq2seq tasks, where pads are seen."""

    @field_validator("verbalizers")
    @classmethod
    def _sorted(cls, verbalizers: dict[str, str]) -> dict[str, str]:
        """Choices are numbered in the order of their labels, not in that in which they are written."""
        return dict(sorted(verbalizers.items()))

    @model_validator(mode="after")
    def _templates_have_their_places(self) -> "FinetuneSettings":
        for name in ("first_template", "round_template"):
            if "{prompt}" not in getattr(self, name):
                raise ValueError(f"{name} has no {{prompt}}")
        if self.task in ("cloze", "seq2seq") and not re.search(r"\{\w+\}", self.template):
            raise ValueError("template names no field, as in {text}")
        if self.pad_source and (self.max_source_length is None or self.causal):
            raise ValueError("pad_source needs max_source_length, and causal to be false")
        return self


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
