"""The default task: every target token counts the same. Pre-training, and answers of `sft` and `seq2seq` rows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glmdata.model.loss import model_inputs, token_losses, trimmed
from glmdata.streaming.steps import Batch
from glmdata.training.losses import LossSums

__all__ = ["LanguageModelling"]


class LanguageModelling:
    """Cross entropy of the target tokens; the head works on them alone."""

    choices = False

    def __init__(
        self,
        languages: Sequence[str],
        device: torch.device,
        gmask_id: int | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        """`languages` are the build's; `gmask_id` as of `loss.model_inputs`; labels are smoothed in training alone."""
        self.languages, self.device, self.gmask_id = languages, device, gmask_id
        self.label_smoothing = label_smoothing

    def sums(self) -> LossSums:
        """Losses by objective and language."""
        return LossSums(self.languages, self.device)

    def weight(self, batch: Batch) -> Tensor:
        """Target tokens, each as heavy as its loss_mask says."""
        return batch["loss_mask"].sum()

    def losses(self, model: nn.Module, batch: Batch, sums: LossSums) -> Tensor:
        """Sum of the losses, each times its weight."""
        batch = trimmed(batch)
        chosen = batch["loss_mask"] != 0
        inputs = model_inputs(batch, self.gmask_id)
        logits = model(**inputs, loss_mask=batch["loss_mask"])
        losses = token_losses(logits, batch["target_ids"][chosen], self.label_smoothing if model.training else 0.0)
        weights, rows = batch["loss_mask"][chosen], chosen.nonzero()[:, 0]
        sums.add(losses, weights, batch["objective"][rows], batch["language"][rows])
        return (losses * weights).sum()
