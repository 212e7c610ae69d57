"""Items of an iterator that a thread makes before they are asked for."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Iterator[T]):
    """The items of an iterator, in its order; up to `count` lie ready.

    The thread begins with this object and ends with its items, by `close`, when this object is dropped, or before the
    interpreter goes. It always makes the item to its end that it has begun, and whoever ends it waits for that. What
    the iterator raises is raised here, in the place of the item.
    """

    def __init__(self, items: Iterator[T], count: int) -> None:
        """Begin to make items; `items` is the thread's from here on."""
        self._shelf = shelf = _Shelf[T](count)
        self._process = os.getpid()
        # The thread must not hold `self`, or this would never be dropped.
        thread = threading.Thread(target=shelf.fill, args=(items,), name="glmdata-batches", daemon=True)
        self.close = weakref.finalize(self, _end, shelf, thread, self._process)
        """End the thread."""
        thread.start()

    def __next__(self) -> T:
        """The next item. Raises what making it raised, and RuntimeError in a process forked meanwhile."""
        if os.getpid() != self._process:
            raise RuntimeError("this iterator's thread did not come along into the forked process: call iter() there")
        return self._shelf.take()


class _Shelf(Generic[T]):
    """What is ready, between the thread that makes and the one that takes."""

    def __init__(self, count: int) -> None:
        self._changed = threading.Condition()
        self._ready = deque[T]()
        self._count = count
        self._ended = False
        self._error: BaseException | None = None

    def fill(self, items: Iterator[T]) -> None:
        """Make items while there is room for them."""
        error: BaseException | None = None
        try:
            while self._has_room():
                self._put(next(items))
        except StopIteration:
            pass
        except BaseException as raised:
            error = raised
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> T:
        """The next item. Where none is ready, wait for all there is room for: threads that change places at each are
        a third slower.
        """
        with self._changed:
            if not self._ready:
                while len(self._ready) < self._count and not self._ended:
                    self._changed.wait()
            if self._ready:
                if len(self._ready) == self._count:
                    self._changed.notify_all()
                return self._ready.popleft()
            error, self._error = self._error, None
        raise error or StopIteration

    def end(self) -> None:
        """Make nothing more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Whether to make one more, once there is room."""
        with self._changed:
            while len(self._ready) >= self._count and not self._ended:
                self._changed.wait()
            return not self._ended

    def _put(self, item: T) -> None:
        with self._changed:
            self._ready.append(item)
            if len(self._ready) == self._count:
                self._changed.notify_all()


def _end(shelf: _Shelf[T], thread: threading.Thread, process: int) -> None:
    """End a thread and wait for it; in a forked process there is none, and its locks may be held for ever."""
    if os.getpid() != process:
        return
    shelf.end()
    if thread is not threading.current_thread():  # where the thread itself collects the garbage
        thread.join()
