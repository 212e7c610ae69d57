"""Which engine runs a build."""

import os

from glmdata.errors import ConfigError
from glmdata.pipelines.engine import default_workers
from glmdata.pipelines.scheduling import Executor

__all__ = ["AUTO_RAY_BYTES", "check_engine", "choose_executor", "ray_address"]

AUTO_RAY_BYTES = 512_000_000
"""From this much input on `auto` starts a local Ray: below it, its 5 s of start and stop outweigh what processes gain
over threads, since the kernels, Arrow and SentencePiece release the GIL (benchmarks/build.py prints both)."""


def check_engine(address: str) -> None:
    """Raise ConfigError or ClusterError where `--address` cannot be used; nothing is started."""
    target = _target(address)
    if target not in ("auto", "none", "local"):
        from glmdata.pipelines.cluster import check_address

        check_address(target)


def choose_executor(address: str, workers: int | None, input_bytes: int) -> Executor:
    """The engine for `address`.

    none: threads of this process. local: a Ray of our own. HOST:PORT and ray://: that cluster. auto: the cluster
    that $RAY_ADDRESS names, else by the size of the input; a stray cluster on this machine is never joined.
    """
    target = _target(address)
    if target == "auto":
        target = "none" if input_bytes < AUTO_RAY_BYTES else "local"
    if target == "none":
        from glmdata.pipelines.cluster import remove_stale_folders
        from glmdata.pipelines.local import ThreadExecutor

        remove_stale_folders()
        return ThreadExecutor(workers or default_workers())
    from glmdata.pipelines.cluster import RayExecutor

    return RayExecutor(target, workers or default_workers() if target == "local" else workers)


def ray_address(address: str) -> str:
    """Where Ray is, for what nothing but Ray can do. Raises ConfigError for `none`."""
    target = _target(address)
    if target == "none":
        raise ConfigError("--address none is this process alone: give --workers 1 and no --gpus, or leave it out")
    return "local" if target == "auto" else target


def _target(address: str) -> str:
    if address != "auto":
        return address
    given = os.environ.get("RAY_ADDRESS", "").strip()
    if given == "auto":
        raise ConfigError("RAY_ADDRESS=auto would join any cluster that runs here; give its HOST:PORT, or unset it")
    return given or "auto"
