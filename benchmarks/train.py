"""Training steps: what the trainer adds to a bare loop, how long it waits for data, what the head at losses saves.

    python benchmarks/train.py SHARDS [--preset tiny] [--batch-size 8] [--steps 30] [--threads 1 2] [--compile]

SHARDS is a finished build. Measured, in processes whose machine may have other work:

* `glmdata train`'s loop beside a bare one: the same model, AdamW and clipping, on the same batches, which lie ready.
  They take turns step by step, so that what else runs meets both alike; told is the median of the pairs' ratios. The
  trainer's step is all between two reports: waiting for data, losses by objective, metrics.
* the share of its time that the trainer waits for data when nothing stands between its steps, and its tokens a second
  with so many threads;
* a step (forward and backward) with logits everywhere and only where there is a loss, at the build's vocabulary and at
  50,304: the least of five, by turns;
* with --compile, the trainer's median step with and without torch.compile.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from timing import least_seconds

from glmdata.model import GLM, preset
from glmdata.model.loss import INPUTS, batch_loss, loss
from glmdata.shards.reader import Shards
from glmdata.streaming import ShardStream
from glmdata.training.optimizer import parameter_groups
from glmdata.training.run import TrainOptions, config_of, train
from glmdata.training.settings import TrainSettings
from glmdata.training.trainer import make_model

WARM = 3
"""First steps, which are not counted."""


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads[0])
    told(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {args.threads[0]} threads where nothing else is said")
    beside_a_bare_loop(args)
    for threads in args.threads:
        torch.set_num_threads(threads)
        lines = alone(args)
        seconds = sum(line["seconds"] for line in lines)
        waited = sum(line["seconds"] * line["loader_wait"] for line in lines)
        targets = sum(line["target_tokens"] for line in lines)
        tokens = len(lines) * args.batch_size * Shards(args.shards).manifest.sequence_length
        told(
            f"{threads} threads: {tokens / seconds:,.0f} tokens/s, {targets / seconds:,.0f} "
            f"of them targets; waiting for data {waited / seconds:.3%} of the time"
        )
    torch.set_num_threads(args.threads[0])
    head(args)
    if args.compile:
        plain, compiled = (statistics.median(n["seconds"] for n in alone(args, compile=made)) for made in (False, True))
        told(f"torch.compile: {compiled:.3f} s a step, without {plain:.3f} s: {plain / compiled:.2f} times as fast")


def told(text: str) -> None:
    print(text, flush=True)


def options(args: argparse.Namespace, out: str, **settings: Any) -> TrainOptions:
    given = {"steps": args.steps + WARM, "batch_size": args.batch_size, "save_every": 1 << 20} | settings
    return TrainOptions(
        shards=args.shards, out=Path(out), preset=args.preset, model={"dropout": 0.0}, settings=TrainSettings(**given)
    )


def beside_a_bare_loop(args: argparse.Namespace) -> None:
    """A step of each in turn; the bare loop runs while the trainer reports."""
    with tempfile.TemporaryDirectory() as out:
        run = options(args, out)
        settings, ready = run.settings, iter(ShardStream(args.shards, args.batch_size, seed=run.settings.seed))
        model = make_model(config_of(run, Shards(args.shards)), settings.seed, torch.device("cpu"))
        groups = parameter_groups(model, settings.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(settings.beta1, settings.beta2), eps=settings.epsilon)
        trainer, bare = list[float](), list[float]()
        left = time.perf_counter()

        def between(_: dict[str, Any]) -> None:
            nonlocal left
            trainer.append(time.perf_counter() - left)
            batch = next(ready)
            started = time.perf_counter()
            batch_loss(model, batch).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            optimizer.zero_grad()
            left = time.perf_counter()
            bare.append(left - started)

        train(run, between)
    pairs = list(zip(trainer, bare, strict=True))[WARM:]
    ratio = statistics.median(one / other for one, other in pairs)
    one, other = (statistics.median(found) for found in zip(*pairs, strict=True))
    length = Shards(args.shards).manifest.sequence_length
    told(
        f"{args.preset}, {args.batch_size} rows of {length}, {len(pairs)} steps in "
        f"turns: trainer {one:.3f} s, bare loop {other:.3f} s (medians), median ratio {ratio:.3f}"
    )


def alone(args: argparse.Namespace, **settings: Any) -> list[dict[str, Any]]:
    """Metrics of the trainer's steps after the first."""
    lines = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as out:
        train(options(args, out, **settings), lines.append)
    return lines[WARM:]


def head(args: argparse.Namespace) -> None:
    """Logits where there is a loss, and everywhere."""
    stream = ShardStream(args.shards, args.batch_size, seed=1)
    batch, manifest = next(iter(stream)), stream.shards.manifest
    told(f"{float((batch['loss_mask'] > 0).float().mean()):.0%} of the places of the batch below have a loss")
    sizes = {"max_positions": manifest.sequence_length, "dropout": 0.0}
    for vocabulary in sorted({-(-manifest.tokenizer.vocabulary_size // 64) * 64, 50_304}):
        torch.manual_seed(0)
        model = GLM(preset(args.preset, vocabulary_size=vocabulary, **sizes))

        def chosen(model: GLM = model) -> None:
            batch_loss(model, batch).backward()

        def everywhere(model: GLM = model) -> None:
            logits = model(**{name: batch[name] for name in INPUTS if name in batch})
            loss(logits, batch["target_ids"], batch["loss_mask"]).backward()

        turns = [[least_seconds(call, 1) for call in (everywhere, chosen)] for _ in range(6)]
        seconds = [min(times) for times in zip(*turns[1:], strict=True)]
        told(
            f"vocabulary {vocabulary:6,}: logits everywhere {seconds[0]:.3f} s, at losses {seconds[1]:.3f} s, "
            f"{seconds[0] / seconds[1]:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
