"""The Ray executor: one Ray Core task a partition.

Ray is always given an explicit address: `local` starts one of our own, without dashboard and usage reports, with a
token only this build knows, in a temporary folder that goes with it; anything else is an existing cluster, which
must be reachable, since Ray itself would wait without a word. Ray retries nothing: the engine does, under new names.
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
from glmdata.pipelines.engine import Call, LostWorkerError, Result, perform

__all__ = ["RayExecutor", "check_address"]

TASK_DEADLINE_S = 3600.0
"""After a network cut Ray was not seen to rerun a task within 400 s; past this the engine does."""
CONNECT_TIMEOUT_S = 5.0
OBJECT_STORE_BYTES = 80 << 20  # results are a few kilobytes; data between stages lie in files
FOLDER_PREFIX = "glmdata-ray-"
_ADDRESS = re.compile(r"^(?:ray://)?(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})$")


def check_address(address: str) -> None:
    """Raise ConfigError for what is no address, ClusterError where nobody listens at it."""
    match = _ADDRESS.match(address)
    if not match:
        raise ConfigError(f"--address {address}: give auto, none, local, HOST:PORT or ray://HOST:PORT")
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


class RayExecutor:
    """Runs calls as Ray tasks."""

    def __init__(self, address: str, workers: int | None) -> None:
        if address != "local":
            check_address(address)
        self.name = f"local Ray, {workers} workers" if address == "local" else f"Ray at {address}"
        self._address, self._workers = address, workers
        self.on_this_machine = address == "local"
        # A cluster runs as many as are in flight; a local Ray as many as it has processors, the next ones waiting.
        self.max_in_flight = 2 * (workers or 2) if address == "local" else workers or 2
        self._folder: str | None = None
        self._task: Any = None
        self._started: dict[Any, float] = {}

    def submit(self, call: Call) -> Any:
        """Start a call as a task with one CPU."""
        handle = self._task.remote(call)
        self._started[handle] = time.monotonic()
        return handle

    def wait(self, handles: Sequence[Any], timeout_s: float) -> list[Any]:
        """The tasks that have ended or passed their deadline."""
        import ray

        done, running = ray.wait(list(handles), num_returns=1, timeout=timeout_s)
        if len(handles) > 1 and done:
            done, running = ray.wait(list(handles), num_returns=len(handles), timeout=0)
        late = [handle for handle in running if time.monotonic() - self._started[handle] > TASK_DEADLINE_S]
        return [*done, *late]

    def result(self, handle: Any) -> Result:
        """What the task returned or raised; LostWorkerError where its worker died or the deadline passed."""
        import ray

        self._started.pop(handle, None)
        try:
            result: Result = ray.get(handle, timeout=0)
        except ray.exceptions.GetTimeoutError:
            with contextlib.suppress(Exception):
                ray.cancel(handle, force=True)
            raise LostWorkerError(f"no result within {TASK_DEADLINE_S:.0f} s") from None
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except ray.exceptions.RayError as error:
            raise LostWorkerError(f"its worker was lost ({type(error).__name__})") from None
        return result

    def close(self) -> None:
        """Leave or stop Ray, and remove its temporary folder."""
        if self._task is not None:
            import ray

            with contextlib.suppress(Exception):
                ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

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
        if self._workers is None:
            self.max_in_flight = max(4, 2 * int(ray.cluster_resources().get("CPU", 2)))
        self._task = ray.remote(num_cpus=1, max_retries=0)(perform)
