"""A tokenizer from a corpus: the first stages of a build, then training."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from glmdata.corpus.benchmarks import find_benchmarks
from glmdata.corpus.files import find_files
from glmdata.errors import InputError
from glmdata.pipelines.benchmarks import index_benchmarks
from glmdata.pipelines.build import describe_files
from glmdata.pipelines.clean import clean
from glmdata.pipelines.dedupe import deduplicate
from glmdata.pipelines.engine import Engine, Progress
from glmdata.pipelines.ingest import ingest
from glmdata.pipelines.scheduling import Executor
from glmdata.pipelines.tokenize import trained_tokenizer
from glmdata.recipe import Recipe
from glmdata.storage import absolute, storage_errors, write_whole
from glmdata.tokenization import Tokenizer

__all__ = ["train_on_corpus"]


def train_on_corpus(
    corpora: Sequence[str],
    out: Path,
    recipe: Recipe,
    *,
    make_executor: Callable[[int], Executor],
    progress: Progress,
) -> Tokenizer:
    """Train on the documents of `corpora` that a build by `recipe` would tokenize, and write the model to `out`.

    The settings that made it are written beside it, as `out` with `.json` behind. The work folder is beside it too,
    so that a cluster that shares the place of `out` can work in it; it goes when the training ends.
    """
    benchmarks = find_benchmarks(recipe.decontamination.benchmarks)
    listing = find_files([absolute(corpus) for corpus in corpora])
    if not listing.files:
        raise InputError(f"no .jsonl, .txt, .parquet or .arrow file in {', '.join(corpora)}")
    with storage_errors("making the folder of the tokenizer"):
        out.parent.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    with work as folder:
        executor = make_executor(sum(file.size for file in listing.files))
        try:
            progress.message(f"{describe_files(listing)}; {executor.name}")
            engine = Engine(Path(absolute(folder)), executor, progress)
            index = index_benchmarks(engine, benchmarks, recipe)
            partitions = ingest(engine, listing.files, recipe)
            cleaned = clean(engine, partitions, deduplicate(engine, partitions, recipe), index, recipe)
            model = trained_tokenizer(engine, cleaned.partitions, cleaned.deduplicated, recipe)
            tokenizer = Tokenizer.load(engine.path(model))
        finally:
            executor.close()
    settings = {"recipe": recipe.model_dump(mode="json"), "hash": tokenizer.hash, "pieces": tokenizer.num_pieces}
    with storage_errors("writing the tokenizer"):
        write_whole(out.with_name(out.name + ".json"), json.dumps(settings, indent=1, ensure_ascii=False).encode())
        write_whole(out, tokenizer.model)
    return tokenizer
