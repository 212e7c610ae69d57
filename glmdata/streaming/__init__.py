"""Batches for training, in an order that is arithmetic."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmdata.streaming.stream import ShardStream

__all__ = ["ShardStream"]


def __getattr__(name: str) -> Any:
    """Import torch when ShardStream is asked for, and not before."""
    if name == "ShardStream":
        from glmdata.streaming.stream import ShardStream

        return ShardStream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
