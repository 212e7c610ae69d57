"""Where numba keeps compiled kernels."""

import os
import tempfile
from pathlib import Path

import glmdata

__all__ = ["find_kernel_cache"]


def find_kernel_cache() -> None:
    """Name a temporary folder for compiled kernels where neither the package nor the home folder can be written.

    numba refuses to cache, and so to run, without one: as in a container with a read-only root. Called before the
    kernels are imported.
    """
    if "NUMBA_CACHE_DIR" in os.environ or os.access(Path(glmdata.__file__).parent, os.W_OK):
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    while not home.exists() and home != home.parent:
        home = home.parent
    if not os.access(home, os.W_OK):
        os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"glmdata-kernels-{os.getuid()}")
