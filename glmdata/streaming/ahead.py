"""Items of an iterator that a thread makes before they are asked for."""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")

WEIGHT = 1 / 8
"""Of the newest time in a mean: several micro-batches taken in a row do not hide that a step is computed after them."""
LEAST_AWAY = 1 / 4
"""A taker that is away for less of an item's time makes items itself: threads that change places at each are a third
slower.
"""


class Ahead(Iterator[T]):
    """The items of an iterator, in its order; up to `count` lie ready.

    A thread makes them while who takes them computes; one who merely reads makes them without it. The thread begins
    with this object and ends with its items, by `close`, when this object is dropped, or before the interpreter goes.
    It always makes the item to its end that it has begun, and whoever ends it waits for that. What the iterator raises
    is raised here, in the place of the item.
    """

    def __init__(self, items: Iterator[T], count: int) -> None:
        """Begin; `items` belongs to this object from here on."""
        self._shelf = shelf = _Shelf(items, count)
        self._process = os.getpid()
        # The thread must not hold `self`, or this would never be dropped.
        thread = threading.Thread(target=shelf.fill, name="glmdata-batches", daemon=True)
        self.close = weakref.finalize(self, _end, shelf, thread, self._process)
        """End the thread."""
        thread.start()

    def __next__(self) -> T:
        """The next item. Raises what making it raised, and RuntimeError in a process forked meanwhile."""
        if os.getpid() != self._process:
            raise RuntimeError("this iterator's thread did not come along into the forked process: call iter() there")
        return self._shelf.take()


class _Shelf(Generic[T]):
    """What is ready, and who makes the next item: the thread while the taker is away, else the taker."""

    def __init__(self, items: Iterator[T], count: int) -> None:
        self._lock = lock = threading.Lock()
        self._made = threading.Condition(lock)
        """The taker waits for it."""
        self._needed = threading.Condition(lock)
        """The thread waits for it, and is woken where there is something to do: it changes places with the taker."""
        self._items, self._count = items, count
        self._ready = deque[T]()
        self._making = self._ended = self._wanted = False
        self._error: BaseException | None = None
        self._left: float | None = None
        self._away_s = self._made_s = 0.0
        """Means of how long the taker stays away and how long an item takes, later ones weighing more."""

    def fill(self) -> None:
        """Make items while there is room for them and the taker is away long enough."""
        while self._begin():
            self._make()

    def take(self) -> T:
        """The next item: one that is ready or being made, or else made here."""
        with self._lock:
            self._note_return()
        while True:
            with self._lock:
                while self._making and not self._ready:
                    self._made.wait()
                if self._ready:
                    item = self._ready.popleft()
                    if self._wanted:
                        self._needed.notify()
                    self._left = time.perf_counter()
                    return item
                if self._ended:
                    error, self._error = self._error, None
                    raise error or StopIteration
                self._making = True
            self._make()

    def end(self) -> None:
        """Make nothing more."""
        with self._lock:
            self._ended = True
            self._needed.notify()

    def _note_return(self) -> None:
        if self._left is not None:
            self._away_s += (time.perf_counter() - self._left - self._away_s) * WEIGHT
            self._wanted = self._away_s > self._made_s * LEAST_AWAY

    def _begin(self) -> bool:
        """Whether to make one more, once it is wanted and there is room."""
        with self._lock:
            while not self._ended and (self._making or not self._wanted or len(self._ready) >= self._count):
                self._needed.wait()
            self._making = not self._ended
            return self._making

    def _make(self) -> None:
        started, items, error = time.perf_counter(), list[T](), None
        try:
            items.append(next(self._items))
        except StopIteration:
            pass
        except BaseException as raised:
            error = raised
        with self._lock:
            self._making = False
            self._ready.extend(items)
            if items:
                self._made_s += (time.perf_counter() - started - self._made_s) * WEIGHT
            else:
                self._ended, self._error = True, error
                self._needed.notify()
            self._made.notify()


def _end(shelf: _Shelf[T], thread: threading.Thread, process: int) -> None:
    """End a thread and wait for it; in a forked process there is none, and its locks may be held for ever."""
    if os.getpid() != process:
        return
    shelf.end()
    if thread is not threading.current_thread():  # where the thread itself collects the garbage
        thread.join()
