"""How much memory there is for the tasks of a build, and how much a task of some size takes."""

import os
from pathlib import Path

from glmdata.pipelines.stages import IN_BYTES

__all__ = ["available_bytes", "needed_bytes"]

SHARE = 0.8
"""Of the memory that is available when a build starts; the rest is left to the driver and to others."""
BASE_BYTES = 320 << 20
"""A worker with its libraries and kernels, most of it shared with its neighbours: 250 to 300 MB measured."""
BYTES_A_BYTE = 12
"""Peak memory of ingest, sign and tokenize above that: 9 to 14 bytes for one of text (corpus of 22 MB, partitions of
5 MB)."""
BYTES_AN_ITEM = 96
"""Stages that hold keys, pairs or edges: 24 bytes a key three times, 25 to 50 a pair (docs/scale.md)."""
ROUNDED_BYTES = 64 << 20
"""Ray keeps a queue for each different request, so these are few."""
_UNKNOWN_BYTES = 4 << 30
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def needed_bytes(stage: str, weight: int) -> int:
    """What a task of a stage may take; `weight` is in bytes of text or in items, as that stage counts."""
    needed = BASE_BYTES + (BYTES_A_BYTE if stage in IN_BYTES else BYTES_AN_ITEM) * weight
    return -(-needed // ROUNDED_BYTES) * ROUNDED_BYTES


def available_bytes() -> int:
    """What tasks in this process may take together: of the machine's memory, or of the container's."""
    found = [size for size in (_of_machine(), *map(_of_cgroup, _CGROUP_LIMITS)) if size is not None]
    return int(SHARE * min(found, default=_UNKNOWN_BYTES))


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:  # no Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def _of_cgroup(limit: Path) -> int | None:
    """The limit alone: what is in use counts the page cache too, which gives way."""
    try:
        return int(limit.read_text("ascii"))
    except (OSError, ValueError):  # no such group, or "max"
        return None
