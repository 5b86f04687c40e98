"""A learned variance of the reverse step, expressed as Var(x_0 | x_t).

Besides F the network predicts a number v per element (initially ½) that interpolates between the two extremes of the
variance of a step t → s of its chain (Nichol & Dhariwal 2021, eq. 15):

    log Σ = v log β + (1 - v) log β̃,       β = Var(x_s → x_t),   β̃ = Var(x_s | x_t, x_0) = β sigma_s²/sigma_t²

v holds for that step only, but the variance of x_0 that it implies holds for any. With Σ = β̃ + c² Var(x_0 | x_t),
c = alpha_s β/sigma_t²,

    Var(x_0 | x_t) = β̃ ((sigma_t²/sigma_s²)^v - 1)/c²,

so any solver and any bound can use it. Where s is the data, β̃ = 0 and c = 1; then Σ itself is Var(x_0 | x_t), and the
second step's β̃ replaces β̃, as in the paper's code. For v < 0, Σ < β̃ and the variance of x_0 is negative.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.process.gaussian import expand, posterior, transition
from sumi.process.schedule import NoiseLevel, Schedule, noise_level


@dataclass(frozen=True)
class FixedVariance:
    """The network predicts no variance: a solver or a bound uses β̃ or β."""

    name: ClassVar[str] = "fixed"


@dataclass(frozen=True)
class LearnedVariance:
    """The network also predicts the variance of its steps (Nichol & Dhariwal 2021, section 3.1).

    It is trained on the variational bound: alone with the weighting ``likelihood``, with any other through the hybrid
    loss, loss + ``bound_weight`` · bound, whose bound has no gradient to the mean (eq. 16).
    """

    name: ClassVar[str] = "learned"

    bound_weight: float = field(
        default=1e-3, metadata={"help": "weight of the bound (nats per dimension) in the hybrid loss, > 0"}
    )

    def __post_init__(self) -> None:
        if not self.bound_weight > 0:
            raise InputError(f"variance.bound_weight: {self.bound_weight} is not positive; the paper's value is 0.001")


VarianceConfig = FixedVariance | LearnedVariance


def clean_variance(output: Tensor, t: NoiseLevel, schedule: Schedule, steps: int) -> Tensor:
    """Var(x_0 | x_t) of each element, in the type and shape (N, …) of the network's ``output`` 2 v - 1.

    ``t``: floats or tensors (N,), times i/steps of the chain.
    """
    time = torch.as_tensor(t.t, dtype=torch.float64).reshape(-1)
    now = noise_level(schedule, time)
    # at the first step, take the second step's levels, whose β̃ is needed there
    first = time * steps < 1.5
    later = noise_level(schedule, torch.where(first, time + 1 / steps, time).clamp(max=1.0))
    earlier = noise_level(schedule, torch.where(first, time, time - 1 / steps))
    lower = torch.as_tensor(posterior(earlier, later).variance)
    lower = torch.where(lower > 0, lower, torch.as_tensor(now.sigma) ** 2)  # a chain of one step has no second
    upper = torch.where(first, torch.as_tensor(now.sigma) ** 2, torch.as_tensor(transition(earlier, later).variance))
    c_squared = torch.where(first, torch.ones_like(time), torch.as_tensor(posterior(earlier, later).clean) ** 2)
    fraction = (output + 1) / 2
    log_ratio = expand((upper / lower).log(), output)
    scale = expand(lower / c_squared, output)
    if bool(first.all()):
        return scale * (fraction * log_ratio).exp()
    if not bool(first.any()):
        return scale * (fraction * log_ratio).expm1()
    return scale * ((fraction * log_ratio).expm1() + expand(first.double(), output))
