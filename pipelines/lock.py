"""The lock of a build's folder: one process builds there, and one that died does not keep the others out.

`flock` goes with the process, however it ends; it decides wherever it reaches, that is on one machine, and on NFS
whose server passes it on. Where it does not reach, the *heartbeat* does: the owner counts up in the lock file every few
seconds, and who finds the name of another machine there waits whether the count moves. No clocks are compared. An
owner that was suspended and finds another name in its file when it wakes stops before it publishes anything.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from glmdata.errors import BuildRunningError
from glmdata.storage import storage_errors

__all__ = ["BuildLock", "Owner", "hold"]

HEARTBEAT_S = 5.0
SILENCE_S = 35.0
"""Seven beats: NFS clients may show a file as it was 3 to 30 s ago unless it is opened anew, which we do."""
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the lock file says."""

    pid: int
    host: str
    machine: str
    """Names one run of one kernel: what flock reaches in any case."""
    token: str
    beat: str
    """Decimal, of fixed width, so that writing it anew replaces the file's content byte for byte."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class BuildLock:
    """A lock that is held."""

    def __init__(self, folder: Path, path: Path, descriptor: int, owner: Owner) -> None:
        self._folder, self._path, self._descriptor, self._owner = folder, path, descriptor, owner
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="glmdata-heartbeat", daemon=True)
        _write(descriptor, owner)
        self._thread.start()

    def check(self) -> None:
        """Raise BuildRunningError where another process took the folder over."""
        there = _read(self._path)
        if there is not None and there.token != self._owner.token:
            raise BuildRunningError(
                f"{self._folder}: {there} took this build over while this process was suspended or cut off; "
                "it goes on there"
            )

    def release(self) -> None:
        """Say goodbye, so that nobody waits for a heartbeat."""
        self._stop.set()
        self._thread.join(HEARTBEAT_S)  # it may hang in a file system that does not answer
        there = _read(self._path)
        if there is not None and there.token == self._owner.token:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(HEARTBEAT_S):
            count += 1
            there = _read(self._path)
            if there is not None and there.token != self._owner.token:
                return
            with contextlib.suppress(OSError):  # a folder that is gone or full is told by the build itself
                _write(self._descriptor, replace(self._owner, beat=_beat_text(count)))


@contextlib.contextmanager
def hold(folder: Path, path: Path, tell: Callable[[str], None]) -> Iterator[BuildLock]:
    """Hold the lock file `path` of the build in `folder`.

    Raises: BuildRunningError: another process that lives builds there. StorageError: the file cannot be written.
    """
    with storage_errors("opening the lock"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        reaches = _flock(folder, path, descriptor)
        there, machine = _read(path), _machine()
        if there is not None and (there.machine != machine or (not reaches and _lives(there))):
            _await_silence(folder, path, there, tell)
        owner = Owner(
            pid=os.getpid(), host=socket.gethostname(), machine=machine, token=uuid.uuid4().hex, beat=_beat_text(0)
        )
        with storage_errors(f"writing the lock {path}"):
            lock = BuildLock(folder, path, descriptor, owner)
        try:
            yield lock
        finally:
            lock.release()
    finally:
        os.close(descriptor)


def _flock(folder: Path, path: Path, descriptor: int) -> bool:
    """Take the flock; False where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            return False
        raise _running(folder, _read(path)) from None
    return True


def _await_silence(folder: Path, path: Path, there: Owner, tell: Callable[[str], None]) -> None:
    """Return when the heartbeat of an owner on another machine did not move for long enough."""
    tell(f"{folder}: {there} did not take its leave; waiting {SILENCE_S:.0f} s to see whether it still builds")
    until = time.monotonic() + SILENCE_S
    while time.monotonic() < until:
        time.sleep(min(1.0, SILENCE_S / 10))
        now = _read(path)
        if now is None:
            return
        if (now.token, now.beat) != (there.token, there.beat):
            raise _running(folder, now)
    tell(f"{folder}: no sign of it; its build goes on here")


def _running(folder: Path, owner: Owner | None) -> BuildRunningError:
    return BuildRunningError(
        f"{folder}: {owner or 'another process'} is building here; wait for it, or choose another --out"
    )


def _read(path: Path) -> Owner | None:
    """The owner in the file, opened anew; nothing where it took its leave or the file is of another version."""
    try:
        return Owner(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _write(descriptor: int, owner: Owner) -> None:
    data = json.dumps(asdict(owner)).encode()
    if os.fstat(descriptor).st_size != len(data):
        os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)
    os.fsync(descriptor)


def _machine() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:  # no Linux
        return socket.gethostname()


def _lives(owner: Owner) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return owner.pid != os.getpid()


def _beat_text(count: int) -> str:
    return f"{count:012d}"
