"""How much of a build is mixed at a time, where not all of it can be."""

from typing import Any, Literal

from glmdata.errors import ConfigError
from glmdata.shards.reader import Shards
from glmdata.streaming.order import Window

__all__ = ["WindowOption", "chosen_window", "default_window"]

REMOTE_SHARDS = 4
"""Shards of an object store that are mixed: at 8,192 rows each, of a build whose rows are in random order anyway."""
COMPRESSED_BATCHES = 128
"""Record batches that are held decompressed: 38 MB at 512 tokens."""

WindowOption = Window | tuple[int, int] | Literal["auto"] | None


def default_window(shards: Shards) -> Window | None:
    """None, which mixes everything, for shards that are mapped as they lie; else by what is costly.

    In an object store that is to fetch a shard, on this machine to decompress a record batch.
    """
    if shards.place.remote:
        return Window(max(shard.rows for shard in shards.manifest.shards), REMOTE_SHARDS)
    if shards.compressed:
        return Window(shards.manifest.rows_per_record_batch, COMPRESSED_BATCHES)
    return None


def chosen_window(option: Any, shards: Shards) -> Window | None:
    """The window that an argument asks for. Raises ConfigError where it asks for none that there could be."""
    if option is None:
        return None
    if option == "auto":
        return default_window(shards)
    good = isinstance(option, tuple | list) and len(option) == 2
    if not good or not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 1 << 48 for n in option):
        raise ConfigError(f"window must be 'auto', None or (rows a block, blocks mixed at a time), it is {option!r}")
    return Window(*option)
