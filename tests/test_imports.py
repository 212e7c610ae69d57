"""What a process of ours imports, and what it leaves alone."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from commands import GLMDATA, SMALL

from glmdata.pipelines.build import Built
from glmdata.tokenization import Tokenizer

UNUSED = ("pandas", "scipy")


def _ran(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, timeout=120)


@pytest.mark.parametrize("name", UNUSED)
def test_hidden_libraries_are_as_if_they_were_not_installed(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    lines = (
        "import importlib.util",
        "from glmdata.imports import hide_unused_libraries",
        "hide_unused_libraries()",
        f"assert importlib.util.find_spec({name!r}) is None",
        "import pyarrow, json, email.policy",
        "pyarrow.array([1])",
        "try:",
        f"    import {name}",
        "except ModuleNotFoundError as error:",
        "    print(error.name)",
    )
    assert _ran(sys.executable, "-c", "\n".join(lines)).stdout == f"{name}\n"


def test_a_library_that_is_imported_already_is_kept() -> None:
    pytest.importorskip("scipy")
    lines = (
        "import scipy",
        "from glmdata.imports import hide_unused_libraries",
        "hide_unused_libraries()",
        "import scipy as again",
        "import scipy.special",
        "assert scipy is again",
    )
    _ran(sys.executable, "-c", "\n".join(lines))


def test_a_build_imports_neither(corpus: Path, tmp_path: Path) -> None:
    command = [*GLMDATA, "build", "--corpus", corpus, "--out", tmp_path / "out", *SMALL]
    told = _ran(command[0], "-X", "importtime", *command[1:]).stderr
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert {"numba.np.linalg", "pyarrow.compute", "jinja2"} <= imported  # kernels ran, the page was made
    assert not imported & {"pandas._libs", "scipy.version"}  # attempts are listed too, by the name that was asked for


def test_a_tokenizer_is_loaded_once_for_all_who_have_it(built: Built, tmp_path: Path) -> None:
    model, copy = built.folder / "tokenizer.model", tmp_path / "copy.model"
    copy.write_bytes(model.read_bytes())
    first = Tokenizer.load(model)
    assert Tokenizer.load(copy) is first
