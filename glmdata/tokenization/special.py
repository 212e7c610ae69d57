"""GLM's special tokens: their roles, spellings and ids."""

from dataclasses import dataclass, replace

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
    dblock: int | None = None
    """Stands for corrupted inputs of Part B, in builds that have them."""
    first_sentinel: int | None = None
    """Mask and sop token of a row's second span; those of the further spans follow, `sentinels` pairs in all."""
    sentinels: int = 0

    @classmethod
    def above(cls, num_pieces: int) -> "SpecialTokens":
        """The ids right above a SentencePiece model of `num_pieces` pieces, as in GLM's Chinese models."""
        ids = {text: num_pieces + place for place, text in enumerate(_ORDER)}
        return cls(**{role: ids[text] for role, text in SPECIAL_TEXTS.items()})

    def extended(self, *, dblock: bool, sentinels: int) -> "SpecialTokens":
        """With the tokens that some layouts need, right above the others."""
        free = max(getattr(self, role) for role in SPECIAL_TEXTS) + 1
        return replace(
            self,
            dblock=free if dblock else None,
            first_sentinel=free + dblock if sentinels else None,
            sentinels=sentinels,
        )

    @property
    def num_added(self) -> int:
        """How many tokens `extended` put above the eight roles."""
        return (self.dblock is not None) + 2 * self.sentinels

    def by_role(self) -> dict[str, int]:
        """{role: id}."""
        roles: dict[str, int] = {role: getattr(self, role) for role in SPECIAL_TEXTS}
        if self.dblock is not None:
            roles["dblock"] = self.dblock
        if self.first_sentinel is not None:
            for place in range(self.sentinels):
                roles[f"mask{place + 1}"] = self.first_sentinel + 2 * place
                roles[f"sop{place + 1}"] = self.first_sentinel + 2 * place + 1
        return roles

    def texts(self) -> dict[str, str]:
        """{role: spelling}."""
        return {role: SPECIAL_TEXTS.get(role) or _added_text(role) for role in self.by_role()}


def _added_text(role: str) -> str:
    if role == "dblock":
        return "[dBLOCK]"
    return f"[MASK{role[4:]}]" if role.startswith("mask") else f"<|startofpiece{role[3:]}|>"


NUM_SPECIAL = len(_ORDER)
