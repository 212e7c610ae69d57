"""Training by several workers as Ray actors: `glmdata train --workers N`, `glmdata finetune --workers N`.

Each worker is one process of a torch.distributed world, started where Ray has room. Ray only places the processes
and hands the metrics on; gradients go between the workers themselves. A worker that is lost ends the run; the same
command goes on from the last checkpoint.
"""

import dataclasses
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from glmdata.errors import ClusterError, ConfigError
from glmdata.pipelines.cluster import RayExecutor
from glmdata.training.run import Report, RunOptions

__all__ = ["train_on_ray"]

POLL_S = 0.5

Options = TypeVar("Options", bound=RunOptions)
Work = Callable[[Options, Report], dict[str, Any]]
"""`training.run.train` or `training.finetune.finetune`."""


class _Worker:
    """One rank; `lines` may be asked for while it trains."""

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []

    def place(self) -> tuple[str, int]:
        """The address of this node and a port that was free a moment ago."""
        import ray

        host = str(ray.util.get_node_ip_address())  # by which Ray's other nodes reach it
        with socket.socket() as probe:
            probe.bind((host, 0))
            return host, int(probe.getsockname()[1])

    def lines(self, first: int) -> list[dict[str, Any]]:
        """Metrics from number `first` on."""
        return self._lines[first:]

    def run(
        self, work: Work[Options], options: Options, rank: int, size: int, place: tuple[str, int]
    ) -> dict[str, Any]:
        """Train as this rank; metrics of the last step."""
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": "0",  # Ray shows a worker only the GPUs that are its own
            "MASTER_ADDR": place[0],
            "MASTER_PORT": str(place[1]),
        }
        return work(options, self._lines.append)


def train_on_ray(
    work: Work[Options],
    options: Options,
    workers: int,
    address: str,
    *,
    gpus: float = 0,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train or finetune with this many workers, one CPU and `gpus` GPUs each; the metrics of the last step.

    `address` is as for builds. Shards and the run's folder must be reachable from every node.
    Raises as `work`; ClusterError where Ray cannot place them or one is lost.
    """
    executor, options = RayExecutor(address, workers), _with_whole_paths(options)
    try:
        executor.start()
        import ray

        if ray.cluster_resources().get("CPU", 0) < workers:
            raise ConfigError(f"--workers {workers}: the cluster has {ray.cluster_resources().get('CPU', 0):g} CPUs")
        actor = ray.remote(num_cpus=1, num_gpus=gpus, max_concurrency=2)(_Worker)
        world = [actor.remote() for _ in range(workers)]
        try:
            place = ray.get(world[0].place.remote())
            running = [worker.run.remote(work, options, rank, workers, place) for rank, worker in enumerate(world)]
            waiting, seen = list(running), 0
            while waiting:
                ended, waiting = ray.wait(waiting, timeout=POLL_S)
                ray.get(ended)  # raises what a rank raised at once: the others would wait for it for ever
                lines = ray.get(world[0].lines.remote(seen))
                seen += len(lines)
                for line in lines if report is not None else ():
                    report(line)  # type: ignore[misc]
            result: dict[str, Any] = ray.get(running[0])
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"a worker was lost ({type(error).__name__}); the same command goes on from the last checkpoint"
            ) from None
        return result
    finally:
        executor.close()


def _with_whole_paths(options: Options) -> Options:
    """The same options where a worker's current folder is another one than ours."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, Path):
            found[field.name] = value.absolute()
        elif field.name in ("shards", "evaluation") and value is not None and "://" not in value:
            found[field.name] = str(Path(value).absolute())
    return dataclasses.replace(options, **found)
