"""The order of samples in training: arithmetic on (seed, epoch, position), nothing stored, O(1) anywhere.

A Feistel network permutes the numbers below the smallest power of four that is not less than the size; numbers that
fall outside the size go through again until they fall inside (cycle walking, fewer than 4 passes on average), which
makes it a permutation of exactly the size. Round keys are SplitMix64 draws keyed by (seed, epoch). Pure numpy, so
that training pays for no compiler. Measured: 0.3 us a position in blocks of 8,192.

Where rows are cheap to reach only beside others (compressed record batches, shards in an object store), a Window keeps
the stream in few places at a time: the build is cut into blocks of neighbouring rows, the blocks are permuted, so many
of them in turn make a window, and the rows of a window are permuted. Still arithmetic; 1.2 us a position.

The order is part of the format: whatever changes it needs another ORDER_VERSION.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["ORDER_VERSION", "Window", "blocks_from", "permute", "rows_at", "seed_of_source"]

ORDER_VERSION = 1
"""States saved under another version are refused."""

_ROUNDS = 8
"""Four make a strong permutation of large domains (Luby, Rackoff 1988); eight also mix domains of a few bits."""
# The constants of glmdata.randomness, which would bring numba along.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

# Draws of an epoch's key: the first eight are the round keys of the order of rows.
_BLOCKS_STEP = np.uint64(9 * int(_GOLDEN) % 2**64)
_ROWS_STEP = np.uint64(10 * int(_GOLDEN) % 2**64)

Numbers = npt.NDArray[np.uint64]


class Window(NamedTuple):
    """Rows are taken in blocks of `block_rows` neighbours, of which `blocks` at a time are mixed; both at least 1."""

    block_rows: int
    blocks: int


def permute(positions: npt.ArrayLike, seed: int, epoch: npt.ArrayLike, size: int) -> Numbers:
    """Where the permutation of [0, size) by (seed, epoch) sends each position.

    Args:
        positions: [n] integers in [0, size).
        seed: in [0, 2**64).
        epoch: in [0, 2**64), one for all or [n].
        size: at least 1, at most 2**62.

    Returns:
        uint64[n]; over all positions of one epoch each number in [0, size) comes once.

    Raises:
        ValueError: an argument lies outside its range.
    """
    if not 1 <= size <= 1 << 62:
        raise ValueError(f"size must lie in 1 to 2**62, it is {size}")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must lie in 0 to 2**64 - 1, it is {seed}")
    numbers = _unsigned(positions, "positions")
    if numbers.size and int(numbers.max()) >= size:
        raise ValueError(f"positions must lie below {size}, found {numbers.max()}")
    return _cycle_walk(numbers, _epoch_keys(seed, np.atleast_1d(_unsigned(epoch, "epoch"))), size)


def rows_at(
    positions: npt.ArrayLike, *, seed: int, size: int, shuffle: bool = True, window: Window | None = None
) -> npt.NDArray[np.int64]:
    """Rows at positions of the endless stream: epoch after epoch of all `size` rows, each epoch in its own order.

    Global step t of G samples has the positions [t * G, (t + 1) * G). Unshuffled, every epoch is in the shards' order.
    Raises ValueError as `permute`.
    """
    numbers = _unsigned(positions, "positions")
    epochs, places = np.divmod(numbers, np.uint64(size))
    if shuffle and window is None:
        places = permute(places, seed, epochs, size)
    elif shuffle and window is not None and numbers.size:
        places = _in_windows(places, epochs, seed, size, window)
    return places.astype(np.int64)


def blocks_from(position: int, *, seed: int, size: int, window: Window) -> Iterator[range]:
    """The blocks of rows that a shuffled stream needs from a position on, window by window, without end.

    The window at the position comes whole, though some of its blocks may be used up.
    """
    epoch, place = divmod(position, size)
    while True:
        cut = _Cut(seed, np.array([epoch], np.uint64), size, window)
        block = int(cut.block(np.array([place], np.uint64), np.zeros(1, np.intp))[0])
        for first in range(block - block % window.blocks, cut.num_blocks, window.blocks):
            ordinals = np.arange(first, min(first + window.blocks, cut.num_blocks), dtype=np.uint64)
            for number in _cycle_walk(ordinals, cut.block_keys, cut.num_blocks).tolist():
                yield range(number * window.block_rows, min(size, (number + 1) * window.block_rows))
        epoch, place = epoch + 1, 0


def seed_of_source(seed: int, number: int) -> int:
    """The seed of the `number`-th build of a mix, in [0, 2**63): the key of an epoch that no stream reaches."""
    return int(_epoch_keys(seed, np.array([2**64 - 1 - number], np.uint64))[0] >> np.uint64(1))


class _Cut:
    """Epochs cut into permuted blocks. All are of block_rows but the build's last, wherever it stands in the epoch."""

    def __init__(self, seed: int, epochs: Numbers, size: int, window: Window) -> None:
        """`epochs` are distinct; methods take positions in an epoch and indices into `epochs`."""
        self.rows, self.per_window = np.uint64(window.block_rows), np.uint64(window.blocks)
        self.num_blocks = -(-size // window.block_rows)
        self.missing = np.uint64(self.num_blocks * window.block_rows - size)
        """Rows that the short block lacks."""
        keys = _epoch_keys(seed, epochs)
        self.block_keys, self.row_keys = _mix(keys + _BLOCKS_STEP), _mix(keys + _ROWS_STEP)
        last = np.full(len(epochs), self.num_blocks - 1, np.uint64)
        self.short = _cycle_walk(last, self.block_keys, self.num_blocks, back=True)
        """Where the short block stands in each epoch."""

    def block(self, places: Numbers, of: npt.NDArray[np.intp]) -> Numbers:
        """Which block of the epoch a place is in."""
        short = self.short[of]
        behind = places >= (short + np.uint64(1)) * self.rows - self.missing
        return (places + behind * self.missing) // self.rows

    def start(self, blocks: Numbers, of: npt.NDArray[np.intp]) -> Numbers:
        """Where in the epoch a block begins; the number of blocks gives the end."""
        return blocks * self.rows - (blocks > self.short[of]) * self.missing


def _in_windows(places: Numbers, epochs: Numbers, seed: int, size: int, window: Window) -> Numbers:
    distinct, of = np.unique(epochs, return_inverse=True)
    cut = _Cut(seed, distinct, size, window)
    windows = cut.block(places, of) // cut.per_window
    starts = cut.start(windows * cut.per_window, of)
    ends = cut.start(np.minimum((windows + np.uint64(1)) * cut.per_window, np.uint64(cut.num_blocks)), of)
    keys = _mix(cut.row_keys[of] + (windows + np.uint64(1)) * _GOLDEN)
    mixed = np.empty_like(places)
    for rows in np.unique(ends - starts):  # four sizes at most: with the short block or not, the last window or not
        same = np.flatnonzero(ends - starts == rows)
        mixed[same] = starts[same] + _cycle_walk(places[same] - starts[same], keys[same], int(rows))
    blocks = cut.block(mixed, of)
    numbers = _cycle_walk(blocks, cut.block_keys[of], cut.num_blocks)
    return numbers * cut.rows + (mixed - cut.start(blocks, of))


def _unsigned(values: npt.ArrayLike, name: str) -> Numbers:
    found: npt.NDArray[Any] = np.asarray(values)
    if found.size and (found.dtype.kind not in "iu" or int(found.min()) < 0):
        raise ValueError(f"{name} must be integers, 0 or more")
    return found.astype(np.uint64)


def _mix(values: Numbers) -> Numbers:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014). Arrays only: numpy warns of overflow in scalars."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


