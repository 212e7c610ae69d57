"""Training a SentencePiece model: lossless, deterministic.

Texts become counted words (training_words.py), for a unigram model with candidates for pieces (seed_pieces.py), and
SentencePiece chooses the pieces.
"""

import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.errors import InputError
from glmdata.recipe import TokenizerSettings
from glmdata.tokenization.model_file import without_seed_file

__all__ = ["MAX_TRAINING_BYTES", "train_on_words", "train_tokenizer"]

# The trainer adds up floating-point counts per thread: their number is part of the result, so it is a constant.
NUM_TRAINING_THREADS = 4
MAX_TRAINING_BYTES = 32 << 20
"""Distinct words that the trainer is given at most."""
SEEDS_PER_PIECE = 2
"""Candidates for each piece wanted; docs/tokenizer.md has the figures."""
BATCH = 1 << 16


def train_tokenizer(texts: Iterable[str], settings: TokenizerSettings) -> bytes:
    """Train a model on `texts`, whatever their order; the same texts and settings give the same bytes anywhere.

    Identity normalisation, no dummy prefix, byte fallback, newline and tab as pieces: decode(encode(x)) == x.
    Raises InputError where there is too little text.
    """
    from glmdata.tokenization.training_words import count_words, merge_words

    counted = count_words(pa.array(list(texts), pa.large_string()))
    return train_on_words(*merge_words([counted], MAX_TRAINING_BYTES), settings)


def train_on_words(words: pa.LargeStringArray, counts: npt.NDArray[np.int64], settings: TokenizerSettings) -> bytes:
    """As `train_tokenizer`, on distinct words and how often each occurs (training_words.py)."""
    import sentencepiece

    if not any(word.strip() for word in words[:BATCH].to_pylist()):
        raise InputError("no text is left to train a tokenizer on; give one with --tokenizer, or more documents")
    model = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="glmdata-") as folder:
        seeds = _seeds(words, counts, settings, Path(folder) / "seeds.tsv")
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_lines(words, counts),
                input_format="tsv",
                model_writer=model,
                model_type=settings.type,
                vocab_size=settings.vocabulary_size,
                hard_vocab_limit=False,
                character_coverage=settings.character_coverage,
                byte_fallback=True,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                allow_whitespace_only_pieces=True,
                user_defined_symbols=["\n", "\t"],
                bos_id=-1,
                eos_id=-1,
                num_threads=NUM_TRAINING_THREADS,
                minloglevel=2,
                **seeds,
            )
        except (RuntimeError, OSError) as error:
            message = str(error).split(") ")[-1].strip() or "SentencePiece gave no reason"
            raise InputError(
                f"the tokenizer could not be trained on this text ({message}); give one with --tokenizer"
            ) from None
    return without_seed_file(model.getvalue())


def _seeds(
    words: pa.LargeStringArray, counts: npt.NDArray[np.int64], settings: TokenizerSettings, path: Path
) -> dict[str, Any]:
    """The trainer's settings for candidates, which are written to `path`; byte pair merges need none."""
    if settings.type != "unigram":
        return {}
    from glmdata.tokenization.seed_pieces import seed_pieces

    pieces, sums = seed_pieces(words, counts, SEEDS_PER_PIECE * settings.vocabulary_size)
    lines = (
        f"{piece.replace(' ', chr(0x2581))}\t{count}\n" for piece, count in zip(pieces, sums.tolist(), strict=True)
    )
    path.write_bytes("".join(lines).encode())
    return {"seed_sentencepieces_file": str(path)}


def _lines(words: pa.LargeStringArray, counts: npt.NDArray[np.int64]) -> Iterator[str]:
    for start in range(0, len(words), BATCH):
        for word, count in zip(words[start : start + BATCH].to_pylist(), counts[start : start + BATCH], strict=True):
            yield f"{word}\t{count}"
