"""What happened to one document of a build: its row of the ledger, and all that can be found out about it.

Texts are not in a build; they are read again from the corpus. What cannot be read any more is told in `notes`, and
everything else is told all the same.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from glmdata.corpus.files import InputFile, find_file
from glmdata.corpus.one_record import read_bytes, read_text
from glmdata.corpus.records import readable
from glmdata.errors import ShardError, StorageError
from glmdata.ledger import Entry, Ledger, Refusal
from glmdata.recipe import DedupeSettings, Recipe
from glmdata.remote import without_secrets
from glmdata.shards.holding import rows_holding
from glmdata.text.normalization import Normalizer

__all__ = ["Corpus", "Similarity", "Story", "similarity", "tell"]

MAX_REPEATING = 5
"""Other documents with the same survivor that are named; all are counted."""
MAX_RAW_BYTES = 400
"""Bytes of a refused record that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Jaccard similarity of the shingle sets of two texts: as signatures estimate it, and as it is."""

    estimated: float
    true: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One document."""

    entry: Entry
    recipe: Recipe
    refusal: Refusal | None
    raw: bytes | None
    """Beginning of the refused bytes."""
    text: str | None
    """Normalised, as it was compared."""
    survivor: Entry | None
    """None also where a duplicate's survivor is not in this build."""
    survivor_text: str | None
    similarity: Similarity | None
    num_repeating: int
    """Other documents that left as duplicates of the same one: the survivor's, or its own where it stayed."""
    repeating: tuple[Entry, ...]
    rows: tuple[int, ...]
    """Rows of the shards that hold it."""
    notes: tuple[str, ...]
    """Why something is not shown, or may be wrong."""

    @property
    def is_duplicate(self) -> bool:
        """Whether it left because there is another like it."""
        return self.entry.outcome.endswith("_duplicate")


class Corpus:
    """Where the texts of a build are read again."""

    def __init__(
        self, roots: Sequence[str], recipe: Recipe, inputs: Mapping[str, tuple[int, int | None]] | None = None
    ) -> None:
        """`roots` as given to --corpus. `inputs`: of each uri its size in the build and, if it may be held against a
        file, the time of its last change in ns.
        """
        self.notes: list[str] = []
        self._roots, self._recipe, self._inputs = roots, recipe, inputs or {}

    def text(self, entry: Entry) -> str | None:
        """The normalised text of a record."""
        file = self._file(entry.uri)
        if file is None:
            return None
        normalize = Normalizer(self._recipe.normalization)
        convert = readable(self._recipe.finetune, normalize)
        try:
            text = read_text(file, entry.record, self._recipe.corpus, normalize, convert)
        except StorageError as error:
            self._note(f"the text of {entry.place} is not shown: {error}")
            return None
        if text is None:
            self._note(f"the text of {entry.place} is not shown: {file.shown} holds no such record any more")
        return text

    def raw(self, entry: Entry, refusal: Refusal) -> bytes | None:
        """The beginning of a refused record as it stands in its (decompressed) file."""
        file = self._file(entry.uri)
        size = refusal.byte_length if 0 <= refusal.byte_length < MAX_RAW_BYTES else MAX_RAW_BYTES
        try:
            return read_bytes(file, refusal.byte_offset, size) or None if file else None
        except StorageError as error:
            self._note(f"the bytes of {entry.place} are not shown: {error}")
            return None

    def _file(self, uri: str) -> InputFile | None:
        if not self._roots:
            self._note("no text is shown: where the corpus lies is not remembered here; give it with --corpus")
            return None
        file = find_file(self._roots, uri)
        if file is None:
            roots = ", ".join(map(without_secrets, self._roots))
            self._note(f"no text of {uri} is shown: it is not in {roots}; say with --corpus where the corpus lies now")
            return None
        size, changed = self._inputs.get(uri, (file.size, None))
        if file.size != size:
            self._note(
                f"no text of {uri} is shown: {file.shown} has {file.size:,} bytes and had {size:,} when it was built"
            )
            return None
        if changed is not None and changed != file.mtime_ns:
            self._note(f"{file.shown} was written to after the build: its texts may be others than those compared")
        return file

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def tell(
    folder: str | os.PathLike[str],
    name: str,
    roots: Sequence[str],
    inputs: Mapping[str, tuple[int, int | None]] | None = None,
) -> Story:
    """Find a document by id or uri:record in a finished build and all that is known of it.

    Args: roots, inputs: as for `Corpus`.
    Raises: as `Ledger.find` and `rows_holding`; ConfigError where a root cannot be one.
    """
    ledger = Ledger(folder)
    entry = ledger.find(name)
    recipe = recipe_of(ledger)
    corpus = Corpus(roots, recipe, inputs)
    refusal = ledger.refusal(entry) if entry.outcome == "quarantined" else None
    here = entry.survivor_id is not None and entry.survivor_build is None
    survivor = ledger.by_id(entry.survivor_id) if here and entry.survivor_id is not None else None
    repeated = entry.survivor_id or entry.document_id
    count, repeating = ledger.repeating(repeated, entry.survivor_build, MAX_REPEATING + 1)
    others = [other for other in repeating if other.document_id != entry.document_id]
    text = corpus.text(entry) if entry.outcome not in ("quarantined", "empty") else None
    survivor_text = corpus.text(survivor) if survivor is not None else None
    if entry.outcome == "exact_duplicate" and text and survivor_text and not _same_content(text, survivor_text):
        corpus.notes.append("the two texts are not equal any more: a file was changed after the build")
    return Story(
        entry=entry,
        recipe=recipe,
        refusal=refusal,
        raw=corpus.raw(entry, refusal) if refusal else None,
        text=text,
        survivor=survivor,
        survivor_text=survivor_text,
        similarity=similarity(text, survivor_text, recipe.dedupe) if text and survivor_text else None,
        num_repeating=count - (entry.survivor_id is not None),
        repeating=tuple(others[:MAX_REPEATING]),
        rows=tuple(rows_holding(folder, ledger.manifest, entry.document_id) if entry.outcome == "kept" else ()),
        notes=tuple(corpus.notes),
    )


def recipe_of(ledger: Ledger) -> Recipe:
    """The recipe in a manifest. Raises ShardError where this glmdata does not know it."""
    try:
        return Recipe.model_validate(ledger.manifest.recipe)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))
        raise ShardError(
            f"{ledger.folder}: its recipe is not one of this glmdata ({where}); use the one that built it"
        ) from None


def _same_content(a: str, b: str) -> bool:
    """Whether two texts differ in nothing but case, width, white space and punctuation."""
    from glmdata.dedupe.minhash import sign_texts

    _, contents = sign_texts([a, b], 0)
    return bool((contents[0] == contents[1]).all())


def similarity(a: str, b: str, settings: DedupeSettings) -> Similarity:
    """How alike two texts are, by the recipe's shingles and permutations."""
    from glmdata.dedupe.minhash import signatures
    from glmdata.dedupe.shingles import jaccard, shingle_sets

    signed = signatures([a, b], settings.num_perm, settings.seed, shingle_size=settings.shingle_size)
    values, offsets = shingle_sets([a, b], np.arange(2), settings.shingle_size)
    first, second = (values[offsets[place] : offsets[place + 1]] for place in range(2))
    return Similarity(estimated=float((signed[0] == signed[1]).mean()), true=jaccard(first, second))
