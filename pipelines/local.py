"""The in-process executor: threads, since kernels, Arrow and SentencePiece release the GIL."""

import concurrent.futures
from collections.abc import Sequence

from glmdata.pipelines.engine import Call, Result, perform

__all__ = ["ThreadExecutor"]

_Future = concurrent.futures.Future[Result]


class ThreadExecutor:
    """Runs calls in `workers` threads of this process."""

    def __init__(self, workers: int) -> None:
        self.name = f"in process, {workers} thread{'s' if workers > 1 else ''}"
        self.max_in_flight = workers
        self.on_this_machine = True
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="glmdata")

    def start(self) -> None:
        """Threads need none."""

    def submit(self, call: Call) -> _Future:
        """Start a call in a thread."""
        return self._pool.submit(perform, call)

    def wait(self, handles: Sequence[_Future], timeout_s: float) -> list[_Future]:
        """The calls that have ended, in the order they were started."""
        done, _ = concurrent.futures.wait(handles, timeout_s, concurrent.futures.FIRST_COMPLETED)
        return [handle for handle in handles if handle in done]

    def result(self, handle: _Future) -> Result:
        """What the call returned or raised."""
        return handle.result()

    def close(self) -> None:
        """Drop what has not begun; what runs ends by itself within one partition."""
        self._pool.shutdown(wait=True, cancel_futures=True)
