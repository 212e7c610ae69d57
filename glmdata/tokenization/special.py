"""GLM's special tokens: their roles, spellings and ids."""

from dataclasses import asdict, dataclass

__all__ = ["SPECIAL_TEXTS", "SpecialTokens"]

SPECIAL_TEXTS = {
    "eos": "<|endoftext|>",
    "pad": "<|endoftext|>",
    "cls": "[CLS]",
    "mask": "[MASK]",
    "smask": "[sMASK]",
    "gmask": "[gMASK]",
    "sop": "<|startofpiece|>",
    "eop": "<|endofpiece|>",
}
"""Role -> spelling, as the original writes them (reference section 1.8); pad is eos there too."""

_ORDER = ("<|endoftext|>", "[CLS]", "[MASK]", "[sMASK]", "[gMASK]", "<|startofpiece|>", "<|endofpiece|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Ids of the special tokens. They never come out of text, not even out of their own spelling."""

    mask: int
    gmask: int
    smask: int
    sop: int
    eop: int
    cls: int
    eos: int
    pad: int

    @classmethod
    def above(cls, num_pieces: int) -> "SpecialTokens":
        """The ids right above a SentencePiece model of `num_pieces` pieces, as in GLM's Chinese models."""
        ids = {text: num_pieces + place for place, text in enumerate(_ORDER)}
        return cls(**{role: ids[text] for role, text in SPECIAL_TEXTS.items()})

    def by_role(self) -> dict[str, int]:
        """{role: id}."""
        return asdict(self)


NUM_SPECIAL = len(_ORDER)