def _epoch_keys(seed: int, epochs: Numbers) -> Numbers:
    """[epochs]: SplitMix64 from the seed, draw `epoch` of which is the key that the epoch's draws start at.

    One inside the other, since a sum or XOR of the two would give seed 1, epoch 2 the order of seed 2, epoch 1.
    """
    return _mix(_mix(np.array([seed], np.uint64) + _GOLDEN) + (epochs + np.uint64(1)) * _GOLDEN)


def _cycle_walk(numbers: Numbers, keys: Numbers, size: int, *, back: bool = False) -> Numbers:
    """The permutation of [0, size) by keys, one for all or one a number; with `back` its inverse."""
    counters = np.arange(1, _ROUNDS + 1, dtype=np.uint64)[:, None]
    rounds = np.broadcast_to(_mix(keys + counters * _GOLDEN), (_ROUNDS, numbers.size))
    half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    cipher = _decipher if back else _encipher
    found = cipher(numbers, rounds, half)
    bound = np.uint64(size)
    outside = np.flatnonzero(found >= bound)
    while outside.size:
        again = cipher(found[outside], rounds[:, outside], half)
        found[outside] = again
        outside = outside[again >= bound]
    return found


def _encipher(numbers: Numbers, keys: Numbers, half: np.uint64) -> Numbers:
    """The Feistel network on numbers of 2 * half bits; keys are [_ROUNDS, n]."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half) | right


def _decipher(numbers: Numbers, keys: Numbers, half: np.uint64) -> Numbers:
    """The inverse of `_encipher`."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys[::-1]:
        left, right = right ^ (_mix(left ^ key) & mask), left
    return (left << half) | right
