"""The shards of a build in memory: mapped files, fetched through the cache where the build is far away."""

import ctypes
import mmap
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from glmdata.errors import ConfigError, ShardCorruptError, ShardError, StorageError
from glmdata.shards.descriptor import Descriptor
from glmdata.shards.folder import Folder, RemoteFolder
from glmdata.shards.footer import Block, FooterError, record_batch_blocks
from glmdata.shards.manifest import ShardEntry
from glmdata.shards.prefetch import Prefetcher

__all__ = ["RESIDENT_BYTES", "MappedShard", "MappedShards"]

MAX_MAPPED_SHARDS = 1024
"""Linux allows a process 65,530 maps."""
RESIDENT_BYTES = 128 << 20
"""How much of a build's maps may be in memory. Builds that are larger are read by place, where that can be."""
FAULT_BYTES = 64 << 10
"""What Linux maps around a page that is touched."""


class MappedShard(NamedTuple):
    """A shard in memory. It is unmapped when the last array on it is gone; nothing is ever closed by force."""

    data: pa.Buffer
    blocks: list[Block]
    file: Descriptor | None
    """The same file to be read by place, as far as files may be opened."""

    def message(self, number: int, *, mapped: bool) -> pa.Buffer:
        """A record batch's message: on the map where asked for or where there is no file, else read. Raises OSError."""
        block = self.blocks[number]
        if mapped or self.file is None:
            return self.data.slice(block.offset, block.metadata + block.body)
        return pa.py_buffer(self.file.read(block.offset, block.metadata + block.body))

    def drop_pages(self) -> None:
        """Take the map's pages out of this process's memory; they come back from the file when they are touched."""
        start = self.data.address // mmap.PAGESIZE * mmap.PAGESIZE
        size = self.data.address + self.data.size - start
        if size and _C.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_DONTNEED):
            raise OSError(ctypes.get_errno(), "madvise")


_C = ctypes.CDLL(None, use_errno=True)


