"""Small finetuning runs: their tasks, whose answers are easy to learn, and a model that knows nothing yet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from models import torch
from progress import Stops

from glmdata.model import GLM, GLMConfig
from glmdata.model.checkpoint import save_pretrained
from glmdata.pipelines.build import build
from glmdata.pipelines.executors import choose_executor
from glmdata.recipe import TokenizerSettings, load_recipe
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer
from glmdata.training.finetune import FinetuneOptions
from glmdata.training.finetune_settings import FinetuneSettings

FOODS, MANNERS = ("soup", "bread", "rice", "tea", "fish"), ("quickly", "slowly", "today", "again", "alone", "late")
GOOD, BAD = ("warm", "fresh", "sweet"), ("cold", "stale", "burnt")
ANSWERS = {"河水为什么变暖？": "白天长了。", "几点关门？": "十点。", "Who paints the bridge?": "The town."}


def reviews(count: int = 240) -> list[dict[str, Any]]:
    """Whether the food was good follows from one word of seven."""
    rng = np.random.default_rng(0)
    found = []
    for place in range(count):
        food, manner, word = rng.choice(FOODS), rng.choice(MANNERS), rng.choice(GOOD if place % 2 else BAD)
        found.append({"text": f"{place}: the {food} was {word}, we ate {manner}.", "label": place % 2})
    return found


def write_world(folder: Path) -> Path:
    """A tokenizer, builds of the tasks, and a model that knows nothing yet."""
    texts = [record["text"] for record in reviews()] + [*ANSWERS, *ANSWERS.values(), "it was good bad not at all"] * 5
    (folder / "t.model").write_bytes(train_tokenizer(texts, TokenizerSettings(vocabulary_size=400)))
    sft = [{"prompt": prompt, "response": response} for prompt, response in ANSWERS.items()]
    for name, records in (("reviews", reviews()), ("sft", sft)):
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    cloze = ['finetune.template="{text} It was[MASK]."']
    single = [*cloze, 'finetune.verbalizers={"0": " cold", "1": " warm"}']
    several = [*cloze, 'finetune.verbalizers={"0": " not good at all", "1": " good"}']
    make(folder, "single", "cloze", "reviews", single)
    make(folder, "several", "cloze", "reviews", several)
    make(folder, "sft", "sft", "sft", [])
    tokenizer = Tokenizer.load(folder / "t.model")
    save_pretrained(small(tokenizer), folder / "base", tokenizer)
    return folder


def make(folder: Path, name: str, recipe: str, records: str, settings: list[str], tokenizer: str = "t.model") -> None:
    build(
        [str(folder / f"{records}.jsonl")],
        folder / name,
        load_recipe(recipe, ["sequence_length=64", "shards.rows_per_record_batch=16", *settings]),
        make_executor=lambda size: choose_executor("none", 1, size),
        progress=Stops(),
        tokenizer_path=str(folder / tokenizer),
    )


def small(tokenizer: Tokenizer, **changes: Any) -> GLM:
    torch.manual_seed(0)
    fields = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "max_positions": 64, "dropout": 0.1}
    return GLM(GLMConfig(vocabulary_size=tokenizer.vocabulary_size, **{**fields, **changes}))


def options(world: Path, shards: str, out: Path, *, holdout: int = 0, **settings: Any) -> FinetuneOptions:
    checkpoint = settings.pop("checkpoint", world / "base")
    evaluation = settings.pop("evaluation", None)
    return FinetuneOptions(
        shards=str(world / shards),
        out=out,
        checkpoint=checkpoint,
        settings=FinetuneSettings(**{"steps": 6, "batch_size": 4, "save_every": 2, **settings}),
        holdout=holdout,
        evaluation=evaluation,
    )
