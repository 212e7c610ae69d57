"""Batches of a stream in tests, known by the numbers of their rows."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

from glmdata.streaming import ShardStream


def stream_of(path, batch_size=8, **options):
    """A stream of shards."""
    return ShardStream(path, batch_size, **options)


def take(stream, batches):
    """Its first batches."""
    iterator = iter(stream)
    return [next(iterator) for _ in range(batches)]


def numbers(batches):
    """Row numbers of batches, by sample_id."""
    return [(int(i) - 7) // 10 for batch in batches for i in batch["sample_id"]]
