"""Micro-batches made ahead of the step that needs them, and how long a step had to wait for them."""

import queue
import threading
import time
from collections.abc import Iterator
from types import TracebackType

import torch

from glmdata.streaming import ShardStream

__all__ = ["Batch", "Microbatches"]

Batch = dict[str, torch.Tensor]


class Microbatches:
    """Lists of `count` micro-batches, one list a step, read by a thread that stays one step ahead.

    The stream runs ahead of the steps by what lies ready; where a run stands is counted in steps, not asked of it.
    """

    def __init__(self, stream: ShardStream, count: int) -> None:
        """Begin to read."""
        self.waited = 0.0
        """Seconds that steps waited so far."""
        self._ready: queue.Queue[list[Batch] | BaseException] = queue.Queue(maxsize=1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(stream, count), daemon=True)
        self._thread.start()

    def __enter__(self) -> "Microbatches":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Stop reading."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def next(self) -> list[Batch]:
        """The next step's micro-batches. Raises what reading them raised."""
        started = time.perf_counter()
        found = self._ready.get()
        self.waited += time.perf_counter() - started
        if isinstance(found, BaseException):
            raise found
        return found

    def _read(self, stream: ShardStream, count: int) -> None:
        try:
            batches: Iterator[Batch] = iter(stream)
            while not self._stopped.is_set():
                self._ready.put([next(batches) for _ in range(count)])
        except BaseException as error:
            self._ready.put(error)
