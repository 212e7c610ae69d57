"""Does a GLM learn from the shards, and do block positions and shuffled spans matter? Small models, trained on a CPU.

    python benchmarks/demonstration.py CORPUS --work DIR [--steps 800] [--seeds 0 1 2 3 4] [--variants NAME ...]

The corpus is built twice with the default recipe in rows of 256, once with `spans.shuffle=false`: the same samples and
spans, in Part B shuffled or in text order. For each seed three models are trained, of the same first weights, on the
same rows in the same order: GLM; the same with row 1 of the positions (the block positions) zeroed; and the same on
spans in text order. All are evaluated on the build's last rows, whose documents are not among those trained on. Beside
them stand unigram cross entropies: of the held-out targets under the counts of the training rows' targets, of all, and
of those of the same objective and language.

DIR keeps builds and runs, so that the same command goes on where it was stopped, and seeds and variants may be trained
by several commands. Table and curve are of all runs in DIR that have ended: table.md and curve.png.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from glmdata.model import GLMConfig
from glmdata.model.checkpoint import config_json
from glmdata.shards.reader import Shards
from glmdata.shards.schema import OBJECTIVES
from glmdata.storage import write_whole
from glmdata.streaming import ShardStream
from glmdata.training.distributed import join_world
from glmdata.training.language_modelling import LanguageModelling
from glmdata.training.metrics import read_metrics
from glmdata.training.settings import TrainSettings
from glmdata.training.trainer import Trainer, make_model

LENGTH, PIECES, BATCH, HELD_OUT = 256, 8000, 8, 512
MODEL = {"num_layers": 4, "hidden_size": 192, "num_heads": 4, "dropout": 0.0}
LEVELS = ("token", "sentence", "document")
RESULT_NAME = "result.json"
Counts = npt.NDArray[np.int64]
Results = dict[int, dict[str, dict[str, Any]]]
"""Of the runs of a variant: seed -> rows that were evaluated on -> what the trainer says of them."""


class ZeroedBlocks(ShardStream):
    """Batches whose block positions are 0 everywhere."""

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for batch in super().__iter__():
            batch["position_ids"][:, 1] = 0
            yield batch


VARIANTS: dict[str, tuple[str, type[ShardStream]]] = {
    "GLM": ("shuffled", ShardStream),
    "block positions zeroed": ("shuffled", ZeroedBlocks),
    "spans in text order": ("in-order", ShardStream),
}
"""Name -> (build, stream)."""


def main() -> None:
    """Parse, build, train, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4], help="none: only table and curve")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    build(args.corpus, args.work / "shuffled")
    build(args.corpus, args.work / "in-order", "--set", "spans.shuffle=false", tokenizer=args.work / "shuffled")
    first, end = split(Shards(args.work / "shuffled"))
    for seed in args.seeds:
        for name in args.variants:
            found = run(args.work, name, seed, args.steps, (first, end))
            told = {rows: {"loss": losses["loss"], **losses["objectives"]} for rows, losses in found.items()}
            print(f"seed {seed}, {name}: {json.dumps(told)}", flush=True)
    results = {name: ended(args.work, name) for name in VARIANTS}
    if not any(results.values()):
        return
    lines = [*described(args, first, end), "", *tabulated(results, unigrams(args.work, first, end)), ""]
    table = "\n".join([*lines, *compared(results), ""])
    write_whole(args.work / "table.md", table.encode())
    print(table)
    draw(args.work, results)


def build(corpus: str, out: Path, *more: str, tokenizer: Path | None = None) -> None:
    """`glmdata build`; a build that is finished is left alone."""
    settings = ["--set", f"sequence_length={LENGTH}", "--set", f"tokenizer.vocabulary_size={PIECES}"]
    given = [] if tokenizer is None else ["--tokenizer", str(tokenizer / "tokenizer.model")]
    command = [sys.executable, "-m", "glmdata.cli", "build", "--corpus", corpus, "--out", str(out), *settings, *given]
    subprocess.run([*command, *more, "--address", "none", "--workers", "1"], check=True)


