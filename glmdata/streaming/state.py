"""The state of a ShardStream, read from a JSON file without torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glmdata.errors import ConfigError, FingerprintMismatchError, InputError
from glmdata.shards.reader import Shards
from glmdata.streaming.order import ORDER_VERSION, Window

__all__ = ["StreamState", "read_state"]

MAX_STATE_BYTES = 1 << 20
LIMITS = {"order_version": 1 << 16, "seed": 1 << 63, "samples_consumed": 1 << 62}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """As ShardStream.state_dict has it."""

    order_version: int
    fingerprint: str
    seed: int
    shuffle: bool
    remask: bool
    window: Window | None
    samples_consumed: int

    def as_json(self) -> dict[str, Any]:
        """As it was saved."""
        return {**asdict(self), "window": None if self.window is None else list(self.window)}

    def check_fits(self, shards: Shards) -> None:
        """Raise FingerprintMismatchError where the state belongs to another build."""
        fingerprint = shards.manifest.fingerprint
        if self.fingerprint != fingerprint:
            raise FingerprintMismatchError(
                f"the state belongs to build {self.fingerprint}, {shards.folder} is {fingerprint}; "
                "give the build that was trained on"
            )


def read_state(path: Path) -> StreamState:
    """The state that was saved as JSON.

    Raises InputError where the file cannot be read, ConfigError where it holds something else, or a state of another
    version of the order.
    """
    try:
        if path.stat().st_size > MAX_STATE_BYTES:
            raise ConfigError(f"{path}: not the state of a ShardStream: it is larger than {MAX_STATE_BYTES:,} bytes")
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: not the state of a ShardStream: it is no JSON") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: not the state of a ShardStream: it is no JSON object")
    names = StreamState.__dataclass_fields__
    found = {"remask": False, "window": None, **found}  # states saved before there were such things
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(f"{path}: not the state of a ShardStream: it lacks {', '.join(missing)}")
    for name, limit in LIMITS.items():
        if type(found[name]) is not int or not 0 <= found[name] < limit:
            raise ConfigError(f"{path}: {name} must be an integer in 0 to {limit - 1}, it is {found[name]!r:.80}")
    for name, kind in (("fingerprint", str), ("shuffle", bool), ("remask", bool)):
        if not isinstance(found[name], kind):
            raise ConfigError(f"{path}: {name} must be a {kind.__name__}, it is {found[name]!r:.80}")
    window = found["window"]
    if window is not None:
        if not (
            isinstance(window, list) and len(window) == 2 and all(type(n) is int and 0 < n < 1 << 31 for n in window)
        ):
            raise ConfigError(f"{path}: window must be two numbers, it is {window!r:.80}")
        found["window"] = Window(*window)
    if found["order_version"] != ORDER_VERSION:
        raise ConfigError(
            f"{path}: saved under order version {found['order_version']}, this glmdata has {ORDER_VERSION}; "
            "use the glmdata that saved it"
        )
    return StreamState(**{name: found[name] for name in names})
