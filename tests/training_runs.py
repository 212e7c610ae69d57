"""Trainings run as commands: by themselves, and in two processes as torchrun starts them."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import Command, glmdata

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

from glmdata.training.metrics import read_metrics

__all__ = ["TIMINGS", "run_alone", "run_together", "told"]

TIMINGS = {"seconds", "tokens_per_second", "loader_wait"}


def told(out: Path) -> list[dict[str, Any]]:
    """What a run says of its steps, timings aside."""
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in read_metrics(out)]


def run_alone(command: Sequence[object], out: Path, batch: str) -> None:
    """Run a command that ends in --out."""
    done = glmdata(*command, out, "--set", batch)
    assert done.returncode == 0, done.stderr


def run_together(command: Sequence[object], out: Path, batch: str, parallel: str) -> None:
    """Run it in two processes as torchrun starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    full = [*command, out, "--set", batch, "--set", f"parallel={parallel}"]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    running = [Command(full, {**world, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    for process in running:
        done = process.end(300)
        assert done.returncode == 0, done.stderr