def split(shards: Shards) -> tuple[int, int]:
    """(first held-out row, end of the training rows); what shares a document with held-out rows is in neither."""
    batches = (shards.batch(number) for number in range(sum(len(s.record_batches) for s in shards.manifest.shards)))
    documents = [frozenset(row) for batch in batches for row in batch.column("document_ids").to_pylist()]
    first = len(documents) - HELD_OUT
    held = frozenset[bytes]().union(*documents[first:])
    return first, next(row for row, found in enumerate(documents) if found & held)


def run(work: Path, name: str, seed: int, steps: int, bounds: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Train one model; its held-out losses on `own` rows, and on `shuffled` rows of all positions if others."""
    place, kind = VARIANTS[name]
    (first, end), folder = bounds, work / place
    settings = TrainSettings(
        steps=steps,
        batch_size=BATCH,
        seed=seed,
        learning_rate=2e-3,
        weight_decay=0.01,
        evaluate_every=max(1, steps // 4),
        save_every=max(1, steps // 32),
        keep=1,
    )
    stream = kind(folder, BATCH, seed=seed, rows=(0, end))
    held = (first, stream.shards.rows)
    manifest = stream.shards.manifest
    size = -(-manifest.tokenizer.vocabulary_size // 64) * 64
    config = GLMConfig(vocabulary_size=size, max_positions=LENGTH, **MODEL)  # type: ignore[arg-type]
    world = join_world()
    out = run_folder(work, name, seed)
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        make_model(config, seed, world.device),
        stream,
        settings,
        out,
        world=world,
        task=LanguageModelling(manifest.languages, world.device),
        config=config_json(config),
        tokenizer=Path(stream.shards.file("tokenizer.model")).read_bytes(),
        evaluation=kind(folder, BATCH, shuffle=False, epochs=1, rows=held),
    )
    trainer.fit()
    found = {"own": read_metrics(out)[-1]["evaluation"]}
    if place != "shuffled":
        trainer.evaluation = ShardStream(work / "shuffled", BATCH, shuffle=False, epochs=1, rows=held)
        found["shuffled"] = trainer.evaluate()
    write_whole(out / RESULT_NAME, json.dumps(found).encode())
    return found


def run_folder(work: Path, name: str, seed: int) -> Path:
    """Where a run lies."""
    return work / "runs" / f"{name.replace(' ', '-')}-{seed}"


def ended(work: Path, name: str) -> Results:
    """What the runs of a variant gave that have come to their end, by seed."""
    prefix = run_folder(work, name, 0).name[:-1]
    seeds = sorted(int(path.parent.name.removeprefix(prefix)) for path in work.glob(f"runs/{prefix}*/{RESULT_NAME}"))
    return {seed: json.loads((run_folder(work, name, seed) / RESULT_NAME).read_bytes()) for seed in seeds}


def unigrams(work: Path, first: int, end: int) -> dict[str, dict[str, float]]:
    """Cross entropies of held-out targets under counts of training targets, one added to each, by objective."""
    stream = ShardStream(work / "shuffled", 64, shuffle=False, epochs=1, rows=(0, end))
    size, languages = stream.shards.manifest.tokenizer.vocabulary_size, len(stream.shards.manifest.languages)
    training = counted(stream, size, languages)
    held = counted(ShardStream(work / "shuffled", 64, shuffle=False, epochs=1, rows=(first, first + HELD_OUT)), size,
                   languages)  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    for name, counts in (
        ("unigram", np.broadcast_to(training.sum((0, 1)), training.shape)),
        ("unigram of objective and language", training),
    ):
        nats = -np.log((counts + 1) / (counts + 1).sum(2, keepdims=True)) * held
        total = {"loss": nats.sum() / held.sum()}
        found[name] = total | {
            level: nats[code].sum() / held[code].sum() for code, level in enumerate(OBJECTIVES) if level in LEVELS
        }
    return found


def counted(stream: ShardStream, size: int, languages: int) -> Counts:
    """Targets int64 [objectives, languages, ids]."""
    found = np.zeros((len(LEVELS), languages, size), np.int64)
    for batch in stream:
        rows, _ = places = (batch["loss_mask"] != 0).nonzero(as_tuple=True)
        np.add.at(found, (batch["objective"][rows], batch["language"][rows], batch["target_ids"][places]), 1)
    return found


def described(args: argparse.Namespace, first: int, end: int) -> list[str]:
    """What was run, in two lines."""
    metrics = [read_metrics(folder) for folder in sorted((args.work / "runs").iterdir())]
    seconds = np.median([line["seconds"] for lines in metrics for line in lines if "evaluation" not in line])
    targets = np.mean([sum(line["target_tokens"] for line in lines) for lines in metrics])
    data = f"{args.steps} steps of {BATCH} rows of {LENGTH} out of {end:,}, {targets:,.0f} target tokens a run"
    machine = f"{args.threads} thread of {os.cpu_count()} cores ({platform.machine()}), PyTorch {torch.__version__}"
    return [
        f"{data}; {HELD_OUT} rows held out, from {first:,}.",
        f"{machine}, {seconds:.2f} s a step (median), load at the end {os.getloadavg()[0]:.1f}.",
    ]


def tabulated(results: dict[str, Results], bars: dict[str, dict[str, float]]) -> list[str]:
    """A markdown table of held-out losses: means over the seeds, and how far the seeds lie apart."""
    lines = ["| held-out loss, nats a target | seeds | all | token | sentence | document |", "|---" * 6 + "|"]
    for name, bar in bars.items():
        lines.append(f"| {name} | | " + " | ".join(f"{value:.3f}" for value in bar.values()) + " |")
    for name, runs in results.items():
        for rows in next(iter(runs.values()), {}):
            losses = np.array([losses_of(run[rows]) for run in runs.values()])
            cells = " | ".join(spread(column) for column in losses.T)
            lines.append(f"| {name}{'' if rows == 'own' else ', on shuffled spans'} | {len(runs)} | {cells} |")
    return lines


def compared(results: dict[str, Results]) -> list[str]:
    """How much worse than GLM of the same seed the others are: each seed's difference in all, then means."""
    lines = ["| loss above GLM's | seeds | all | token | sentence | document | all, by seed |", "|---" * 7 + "|"]
    glm = results["GLM"]
    for name, runs in results.items():
        both = sorted(glm.keys() & runs.keys())
        if name == "GLM" or not both:
            continue
        gaps = np.array([losses_of(runs[seed]["own"]) for seed in both])
        gaps -= np.array([losses_of(glm[seed]["own"]) for seed in both])
        cells = " | ".join(spread(column, sign="+") for column in gaps.T)
        lines.append(f"| {name} | {len(both)} | {cells} | " + " ".join(f"{gap:+.3f}" for gap in gaps[:, 0]) + " |")
    return lines


def losses_of(found: dict[str, Any]) -> list[float]:
    """Of all targets, then by level."""
    return [found["loss"], *(found["objectives"][level] for level in LEVELS)]


def spread(values: npt.NDArray[np.float64], sign: str = "") -> str:
    """Mean and standard deviation; of one value itself."""
    deviation = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{deviation}"


def draw(work: Path, results: dict[str, Results]) -> None:
    """Held-out losses over the steps, a panel an objective, a line a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, len(LEVELS), sharey=True)
    for panel, level in zip(panels, LEVELS, strict=True):
        for number, (name, runs) in enumerate(results.items()):
            for place, seed in enumerate(runs):
                lines = [line for line in read_metrics(run_folder(work, name, seed)) if "evaluation" in line]
                found = [(line["step"], line["evaluation"]["objectives"][level]) for line in lines]
                panel.plot(*zip(*found, strict=True), f"C{number}.-", label=None if place else name, linewidth=1)
        panel.set_title(level)
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("held-out loss, nats a target")
    panels[-1].legend(frameon=False)
    figure.savefig(work / "curve.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
