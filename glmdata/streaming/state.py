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
    rows: tuple[int, int] | None
    """[first, end) of the build's rows that the stream has; None for all, in states of before there were such."""
    samples_consumed: int

    def as_json(self) -> dict[str, Any]:
        """As it was saved."""
        lists = {name: list(pair) if (pair := getattr(self, name)) else None for name in ("window", "rows")}
        return asdict(self) | lists

    def row_range(self, shards: Shards) -> tuple[int, int]:
        """`rows` of that build. Raises ConfigError where it has not so many."""
        first, end = self.rows or (0, shards.rows)
        if not first < end <= shards.rows:
            raise ConfigError(f"the state is of rows {first} to {end}, {shards.folder} has {shards.rows}")
        return first, end

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
    found = {"remask": False, "window": None, "rows": None, **found}  # states saved before there were such things
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(f"{path}: not the state of a ShardStream: it lacks {', '.join(missing)}")
    for name, limit in LIMITS.items():
        if type(found[name]) is not int or not 0 <= found[name] < limit:
            raise ConfigError(f"{path}: {name} must be an integer in 0 to {limit - 1}, it is {found[name]!r:.80}")
    for name, kind in (("fingerprint", str), ("shuffle", bool), ("remask", bool)):
        if not isinstance(found[name], kind):
            raise ConfigError(f"{path}: {name} must be a {kind.__name__}, it is {found[name]!r:.80}")
    for name, least in (("window", 1), ("rows", 0)):
        pair = found[name]
        fits = isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and least <= n < 1 << 62 for n in pair)
        if pair is not None and not fits:
            raise ConfigError(f"{path}: {name} must be two integers, it is {pair!r:.80}")
    found["window"] = Window(*found["window"]) if found["window"] else None
    found["rows"] = tuple(found["rows"]) if found["rows"] else None
    if found["order_version"] != ORDER_VERSION:
        raise ConfigError(
            f"{path}: saved under order version {found['order_version']}, this glmdata has {ORDER_VERSION}; "
            "use the glmdata that saved it"
        )
    return StreamState(**{name: found[name] for name in names})
