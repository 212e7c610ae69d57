"""Every knob of a finetuning run."""

from typing import Any, Literal

from pydantic import Field, model_validator

from glmdata.model.adapter_settings import AdapterSettings, LoRASettings, PrefixSettings
from glmdata.recipe_sections import Section
from glmdata.training.schedule import Decay
from glmdata.training.settings import TrainSettings

__all__ = ["ClozeSettings", "FinetuneSettings", "PreferenceSettings"]

_BY_ADAPTER = {
    "none": {"learning_rate": 1e-5, "weight_decay": 0.1},  # THUDM/GLM, config_tasks/task_boolq.sh, seq_cnndm_org.sh
    "lora": {"learning_rate": 1e-4, "weight_decay": 0.0},  # ChatGLM-Tuning
    "prefix": {"learning_rate": 2e-2, "weight_decay": 0.0},  # ChatGLM-6B, ptuning/train.sh
}


class ClozeSettings(Section):
    """How a choice among answers is learnt."""

    length_penalty: float = Field(0.0, ge=0, le=10)
    """Log probabilities of choices of several tokens are divided by their number to this power (--length-penalty)."""
    language_model_weight: float = Field(0.0, ge=0)
    """What -log p of the right choice adds to the loss; 1 is the original's --loss-func mix."""


class PreferenceSettings(Section):
    """How the chosen of two answers is preferred to the rejected one."""

    loss: Literal["dpo", "ipo"] = "dpo"
    """dpo: -log sigmoid(beta h). ipo: (h - 1 / (2 beta))^2, which does not push pairs apart without end."""
    beta: float = Field(0.1, gt=0)
    """How closely the model stays to the reference; 0.1 in the DPO paper, 0.5 there for TL;DR, 2.0 in SimPO."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of the pairs that are taken to be labelled the wrong way round (cDPO)."""
    margin: float = Field(0.0, ge=0)
    """By how much the rewards of a pair are to differ (gamma of SimPO)."""
    length_normalised: bool = False
    """Whether log probabilities are means over an answer's tokens instead of sums."""
    reference_free: bool = False
    """Whether there is no reference; with length_normalised and a margin that is SimPO."""

    @model_validator(mode="after")
    def _of_dpo(self) -> "PreferenceSettings":
        if self.loss == "ipo" and (self.label_smoothing or self.margin):
            raise ValueError("label_smoothing and margin are of loss dpo")
        return self


class FinetuneSettings(TrainSettings):
    """How a trained model learns a task. Numbers are those of GLM's SuperGLUE runs where nothing else is said."""

    adapter: Literal["none", "lora", "prefix"] = "none"
    """What is trained: all weights, or low-rank updates or a prefix beside frozen ones."""
    epochs: int = Field(10, ge=1, le=1 << 20)
    """Passes over the rows, the last step rounded up; BoolQ has 10, ReCoRD 5, small sets up to 50."""
    steps: int = Field(0, ge=0)
    """Updates of the whole run; 0: as many as the epochs take."""
    batch_size: int = Field(16, ge=1, le=1 << 16)
    """Rows of a worker's micro-batch."""
    learning_rate: float = Field(1e-5, gt=0)
    """At the end of the warm-up. If not given 1e-5, for LoRA 1e-4 (ChatGLM-Tuning), for a prefix 2e-2 (ChatGLM-6B)."""
    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps in which the rate rises."""
    decay: Decay = "linear"
    """How the rate falls after the warm-up."""
    weight_decay: float = Field(0.1, ge=0)
    """Not on biases and layer norms. If not given 0.1, with adapters 0."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Adam's decay of the variance."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each target of sft and seq2seq rows that all ids have together; 0.1 in GLM's seq2seq runs."""
    lora: LoRASettings = LoRASettings()
    prefix: PrefixSettings = PrefixSettings()
    cloze: ClozeSettings = ClozeSettings()
    preference: PreferenceSettings = PreferenceSettings()

    @model_validator(mode="before")
    @classmethod
    def _by_adapter(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        adapter = given.get("adapter", "none")
        return {**(_BY_ADAPTER.get(adapter, {}) if isinstance(adapter, str) else {}), **given}

    @property
    def adapter_settings(self) -> AdapterSettings | None:
        """Those of the adapter, if there is one."""
        return {"none": None, "lora": self.lora, "prefix": self.prefix}[self.adapter]
