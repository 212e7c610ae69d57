"""All kernels of a build, compiled at once: `python -m glmdata.precompile [PROCESSES]`.

numba compiles a kernel when it is first called, in one thread of the process that calls it, and every process that
comes to it before it lies in the cache does the same work again. Here each is compiled by one process, and by running
what a build runs, on a few words, so that nothing needs to know signatures. A kernel that is left out is compiled by
the stage that calls it; a test finds it.
"""

import importlib
import multiprocessing
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from glmdata.kernels import mark_compiled

__all__ = ["GROUPS", "compile_kernels"]

TEXTS = ["The ferry leaves at seven. Nobody hurries.", "春眠不觉晓，处处闻啼鸟。夜来风雨声。", ""]


def compile_kernels(processes: int = 1) -> bool:
    """Compile in this many forked processes and mark the cache as complete; whether all went well.

    Must be called where no other thread runs, as by `python -m`.
    """
    for module in _MODULES:
        importlib.import_module(module)  # once, before the processes part
    context = multiprocessing.get_context("fork")
    taken = context.Value("i", 0)
    workers = [context.Process(target=_work, args=(taken,)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        return False
    mark_compiled()
    return True


def _work(taken: Any) -> None:
    """Compile the next group that no other process has taken, until there is none."""
    while True:
        with taken.get_lock():
            place = taken.value
            taken.value += 1
        if place >= len(GROUPS):
            return
        GROUPS[place]()


def _rows() -> None:
    from glmdata.gathering import copy_documents
    from glmdata.infilling.windows import fill_rows
    from glmdata.recipe import Recipe
    from glmdata.tokenization.special import SpecialTokens

    recipe = Recipe()
    fill_rows(
        np.arange(600, dtype=np.uint32),
        np.array([0, 600]),
        np.arange(20, 601, 20),
        continued=False,
        complete=True,
        special=SpecialTokens.above(1000),
        sequence_length=recipe.sequence_length,
        packing=recipe.packing,
        objectives=recipe.objectives,
        spans=recipe.spans,
        seed=0,
        first_sample_id=0,
    )
    one, size = np.zeros(1, np.int64), np.full(1, 3)
    lists = [pa.array([[1, 2, 3]], pa.large_list(kind)) for kind in (pa.uint16(), pa.uint32())]
    buffers = [buffer for column in lists for buffer in (column.offsets.to_numpy(), column.values.to_numpy())]
    copy_documents(one, one, one, size, one, one, *buffers, np.zeros(3, np.uint16), np.zeros(4, np.int64))


def _tokens() -> None:
    from glmdata.recipe import Recipe
    from glmdata.tokenization import Tokenizer
    from glmdata.tokenization.alignment import sentence_token_ends
    from glmdata.tokenization.training import train_tokenizer

    tokenizer = Tokenizer(train_tokenizer(TEXTS, Recipe().tokenizer))
    tokens, offsets = tokenizer.encode_arrow(pa.array(TEXTS))
    lengths = np.array([len(text.encode()) for text in TEXTS])
    ends = lengths[:-1].astype(np.int32)  # the last text is empty and has none
    sentence_token_ends(tokenizer, pa.array(TEXTS), tokens, offsets, lengths, ends, np.array([0, 1, 2, 2]))


def _sentences() -> None:
    from glmdata.text.sentences import sentence_ends

    sentence_ends(pa.array(TEXTS))


def _duplicates() -> None:
    from glmdata.dedupe.candidates import candidate_pairs, join_pairs
    from glmdata.dedupe.components import connected_components
    from glmdata.dedupe.minhash import band_keys, sign_texts
    from glmdata.dedupe.shingles import alike, shingle_sets
    from glmdata.dedupe.survivors import Settlement
    from glmdata.text.english import word_counts
    from glmdata.text.scripts import script_counts

    texts = pa.array(TEXTS)
    script_counts(texts)
    word_counts(texts, np.arange(2))
    ranks, numbers = (np.arange(len(TEXTS), dtype=np.uint64) for _ in range(2))
    join_pairs([candidate_pairs(np.zeros(len(TEXTS), np.uint64), ranks << np.uint64(40), numbers)] * 2)
    band_keys(sign_texts(texts)[0], 18, 7)
    alike(*shingle_sets(texts, np.arange(2)), np.array([0]), np.array([1]), 0.7)
    connected_components(np.array([0], np.uint64), np.array([1], np.uint64))
    Settlement(2, np.array([1]), np.array([0])).questions()


GROUPS = (_rows, _tokens, _sentences, _duplicates)
"""Those that take longest first, so that the processes end at about the same time."""
_MODULES = (
    "glmdata.gathering",
    "glmdata.infilling.windows",
    "glmdata.tokenization.word_cache",
    "glmdata.tokenization.training_words",
    "glmdata.tokenization.seed_pieces",
    "glmdata.tokenization.alignment",
    "glmdata.text.sentences",
    "glmdata.dedupe.minhash",
    "glmdata.dedupe.candidates",
    "glmdata.dedupe.components",
    "glmdata.dedupe.survivors",
    "glmdata.text.english",
    "glmdata.text.scripts",
)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 where all is compiled."""
    return 0 if compile_kernels(int(arguments[0]) if arguments else 1) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
