"""Answers that a model writes to the contexts of a build's rows, compared with those that the rows hold."""

from collections.abc import Iterator
from typing import NamedTuple

from glmdata.errors import ConfigError, InputError
from glmdata.model.checkpoint import Checkpoint
from glmdata.model.decoding import Decoding
from glmdata.model.generation import fill
from glmdata.shards.reader import Shards
from glmdata.streaming import ShardStream
from glmdata.training.choices import real_rows
from glmdata.training.rouge import Rouge, rouge
from glmdata.training.run import task_name

__all__ = ["Answer", "check_rows", "generate_answers"]


class Answer(NamedTuple):
    """What a model wrote to one row."""

    row: int
    """Its number in the build."""
    given: str
    expected: str
    rouge: Rouge
    end: str
    """How it ended: "eop" or "eos", which the model gave, or "length"."""


def check_rows(shards: Shards) -> None:
    """Raise ConfigError for a build whose rows are no context with one answer."""
    recipe, task = shards.manifest.recipe, task_name(shards)
    if task not in ("sft", "seq2seq"):
        what = "pre-training" if task == "none" else task
        raise ConfigError(f"{shards.folder} is for {what}; answers are generated to rows of recipe sft and seq2seq")
    if recipe.get("packing") == "segments" or recipe["finetune"].get("causal"):
        raise ConfigError(
            f"{shards.folder}: rows of several answers (packing=segments) or with the context in Part B "
            "(finetune.causal) cannot be answered; build the records once more without"
        )


def generate_answers(checkpoint: Checkpoint, stream: ShardStream, decoding: Decoding) -> Iterator[Answer]:
    """One answer to each row, in the order of the stream, which is not shuffled.

    Raises ConfigError as `check_rows`, InputError where the checkpoint has no tokenizer.
    """
    check_rows(stream.shards)
    if checkpoint.tokenizer is None:
        raise InputError("the checkpoint has no tokenizer.model; put the one beside it that it was trained with")
    return _answers(checkpoint, stream, decoding)


def _answers(checkpoint: Checkpoint, stream: ShardStream, decoding: Decoding) -> Iterator[Answer]:
    model, tokenizer = checkpoint
    assert tokenizer is not None
    number = stream.first_row
    for batch in stream:
        for row in real_rows(batch).nonzero()[:, 0].tolist():
            context = batch["input_ids"][row, : int(batch["context_length"][row])].tolist()
            targets = batch["target_ids"][row][batch["loss_mask"][row] != 0].tolist()
            steps = list(fill(model, context, tokenizer.special, decoding))
            given = tokenizer.decode([step.token for step in steps if step.token is not None])
            expected = tokenizer.decode([token for token in targets if token != tokenizer.special.eop])
            yield Answer(number, given, expected, rouge(given, expected), str(steps[-1].end))
            number += 1
