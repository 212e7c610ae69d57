"""AdamW with the original's groups, and its state as named tensors that safetensors can hold."""

from collections.abc import Iterable

import torch
from torch import nn

from glmdata.errors import ConfigError

__all__ = ["load_optimizer_state", "make_optimizer", "optimizer_state", "parameter_groups"]

_STATE = ("exp_avg", "exp_avg_sq", "step")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights with decay, then biases and layer norms without (reference section 5); embeddings decay as well."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    plain = [parameter for _, parameter in named if parameter.ndim < 2]
    decayed = [parameter for _, parameter in named if parameter.ndim >= 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_optimizer(
    model: nn.Module, *, weight_decay: float, betas: tuple[float, float], epsilon: float
) -> torch.optim.AdamW:
    """The optimizer of a run; the rate is set before each step."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=0.0, betas=betas, eps=epsilon)


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Moments by `moment/parameter`, for each parameter that was updated."""
    found = {}
    for name, parameter in model.named_parameters():
        for moment in _STATE:
            if moment in optimizer.state.get(parameter, {}):
                found[f"{moment}/{name}"] = optimizer.state[parameter][moment].detach().clone()
    return found


def load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, torch.Tensor]) -> None:
    """Put moments back; none where no step was made, as fp16 leaves out its first ones.

    Raises ConfigError where they are not those of this model.
    """
    if not state:
        return
    wanted = {f"{moment}/{name}" for name, p in model.named_parameters() if p.requires_grad for moment in _STATE}
    if state.keys() != wanted:
        raise ConfigError(f"the optimizer's state is not of this model: {_first(wanted ^ state.keys())} differs")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            moments = {moment: state[f"{moment}/{name}"] for moment in _STATE}
            if moments["exp_avg"].shape != parameter.shape:
                raise ConfigError(f"the optimizer's state is not of this model: {name} has another shape")
            optimizer.state[parameter] = {
                moment: tensor if moment == "step" else _as(parameter, tensor) for moment, tensor in moments.items()
            }


def _as(parameter: nn.Parameter, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor where the parameter is, and of sharded parameters this rank's part."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(parameter, DTensor):
        return distribute_tensor(tensor.to(parameter.device), parameter.device_mesh, parameter.placements)
    return tensor.to(parameter.device)


def _first(names: Iterable[str]) -> str:
    return min(names)
