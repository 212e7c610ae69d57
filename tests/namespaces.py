"""Ray nodes behind a link of their own: a network namespace and a pair of virtual devices, whose end here can be cut.

Needs root and iproute2. Everything goes with the context: the processes in the namespace, the namespace, its link. A
namespace reaches all addresses of this machine.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest
from faults import RAY

__all__ = ["Namespace", "namespace"]

FAR_END = "there"


@dataclass(slots=True)
class Namespace:
    """One that is linked with this machine's network."""

    name: str
    link: str
    """Our end."""
    here: str
    """Address of our end."""
    there: str
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_node(self, address: str) -> int:
        """Start a Ray node with one processor in the namespace, for the cluster at `address`; its process id."""
        command = ["ip", "netns", "exec", self.name, sys.executable, "-c", RAY, "start", f"--address={address}"]
        command += [f"--node-ip-address={self.there}", "--num-cpus=1", f"--memory={2 << 30}", "--block"]
        command += [f"--object-store-memory={80 << 20}", "--disable-usage-stats"]
        quiet = subprocess.DEVNULL
        self.nodes.append(subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True))
        return self.nodes[-1].pid

    def cut(self) -> None:
        """The cable is pulled at the far end."""
        _ip("-netns", self.name, "link", "set", FAR_END, "down")

    def heal(self) -> None:
        """Put it in again."""
        _ip("-netns", self.name, "link", "set", FAR_END, "up")
        _ip("-netns", self.name, "route", "add", "default", "via", self.here)

    def pids(self) -> list[int]:
        """The processes in it."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]


@contextlib.contextmanager
def namespace(number: int) -> Iterator[Namespace]:
    """A linked namespace; `number` tells those of one process apart. Skips the test where there can be none."""
    if not shutil.which("ip"):
        pytest.skip("needs the command ip (iproute2)")
    ours = f"glm{os.getpid()}n{number}"  # names of devices have 15 characters at most
    subnet = f"198.18.{os.getpid() % 256}"  # addresses that are set aside for tests (RFC 2544)
    made = Namespace(ours, ours, f"{subnet}.{4 * number + 1}", f"{subnet}.{4 * number + 2}")
    try:
        _ip("netns", "add", made.name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
    try:
        try:
            _ip("link", "add", made.link, "type", "veth", "peer", "name", FAR_END, "netns", made.name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"virtual network devices are not permitted here: {error.stderr.strip()}")
        _ip("address", "add", f"{made.here}/30", "dev", made.link)
        _ip("link", "set", made.link, "up")
        for command in (
            ("address", "add", f"{made.there}/30", "dev", FAR_END),
            ("link", "set", FAR_END, "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", made.here),
        ):
            _ip("-netns", made.name, *command)
        yield made
    finally:
        _end(made.pids())
        for node in made.nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(10)
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", made.link)
        _ip("netns", "delete", made.name)


def _end(pids: list[int]) -> None:
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            processes.append(psutil.Process(pid))
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
