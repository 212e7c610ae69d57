"""Counter-based random numbers: every draw is a pure function of (seed, purpose, id, counter).

A *key* stands for (seed, purpose, id); draw c of a key is ``mix64(key + (c + 1) * GOLDEN)``, which is SplitMix64
(Steele, Lea, Flood 2014) started at the key. No state is kept anywhere, so results do not depend on workers,
ranks, batches or the order of calls. The kernels are compiled on first use and callable from other kernels.
"""

import numpy as np

from glmdata.kernels import njit

__all__ = ["GOLDEN", "draw", "draw_below", "draw_key", "draw_unit", "mix64", "purpose_key"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(nogil=True, cache=True, inline="always")
def mix64(value):  # type: ignore[no-untyped-def]
    """SplitMix64's finaliser: a bijection of uint64 that scatters every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(nogil=True, cache=True, inline="always")
def draw_key(purpose, identity):  # type: ignore[no-untyped-def]
    """The key of one object: `purpose` from `purpose_key`, `identity` a uint64 such as a sample id."""
    return mix64(purpose ^ mix64(identity + GOLDEN))


@njit(nogil=True, cache=True, inline="always")
def draw(key, counter):  # type: ignore[no-untyped-def]
    """Draw number `counter` (0, 1, ...) of a key: uint64, uniform."""
    return mix64(key + (np.uint64(counter) + np.uint64(1)) * GOLDEN)


@njit(nogil=True, cache=True, inline="always")
def draw_unit(key, counter):  # type: ignore[no-untyped-def]
    """Draw as float64 in [0, 1), 53 bits."""
    return np.float64(draw(key, counter) >> np.uint64(11)) * 1.1102230246251565e-16


@njit(nogil=True, cache=True, inline="always")
def draw_below(key, counter, bound):  # type: ignore[no-untyped-def]
    """Draw as int64 in [0, bound), bound < 2**32; multiply-shift, bias below bound / 2**32."""
    return np.int64(((draw(key, counter) >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


def purpose_key(seed: int, purpose: str) -> np.uint64:
    """The part of a key shared by all ids: a build's seed and what the numbers are for."""
    import xxhash

    return np.uint64(xxhash.xxh3_64_intdigest(purpose.encode(), seed=seed & 0xFFFFFFFFFFFFFFFF))
