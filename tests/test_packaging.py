"""What is installed is what is in the tree."""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("glmdata", "pipelines", "cli")


def tree() -> set[str]:
    """Every file that belongs into the package, by its name there."""
    found = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in path.parts and ROOT / "glmdata" / "cli" not in path.parents:
                found.add((inside if folder == "glmdata" else Path("glmdata") / inside).as_posix())
    return {name for name in found if name.endswith((".py", ".yaml", ".jinja", "py.typed"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from an sdist, as an index would hold them."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_the_wheel_holds_exactly_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == tree()


def test_the_wheel_has_one_top_level_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/", 1)[0] for name in archive.namelist()}
    assert tops == {"glmdata", f"glmdata-{importlib.metadata.version('glmdata')}.dist-info"}


def test_the_sdist_builds_without_the_tree(wheel: Path) -> None:
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"LICENSE", "README.md", "pyproject.toml", "glmdata/cli/main.py"} <= names


def test_the_wheel_runs_from_its_own_files(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, with the tree out of reach: the command and the recipes work."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    code = "import glmdata, sys; sys.stderr.write(glmdata.__file__); from glmdata.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "recipe"], capture_output=True, text=True, timeout=60, check=False,
        env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sequence_length: 512" in done.stdout
    assert done.stderr.startswith(str(tmp_path))


@pytest.mark.parametrize("name", ["pipelines", "cli"])
def test_the_folders_cannot_be_imported_under_their_bare_names(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert f"import glmdata.{name}" in done.stderr


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glmdata.cli", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == f"glmdata, version {importlib.metadata.version('glmdata')}"


def test_version_is_told_once() -> None:
    import glmdata

    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"] == glmdata.__version__


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    assert set(listed) == {Path(name).parent.as_posix().replace("/", ".") for name in tree() if name.endswith(".py")}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import glmdata", ("numpy", "torch", "ray", "numba", "pyarrow", "click")),
        ("import glmdata.model", ("torch", "safetensors", "ray", "numba", "click")),
        ("import glmdata.streaming", ("torch", "ray", "numba", "click")),
        ("import glmdata.cli.main", ("torch", "ray", "numba", "pyarrow", "numpy", "rich", "pydantic")),
        ("import glmdata.pipelines.build", ("torch", "ray", "click", "rich")),
        ("import glmdata.recipe", ("torch", "ray", "numba", "pyarrow", "click")),
    ],
)
def test_heavy_packages_are_not_imported_before_they_are_needed(statement: str, absent: tuple[str, ...]) -> None:
    code = f"{statement}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_imports_point_one_way() -> None:
    """From cli to pipelines to glmdata; Ray only in pipelines, click and rich only in cli, torch in the consumer."""
    import ast

    allowed = {
        "ray": ("glmdata/pipelines/",),
        "click": ("glmdata/cli/",),
        "rich": ("glmdata/cli/",),
        "torch": ("glmdata/streaming/", "glmdata/model/", "glmdata/training/"),
        "glmdata.pipelines": ("glmdata/pipelines/", "glmdata/cli/"),
        "glmdata.cli": ("glmdata/cli/",),
    }
    wrong = []
    for name in sorted(tree()):
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                for prefix, places in allowed.items():
                    if (module == prefix or module.startswith(prefix + ".")) and not name.startswith(places):
                        wrong.append(f"{name} imports {module}")
    assert wrong == []
