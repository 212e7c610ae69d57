"""glmdata: raw Chinese and English text in, GLM (autoregressive blank infilling) training data out."""

__version__ = "0.1.0"

__all__ = ["__version__"]
