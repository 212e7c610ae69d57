"""SentencePiece tokenizers with GLM's special tokens above their vocabulary."""

from glmdata.tokenization.special import SPECIAL_TEXTS, SpecialTokens
from glmdata.tokenization.tokenizer import Tokenizer

__all__ = ["SPECIAL_TEXTS", "SpecialTokens", "Tokenizer"]
