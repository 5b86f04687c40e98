"""Mean flow (Geng et al. 2025, "Mean flows for one-step generative modeling", and "Improved mean flows").

On the straight line x_t = (1 - t) x_0 + t ε the mean velocity of the way from t to s is u = (x_t - x_s)/(t - s), so one
evaluation goes all the way: x_s = x_t - (t - s) u. With the velocity v at t, along the path,

    u + (t - s) du/dt = v,        du/dt = v ∂u/∂x + ∂u/∂t        (s fixed),

which defines u from v alone; at s = t it is v. du/dt is one product of the Jacobian with (v, 1), in forward mode; or,
for a network that is rough in t, as one with c_noise = 1000 t - 1 is, the slope over a small ``width`` of times. The
network's x̂_0 stands for u = (x_t - x̂_0)/t, whatever it predicts.

    plain     u learns sg[v - (t - s) du/dt],          du/dt along the direction's v (`sumi.objectives.direction`)
    improved  u + (t - s) sg[du/dt] learns v,          du/dt along the network's own v, that of s = t

The squared error ‖Δ‖², summed over the elements, is divided by (‖Δ‖² + c)^p without a gradient. A share of the items
has s = t; the others do not need more than their own derivative.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from sumi.conditioning.condition import Condition
from sumi.data.batch import Batch
from sumi.denoising.denoiser import NetworkDenoiser, span_input
from sumi.networks.dropout import masks_repeated
from sumi.networks.layers import forward_mode
from sumi.objectives.denoiser import DenoiserObjective
from sumi.objectives.direction import UNTAUGHT, Direction
from sumi.objectives.times import LogitNormalTimes
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose

Form = Literal["plain", "improved"]


def mean_velocity(
    denoiser: NetworkDenoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition | None = None
) -> Tensor:
    """u (N, …) of the ways from t to s, float64 (N,), of x_t (N, …) on the straight line; differentiable in all."""
    now, then = (denoiser.schedule.noise_level(time) for time in (t, s))
    c = denoiser.parameterization.coefficients(now)
    output = denoiser.predict(x_t, replace(c, c_span=span_input(now, then)), condition).to(x_t.dtype)
    return expand((1 - c.c_skip) / t, x_t) * x_t - expand(c.c_out / t, x_t) * output


def along_path(
    denoiser: NetworkDenoiser,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    v: Tensor,
    condition: Condition | None = None,
    width: float = 0.0,
) -> Tensor:
    """du/dt (N, …) of `mean_velocity` along (v, 1, 0), without a gradient; or its slope from t - width to t + width."""

    def u(x: Tensor, time: Tensor) -> Tensor:
        with masks_repeated():
            return mean_velocity(denoiser, x, time, s, condition)

    full = torch.autocast(x_t.device.type, enabled=False)  # a derivative loses the digits that bfloat16 has not
    with torch.no_grad(), full:
        if width:
            early, late = (t - width).clamp(min=width / 8), (t + width).clamp(max=1.0)
            ends = [u(x_t + expand(time - t, x_t) * v, time) for time in (late, early)]
            return (ends[0] - ends[1]) / expand(late - early, x_t)
        with forward_mode():
            return torch.func.jvp(u, (x_t, t), (v, torch.ones_like(t)))[1]


@dataclass(frozen=True)
class Ways:
    """The times t and s ≤ t of a training step: logit-normal both, sorted; a ``share`` has s = t."""

    t: LogitNormalTimes
    s: LogitNormalTimes
    same: float

    def times(self, u: Tensor, denoiser: NetworkDenoiser) -> tuple[Tensor, Tensor]:
        """t and s, float64 (N,) each, of ``u`` (N, 3) in [0, 1)."""
        t, s = self.t.times(u[:, 0], denoiser.schedule), self.s.times(u[:, 1], denoiser.schedule)
        return t, torch.where(u[:, 2] < self.same, t, torch.minimum(s, t))


class MeanFlowObjective(DenoiserObjective[NetworkDenoiser]):
    """Train ``denoiser``, of two times, to know mean velocities. ``power`` p and ``floor`` c weigh the errors."""

    def __init__(
        self, denoiser: NetworkDenoiser, ways: Ways, form: Form, power: float, floor: float, width: float = 0.0
    ) -> None:
        super().__init__(denoiser)
        self.ways, self.form, self.power, self.floor, self.width = ways, form, power, floor, width
        self.direction: Direction = UNTAUGHT

    def blocks(self) -> list[nn.Module]:
        """None: derivatives are taken in forward mode, and only where a process has items of two times."""
        return []

    def forward(self, batch: Batch) -> Tensor:
        model = self.model
        with torch.no_grad():
            x_0, noise = self.clean(batch).to(self.device, non_blocking=True), self.noise(batch)
            t, s = self.ways.times(batch.uniforms(Purpose.TRAINING_TIME, 3), model)
            now = noise_level(model.schedule, t)
            x_t = add_noise(x_0, noise, now)
        condition: Condition | None = self.condition(batch, x_0)
        v = (x_t - self.direction(x_t, now, x_0, condition)) / expand(t, x_t)
        with masks_repeated():
            u = mean_velocity(model, x_t, t, s, condition)
        moving = (t > s).nonzero()[:, 0]
        bend = torch.zeros_like(x_t)
        if len(moving):
            bend[moving] = self._bend(x_t, t, s, v, condition, moving)
        match self.form:
            case "plain":
                error = u - (v - bend)
            case "improved":
                error = u + bend - v
        square = error.square().flatten(1).sum(1)
        return square / (square.detach() + self.floor) ** self.power

    def _bend(self, x_t: Tensor, t: Tensor, s: Tensor, v: Tensor, condition: Condition | None, rows: Tensor) -> Tensor:
        """(t - s) du/dt of these rows."""
        x_t, v, t, s = x_t[rows.to(x_t.device)], v[rows.to(v.device)], t[rows], s[rows]
        own = None if condition is None else condition.rows(rows)
        if self.form == "improved":
            with torch.no_grad(), masks_repeated():
                v = mean_velocity(self.model, x_t, t, t, own)
        return expand(t - s, x_t) * along_path(self.model, x_t, t, s, v, own, self.width)
