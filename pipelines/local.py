"""The in-process executor: threads, since kernels, Arrow and SentencePiece release the GIL."""

import concurrent.futures
from collections.abc import Sequence

from glmdata.pipelines.engine import Call, Result, perform
from glmdata.pipelines.memory import available_bytes

__all__ = ["ThreadExecutor"]

STOP_S = 2.0
"""A thread cannot be ended: what runs longer is left to itself, and what it writes is listed nowhere."""

_Future = concurrent.futures.Future[Result]


class ThreadExecutor:
    """Runs calls in `workers` threads of this process."""

    def __init__(self, workers: int) -> None:
        self.name = f"in process, {workers} thread{'s' if workers > 1 else ''}"
        self.max_in_flight = workers
        self.on_this_machine = True
        self.may_lose_calls = False
        self.memory_bytes = self.largest_bytes = available_bytes()
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="glmdata")
        self._futures: set[_Future] = set()

    def start(self) -> None:
        """Threads need none."""

    def submit(self, call: Call, memory_bytes: int) -> _Future:
        """Start a call in a thread."""
        del memory_bytes  # known to who submits: there is nobody else to tell
        future = self._pool.submit(perform, call)
        self._futures.add(future)
        return future

    def wait(self, handles: Sequence[_Future], timeout_s: float) -> list[_Future]:
        """The calls that have ended, in the order they were started."""
        done, _ = concurrent.futures.wait(handles, timeout_s, concurrent.futures.FIRST_COMPLETED)
        return [handle for handle in handles if handle in done]

    def result(self, handle: _Future) -> Result:
        """What the call returned or raised."""
        self._futures.discard(handle)
        return handle.result()

    def cancel(self, handle: _Future) -> None:
        """Drop a call that has not begun."""
        handle.cancel()

    def close(self) -> None:
        """Drop what has not begun, and give what runs a moment to end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        concurrent.futures.wait(self._futures, STOP_S)
