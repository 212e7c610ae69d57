"""One process among many: what a rank is, and sums over all of them. Without torchrun it is the only one."""

import os
from typing import NamedTuple

import torch
from torch import distributed

__all__ = ["World", "join_world", "leave_world", "sum_over"]


class World(NamedTuple):
    """Which process this is."""

    rank: int
    size: int
    device: torch.device


def join_world() -> World:
    """Join the processes that torchrun (or `glmdata train --workers`) started, as told by the environment.

    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are torchrun's; NCCL where there are GPUs, gloo elsewhere.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if size > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(int(os.environ.get("RANK", "0")), size, device)


def leave_world(world: World) -> None:
    """Take leave of the others, if there are any."""
    if world.size > 1 and distributed.is_initialized():
        distributed.destroy_process_group()


def sum_over(world: World, values: torch.Tensor) -> torch.Tensor:
    """The sum of every rank's values, on each of them; in place."""
    if world.size > 1:
        distributed.all_reduce(values)
    return values
