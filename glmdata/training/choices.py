"""Log probabilities of the choices of rows: what cloze questions are answered by, and what preferences compare."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from glmdata.model.loss import model_inputs, token_losses, trimmed
from glmdata.streaming.steps import Batch

__all__ = ["ChoiceScores", "choice_log_probabilities", "first_token_log_probabilities", "real_rows"]


class ChoiceScores(NamedTuple):
    """B rows, C choices."""

    scores: Tensor
    """float32 [B, C]: log p of each choice; 0 where a row has fewer."""
    tokens: Tensor
    """float32 [B, C]: tokens that it is the sum of."""
    there: Tensor
    """bool [B, C]: whether there is such a choice."""


def choice_log_probabilities(model: nn.Module, batch: Batch, gmask_id: int | None = None) -> ChoiceScores:
    """Sums over the tokens of each choice, eop with them, in one call of the model with a row for every choice.

    Args:
        model: a GLM, or one wrapped for several processes.
        batch: of `ShardStream(choices=True)`.
        gmask_id: as of `loss.model_inputs`.
    """
    counts = batch["num_choices"]
    there = torch.arange(batch["choice_input_ids"].shape[1], device=counts.device) < counts[:, None]
    rows = there.nonzero()[:, 0]
    flat = {name: batch[f"choice_{name}"][there] for name in ("input_ids", "target_ids", "loss_mask", "position_ids")}
    flat = trimmed({**flat, "context_length": batch["context_length"][rows]})
    chosen = flat["loss_mask"] != 0
    logits = model(**model_inputs(flat, gmask_id), loss_mask=flat["loss_mask"])
    losses = token_losses(logits, flat["target_ids"][chosen])
    sums = losses.new_zeros(len(rows)).index_add(0, chosen.nonzero()[:, 0], -losses)
    scores, tokens = losses.new_zeros(there.shape), losses.new_zeros(there.shape)
    scores[there], tokens[there] = sums, chosen.sum(1).to(tokens.dtype)
    return ChoiceScores(scores, tokens, there)


def first_token_log_probabilities(model: nn.Module, batch: Batch, gmask_id: int | None = None) -> ChoiceScores:
    """Log p of the first token of each choice, in one call with a row for every row: all there is to choices of one.

    What stands behind <sop> has no part in the logits at <sop>, so the row of the right answer serves them all.
    Arguments as of `choice_log_probabilities`.
    """
    counts, ids = batch["num_choices"], batch["choice_target_ids"]
    there = torch.arange(ids.shape[1], device=counts.device) < counts[:, None]
    place = (batch["choice_loss_mask"][:, 0] != 0).int().argmax(1)
    row = torch.arange(len(place), device=place.device)
    only = torch.zeros_like(batch["loss_mask"])
    only[row, place] = 1.0
    first = trimmed({**batch, "loss_mask": only})
    logits = model(**model_inputs(first, gmask_id), loss_mask=first["loss_mask"])
    scores = logits.float().log_softmax(-1).gather(1, ids[row, :, place]).masked_fill(~there, 0.0)
    return ChoiceScores(scores, there.to(scores.dtype), there)


def real_rows(batch: Batch) -> Tensor:
    """Bool [B]: which rows count; those that fill up a last batch have no loss."""
    return (batch["loss_mask"] != 0).any(1)
