"""Killed or refused at every system call of a commit: no reader sees half a build, and the next run mends it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import committing
import pytest
from faults import wait_until

TOLERATED = ("unlink", "unlinkat", "ftruncate", "link", "mkdir")
"""What may fail without harm: a file is copied where it cannot be linked, and left where it cannot be removed."""
CALLS = ("write", "pwrite64", "fsync", "rename", "link", "unlink", "unlinkat", "mkdir", "ftruncate")
"""By which the commit code changes what is on the disk."""
TRACED = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (\S+)")


class Strace:
    """Runs tests/committing.py's commit under strace."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, committing.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def commit(self, folder: Path, *options: str) -> int:
        """Exit code of the commit, -9 if it was killed."""
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(f"{folder}\n")
        self.server.stdin.flush()
        child = int(self.server.stdout.readline())
        wait_until(lambda: "T (stopped)" in Path(f"/proc/{child}/status").read_text())
        with subprocess.Popen(["strace", "-f", "-qq", "-p", str(child), *options], stderr=subprocess.PIPE, text=True):
            traced = wait_until(lambda: "TracerPid:\t0" not in Path(f"/proc/{child}/status").read_text(), 10)
            os.kill(child, signal.SIGCONT)
            code = int(self.server.stdout.readline())
        assert traced, "strace did not get hold of the process"
        return code


@pytest.fixture(scope="module")
def strace() -> Iterator[Strace]:
    if shutil.which("strace") is None:
        pytest.skip("no strace here: apt-get install strace")
    probe = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("strace may not trace here (ptrace is forbidden)")
    tracing = Strace()
    yield tracing
    tracing.server.communicate()


@pytest.fixture(scope="module")
def trace(strace: Strace, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """(call, arguments) of an undisturbed commit, in order."""
    folder = tmp_path_factory.mktemp("traced")
    assert strace.commit(folder / "out", "-y", "-e", f"trace={','.join(CALLS)}", "-o", str(folder / "trace")) == 0
    found = [TRACED.match(line) for line in (folder / "trace").read_text().splitlines()]
    return [(match[1], match[2]) for match in found if match]


def committed_bytes(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def expected_commit() -> dict[str, bytes]:
    texts = {f"shards/part-{n:05d}-of-00002.arrow": f"two {n}".encode() * 1000 for n in range(2)}
    return {
        "manifest.json": b"{}",
        ".build/lock": b"",
        ".build/identity.json": b'{"recipe": {}, "versions": {}}',
    } | texts


def check_commit(strace: Strace, out: Path, call: str, number: int, fault: str, codes: tuple[int, ...]) -> None:
    """Hurt the n-th such call, look at what a reader sees, run again."""
    code = strace.commit(
        out, "-e", f"trace={','.join(CALLS)}", "-e", f"inject={call}:{fault}:when={number}", "-o", "/dev/null"
    )
    assert code in codes, f"{call} {number} {fault}: exit {code}"
    if (out / "manifest.json").exists():
        assert expected_commit().items() <= {**committed_bytes(out), ".build/lock": b""}.items()
    committing.commit(out)
    assert committed_bytes(out) == expected_commit(), f"{call} {number} {fault}"
    shutil.rmtree(out)


def test_a1_killed_at_every_call_of_a_commit(strace: Strace, trace: list[tuple[str, str]], tmp_path: Path) -> None:
    counts = Counter(call for call, _ in trace)
    assert {"pwrite64", "fsync", "rename", "link", "write"} <= set(counts)
    for call, count in counts.items():
        for number in range(1, count + 1):
            check_commit(strace, tmp_path / "out", call, number, "signal=KILL", (-9,))


def test_a2_every_call_of_a_commit_fails_once(strace: Strace, trace: list[tuple[str, str]], tmp_path: Path) -> None:
    """A refusal that names the file; where the call is no part of the promise (unlink), nothing."""
    for call, count in Counter(call for call, _ in trace).items():
        codes = (committing.OK, committing.REFUSED) if call in TOLERATED else (committing.REFUSED,)
        for number in range(1, count + 1):
            fault = ("error=ENOSPC", "error=EIO", "error=EDQUOT")[number % 3]
            check_commit(strace, tmp_path / "out", call, number, fault, codes)


def test_a1_files_are_synced_then_renamed_then_their_folder_is_synced(trace: list[tuple[str, str]]) -> None:
    """Power loss cannot be made here; the order of the calls is what survives it."""
    renames = 0
    for place, (call, arguments) in enumerate(trace):
        if call not in ("rename", "link"):
            continue
        source, target = re.findall(r'"([^"]+)"', arguments)[:2]
        before = [text for name, text in trace[:place] if name == "fsync"]
        after = [text for name, text in trace[place:] if name == "fsync"]
        assert any(text.endswith(f"<{source}>") for text in before), f"{source} was not synced before it got its name"
        assert any(text.endswith(f"<{Path(target).parent}>") for text in after), (
            f"the folder of {target} was not synced"
        )
        renames += call == "rename"
    assert renames == 6  # identity, four records, manifest
    last = [arguments for call, arguments in trace if call == "rename"][-1]
    assert "manifest.json" in last
