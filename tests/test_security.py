"""What glmdata does not do, by the ids of the plan (E1 to E6): run code from data, tell secrets, listen."""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from building import run
from commands import SMALL, glmdata
from corpora import write_corpus
from progress import Stops

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("glmdata", "pipelines", "cli")
SOURCES = sorted({path.resolve() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")})

RUNS_CODE = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads"),
    *("pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "joblib.load", "dill.loads"),
    *("cloudpickle.loads", "yaml.unsafe_load", "yaml.full_load", "shutil.unpack_archive"),
}
LISTENS = {"bind", "listen", "create_server", "start_server", "HTTPServer", "TCPServer", "serve_forever"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name, node) of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_e1_nothing_that_could_run_code_is_called() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(FOLDERS)
    for path in SOURCES:
        for name, call in calls(path):
            place = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
            given = keywords(call)
            assert name not in RUNS_CODE, place
            assert "extractall" not in name, place
            assert given.get("shell", "False") == "False", place
            assert given.get("allow_pickle", "False") == "False", place
            if name == "torch.load":
                assert given["weights_only"] == "True", place
            if name == "yaml.load":
                assert given["Loader"] == "_PlainLoader", place  # a SafeLoader, as the next test shows


def test_e1_the_loader_of_recipes_makes_plain_values_only() -> None:
    import yaml

    from glmdata.recipe import _PlainLoader

    assert issubclass(_PlainLoader, yaml.SafeLoader)
    assert set(_PlainLoader.yaml_constructors) == set(yaml.SafeLoader.yaml_constructors)
    assert _PlainLoader.yaml_multi_constructors == {}


CANARY = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARYCANA",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+key-4e1f",
    "AWS_SESSION_TOKEN": "canary-session-77aa",
    "HF_TOKEN": "hf_canaryCanaryCanary",
}


def test_e2_secrets_of_the_environment_are_nowhere_in_a_build_or_its_words(tmp_path: Path) -> None:
    """Nor those of a run that fails, with a traceback."""
    write_corpus(tmp_path / "corpus", 20)
    good = glmdata("build", "--corpus", tmp_path / "corpus", "--out", tmp_path / "out", *SMALL, **CANARY)
    assert good.returncode == 0, good.stderr
    bad = glmdata(
        "build", "--corpus", tmp_path / "none", "--out", tmp_path / "o", *SMALL, GLMDATA_TRACEBACK="1", **CANARY
    )
    assert bad.returncode == 1
    told = [good.stdout, good.stderr, bad.stdout, bad.stderr]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 6
    for secret in CANARY.values():
        assert not any(secret in text for text in told)
        assert not [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "option", ["--corpus=file://me:{}@host/x", "--address=ray://me:{}@host:1", "--corpus=x://me:{}@h/x"]
)
def test_e2_secrets_of_what_was_typed_are_not_repeated(tmp_path: Path, option: str) -> None:
    """Those of s3:// URIs are looked for by test_object_builds.py and test_remote.py."""
    done = glmdata("build", "--out", tmp_path / "o", "--corpus", tmp_path, option.format("canary-77"))
    assert done.returncode in (1, 2)
    assert "host" in done.stderr or "x://h/x" in done.stderr
    assert "canary-77" not in done.stderr


def test_e3_glmdata_opens_no_port() -> None:
    """One bind is there: the trainer asks the system for a free port, and PyTorch's processes then meet at it."""
    found = [(path.relative_to(ROOT).as_posix(), name) for path in SOURCES for name, _ in calls(path)
             if name.rpartition(".")[2] in LISTENS]  # fmt: skip
    assert found == [("pipelines/train.py", "probe.bind")]


def test_e3_a_build_in_process_listens_nowhere(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", 20)
    process = psutil.Process()

    def listening() -> set[tuple[str, int]]:
        return {tuple(found.laddr) for found in process.net_connections() if found.status == psutil.CONN_LISTEN}

    before, seen = listening(), set()

    class Looks(Stops):
        def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
            seen.update(listening())

    run(tmp_path / "corpus", tmp_path / "out", progress=Looks())
    assert seen <= before


STARTS = """
import sys
from glmdata.pipelines.cluster import RayExecutor
executor = RayExecutor("local", 1)
executor.start()
import ray
print(ray.get_runtime_context().gcs_address, executor._folder, flush=True)
sys.stdin.read()
executor.close()
"""
JOINS = """
import os, sys
from glmdata.errors import ClusterError
from glmdata.pipelines.cluster import RayExecutor
try:
    RayExecutor(sys.argv[1], 1).start()
    print("let in")
except ClusterError as error:
    print(error)
sys.stdout.flush()
os._exit(0)
"""


def python(script: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """A process of its own, without the tokens of this one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=kept | environment)


def test_e3_e4_a_client_without_the_token_is_refused_by_our_ray_and_told_so(tmp_path: Path) -> None:
    """Within half a minute and in one sentence. And E2: no secret of the environment is in a file of that Ray."""
    ray = python(STARTS, **CANARY)
    assert ray.stdout is not None
    try:
        address, folder = ray.stdout.readline().split()
        home = {"HOME": str(tmp_path)}
        clients = [
            python(JOINS, address, **home, RAY_AUTH_MODE="disabled"),
            python(JOINS, address, **home, RAY_AUTH_TOKEN="0" * 64),
            python(JOINS, address, **home),
        ]
        try:
            told = [client.communicate(timeout=90)[0].strip() for client in clients]
        finally:
            for client in clients:
                client.kill()
        assert all(text.startswith(f"--address {address}: the cluster did not let us in: ") for text in told), told
        assert not any("\n" in text for text in told)
        logs = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert folder.startswith(tempfile.gettempdir())
        assert len(logs) > 5
        for secret in CANARY.values():
            assert not [path for path in logs if secret.encode() in path.read_bytes()]
    finally:
        ray.communicate("", timeout=60)
    assert not Path(folder).exists()


FLOORS = {
    "jinja2": ("3.1.6", "CVE-2025-27516 and those before: templates out of their sandbox"),
    "orjson": ("3.9.15", "CVE-2024-27454: no limit of recursion"),
    "pyarrow": ("14.0.1", "CVE-2023-47248: code from a file"),
    "pyyaml": ("5.4", "CVE-2020-14343: code from a document"),
    "ray": ("2.55", "CVE-2026-27482: deletes without a token, tokens from 2.52"),
    "sentencepiece": ("0.2.1", "CVE-2026-1260: memory corrupted by a model"),
    "torch": ("2.10", "CVE-2025-32434, CVE-2026-24747: weights_only"),
}
"""The oldest versions without a known hole that glmdata would meet (docs/reliability.md)."""


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0]))


@pytest.mark.parametrize("package", FLOORS)
def test_e6_no_version_with_a_known_hole_is_allowed_or_installed(package: str) -> None:
    least = numbers(FLOORS[package][0])
    asked = re.search(rf'"{package}(?:\[\w+\])?>=([\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert asked is not None
    assert numbers(asked[1]) >= least
    assert numbers(version(package)) >= least
    locked = re.search(
        rf"^{package}(?:\[\w+\])?==([\d.]+)",
        (ROOT / "requirements.lock").read_text("utf-8"),
        re.MULTILINE | re.IGNORECASE,
    )
    assert locked is not None
    assert numbers(locked[1]) >= least


def test_e1_states_and_configurations_are_json(tmp_path: Path) -> None:
    """Deep nesting is told like any other damage: the parser's limit is not the program's end."""
    from glmdata.errors import ConfigError, GlmdataError
    from glmdata.streaming.state import read_state as read_stream_state

    for text in ("[" * 100_000, "\x80\x04K\x01.", json.dumps({"step": "x"})):
        (tmp_path / "state.json").write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=r"state\.json"):
            read_stream_state(tmp_path / "state.json")
    pytest.importorskip("torch")
    from glmdata.model.checkpoint import read_config
    from glmdata.training.checkpoint import read_state

    for text in ("[" * 100_000, "{", "null", '{"format_version": 1, "bits": 0, "model": {"num_layers": 1e999}}'):
        for name in ("config.json", "state.json"):
            (tmp_path / name).write_text(text, "utf-8")
        with pytest.raises(GlmdataError, match=r"config\.json"):
            read_config(tmp_path)
        with pytest.raises(GlmdataError, match=r"state\.json"):
            read_state(tmp_path)