class MappedShards:
    """Shards by their number in the manifest; the recently used stay mapped. Pickles without maps."""

    def __init__(self, place: Folder, shards: Sequence[ShardEntry]) -> None:
        """Nothing is read. Raises ConfigError where the cache has no room for two shards."""
        self._place, self._shards = place, shards
        self._budget = place.cache.limit if isinstance(place, RemoteFolder) else None
        """What may be mapped, and twice what may be fetched ahead, where that takes room in a cache."""
        needed = 2 * max((shard.bytes for shard in shards), default=0)
        if isinstance(place, RemoteFolder) and place.cache.limit < needed:
            raise ConfigError(f"cache_bytes={place.cache.limit}: two shards of {place.name} take {needed}; allow more")
        self._reset()

    def _reset(self) -> None:
        self._mapped: OrderedDict[int, MappedShard] = OrderedDict()
        self.released: list[int] = []
        """Shards let go since the reader last emptied this; they are unmapped once it drops its views of them."""
        self._bytes = 0
        self._touched = 0
        self._fetched_again: set[int] = set()
        self._prefetcher: tuple[int, Prefetcher] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Where the shards lie."""
        return {"_place": self._place, "_shards": self._shards, "_budget": self._budget}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with nothing mapped."""
        self.__dict__.update(state)
        self._reset()

    def shard(self, index: int) -> MappedShard:
        """One shard. Raises ShardCorruptError, ShardError naming it; StorageError where it cannot be fetched."""
        mapped = self._mapped.get(index)
        if mapped is None:
            mapped = self._open(index)
            self.touch(2 * FAULT_BYTES)  # its magic and its footer
            self._mapped[index] = mapped
            self._bytes += mapped.data.size
            # What is mapped takes disk, also when it was removed from the cache.
            while len(self._mapped) > MAX_MAPPED_SHARDS or (self._budget is not None and self._bytes > self._budget):
                self._release(next(iter(self._mapped)))
        self._mapped.move_to_end(index)
        return mapped

    def touch(self, size: int) -> None:
        """Note that so many bytes of maps were read; at RESIDENT_BYTES all their pages leave this process's memory."""
        self._touched += size
        if self._touched > RESIDENT_BYTES < self._bytes:
            self._touched = 0
            for mapped in self._mapped.values():
                mapped.drop_pages()

    def share_cache(self, readers: int) -> None:
        """Leave room for others: this is one of so many that read through one cache at the same time."""
        if self._budget is not None:
            self._budget = max(self._budget // readers, 2 * max((shard.bytes for shard in self._shards), default=0))

    def fetch_again(self, index: int) -> bool:
        """Whether a shard whose bytes are wrong is worth another look: its copy in the cache was dropped, once."""
        if not isinstance(self._place, RemoteFolder) or index in self._fetched_again:
            return False
        self._fetched_again.add(index)
        if index in self._mapped:
            self._release(index)
        self._place.cache.drop(self._shards[index].xxh3, self._shards[index].bytes)
        return True

    def prefetch(self, indices: Iterable[int]) -> None:
        """Fetch shards in the background, the first first, in place of what was asked for before.

        As many as fit in half of the cache; nothing is done for a build on this machine.
        """
        if not isinstance(self._place, RemoteFolder):
            return
        if self._prefetcher is None or self._prefetcher[0] != os.getpid():  # threads do not live on in a fork
            place, shards = self._place, self._shards

            def fetch(index: int, cancelled: Callable[[], bool]) -> None:
                place.path(shards[index].path, shards[index].bytes, shards[index].xxh3, cancelled=cancelled)

            prefetcher = Prefetcher(fetch)
            weakref.finalize(self, prefetcher.stop)
            self._prefetcher = os.getpid(), prefetcher
        wanted, room = list[int](), (self._budget or 0) // 2
        for index in indices:
            room -= self._shards[index].bytes
            if room < 0 and wanted:
                break
            if index not in self._mapped:
                wanted.append(index)
        self._prefetcher[1].want(wanted)

    def _release(self, index: int) -> None:
        self._bytes -= self._mapped.pop(index).data.size
        self.released.append(index)

    def _open(self, index: int) -> MappedShard:
        shard = self._shards[index]
        name = f"{self._place.name}/{shard.path}"
        try:
            data, file = self._read(shard, name)
        except StorageError:
            raise
        except OSError as error:
            raise ShardError(f"{name}: cannot be read: {error}") from None
        try:
            return MappedShard(data, _checked(data, shard, name), file)
        except ShardCorruptError:
            if not self.fetch_again(index):
                raise
        return self._open(index)

    def _read(self, shard: ShardEntry, name: str) -> tuple[pa.Buffer, Descriptor | None]:
        while True:
            path = self._place.path(shard.path, shard.bytes, shard.xxh3)
            try:
                if not path.is_file():
                    raise FileNotFoundError
                with pa.memory_map(str(path)) as file:
                    return file.read_buffer(), Descriptor.of(path)  # the map needs no descriptor from here on
            except FileNotFoundError:
                if not self._place.remote:
                    raise ShardError(f"{name}: missing; copy the build again") from None
                # Else another process made room with it just now.


def _checked(data: pa.Buffer, shard: ShardEntry, name: str) -> list[Block]:
    """Where the record batches lie in a shard of the size and number of them listed. Raises ShardCorruptError."""
    if data.size != shard.bytes:
        raise ShardCorruptError(f"{name}: {data.size} bytes, the manifest says {shard.bytes}; copy the build again")
    try:
        blocks = record_batch_blocks(memoryview(data))
    except FooterError as error:
        raise ShardCorruptError(f"{name}: {error}; copy the build again") from None
    if len(blocks) != len(shard.record_batches):
        raise ShardCorruptError(
            f"{name}: {len(blocks)} record batches, the manifest says {len(shard.record_batches)}; copy the build again"
        )
    return blocks
