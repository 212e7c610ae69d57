"""Cloze questions: the right one of several answers is made the likeliest (reference section 2, verbalizers)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from glmdata.shards.reader import Shards
from glmdata.streaming.steps import Batch
from glmdata.training.choices import choice_log_probabilities, first_token_log_probabilities, real_rows
from glmdata.training.finetune_settings import ClozeSettings

__all__ = ["Answers", "Cloze", "ClozeSums", "answers_of"]


class Answers(NamedTuple):
    """What the choices of a build are like."""

    most: int
    """Choices of a row at most."""
    single: bool
    """Whether each is one token."""
    labels: tuple[str, ...]
    """Names of the choices where all rows have the same, those of the recipe's verbalizers."""


def answers_of(shards: Shards) -> Answers:
    """Look at a build: at one row where the recipe has verbalizers, else at all."""
    verbalizers = shards.manifest.recipe["finetune"]["verbalizers"]
    most, single = 0, True
    for number in range(1 if verbalizers else shards.rows):
        ends = shards.row(number)["choice_ends"]
        most, single = max(most, len(ends)), single and bool(np.all(np.diff(ends, prepend=0) == 1))
    return Answers(most, single, tuple(verbalizers))


class ClozeSums:
    """Losses and right answers; answers by label."""

    def __init__(self, answers: Answers, device: torch.device) -> None:
        """Nothing summed yet."""
        self.labels = answers.labels
        self.sums = torch.zeros(4 + 3 * answers.most, dtype=torch.float64, device=device)
        """Losses, questions, right ones, target tokens; by label right ones, times given, times right to give."""

    def add(self, losses: Tensor, real: Tensor, given: Tensor, label: Tensor, tokens: Tensor) -> None:
        """Add B questions: loss, whether it counts, choice and label int64, and target tokens, [B] each."""
        count = real.double()
        right = count * (given == label)
        figures = (losses.detach() * count, count, right, tokens * count)
        self.sums[:4] += torch.stack([figure.sum() for figure in figures])
        by_label = self.sums[4:].view(3, -1)
        for row, (names, values) in enumerate(((label, right), (given, count), (label, count))):
            by_label[row].index_add_(0, names, values)

    def means(self) -> dict[str, Any]:
        """`loss`, `questions`, `accuracy`; with verbalizers `macro_f1`, and of each label how many, how many right."""
        loss, questions, right, tokens = self.sums[:4].tolist()
        found: dict[str, Any] = {
            "loss": loss / questions if questions else float("nan"),
            "target_tokens": int(tokens),
            "questions": int(questions),
            "accuracy": right / questions if questions else float("nan"),
        }
        if self.labels:
            by_label = self.sums[4:].view(3, -1)
            met = by_label[1] + by_label[2] > 0
            scores = 2 * by_label[0] / (by_label[1] + by_label[2])
            found["macro_f1"] = float(scores[met].mean()) if met.any() else float("nan")
            found["labels"] = {
                name: {"questions": int(there), "right": int(hit)}
                for name, hit, there in zip(self.labels, *by_label[[0, 2]].tolist(), strict=True)
            }
        return found


class Cloze:
    """Cross entropy over the log probabilities of choices; where all are single tokens, one row answers for them."""

    choices = True

    def __init__(
        self, answers: Sequence[Answers], settings: ClozeSettings, device: torch.device, gmask_id: int | None = None
    ) -> None:
        """For questions with these answers: of the build, and of the one that is evaluated on."""
        self.answers = Answers(max(one.most for one in answers), all(one.single for one in answers), answers[0].labels)
        self.settings, self.device, self.gmask_id = settings, device, gmask_id

    def sums(self) -> ClozeSums:
        """Losses and right answers."""
        return ClozeSums(self.answers, self.device)

    def weight(self, batch: Batch) -> Tensor:
        """Questions."""
        return real_rows(batch).float().sum()

    def losses(self, model: nn.Module, batch: Batch, sums: ClozeSums) -> Tensor:
        """Sum over the questions."""
        score = first_token_log_probabilities if self.answers.single else choice_log_probabilities
        scores, tokens, there = score(model, batch, self.gmask_id)
        label, real = batch["label"], real_rows(batch)
        weighed = scores / tokens.clamp(min=1) ** self.settings.length_penalty
        weighed = weighed.masked_fill(~there, -torch.inf)
        losses = functional.cross_entropy(weighed, label, reduction="none")
        if self.settings.language_model_weight:
            losses = losses - self.settings.language_model_weight * scores.gather(1, label[:, None])[:, 0]
        sums.add(losses, real, weighed.argmax(1), label, tokens.sum(1))
        return (losses * real).sum()
