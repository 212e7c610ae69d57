"""Compiled kernels belong to the sources of all kernels, so that an upgrade never runs old machine code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import glmdata
from glmdata import kernels

PACKAGE = Path(glmdata.__file__).parent


def test_the_digest_follows_every_source_with_a_kernel(tmp_path: Path) -> None:
    copy = tmp_path / "glmdata"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "pipelines", "cli"))
    before = kernels._sources_digest(copy)
    assert kernels._sources_digest(copy) == before
    (copy / "errors.py").write_text((copy / "errors.py").read_text() + "\n# no kernel here\n")
    assert kernels._sources_digest(copy) == before
    helper = copy / "randomness.py"
    helper.write_text(helper.read_text().replace("0xBF58476D1CE4E5B9", "0xBF58476D1CE4E5BB"))
    assert kernels._sources_digest(copy) != before


def test_every_kernel_uses_this_cache() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "kernels.py":
            assert "from numba import" not in path.read_text("utf-8"), path


def test_a_given_cache_folder_is_used(tmp_path: Path) -> None:
    code = "from glmdata.randomness import draw_below; import numpy as np; draw_below(np.uint64(1), 0, 10)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)
    assert [path.name for path in tmp_path.iterdir()] == [f"kernels-{kernels._sources_digest(PACKAGE)}"]
    assert list(tmp_path.rglob("*.nbi"))
