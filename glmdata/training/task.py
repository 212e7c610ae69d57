"""What a step learns: the loss of a micro-batch, exchangeable.

The trainer knows steps, ranks and checkpoints; a task knows what the rows are for. `language_modelling` is the default,
`cloze` another.
"""

from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from glmdata.streaming.steps import Batch

__all__ = ["Sums", "Task"]


class Sums(Protocol):
    """Figures of rows, kept so that they can be added over micro-batches and ranks."""

    sums: Tensor
    """float64, of any shape; ranks add theirs to one another's."""

    def means(self) -> dict[str, Any]:
        """What metrics.jsonl says: `loss`, `target_tokens` (those with a loss; 0: there was nothing), and more."""


S = TypeVar("S", bound=Sums)


class Task(Protocol[S]):
    """A loss, what it is divided by, and what else is told of it.

    A step's loss is the sum of `losses` over the sum of `weight`, both over all micro-batches and ranks, so that it
    does not depend on how rows are shared among those. Rows whose loss_mask is zero throughout fill up a last batch;
    they must count nowhere.
    """

    choices: bool
    """Whether batches need the choices of their rows: `ShardStream(choices=True)`."""

    def sums(self) -> S:
        """Nothing summed yet, on the device of the run."""

    def weight(self, batch: Batch) -> Tensor:
        """What the losses of a micro-batch weigh together: float, no dimensions."""

    def losses(self, model: nn.Module, batch: Batch, sums: S) -> Tensor:
        """The weighted losses of a micro-batch, added up, with a gradient; noted in `sums`.

        `model` is a GLM, or one wrapped for several processes; it is called once for each micro-batch.
        """
