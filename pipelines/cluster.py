"""The Ray executor: one Ray Core task a partition.

Ray is always given an explicit address: `local` starts one of our own, without dashboard and usage reports, with a
token only this build knows, in a temporary folder that goes with it; anything else is an existing cluster, which
must be reachable, since Ray itself would wait without a word, and go on to be. Ray retries nothing: the engine does,
under new names (glmdata.pipelines.scheduling).
"""

import contextlib
import functools
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glmdata.errors import ClusterError, ConfigError
from glmdata.imports import hide_unused_libraries
from glmdata.pipelines.engine import Call, Result, perform
from glmdata.pipelines.memory import available_bytes
from glmdata.pipelines.scheduling import KilledForMemoryError, LostWorkerError
from glmdata.remote import without_secrets

__all__ = ["RayExecutor", "check_address"]

CONNECT_TIMEOUT_S = 5.0
LOOK_S = 5.0
"""Between two looks at the cluster while no task ends."""
LOOKS_IN_VAIN = 3
"""The driver gives up when its head does not answer so often. Ray itself would end the process after 60 s."""
STOP_S = 10.0
OBJECT_STORE_BYTES = 80 << 20  # results are a few kilobytes; data between stages lie in files
FOLDER_PREFIX = "glmdata-ray-"
_ADDRESS = re.compile(r"^(?:ray://)?(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})$")


def check_address(address: str) -> None:
    """Raise ConfigError for what is no address, ClusterError where nobody listens at it."""
    match = _ADDRESS.match(address)
    if not match:
        raise ConfigError(f"--address {without_secrets(address)}: give auto, none, local, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"--address {address}: no Ray cluster answers there ({error})") from None


@functools.cache
def _own_token() -> str:
    """The token of this process: Ray reads it once, so a second build must have the first one's."""
    return secrets.token_hex(32)


def remove_stale_folders() -> None:
    """Remove what builds of ours that were killed left of Ray in the temporary folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def perform_in_worker(call: Call) -> Result:
    """Run one attempt in a Ray worker."""
    hide_unused_libraries()
    return perform(call)


class RayExecutor:
    """Runs calls as Ray tasks."""

    def __init__(self, address: str, workers: int | None) -> None:
        if address != "local":
            check_address(address)
        self.name = f"local Ray, {workers} workers" if address == "local" else f"Ray at {address}"
        self._address, self._workers = address, workers
        self.on_this_machine = address == "local"
        self.may_lose_calls = True
        # A cluster runs as many as are in flight; a local Ray as many as it has processors, the next ones waiting.
        self.max_in_flight = 2 * (workers or 2) if address == "local" else workers or 2
        self.memory_bytes = self.largest_bytes = available_bytes()
        self._folder: str | None = None
        self._head = address
        self._task: Any = None
        self._looked, self._in_vain, self._given_up = 0.0, 0, 0

    def submit(self, call: Call, memory_bytes: int) -> Any:
        """Start a call as a task with one CPU.

        Ray asks nodes for workers by kind of task, not task by task, and waits for an answer; one asked of a node that
        is cut off keeps later tasks of its kind waiting. After a task was given up the next ones are of another kind:
        they differ by a byte of memory.
        """
        return self._task.options(memory=max(1, memory_bytes - self._given_up)).remote(call)

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        """The tasks that have ended; raises ClusterError where the head of the cluster is gone."""
        import ray

        done, _ = ray.wait(list(handles), num_returns=1, timeout=timeout_s)
        if len(handles) > 1 and done:
            done, _ = ray.wait(list(handles), num_returns=len(handles), timeout=0)
        if time.monotonic() - self._looked > LOOK_S:
            self._look()
        return list(done)

    def result(self, handle: Any) -> Result:
        """What the task returned or raised; LostWorkerError where its worker died."""
        import ray

        try:
            result: Result = ray.get(handle, timeout=STOP_S)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except ray.exceptions.OutOfMemoryError:
            raise KilledForMemoryError("its worker was killed, since memory ran out") from None
        except (ray.exceptions.RayError, TimeoutError) as error:
            raise LostWorkerError(f"its worker was lost ({type(error).__name__})") from None
        return result

    def cancel(self, handle: Any) -> None:
        """Kill the task's worker, if it can be reached."""
        import ray

        self._given_up += 1
        with contextlib.suppress(Exception):
            ray.cancel(handle, force=True)

    def close(self) -> None:
        """Leave or stop Ray, and remove its temporary folder."""
        if self._task is not None:
            import ray

            def shut_down() -> None:
                with contextlib.suppress(Exception):
                    ray.shutdown()

            # In a thread: without its head Ray waits for much longer than a user does.
            stopping = threading.Thread(target=shut_down, name="glmdata-ray-shutdown", daemon=True)
            stopping.start()
            stopping.join(STOP_S)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _look(self) -> None:
        """See whether the head answers, and how large the cluster is by now."""
        self._looked = time.monotonic()
        try:
            check_address(self._head)
        except ClusterError as error:
            self._in_vain += 1
            if self._in_vain >= LOOKS_IN_VAIN:
                raise ClusterError(
                    f"the head of the Ray cluster was lost ({error}); run the same command again with a cluster that "
                    "lives, finished work is kept"
                ) from None
            return
        self._in_vain = 0
        self._measure()

    def _measure(self) -> None:
        """Nodes may have come or gone: what fits in them all, and in the largest."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        memory = [int(node.get("memory", 0)) for node in nodes]
        if any(memory):
            self.memory_bytes, self.largest_bytes = sum(memory), max(memory)
        if self._workers is None:
            self.max_in_flight = max(4, 2 * int(sum(node["CPU"] for node in nodes)))

    def start(self) -> None:
        """Start or join Ray."""
        # Read by Ray's C++ core when it starts; set here and never left to its default (reference: reliability, 2).
        os.environ["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE", "token") if self._address != "local" else "token"
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if self._address == "local":
            os.environ["RAY_AUTH_TOKEN"] = _own_token()
            remove_stale_folders()
            self._folder = tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-")
            options |= {
                "num_cpus": self._workers,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_memory": self.memory_bytes,
                "_temp_dir": self._folder,
            }
        import ray

        handler = signal.getsignal(signal.SIGTERM)  # Ray puts its own there, which exits without a word
        try:
            ray.init(address=self._address, **options)
        except Exception as error:  # Ray raises many kinds, with many lines
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if self._address == "local":
                raise ClusterError(f"Ray did not start on this machine: {reason}; try --address none") from error
            raise ClusterError(
                f"--address {self._address}: the cluster did not let us in: {reason}; is its token in RAY_AUTH_TOKEN "
                "or ~/.ray/auth_token (RAY_AUTH_MODE=disabled for a cluster without), and its Ray of our version?"
            ) from error
        finally:
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)
        if not self._address.startswith("ray://"):
            self._head = ray.get_runtime_context().gcs_address
        self._look()
        # Storage is shared, so that any node will do; spread, they read and write at the speed of all of them.
        self._task = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(perform_in_worker)
