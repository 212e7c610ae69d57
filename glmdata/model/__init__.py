"""The GLM network: one decoder for GLM, GLM-130B and ChatGLM-6B, plain PyTorch.

Read it in this order: config, rotary, attention, block, glm, loss; then reference (original checkpoints), quantize,
checkpoint, lora, prefix and adapters, and decoding, beams, generation, chat. Configurations are there without PyTorch.
"""

from typing import TYPE_CHECKING, Any

from glmdata.model.config import GLMConfig
from glmdata.model.presets import PRESETS, preset

if TYPE_CHECKING:
    from glmdata.model.glm import GLM

__all__ = ["GLM", "PRESETS", "GLMConfig", "preset"]


def __getattr__(name: str) -> Any:
    """Import torch when GLM is asked for, and not before."""
    if name == "GLM":
        try:
            from glmdata.model.glm import GLM
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "safetensors"):
                raise
            raise ImportError('GLM needs PyTorch and safetensors: pip install "glmdata[train]"') from error
        return GLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
