"""What is changed in a text before anything else looks at it, and nothing more.

In this order, each step as the recipe asks: controls and non-characters go, CRLF and CR become LF, the text is put
into Unicode form NFC. The order makes the result stable: normalising twice equals normalising once. Most text is left
as it is, and nearly all of that is recognised by one pass over many texts, at 440 MB/s a core and without the GIL.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.recipe import NormalizationSettings

__all__ = ["PLAIN_RANGES", "Normalizer"]

PLAIN_RANGES = (
    *((0x09, 0x0A), (0x20, 0x7E), (0xA0, 0x02FF), (0x0391, 0x03CE), (0x0400, 0x0482), (0x048A, 0x052F)),
    *((0x2002, 0x20CF), (0x2190, 0x2328), (0x2460, 0x27FF), (0x2E80, 0x3029), (0x3030, 0x3098), (0x309B, 0x9FFF)),
    *((0xAC00, 0xD7A3), (0xFE30, 0xFE6F), (0xFF01, 0xFFEF), (0x1F000, 0x1FAFF), (0x20000, 0x2EBE0)),
)
"""Code points, first and last, of which any text is left as it is: none is removed, each has NFC_Quick_Check=Yes and
combining class 0, so that nothing beside it matters (Unicode Standard Annex 15, section 9)."""
_NOT_PLAIN = "[^" + "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in PLAIN_RANGES) + "]"

# C0 without tab, LF and CR; DEL; C1; the byte order mark; non-characters (Unicode 15, section 23.7); lone surrogates.
_BMP = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff"
_ASTRAL = "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(1, 17))
_REMOVED = re.compile(f"[{_BMP}{_ASTRAL}]")
# `re` tries astral ranges one by one at every character, so the search that clean text pays for has a single one,
# which begins behind the emoji; text it stops at needlessly (rare Han) is merely scanned again.
_DOUBTFUL = re.compile(rf"[{_BMP}\U0001fffe-\U0010ffff]")
_ASCII_REMOVED = bytes([*range(9), 11, 12, *range(14, 32), 127])


class Normalizer:
    """Normalises texts as `settings` say; it is idempotent and takes any str, surrogates too.

    With control_characters "remove", CR is no control but a newline: only `newlines` decides about it.
    """

    def __init__(self, settings: NormalizationSettings) -> None:
        self._remove = settings.control_characters == "remove"
        self._line_feeds = settings.newlines == "lf"
        self._compose = settings.unicode_form == "NFC"

    def __call__(self, text: str) -> str:
        """One text, normalised."""
        if self._remove and _has_removed(text):
            text = _REMOVED.sub("", text)
        if self._line_feeds and "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self._compose and not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
        return text

    def leaves(self, texts: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Of which texts (valid UTF-8) it is certain at a glance that they stay as they are; bool[len(texts)]."""
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offsets[1:])
        joined = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(b"".join(texts)))
        found: npt.NDArray[np.bool_] = pc.match_substring_regex(joined, _NOT_PLAIN).to_numpy(zero_copy_only=False)
        return ~found


def _has_removed(text: str) -> bool:
    """Whether `text` may hold a character that is removed; never false where it does."""
    if text.isascii():
        # Deleting by table runs four times as fast as a regular expression over ASCII.
        return len(text.encode("ascii").translate(None, _ASCII_REMOVED)) != len(text)
    return _DOUBTFUL.search(text) is not None
