"""Keeps out of a process what its libraries import only because it is installed.

pyarrow asks pandas whether an argument is one of its arrays, numba asks SciPy for linear algebra; nothing here hands
over the one or wants the other. Together they are a third of the time to the first row of a build.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

__all__ = ["hide_unused_libraries"]

_UNUSED = ("pandas", "scipy")


class _Finder(PathFinder):
    """Python's finder of what is installed, but for some."""

    @classmethod
    def find_spec(cls, fullname: str, *arguments: Any, **more: Any) -> ModuleSpec | None:
        return None if fullname in _UNUSED else super().find_spec(fullname, *arguments, **more)


def hide_unused_libraries() -> None:
    """Have this process take pandas and SciPy for not installed; one that has imported them keeps them.

    For processes that are glmdata's alone, its commands and workers: a library does not do this to its users.
    """
    sys.meta_path[:] = [_Finder if finder is PathFinder else finder for finder in sys.meta_path]
