"""Compiles the kernels in processes of their own while a build begins, where this machine never ran them.

Without it each worker of each stage compiles what it comes to, the same kernels as its neighbours, one after the other.
The workers of a cluster do so: every node has a cache of its own.
"""

import contextlib
import os
import signal
import subprocess
import sys

__all__ = ["Compilation"]

TIMEOUT_S = 180.0
"""It takes 15 s on two cores. Past this the stages compile for themselves."""
MAX_PROCESSES = 4
"""As many as glmdata.precompile has groups of kernels."""


class Compilation:
    """The kernels of this machine, being compiled. What fails here is compiled by the stage that needs it."""

    def __init__(self, processes: int) -> None:
        self._processes = min(processes, MAX_PROCESSES)
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, unless all are there; a look at one file."""
        from glmdata.kernels import are_compiled

        if are_compiled() or not sys.executable:
            return
        command = [sys.executable, "-m", "glmdata.precompile", str(self._processes)]
        quiet = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            # A session of its own: one signal ends all its processes.
            self._running = subprocess.Popen(  # noqa: S603  (nothing in it comes from outside)
                command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
            )

    def wait(self) -> None:
        """Return when it is over, done or not."""
        if self._running is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(TIMEOUT_S)
            self.stop()

    def stop(self) -> None:
        """End it, if it runs."""
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()
            self._running = None
