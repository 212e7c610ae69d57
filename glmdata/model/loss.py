"""The blank-infilling loss, token by token."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from glmdata.model.rotary import one_row

__all__ = ["INPUTS", "batch_loss", "loss", "model_inputs", "token_losses", "trimmed"]

INPUTS = ("input_ids", "position_ids", "context_length", "segment_ids", "segment_context_ends")
"""What of a ShardStream batch the network reads; the last two are there in builds that pack segments."""

TRIM_UNIT = 32
"""Few lengths, so that a compiled model is compiled for few; padding of 16 columns on average."""


def token_losses(logits: Tensor, target_ids: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of each place in float32: logits [..., V], target_ids [...] -> [...].

    With `label_smoothing` e it is 1 - e of that, and e of the mean of -log p over all ids, as in the original.
    """
    flat = functional.cross_entropy(
        logits.flatten(0, -2).float(), target_ids.flatten(), reduction="none", label_smoothing=label_smoothing
    )
    return flat.view(target_ids.shape)


def loss(logits: Tensor, target_ids: Tensor, loss_mask: Tensor, *, divisor: Tensor | float | None = None) -> Tensor:
    """Sum of losses times loss_mask, over the sum of loss_mask or over `divisor`.

    The original takes the mean of each micro-batch and then the mean of those, so that tokens of micro-batches with few
    targets weigh more. With the sum of loss_mask over a whole step as `divisor`, the losses (and gradients) of its
    micro-batches add up to those of one batch.

    Args:
        logits: [B, L, V]; or [n, V], those of the n places where loss_mask is not 0, as GLM gives them.
        target_ids: int64 [B, L].
        loss_mask: float [B, L].
        divisor: what to divide by; None: the sum of loss_mask. Where that is 0 so is the loss.
    """
    if logits.dim() == target_ids.dim():
        chosen = loss_mask != 0
        target_ids, loss_mask = target_ids[chosen], loss_mask[chosen]
    total = (token_losses(logits, target_ids) * loss_mask).sum()
    if divisor is None:
        weight = loss_mask.sum()
        divisor = torch.where(weight == 0, torch.ones_like(weight), weight)
    return total / divisor


def model_inputs(batch: Mapping[str, Any], gmask_id: int | None = None) -> dict[str, Tensor]:
    """What of a ShardStream batch the network reads; `gmask_id` as of `batch_loss`."""
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    if gmask_id is not None:
        ids = batch["input_ids"]
        inputs["position_ids"] = one_row(batch["position_ids"], ids, gmask_id, batch.get("segment_ids"))
    return inputs


def trimmed(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch without the columns behind its last loss, which no loss depends on, in steps of TRIM_UNIT.

    Rows of fine-tuning are mostly padding; nothing of a row of pre-training goes.
    """
    length = batch["loss_mask"].shape[1]
    losses = (batch["loss_mask"] != 0).any(0).nonzero()
    end = int(losses[-1]) + 1 if len(losses) else 1
    end = min(length, -(-end // TRIM_UNIT) * TRIM_UNIT)
    columns = {*INPUTS, "target_ids", "loss_mask"} - {"context_length"}
    return {name: tensor[..., :end] if name in columns else tensor for name, tensor in batch.items()}


def batch_loss(
    model: Callable[..., Tensor],
    batch: Mapping[str, Any],
    *,
    divisor: Tensor | float | None = None,
    gmask_id: int | None = None,
) -> Tensor:
    """Loss of a ShardStream batch; logits are made where there is a loss, and nowhere else.

    Args:
        model: a GLM, or one wrapped for several processes.
        batch: of a ShardStream.
        divisor: as of `loss`.
        gmask_id: for a model with rotary-1d: the id of [gMASK], whose spans count on in the one row of positions.
    """
    logits = model(**model_inputs(batch, gmask_id), loss_mask=batch["loss_mask"])
    return loss(logits, batch["target_ids"], batch["loss_mask"], divisor=divisor)
