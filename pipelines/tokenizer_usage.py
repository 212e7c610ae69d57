"""How well a tokenizer fits a corpus: a bounded sample of it, encoded and added up by language."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import Split, plan_splits
from glmdata.errors import InputError
from glmdata.recipe import Recipe
from glmdata.storage import absolute
from glmdata.text.language import identify_array
from glmdata.text.normalization import Normalizer
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.usage import Usage, token_usage

__all__ = ["usage_on_corpus"]

MIN_SPLIT_BYTES = 1 << 20
"""Text that is taken of a split at least, where there are many."""


def usage_on_corpus(tokenizer: Tokenizer, corpora: Sequence[str], recipe: Recipe, sample_bytes: int) -> list[Usage]:
    """Measure on about `sample_bytes` of text at most: the same corpus gives the same figures.

    Splits (files, or ranges of large ones) are taken in the order of a hash of their names; of each the first documents
    up to its share of the sample, but a mebibyte at least. So a corpus of any size costs no more than the sample.
    Raises InputError where there is no text.
    """
    splits = plan_splits(find_files([absolute(corpus) for corpus in corpora]).files, recipe.corpus)
    splits.sort(key=lambda split: (xxhash.xxh3_64_intdigest(f"{split.uri}:{split.ordinal}".encode()), split.uri))
    share = max(MIN_SPLIT_BYTES, sample_bytes // max(1, len(splits)))
    parts: list[pa.Array] = []
    left = sample_bytes
    for split in splits:
        if left <= 0:
            break
        part = _head(split, min(share, left), recipe)
        parts.append(part)
        left -= pc.sum(pc.binary_length(part)).as_py() or 0
    texts = pa.concat_arrays([pa.array([], pa.string()), *parts])
    if not len(texts):
        raise InputError(f"no text to measure on in {', '.join(corpora)}")
    return token_usage(tokenizer, texts, identify_array(texts, recipe.language.engine)[0])


def _head(split: Split, max_bytes: int, recipe: Recipe) -> pa.Array:
    """The first documents of a split, until they have `max_bytes`; the last may pass it."""
    parts = [pa.array([], pa.string())]
    size = 0
    settings = recipe.corpus.model_copy(update={"partition_bytes": MIN_SPLIT_BYTES})  # read in small batches
    for batch in read_split(split, settings, Normalizer(recipe.normalization)):
        texts = batch["text"]
        texts = texts.filter(pc.greater(pc.binary_length(texts), 0))
        sizes = pc.cumulative_sum(pc.cast(pc.binary_length(texts), pa.int64())).to_numpy()
        parts.append(texts[: int((sizes < max_bytes - size).sum()) + 1])
        size += int(sizes[-1]) if len(sizes) else 0
        if size >= max_bytes:
            break
    return pa.concat_arrays(parts)
