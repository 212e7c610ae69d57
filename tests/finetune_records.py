"""Records with answers, built with the settings of tests, and rows of them read back."""

import json
from pathlib import Path
from typing import Any

from corpora import document
from progress import Stops

from glmdata.infilling.restore import restore
from glmdata.pipelines.build import Built, build
from glmdata.pipelines.executors import choose_executor
from glmdata.recipe import load_recipe
from glmdata.shards.reader import Shards
from glmdata.tokenization import Tokenizer

SMALL = (
    "corpus.partition_bytes=65536",
    "corpus.split_bytes=65536",
    "shards.rows=64",
    "shards.rows_per_record_batch=16",
)

EXAMPLES = Path(__file__).parents[1] / "examples" / "finetune"


def words(language: str, place: int, sentences: int = 1) -> str:
    return document(language, 1000 + place, sentences)


def write(path: Path, records: list[dict[str, Any]], bad: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join([*lines, *bad]) + "\n", "utf-8")


def run(
    corpora: Path, task: str, out: Path, *options: str, address: str = "none", workers: int = 2, **more: Any
) -> Built:
    executor = more.pop("executor", None)
    return build(
        [str(more.pop("corpus", corpora / task))],
        out,
        load_recipe(task, [*SMALL, *options]),
        make_executor=lambda size: executor or choose_executor(address, workers, size),
        progress=more.pop("progress", Stops()),
        tokenizer_path=str(corpora / "tokenizer.model"),
        **more,
    )


def text_of(shards: Shards, tokenizer: Tokenizer, place: int) -> tuple[str, str]:
    """A row's context, its mask spelled, and its answer."""
    row = shards.row(place)
    restored = restore(row, shards.style)
    [[start, end]] = restored.spans
    tokens = restored.tokens
    return tokenizer.decode(row["input_ids"][: row["context_length"]]), tokenizer.decode(tokens[start:end])


def prompted(turns: list[list[str]]) -> str:
    """ChatGLM's prompt for the last of these turns."""
    if len(turns) == 1:
        return f"{turns[0][0]}[gMASK]"
    rounds = [f"[Round {n}]\n问：{asked}\n答：{told}\n" for n, (asked, told) in enumerate(turns)]
    return "".join(rounds).removesuffix(f"{turns[-1][1]}\n") + "[gMASK]"
