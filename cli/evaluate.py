"""`glmdata evaluate`."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmdata.cli.options import (
    base_option,
    batch_option,
    decoding_options,
    device_option,
    holdout_option,
    json_option,
    load_checkpoint,
)

if TYPE_CHECKING:
    from rich.table import Table

    from glmdata.model.checkpoint import Checkpoint
    from glmdata.model.decoding import Decoding
    from glmdata.streaming import ShardStream

__all__ = ["command"]


@click.command("evaluate", no_args_is_help=True)
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="CKPT")
@click.option("--shards", required=True, metavar="DIR|URI", help="A finished build with the model's tokenizer.")
@holdout_option
@batch_option
@base_option
@device_option
@click.option("--generate", is_flag=True, help="Also answer each row of sft or seq2seq, and tell ROUGE.")
@click.option(
    "--answers", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.jsonl", help="Write the answers there."
)
@decoding_options
@json_option
def command(
    checkpoint: Path,
    shards: str,
    holdout: int,
    batch_size: int,
    base: Path | None,
    device: str,
    generate: bool,
    answers: Path | None,
    decoding: dict[str, Any],
    as_json: bool,
) -> None:
    """Loss and perplexity of a model on the rows of a build, by objective and language.

    CKPT is a checkpoint, or a run, whose newest one is taken; quantised ones and adapters too. Of cloze questions the
    accuracy is told, choices weighed as the run did. With --generate the model answers rows of sft and seq2seq, and its
    answers are compared with theirs: ROUGE-1, 2 and L, in Chinese by character. How it chooses tokens is said as for
    `glmdata generate`.
    """
    loaded = load_checkpoint(checkpoint, base=base, device=device)
    from glmdata.model.decoding import Decoding
    from glmdata.training.checkpoint import newest_checkpoint
    from glmdata.training.evaluation import cloze_settings, evaluate_task, evaluation_rows
    from glmdata.training.generated import check_rows

    chosen = Decoding(**decoding)
    if not generate and (answers is not None or chosen != Decoding()):
        raise click.UsageError("--answers and how tokens are chosen are for --generate; give that too")
    if answers is not None and not answers.absolute().parent.is_dir():
        raise click.UsageError(f"--answers {answers}: there is no folder {answers.parent}")
    stream = evaluation_rows(loaded, shards, holdout=holdout, batch_size=batch_size)
    if generate:
        check_rows(stream.shards)  # before the loss is computed, which takes its time
    found = evaluate_task(loaded, stream, cloze_settings(newest_checkpoint(checkpoint)))
    if generate:
        found |= {"generated": _generated(loaded, stream, chosen, answers)}
    if as_json:
        click.echo(json.dumps({"rows": stream.num_rows, **found}))
        return
    from glmdata.cli.render import make_console

    for table in _tables(stream.num_rows, found):
        make_console().print(table)


def _generated(
    loaded: "Checkpoint", stream: "ShardStream", decoding: "Decoding", out: Path | None
) -> dict[str, int | float]:
    """How many answers there are and how many were cut, and the means of ROUGE."""
    from glmdata.storage import storage_errors, write_whole
    from glmdata.training.generated import generate_answers

    answers = generate_answers(loaded, stream, decoding)
    with click.progressbar(
        answers, length=stream.num_rows, label="answering", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as shown:
        found = list(shown)
    if out is not None:
        lines = [
            {"row": one.row, "given": one.given, "expected": one.expected, "end": one.end, **one.rouge._asdict()}
            for one in found
        ]
        with storage_errors("writing the answers"):
            write_whole(out, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode())
    means = [sum(scores) / len(found) for scores in zip(*(one.rouge for one in found), strict=True)]
    return {
        "answers": len(found),
        "cut": sum(one.end == "length" for one in found),
        **dict(zip(("rouge_1", "rouge_2", "rouge_l"), means, strict=True)),
    }


def _tables(rows: int, found: dict[str, Any]) -> "list[Table]":
    from rich.table import Table

    from glmdata.cli.render import counted

    table = Table(title=f"{counted(rows, 'row')}, {counted(found['target_tokens'], 'target token')}")
    table.add_column("")
    if "accuracy" in found:
        table.add_column(counted(found["questions"], "question"), justify="right")
        for name in ("loss", "accuracy", "macro_f1"):
            if name in found:
                table.add_row(name.replace("_", " "), f"{found[name]:.4f}")
        for name, label in found.get("labels", {}).items():
            table.add_row(f"right of {name}", f"{label['right']} of {label['questions']}")
        return [table]
    table.add_column("loss, nats a token", justify="right")
    table.add_column("perplexity", justify="right")
    for name, loss in {"all": found["loss"], **found["objectives"], **found["languages"]}.items():
        table.add_row(name, f"{loss:.4f}", f"{math.exp(loss):,.2f}")
    if "generated" not in found:
        return [table]
    told = found["generated"]
    scores = Table(title=f"{counted(told['answers'], 'answer')}, {told['cut']} cut at --max-tokens")
    for name in ("ROUGE-1", "ROUGE-2", "ROUGE-L"):
        scores.add_column(f"{name}, F1 %", justify="right")
    scores.add_row(*(f"{100 * told[name]:.2f}" for name in ("rouge_1", "rouge_2", "rouge_l")))
    return [table, scores]
