"""The examples for clusters: they parse, and every option of glmdata in them exists."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from building import OPTIONS, contents, run
from corpora import write_corpus
from faults import RAY, cluster, litter_of

from glmdata.cli.build import command
from glmdata.pipelines.executors import check_engine
from glmdata.recipe import load_recipe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "cluster"


def kuberay() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "kuberay-job.yaml").read_text("utf-8"))
    return found


def commands() -> dict[str, str]:
    script = (EXAMPLES / "slurm-job.sh").read_text("utf-8")
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    return {
        "kuberay": kuberay()["spec"]["entrypoint"],
        "slurm": re.findall(r"^glmdata build .*[^&\s]", script, re.MULTILINE)[0].rstrip(" &"),
        **{f"readme {n}": text for n, text in enumerate(re.findall(r"glmdata build .*", readme))},
    }


@pytest.mark.parametrize("name", ["kuberay", "slurm", "readme 0", "readme 1"])
def test_the_command_of_an_example_is_one_of_ours(name: str) -> None:
    arguments = shlex.split(commands()[name])
    assert arguments[:2] == ["glmdata", "build"]
    parsed = command.make_context("build", arguments[2:]).params
    assert parsed["corpora"]
    assert load_recipe(parsed["recipe"], parsed["overrides"])
    assert parsed["address"] in ("auto", "$address", "HEAD:6379")


def test_every_pod_wants_a_token_and_shares_its_storage() -> None:
    cluster = kuberay()["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in pods:
        container = pod["template"]["spec"]["containers"][0]
        environment = {entry["name"]: entry for entry in container["env"]}
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        assert "secretKeyRef" in environment["RAY_AUTH_TOKEN"]["valueFrom"]
        assert container["volumeMounts"][0]["mountPath"] == "/shared"
    assert len({pod["template"]["spec"]["containers"][0]["image"] for pod in pods}) == 1


def test_the_address_that_a_submitted_job_is_given_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's job runner sets RAY_ADDRESS=HOST:PORT; here nobody listens, which is told with that address."""
    from glmdata.errors import ClusterError

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:9: no Ray cluster answers"):
        check_engine("auto")


def test_the_slurm_script_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(EXAMPLES / "slurm-job.sh")], check=True)


@pytest.mark.skipif(
    importlib.util.find_spec("aiohttp_cors") is None,
    reason="ray job submit needs ray[default], which is installed by hand",
)
def test_a_job_that_is_submitted_builds_on_the_cluster_it_was_submitted_to(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    write_corpus(corpus)
    build = [sys.executable, "-m", "glmdata.cli", "build", "--corpus", str(corpus), "--out", str(out)]
    build += [part for option in OPTIONS for part in ("--set", option)]
    with cluster(1, include_dashboard=True) as nodes:
        submit = [sys.executable, "-c", RAY, "job", "submit", f"--address=http://{nodes.webui_url}", "--"]
        once, again = (
            subprocess.run([*submit, *build, *more], capture_output=True, text=True, check=False, timeout=240)
            for more in ([], ["--seed", "5"])
        )
        assert once.returncode == 0, once.stdout + once.stderr
        assert f"Ray at {nodes.address}" in once.stdout
        assert again.returncode == 1
        assert "holds a build of something else" in again.stdout
    assert contents(out) == contents(run(corpus, tmp_path / "quiet").folder)
    assert litter_of(out) == []
