"""Threads that fetch files before they are needed."""

import threading
from collections import deque
from collections.abc import Callable, Iterable

from glmdata.errors import GlmdataError
from glmdata.remote import CancelledError

__all__ = ["Prefetcher"]

THREADS = 4
"""One connection to an object store brings some 50 to 100 MB/s."""
STOP_S = 5.0


class Prefetcher:
    """Fetches numbered files in the order wanted. What fails is left to the reader, who meets the same and tells it."""

    def __init__(self, fetch: Callable[[int, Callable[[], bool]], object]) -> None:
        """`fetch` takes a number, and a function that says whether to give up by CancelledError."""
        self._fetch = fetch
        self._wanted: deque[int] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._threads: list[threading.Thread] = []

    def want(self, numbers: Iterable[int]) -> None:
        """Fetch these from now on, the first first, in place of what was wanted before."""
        with self._changed:
            self._wanted = deque(numbers)
            while len(self._threads) < min(THREADS, len(self._wanted)):
                thread = threading.Thread(target=self._work, name="glmdata-prefetch", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()

    def stop(self) -> None:
        """End the threads. They are daemons, but one that was cut off inside Arrow could bring the process down."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(STOP_S)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._wanted and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                number = self._wanted.popleft()
            try:
                self._fetch(number, lambda: self._stopped)
            except (GlmdataError, CancelledError):
                continue
