"""Training a SentencePiece model: lossless, deterministic."""

import io
import itertools
from collections.abc import Iterable, Iterator

from glmdata.errors import InputError
from glmdata.recipe import TokenizerSettings

__all__ = ["train_tokenizer"]

# The trainer adds up floating-point counts per thread: their number is part of the result, so it is a constant.
NUM_TRAINING_THREADS = 4
MAX_LINE_CHARS = 1000
"""Longer lines are cut: the trainer's lattice is built a line at a time, and it leaves lines over 4192 bytes out."""


def train_tokenizer(texts: Iterable[str], settings: TokenizerSettings) -> bytes:
    """Train a model on `texts`, in their order; the same texts and settings give the same bytes anywhere.

    Identity normalisation, no dummy prefix, byte fallback, newline and tab as pieces: decode(encode(x)) == x.
    Raises InputError where there is too little text.
    """
    import sentencepiece

    lines = _lines(texts)
    first = next(lines, None)
    if first is None:
        raise InputError("no text is left to train a tokenizer on; give one with --tokenizer, or more documents")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=itertools.chain([first], lines),
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
        )
    except (RuntimeError, OSError) as error:
        message = str(error).split(") ")[-1].strip() or "SentencePiece gave no reason"
        raise InputError(
            f"the tokenizer could not be trained on this text ({message}); give one with --tokenizer"
        ) from None
    return model.getvalue()


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            for start in range(0, len(line), MAX_LINE_CHARS):
                piece = line[start : start + MAX_LINE_CHARS]
                if piece.strip():
                    yield piece
