"""A codec whose tokens are characters, for tests that read what is in a row."""

import numpy as np

from glmdata.infilling.contexts import Codec
from glmdata.tokenization.special import SpecialTokens

SPECIAL = SpecialTokens.above(0x110000)

NAMES = {0x110000: "E", 0x110001: "C", 0x110002: "M", 0x110003: "S", 0x110004: "G"}

CODEC = Codec(
    encode=lambda texts: [np.array([*map(ord, text)], np.int32) for text in texts],
    decode=lambda ids: "".join(map(chr, ids)),
    special=SPECIAL,
)


def shown(tokens):
    return "".join(NAMES.get(token) or chr(token) for token in tokens.tolist())
