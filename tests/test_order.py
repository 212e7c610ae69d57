"""The order of samples: a permutation of every size, the same for ever, in no pattern, reachable anywhere at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.streaming.order import ORDER_VERSION, permute, rows_at

WORD = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def permute_one(position: int, seed: int, epoch: int, size: int) -> int:
    """The same permutation, one position at a time, in plain Python."""
    key = mix((mix((seed + GOLDEN) & WORD) + (epoch + 1) * GOLDEN) & WORD)
    half = 1
    while 4**half < size:
        half += 1
    while True:
        left, right = position >> half, position % (1 << half)
        for number in range(8):
            round_key = mix((key + (number + 1) * GOLDEN) & WORD)
            left, right = right, left ^ (mix(right ^ round_key) % (1 << half))
        position = (left << half) | right
        if position < size:
            return position


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
