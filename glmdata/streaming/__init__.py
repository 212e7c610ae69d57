"""Batches for training, in an order that is arithmetic."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmdata.streaming.mix import MixedStream
    from glmdata.streaming.stream import ShardStream

__all__ = ["MixedStream", "ShardStream"]


def __getattr__(name: str) -> Any:
    """Import torch when a stream is asked for, and not before."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from glmdata.streaming import mix, stream
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f'{name} needs PyTorch: pip install "glmdata[train]"') from error
    return mix.MixedStream if name == "MixedStream" else stream.ShardStream
