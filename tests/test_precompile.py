"""Kernels compiled ahead are those that a build runs, and a build does not depend on them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpora import write_corpus

from glmdata import kernels
from glmdata.pipelines.compiling import Compilation

SIGNATURES_OF_A_BUILD = """
import sys
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from glmdata.cli.main import _glmdata
from glmdata.precompile import GROUPS

def signatures():
    found = set()
    for name, module in list(sys.modules.items()):
        if name.startswith("glmdata"):
            for value in vars(module).values():
                if isinstance(value, Dispatcher):
                    found |= {(value.__module__, value.__name__, signature) for signature in value.signatures}
    return found

for group in GROUPS:
    group()
ahead = signatures()
assert len(ahead) > 10
command = ["build", "--corpus", sys.argv[1], "--out", sys.argv[2], "--address", "none", "--json"]
options = ["tokenizer.vocabulary_size=800", "sequence_length=96", "dedupe.jaccard_threshold=0.7"]
_glmdata.main([*command, *(part for option in options for part in ("--set", option))], standalone_mode=False)
assert signatures() == ahead, signatures() - ahead
"""


def test_a_build_runs_no_kernel_that_was_not_compiled_ahead(tmp_path: Path) -> None:
    """In a process of its own, where no other test has called any."""
    (tmp_path / "corpus").mkdir()
    write_corpus(tmp_path / "corpus")
    paths = [str(tmp_path / "corpus"), str(tmp_path / "out")]
    run = subprocess.run([sys.executable, "-c", SIGNATURES_OF_A_BUILD, *paths], capture_output=True, timeout=300)
    assert run.returncode == 0, run.stderr.decode()


def test_a_complete_cache_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.numba.config, "CACHE_DIR", str(tmp_path))
    assert not kernels.are_compiled()
    kernels.mark_compiled()
    assert kernels.are_compiled()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    compilation = Compilation(2)
    compilation.start()
    assert compilation._running is None


def test_a_python_that_cannot_be_started_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    compilation = Compilation(2)
    compilation.start()
    compilation.wait()
    compilation.stop()


def test_what_was_begun_is_ended_with_all_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after Ctrl-C; nothing is marked as done."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kernels.numba.config, "CACHE_DIR", str(tmp_path))
    compilation = Compilation(2)
    compilation.start()
    assert compilation._running is not None
    group = compilation._running.pid
    while not list(tmp_path.rglob("*.nbi")):
        time.sleep(0.05)  # until a kernel is there
    compilation.stop()
    while _alive(group):  # for ever, if one lives on
        time.sleep(0.01)
    assert not list(tmp_path.rglob("complete-*"))


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
