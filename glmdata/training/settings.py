"""Every knob of a training run but the model's own."""

from typing import Literal

from pydantic import Field, model_validator

from glmdata.recipe_sections import Section
from glmdata.training.schedule import Decay, Schedule

__all__ = ["TrainSettings"]


class TrainSettings(Section):
    """How a model learns from shards. Rates and regularisation are those of GLM's base model where it names them."""

    steps: int = Field(1000, ge=1)
    """Updates of the whole run; the schedule decays until here."""
    batch_size: int = Field(8, ge=1, le=1 << 16)
    """Rows of a worker's micro-batch."""
    accumulation: int = Field(1, ge=1, le=1 << 16)
    """Micro-batches an update; every target token of an update weighs the same, whichever it is in."""
    seed: int = Field(0, ge=0, lt=1 << 63)
    """Of the order of samples, of dropout and of the first weights."""
    learning_rate: float = Field(4e-4, gt=0)
    """At the end of the warm-up."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the steps in which the rate rises."""
    decay: Decay = "cosine"
    """How the rate falls after the warm-up."""
    final_ratio: float = Field(0.1, ge=0, le=1)
    """The rate at the end, as a share of the highest."""
    weight_decay: float = Field(0.1, ge=0)
    """Not on biases and layer norms."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Adam's decay of the mean."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Adam's decay of the variance (GLM-130B; the original's default is 0.999)."""
    epsilon: float = Field(1e-8, gt=0)
    """Adam's epsilon."""
    clip: float = Field(1.0, ge=0)
    """Greatest norm of an update's gradient; 0: not clipped."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the matrix products; weights and moments stay fp32. fp16 scales the loss."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Of several workers: each has the whole model, or a part of every layer (FSDP2)."""
    activation_checkpointing: bool = False
    """Layers are computed again backwards: less memory, a third more work."""
    compile: bool = False
    """torch.compile the model."""
    remask: bool = False
    """Masks drawn anew in each epoch after the first."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between evaluations; 0: at the end only, where there is something to evaluate on."""
    save_every: int = Field(500, ge=1)
    """Steps between checkpoints; the last step always has one."""
    keep: int = Field(2, ge=1)
    """Checkpoints that stay; older ones are removed."""
    tensorboard: bool = True
    """Event files beside metrics.jsonl, where the package tensorboard is installed."""

    @model_validator(mode="after")
    def _warms_up_before_the_end(self) -> "TrainSettings":
        if self.warmup == 1 and self.decay != "constant":
            raise ValueError("a warmup of the whole run leaves nothing to decay in")
        return self

    @property
    def schedule(self) -> Schedule:
        """The learning rate of each step."""
        return Schedule(
            peak=self.learning_rate,
            warmup_steps=int(self.warmup * self.steps),
            decay_steps=self.steps,
            decay=self.decay,
            final_ratio=self.final_ratio,
        )
