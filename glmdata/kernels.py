"""numba's `njit` for our kernels, with a cache that belongs to the sources of all of them.

numba's own cache knows the file of a kernel, not the files of the functions it calls: after an upgrade that changes
only those it would go on running old machine code, and the same input would not give the bytes of the version that is
installed. So the cache lies in a folder named by a digest of every source file with a kernel in it. It is made beside
the package, or where that cannot be written in the user's cache folder, or in a temporary one; numba would refuse to
run without. `NUMBA_CACHE_DIR` is respected.

This is the one module that does something when it is imported: kernels ask for their cache where they are defined.
"""

import functools
import os
import sys
import tempfile
from pathlib import Path

import numba
import xxhash
from numba.core.registry import cpu_target

__all__ = ["are_compiled", "mark_compiled", "njit"]


njit = functools.partial(numba.njit, no_cfunc_wrapper=True)
"""`numba.njit` without the code for callers in C, which no kernel has: a twentieth of the time to compile."""


def _sources_digest(package: Path) -> str:
    """Digest of all sources that define kernels, and of numba's version; 3 ms."""
    digest = xxhash.xxh3_64(numba.__version__.encode())
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if b"njit" in source:
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + source)
    return digest.hexdigest()


def _cache_folder() -> str:
    package = Path(__file__).resolve().parent
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    given = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(given)] if given else [package / "__pycache__", home / "glmdata"]
    places.append(Path(tempfile.gettempdir()) / f"glmdata-{os.getuid()}")
    name = f"kernels-{_sources_digest(package)}"
    for place in places:
        try:
            (place / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place / name, os.W_OK):
            break
    return str(place / name)


numba.config.CACHE_DIR = _cache_folder()


def are_compiled() -> bool:
    """Whether the cache holds all kernels of a build for this Python and processor."""
    return _mark().exists()


def mark_compiled() -> None:
    """Note that the cache holds all kernels of a build (glmdata.precompile)."""
    _mark().touch()


def _mark() -> Path:
    """A file named by what numba asks of a cached kernel besides its source; 3 ms."""
    machine = str(cpu_target.target_context.codegen().magic_tuple())
    digest = xxhash.xxh3_64_hexdigest(f"{sys.implementation.cache_tag} {machine}".encode())
    return Path(numba.config.CACHE_DIR) / f"complete-{digest}"
