"""The order of samples: a permutation of every size, the same for ever, in no pattern, reachable anywhere at once."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.streaming.order import ORDER_VERSION, Window, blocks_from, permute, rows_at

WORD = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def epoch_key(seed: int, epoch: int) -> int:
    return mix((mix((seed + GOLDEN) & WORD) + (epoch + 1) * GOLDEN) & WORD)


def walk(number: int, key: int, size: int, *, back: bool = False) -> int:
    """The permutation of [0, size) by a key, or its inverse, in plain Python."""
    half = 1
    while 4**half < size:
        half += 1
    bits = 1 << half
    keys = [mix((key + (place + 1) * GOLDEN) & WORD) for place in range(8)]
    while True:
        left, right = number >> half, number % bits
        for round_key in reversed(keys) if back else keys:
            if back:
                left, right = right ^ (mix(left ^ round_key) % bits), left
            else:
                left, right = right, left ^ (mix(right ^ round_key) % bits)
        number = (left << half) | right
        if number < size:
            return number


def permute_one(position: int, seed: int, epoch: int, size: int) -> int:
    """The same permutation, one position at a time."""
    return walk(position, epoch_key(seed, epoch), size)


def epoch_in_windows(seed: int, epoch: int, size: int, window: Window) -> list[int]:
    """One epoch, by lists: cut into blocks, permute them, mix the rows of so many in turn."""
    key = epoch_key(seed, epoch)
    blocks = [list(range(size))[start : start + window.block_rows] for start in range(0, size, window.block_rows)]
    block_key, row_key = mix((key + 9 * GOLDEN) & WORD), mix((key + 10 * GOLDEN) & WORD)
    blocks = [blocks[walk(place, block_key, len(blocks))] for place in range(len(blocks))]
    order = []
    for number, first in enumerate(range(0, len(blocks), window.blocks)):
        rows = [row for block in blocks[first : first + window.blocks] for row in block]
        window_key = mix((row_key + (number + 1) * GOLDEN) & WORD)
        order += [rows[walk(place, window_key, len(rows))] for place in range(len(rows))]
    return order


VECTORS = [
    [7, 4, 3, 8, 2, 0, 6, 5, 9, 1],
    [307, 251, 858, 447, 234],
    [551474063, 872539827, 14126835, 915461642],
    [3134115091004749972, 549411561924644254, 1878724648291261980],
]


def test_the_order_is_frozen():
    """Version 1, for ever: a change here needs another ORDER_VERSION."""
    assert ORDER_VERSION == 1
    assert permute(np.arange(10), 0, 0, 10).tolist() == VECTORS[0]
    assert permute(np.arange(5), 1234, 7, 1000).tolist() == VECTORS[1]
    assert permute([0, 1, 2, 10**9 - 1], 42, 1, 10**9).tolist() == VECTORS[2]
    assert permute([0, 1, 1 << 61], WORD, WORD, 1 << 62).tolist() == VECTORS[3]


def test_the_order_is_that_of_the_published_vectors():
    """docs/order_vectors.json, for whoever writes the order in another language."""
    published = json.loads((Path(__file__).parent.parent / "docs/order_vectors.json").read_text("utf-8"))

    assert published["order_version"] == ORDER_VERSION
    assert {vector["window"] is None for vector in published["vectors"]} == {True, False}
    for vector in published["vectors"]:
        window = None if vector["window"] is None else Window(*vector["window"])
        rows = rows_at(vector["positions"], seed=vector["seed"], size=vector["size"], window=window)
        assert rows.tolist() == vector["rows"]


@settings(deadline=None)
@given(size=st.integers(1, 1 << 62), seed=st.integers(0, WORD), epoch=st.integers(0, WORD), data=st.data())
def test_it_is_the_permutation_written_in_plain_python(size, seed, epoch, data):
    positions = data.draw(st.lists(st.integers(0, size - 1), max_size=5))

    assert permute(np.array(positions, np.uint64), seed, epoch, size).tolist() == [
        permute_one(p, seed, epoch, size) for p in positions
    ]


@pytest.mark.parametrize("seed", [0, 1, WORD])
def test_every_size_is_permuted(seed):
    for size in range(1, 301):
        assert sorted(permute(np.arange(size), seed, size, size).tolist()) == list(range(size))


@pytest.mark.parametrize("size", [4**8 - 1, 4**8, 4**8 + 1, 1_000_003])
def test_large_sizes_are_permuted(size):
    found = permute(np.arange(size), 5, 2, size)

    assert np.array_equal(np.sort(found), np.arange(size))
    assert found.dtype == np.uint64


def test_epochs_may_differ_by_position():
    positions, epochs = np.arange(50) % 7, np.arange(50)

    mixed = permute(positions, 3, epochs, 7)

    assert mixed.tolist() == [int(permute([p], 3, e, 7)[0]) for p, e in zip(positions, epochs, strict=True)]


def test_seeds_and_epochs_differ():
    orders = {tuple(permute(np.arange(100), seed, epoch, 100).tolist()) for seed in range(20) for epoch in range(20)}

    assert len(orders) == 400


@pytest.mark.parametrize("size", [3, 7, 16, 60])
def test_every_sample_is_as_likely_at_every_place(size):
    """Chi-square of place x sample over many epochs: mean size - 1 a row, and far outliers would be a pattern."""
    epochs = 200 * size
    positions = np.tile(np.arange(size), epochs)
    samples = permute(positions, 9, np.repeat(np.arange(epochs), size), size).astype(np.int64)
    counts = np.bincount(positions * size + samples, minlength=size * size).reshape(size, size)
    chi_square = ((counts - 200) ** 2 / 200).sum(axis=1)

    assert chi_square.mean() == pytest.approx(size - 1, abs=5 * np.sqrt(2 * (size - 1) / size))
    assert chi_square.max() < size - 1 + 8 * np.sqrt(2 * (size - 1))


def test_neighbours_do_not_stay_together():
    found = permute(np.arange(100_000), 1, 0, 100_000).astype(np.int64)
    steps = np.diff(found)

    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.02
    assert len(np.unique(steps)) > 50_000
    assert abs(np.corrcoef(np.arange(100_000), found)[0, 1]) < 0.02


def test_the_stream_is_one_epoch_after_another():
    rows = rows_at(np.arange(35), seed=4, size=10)

    assert [sorted(rows[start : start + 10].tolist()) for start in (0, 10, 20)] == [list(range(10))] * 3
    assert rows[:10].tolist() == permute(np.arange(10), 4, 0, 10).tolist()
    assert rows[30:].tolist() == permute(np.arange(5), 4, 3, 10).tolist()
    assert rows_at(np.arange(7), seed=4, size=3, shuffle=False).tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    "arguments",
    [([3], 0, 0, 3), ([-1], 0, 0, 3), ([0.5], 0, 0, 3), ([0], -1, 0, 3), ([0], 1 << 64, 0, 3), ([0], 0, -1, 3),
     ([], 0, 0, 0), ([0], 0, 0, (1 << 62) + 1)],
)  # fmt: skip
def test_arguments_outside_their_range_are_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        permute(*arguments)


def test_no_positions_give_no_rows():
    assert permute([], 0, 0, 5).tolist() == rows_at([], seed=0, size=5).tolist() == []


# ---------------------------------------------------------------- windows


@given(
    size=st.integers(1, 200),
    seed=st.integers(0, WORD),
    epoch=st.integers(0, 5),
    window=st.builds(Window, st.integers(1, 40), st.integers(1, 9)),
)
def test_windows_are_those_written_in_plain_python(size, seed, epoch, window):
    order = rows_at(np.arange(epoch * size, (epoch + 1) * size), seed=seed, size=size, window=window).tolist()

    assert order == epoch_in_windows(seed, epoch, size, window)
    assert sorted(order) == list(range(size))


@given(size=st.integers(1, 300), window=st.builds(Window, st.integers(1, 40), st.integers(1, 9)), data=st.data())
def test_positions_of_several_epochs_may_come_together(size, window, data):
    positions = data.draw(st.lists(st.integers(0, 5 * size), max_size=20))

    assert rows_at(positions, seed=3, size=size, window=window).tolist() == [
        int(rows_at([position], seed=3, size=size, window=window)[0]) for position in positions
    ]


@given(size=st.integers(1, 200), window=st.builds(Window, st.integers(1, 40), st.integers(1, 9)), data=st.data())
def test_the_blocks_ahead_are_those_that_the_rows_come_from(size, window, data):
    """From the start of an epoch all its windows; from within it the window there, whole, and what follows."""
    place, num_blocks = data.draw(st.integers(0, size - 1)), -(-size // window.block_rows)
    blocks = list(islice(blocks_from(size, seed=3, size=size, window=window), num_blocks + 1))
    windows = [blocks[first : first + window.blocks] for first in range(0, num_blocks, window.blocks)]
    windows[-1] = windows[-1][: num_blocks - (len(windows) - 1) * window.blocks]
    rows, skipped, start = epoch_in_windows(3, 1, size, window), 0, 0
    for found in windows:
        stop = start + sum(map(len, found))
        assert sorted(rows[start:stop]) == sorted(row for block in found for row in block)
        skipped, start = skipped + (len(found) if stop <= place else 0), stop
    assert start == size
    ahead = blocks_from(size + place, seed=3, size=size, window=window)
    assert list(islice(ahead, len(blocks) - skipped)) == blocks[skipped:]


def test_a_window_keeps_to_its_blocks():
    order = rows_at(np.arange(10_000), seed=1, size=10_000, window=Window(100, 4))

    windows = [set((order[start : start + 400] // 100).tolist()) for start in range(0, 10_000, 400)]
    assert [len(window) for window in windows] == [4] * 25
    assert len(set.union(*windows)) == 100


def test_far_blocks_and_epochs_cost_nothing():
    window = Window(8192, 4)
    size, position = (1 << 50) + 12_345, (1 << 61) + 5
    row = int(rows_at([position], seed=5, size=size, window=window)[0])
    blocks = blocks_from(position, seed=5, size=size, window=window)

    assert any(row in next(blocks) for _ in range(4))


def test_windows_larger_than_the_build_mix_all_of_it():
    order = rows_at(np.arange(3000), seed=1, size=1000, window=Window(8192, 4))

    assert [sorted(order[start : start + 1000].tolist()) for start in (0, 1000, 2000)] == [list(range(1000))] * 3
    assert abs(np.corrcoef(np.arange(1000), order[:1000])[0, 1]) < 0.1
