"""The lock of a build in an object store, from nothing but its consistent listings.

Each builder writes a *claim*, an object of its own, then lists all claims. It holds the lock once a listing that it
asked for after its claim was written shows no other. Two cannot: of two claims one was written later, and the listing
that follows it shows the earlier one (S3, Google Cloud Storage and Azure list what was written before).
Conditional writes would do the same, but Arrow's client has none.

The owner counts up in its claim. Who finds another's claim waits whether the count moves and breaks it where it does
not; no clocks are compared. An owner that was suspended meanwhile finds its claim broken, and stops before it commits
or publishes anything.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from glmdata.errors import BuildRunningError, StorageError
from glmdata.remote import Remote

__all__ = ["Claim", "ObjectLock", "hold"]

HEARTBEAT_S = 10.0
SILENCE_S = 60.0
"""A store that answers nobody for so long has the same effect as an owner that died: it is told, and resumed."""
CLAIMS = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a builder writes of itself."""

    pid: int
    host: str
    machine: str
    """Names one run of one kernel and the name space of its processes; "" where that is not known."""
    started: str
    """Of the process, in ticks, since its number may be given anew."""
    token: str
    holds: bool = False
    beat: int = 0
    broke: tuple[str, ...] = ()
    """Tokens of claims it took for dead."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class ObjectLock:
    """A lock that is held."""

    def __init__(self, store: Remote, claim: Claim) -> None:
        self._store, self._claim = store, claim
        self._lost: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="glmdata-heartbeat", daemon=True)
        self._thread.start()

    def check(self, *, look: bool = False) -> None:
        """Raise BuildRunningError where another process took the build over; with `look` ask the store now."""
        if look and self._lost is None:
            self._look()
        if self._lost is not None:
            raise BuildRunningError(
                f"{self._store.name}: {self._lost} took this build over while this process was suspended or cut off "
                "from the store; it goes on there"
            )

    def release(self) -> None:
        """Withdraw the claim."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(StorageError):  # the next one waits for our silence
            self._store.remove([_key(self._claim.token)])

    def _look(self) -> None:
        others = _read_claims(self._store)
        if self._claim.token not in others:
            breaker = next((str(other) for other in others.values() if self._claim.token in other.broke), None)
            self._lost = breaker or "another process"

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with contextlib.suppress(StorageError):  # told by the build itself
                self._look()
                if self._lost is not None:
                    return
                self._claim = replace(self._claim, beat=self._claim.beat + 1)
                _write(self._store, self._claim)
                # Broken between look and write: the breaker says so, and what was written anew goes again.
                if any(self._claim.token in other.broke for other in _read_claims(self._store).values()):
                    self._store.remove([_key(self._claim.token)])


@contextlib.contextmanager
def hold(store: Remote, tell: Callable[[str], None]) -> Iterator[ObjectLock]:
    """Hold the lock of the build whose work lies at `store`; `tell` is called where that takes time.

    Raises: BuildRunningError: another process that lives builds there. StorageError.
    """
    claim = Claim(
        pid=os.getpid(),
        host=socket.gethostname(),
        machine=_machine(),
        started=_started(os.getpid()),
        token=uuid.uuid4().hex,
    )
    _write(store, claim)
    try:
        claim = _win(store, claim, tell)
    except BaseException:
        with contextlib.suppress(StorageError):
            store.remove([_key(claim.token)])
        raise
    lock = ObjectLock(store, claim)
    try:
        yield lock
    finally:
        lock.release()


def _win(store: Remote, claim: Claim, tell: Callable[[str], None]) -> Claim:
    """The claim once it is the only one. Raises BuildRunningError."""
    seen: dict[str, tuple[int, float]] = {}
    while True:
        others = [other for token, other in _read_claims(store).items() if token not in (claim.token, *claim.broke)]
        if not others:
            claim = replace(claim, holds=True)
            _write(store, claim)
            return claim
        dead = [other for other in others if _is_dead(store, claim, other, seen)]
        claim = replace(claim, beat=claim.beat + 1, broke=(*claim.broke, *(other.token for other in dead)))
        _write(store, claim)
        store.remove([_key(other.token) for other in dead])
        if not dead:
            if claim.beat == 1:
                tell(f"{store.name}: {others[0]} did not take its leave; waiting {SILENCE_S:.0f} s for a sign of it")
            time.sleep(min(1.0, SILENCE_S / 20))


def _is_dead(store: Remote, mine: Claim, other: Claim, seen: dict[str, tuple[int, float]]) -> bool:
    """Whether another's claim is void; raises BuildRunningError where it goes before ours.

    Of two that ask at once the one with the lower token goes first; the other one sees it count, and steps back.
    """
    if _on_this_machine(other) and _started(other.pid) != other.started:
        return True
    first = other.holds or other.token < mine.token
    beat, since = seen.setdefault(other.token, (other.beat, time.monotonic()))
    if first and (other.beat != beat or (other.holds and _on_this_machine(other))):
        raise _running(store, other)
    if other.beat != beat:
        seen[other.token] = other.beat, time.monotonic()
    return time.monotonic() - since >= SILENCE_S


def _running(store: Remote, owner: Claim) -> BuildRunningError:
    return BuildRunningError(
        f"{store.name.rpartition('/')[0]}: {owner} is building here; wait for it, or choose another --out"
    )


def _key(token: str) -> str:
    return f"{CLAIMS}/{token}.json"


def _write(store: Remote, claim: Claim) -> None:
    store.write(_key(claim.token), json.dumps(asdict(claim)).encode())


def _read_claims(store: Remote) -> dict[str, Claim]:
    """All claims by token; those withdrawn or broken meanwhile are none."""
    found = {}
    for name in store.find(CLAIMS):
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            there = json.loads(store.read(f"{CLAIMS}/{name.name}"))
            claim = Claim(**{**there, "broke": tuple(there["broke"])})
            found[claim.token] = claim
    return found


def _machine() -> str:
    try:
        return (
            f"{Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
        )
    except OSError:
        return ""  # no Linux: only silence tells


def _started(pid: int) -> str:
    """When a process of this machine started, "" where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _on_this_machine(claim: Claim) -> bool:
    return bool(claim.machine) and claim.machine == _machine()
