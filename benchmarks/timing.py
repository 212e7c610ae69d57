"""What benchmarks share."""

import time
from collections.abc import Callable
from typing import Any

__all__ = ["least_seconds"]


def least_seconds(call: Callable[[], Any], runs: int = 5) -> float:
    """Least seconds of some runs."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)
