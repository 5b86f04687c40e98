"""The optimizers: AdamW for every parameter, or Muon for matrices and convolutions' kernels and AdamW for the rest.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") replaces the gradient's average of
a matrix by the nearest matrix of orthonormal rows or columns, so that every direction moves at the same speed. Five
Newton-Schulz steps come near to it: singular values end between about 0.7 and 1.2. A kernel counts as a matrix of its
output channels against all else. Tables of embeddings, and layers with a side below `SMALLEST`, are left to AdamW.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from sumi.networks.low_rank import RATE, additions
from sumi.training.config import TrainingConfig
from sumi.training.sharding import placed, rows_of, unsharded_type, whole

MOMENTUM: Final = 0.95
SMALLEST: Final = 16
"""Layers with fewer inputs or outputs, such as those to and from pixels, are left to AdamW."""
COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of the quintic a s + b s³ + c s⁵, repeated on all singular values s; the steepest at 0 that stays near 1 (Jordan)."""
REPEATS: Final = 5


def build_optimizer(
    config: TrainingConfig, module: nn.Module, parts: Sequence[list[nn.Parameter]], precision: str
) -> torch.optim.Optimizer:
    """The optimizer of a module's ``parts`` (`Objective.parameter_groups`); only the first decays.

    Each group's learning rate is ``config.learning_rate_at(step)`` times its entry ``multiple``. ``precision``: bf16 or
    fp32, of Muon's Newton-Schulz steps.
    """
    network, *auxiliary = parts
    matrices = _matrices(module, network) if config.optimizer == "muon" else []
    added = additions(module)
    chosen = {*matrices, *added}
    group: dict[str, Any] = {"multiple": 1.0}
    groups = [
        {**group, "params": [parameter for parameter in network if parameter not in chosen]},
        *({**group, "params": part, "weight_decay": 0.0} for part in auxiliary),
        *([{"params": added, "multiple": RATE}] if added else []),
    ]
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.beta_1, config.beta_2),
        "weight_decay": config.weight_decay,
        "fused": True,
    }
    if not matrices:
        return torch.optim.AdamW(groups, **settings)
    muon = {"params": matrices, "multiple": config.muon_learning_rate / config.learning_rate, "orthogonal": True}
    return Muon([*groups, muon], dtype=torch.bfloat16 if precision == "bf16" else torch.float32, **settings)


def _matrices(module: nn.Module, network: list[nn.Parameter]) -> list[nn.Parameter]:
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    weights = {part.get_parameter("weight") for part in module.modules() if unsharded_type(part) in layers}
    return [one for one in network if one in weights and min(len(one), one.numel() // len(one)) >= SMALLEST]


class Muon(torch.optim.AdamW):
    """AdamW whose groups with ``orthogonal`` take Muon's steps; matrices of one shape go through them together."""

    def __init__(self, params: list[dict[str, Any]], *, dtype: torch.dtype, **settings: Any) -> None:
        super().__init__(params, **settings)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Muon's step for the matrices, whose gradients are then gone, and AdamW's for the others."""
        for group in self.param_groups:
            if group.get("orthogonal"):
                self._step_matrices(group)
        super().step(closure)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike[parameter.shape].append(parameter)
        for parameters in alike.values():
            gradients = [cast("Tensor", parameter.grad) for parameter in parameters]
            averages = [self._average_of(parameter) for parameter in parameters]
            torch._foreach_lerp_(rows_of(averages), rows_of(gradients), 1 - MOMENTUM)
            torch._foreach_lerp_(rows_of(gradients), rows_of(averages), MOMENTUM)  # Nesterov's
            updates = orthogonal(torch.stack([*map(whole, gradients)]).flatten(2).to(self.dtype))
            rows, columns = updates.shape[1:]
            torch._foreach_mul_(rows_of(parameters), 1 - group["lr"] * group["weight_decay"])
            rate = group["lr"] * max(1, rows / columns) ** 0.5
            own = [placed(update.view(one.shape), one) for one, update in zip(parameters, updates, strict=True)]
            torch._foreach_add_(rows_of(parameters), rows_of(own), alpha=-rate)
            for parameter in parameters:
                parameter.grad = None

    def _average_of(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state.update(no_steps(parameter, orthogonal=True))
        state["step"] += 1
        return state["exp_avg"]


def orthogonal(matrices: Tensor) -> Tensor:
    """U S' Vᵀ for each matrix U S Vᵀ of (n, rows, columns), with S' near 1, by Newton-Schulz steps."""
    a, b, c = COEFFICIENTS
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(REPEATS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrices.shape[1] <= matrices.shape[2] else wide.mT


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state by parameter name: NAME.exp_avg, NAME.exp_avg_sq, NAME.step; zeros before the first.

    Matrices that Muon trains have no exp_avg_sq.
    """
    trained = {
        parameter: bool(group.get("orthogonal")) for group in optimizer.param_groups for parameter in group["params"]
    }
    return {
        f"{name}.{key}": value
        for name, parameter in module.named_parameters()
        if parameter in trained
        for key, value in (optimizer.state.get(parameter) or no_steps(parameter, trained[parameter])).items()
    }


def no_steps(parameter: Tensor, orthogonal: bool) -> dict[str, Tensor]:
    """The state of a parameter that has had no gradient yet."""
    names = ("exp_avg",) if orthogonal else ("exp_avg", "exp_avg_sq")
    averages = {name: torch.zeros_like(parameter, requires_grad=False) for name in names}
    return {"step": torch.zeros((), device=parameter.device), **averages}


def load_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Averages get their parameters' memory layout, as fused AdamW treats both as flat memory without checking."""
    names = {parameter: name for name, parameter in module.named_parameters()}
    order = [
        (parameter, names[parameter], bool(group.get("orthogonal")))
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    state = {
        index: {
            key: torch.empty_like(empty).copy_(tensors[f"{name}.{key}"])
            for key, empty in no_steps(parameter, orthogonal).items()
        }
        for index, (parameter, name, orthogonal) in enumerate(order)
        if f"{name}.step" in tensors  # a parameter without a gradient so far has none
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
