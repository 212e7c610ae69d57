"""The network: what logits only at losses save, and what quantised weights cost.

    python benchmarks/model.py SHARDS [--steps 200] [--threads 1]

SHARDS is a finished build. Measured: a training step (forward and backward) with logits everywhere and with logits only
where there is a loss, at the build's vocabulary and at 50,304, least of five; then a small model after some steps of
training, its bytes and its perplexity on rows that it was not trained on, as float32, int8 and int4.
"""

import argparse
import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from timing import least_seconds

from glmdata.model import GLM, GLMConfig, preset
from glmdata.model.loss import INPUTS, batch_loss, loss
from glmdata.model.quantize import model_bytes, quantize_model
from glmdata.streaming import ShardStream

BATCH = 8
HELD_OUT = 8


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    stream = ShardStream(args.shards, BATCH, seed=1)
    manifest = stream.shards.manifest
    config = preset(
        "tiny",
        vocabulary_size=-(-manifest.tokenizer.vocabulary_size // 128) * 128,
        max_positions=manifest.sequence_length,
        dropout=0.0,
    )
    batches = [batch for batch, _ in zip(stream, range(args.steps + HELD_OUT), strict=False)]
    steps(config, batches[0])
    quantised(config, batches)


def steps(config: GLMConfig, batch: dict[str, Any]) -> None:
    """Seconds of a step."""
    share = float((batch["loss_mask"] > 0).float().mean())
    print(f"{BATCH} rows of {config.max_positions}, {share:.0%} of the places have a loss")
    for vocabulary in sorted({config.vocabulary_size, 50_304}):
        torch.manual_seed(0)
        model = GLM(preset("tiny", vocabulary_size=vocabulary, max_positions=config.max_positions, dropout=0.0))

        def chosen(model: GLM = model) -> None:
            batch_loss(model, batch).backward()

        def everywhere(model: GLM = model) -> None:
            logits = model(**{name: batch[name] for name in INPUTS if name in batch})
            loss(logits, batch["target_ids"], batch["loss_mask"]).backward()

        seconds = [least_seconds(call) for call in (everywhere, chosen)]
        print(
            f"vocabulary {vocabulary:6,}: logits everywhere {seconds[0]:.3f} s, at losses {seconds[1]:.3f} s, "
            f"{seconds[0] / seconds[1]:.2f} times as fast"
        )


def quantised(config: GLMConfig, batches: Sequence[dict[str, Any]]) -> None:
    """Bytes and perplexity of a model that has learnt something."""
    held_out, training = batches[:HELD_OUT], batches[HELD_OUT:]
    torch.manual_seed(0)
    model = GLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.98))
    for batch in training:
        optimizer.zero_grad()
        batch_loss(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    print(f"after {len(training)} steps of {BATCH} rows, on {HELD_OUT * BATCH} others")
    for bits in (32, 8, 4):
        kept = model if bits == 32 else quantize_model(copy.deepcopy(model), bits)
        with torch.no_grad():
            total = sum(float(batch_loss(kept, batch, divisor=1.0)) for batch in held_out)
        mean = total / sum(float(batch["loss_mask"].sum()) for batch in held_out)
        print(
            f"{bits:2} bits: blocks {model_bytes(kept.layers) / 1e6:6.2f} MB, "
            f"all {model_bytes(kept) / 1e6:6.2f} MB, perplexity {math.exp(mean):8.2f}"
        )


if __name__ == "__main__":
    main()
