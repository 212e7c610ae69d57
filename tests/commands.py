"""The command line as its users run it: a process of its own for each command, its exit code and what it printed.

A process is forked from a server that has imported what commands import, or starting Python and importing numba and
PyTorch would be most of the time of the tests. `GLMDATA` is the command for those that start it themselves: to kill
it, or to read what it prints while it runs.
"""

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["GLMDATA", "SMALL", "Command", "build_small", "glmdata"]

GLMDATA = [sys.executable, "-m", "glmdata.cli"]
SMALL = ("--set", "tokenizer.vocabulary_size=800", "--set", "sequence_length=96", "--address", "none")
_IMPORTED = (
    *(f"glmdata.cli.{name}" for name in ("main", "build", "generate", "inspect", "render", "sample", "story")),
    *("glmdata.comparison", "glmdata.pipelines.build", "glmdata.pipelines.report", "glmdata.shards.export"),
    *("glmdata.streaming", "glmdata.model.text", "glmdata.training.finetune", "glmdata.training.trainer"),
    *("torch.distributed.fsdp", "torch._dynamo"),
)
"""What is not installed is passed over."""
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([*_IMPORTED])


class Command:
    """A command that runs; `environment` is what it has beside ours, `stdin` what it reads."""

    def __init__(self, arguments: Sequence[object], environment: Mapping[str, str], stdin: str = "") -> None:
        self.arguments = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory(prefix="glmdata-test-command-")
        self._files = [Path(self._folder.name) / name for name in ("stdin", "stdout", "stderr")]
        self._files[0].write_text(stdin, "utf-8")
        given = {**os.environ, "COLUMNS": "120", **environment}
        self._process = _server.Process(target=_run, args=(self.arguments, given, self._files, Path.cwd()))
        self._process.start()

    def end(self, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        self._process.join(timeout_s)
        late, code = self._process.is_alive(), self._process.exitcode
        if late:
            self._process.kill()
            self._process.join()
        told = [path.read_text("utf-8") if path.exists() else "" for path in self._files[1:]]
        self._process.close()
        self._folder.cleanup()
        if late:
            raise subprocess.TimeoutExpired(self.arguments, timeout_s, *told)
        return subprocess.CompletedProcess(self.arguments, code, *told)


def glmdata(*arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return Command(arguments, environment, stdin).end()


def build_small(corpus: Path, out: Path, *options: object) -> Path:
    """Build with the settings above; its folder."""
    done = glmdata("build", "--corpus", corpus, "--out", out, *SMALL, *options)
    assert done.returncode == 0, done.stderr
    return out


def _run(arguments: list[str], environment: dict[str, str], files: list[Path], folder: Path) -> None:
    """What the forked process does: it becomes one that the shell had started with this command."""
    from glmdata.cli.main import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if "torch" in sys.modules and (threads := environment.get("OMP_NUM_THREADS")):
        sys.modules["torch"].set_num_threads(int(threads))  # PyTorch reads it where it is imported
    for number, path in enumerate(files):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["glmdata", *arguments]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its processes without
