"""Preferences: the chosen of two answers is made likelier than the rejected one, against a frozen reference (DPO).

With h = (log pi(chosen) - log ref(chosen)) - (log pi(rejected) - log ref(rejected)) the loss of a pair is
-log sigmoid(beta h): Rafailov et al. 2023, equation 7. Log probabilities are sums over an answer's tokens, eop with
them. The reference is the model as the run began; where an adapter is trained it is the model without it, and no copy.
Nothing is dropped in either, as in the paper's code: the difference of the two would be noise.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from glmdata.model.adapters import has_adapter, without_adapter
from glmdata.streaming.steps import Batch
from glmdata.training.choices import choice_log_probabilities, real_rows
from glmdata.training.finetune_settings import PreferenceSettings

__all__ = ["Preference", "PreferenceSums", "preference_losses"]

_MEANS = (
    "loss",
    "reward_accuracy",
    "reward_margin",
    "chosen_reward",
    "rejected_reward",
    "chosen_log_probability",
    "rejected_log_probability",
)


def preference_losses(difference: Tensor, settings: PreferenceSettings) -> Tensor:
    """The loss of each pair, of any shape, from h: by how much more than the reference the model prefers the chosen.

    Sources: DPO, Rafailov et al. 2023, equation 7; with label_smoothing cDPO, Mitchell 2023, equation 3; IPO, Azar et
    al. 2023, equation 17; with margin, length_normalised and reference_free SimPO, Meng et al. 2024, equation 6.
    """
    if settings.loss == "ipo":
        return (difference - 1 / (2 * settings.beta)) ** 2
    logits, smoothing = settings.beta * difference - settings.margin, settings.label_smoothing
    return -functional.logsigmoid(logits) * (1 - smoothing) - functional.logsigmoid(-logits) * smoothing


class PreferenceSums:
    """Losses, rewards and log probabilities of pairs."""

    def __init__(self, device: torch.device) -> None:
        """Nothing summed yet."""
        self.sums = torch.zeros(2 + len(_MEANS), dtype=torch.float64, device=device)
        """Pairs, target tokens of both answers, then what _MEANS are of."""

    def add(self, losses: Tensor, real: Tensor, rewards: Tensor, scores: Tensor, tokens: Tensor) -> None:
        """Add B pairs: loss and whether it counts [B]; of chosen and rejected [B, 2] reward, log p, target tokens.

        A reward is beta times how much likelier than to the reference the answer is to the model. Equal ones, as those
        of the first step are, count half for the accuracy.
        """
        margin = rewards[:, 0] - rewards[:, 1]
        accuracy = (margin.sign() + 1) / 2
        columns = (torch.ones_like(losses), tokens.sum(1), losses, accuracy, margin, *rewards.T, *scores.T)
        self.sums += torch.stack([column.detach().double() for column in columns]) @ real.double()

    def means(self) -> dict[str, Any]:
        """`loss`, `target_tokens`, `pairs`, and the means of _MEANS."""
        pairs, tokens, *sums = self.sums.tolist()
        means = {name: total / pairs if pairs else float("nan") for name, total in zip(_MEANS, sums, strict=True)}
        return {"loss": means["loss"], "target_tokens": int(tokens), "pairs": int(pairs), **means}


class Preference:
    """The loss of pairs, each as heavy as the other: two rows of one call of the model."""

    choices = True

    def __init__(
        self, model: nn.Module, settings: PreferenceSettings, device: torch.device, gmask_id: int | None = None
    ) -> None:
        """`model` as the run begins, not wrapped: it is the reference. Without an adapter on it a frozen copy is.

        The model has no dropout from here on, whatever its settings say.
        """
        _stop_dropout(model)
        self.settings, self.device, self.gmask_id = settings, device, gmask_id
        self.model: nn.Module | None = None
        """What has the adapter, or the frozen copy; none where no reference is asked for."""
        if settings.reference_free:
            return
        if has_adapter(model):
            self.model = model
        else:
            self.model = copy.deepcopy(model).requires_grad_(requires_grad=False)

    def sums(self) -> PreferenceSums:
        """Losses and rewards."""
        return PreferenceSums(self.device)

    def weight(self, batch: Batch) -> Tensor:
        """Pairs."""
        return real_rows(batch).float().sum()

    def losses(self, model: nn.Module, batch: Batch, sums: PreferenceSums) -> Tensor:
        """Sum over the pairs."""
        scores, tokens, _ = choice_log_probabilities(model, batch, self.gmask_id)
        length = tokens if self.settings.length_normalised else torch.ones_like(tokens)
        gained = (scores - self._reference(batch, scores)) / length
        losses, real = preference_losses(gained[:, 0] - gained[:, 1], self.settings), real_rows(batch)
        sums.add(losses, real, self.settings.beta * gained, scores, tokens)
        return (losses * real).sum()

    @torch.no_grad()
    def _reference(self, batch: Batch, scores: Tensor) -> Tensor:
        """Log probabilities by the reference, [B, 2]."""
        if self.model is None:
            return torch.zeros_like(scores)
        with without_adapter(self.model):
            return choice_log_probabilities(self.model, batch, self.gmask_id).scores


def _stop_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]  # a number, not a module
