"""Dormand & Prince's embedded pair of orders 5 and 4, for any system dy/dφ = f(φ, y), with a step size per sample.

The difference of the two orders estimates a step's error e. With the tolerances of each component of y, a step of |h|
is accepted if

    err = max over components of √(mean of (e/(atol + rtol max(|y|, |y'|)))²) ≤ 1
    and the next is  |h| · min(5, max(1/5, 0.9 err^(-1/5)))

(Hairer, Nørsett & Wanner, "Solving ordinary differential equations I", section II.4). Every sample has its own φ and h
and is accepted or rejected by itself: its result does not depend on its batch. The whole batch is always evaluated,
finished samples with a step of 0, because f may hold data per row, such as a label.

y has components, such as an image and its log-density, each with its own error norm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from sumi.errors import SumiError
from sumi.process.gaussian import expand

Row = tuple[float, ...]
State = tuple[Tensor, ...]
"""The components of y, each of shape (N, …)."""
Field = Callable[[Tensor, State], State]
"""f(φ, y): the slopes of all components at the places φ (N,), float64 on the CPU."""

STAGES: Final[tuple[Row, ...]] = (  # the last is the step of fifth order
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR: Final[Row] = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The error per step allowed for one component: ``atol`` + ``rtol`` times its size."""

    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class Walk:
    """The state of an integration.

    ``y`` and ``slope``: components (N, …). For each sample ``step_size``, its next |h|, float64 (N,), and
    ``evaluations`` of f so far, int64 (N,).
    """

    y: State
    slope: State
    step_size: Tensor
    evaluations: Tensor


class Stuck(SumiError):
    """A sample that does not arrive within the allowed steps or is not finite: ``row`` of the batch, at ``place``."""

    def __init__(self, row: int, how: str, place: float) -> None:
        super().__init__(f"row {row} of the batch is {how} at {place:.6g}")
        self.row, self.how, self.place = row, how, place


def integrate(f: Field, walk: Walk, start: float, end: float, tolerances: Sequence[Tolerance], max_steps: int) -> Walk:
    """``walk`` integrated from ``start`` to ``end``, in either direction, with its own steps for every sample.

    ``tolerances``: one per component. ``walk.slope`` is f at the start; each attempted step takes six evaluations.
    Raises Stuck for a sample still on its way ("still") after ``max_steps``, or "no longer finite".
    """
    y, slope, h, evaluations = walk.y, walk.slope, walk.step_size, walk.evaluations
    direction = 1.0 if end > start else -1.0
    phi = torch.full_like(h, start)
    tried = 0
    while bool((left := (end - phi) * direction).any()):
        if tried == max_steps:
            raise _stuck(int(left.argmax()), "still", phi)
        tried += 1
        trial = torch.minimum(h, left)
        y_new, slope_new, error = _attempt(f, y, slope, phi, direction * trial)
        err = _size(error, y, y_new, tolerances)
        if not bool((finite := err.isfinite()).all()):
            raise _stuck(int(finite.int().argmin()), "no longer finite", phi)
        accepted = err <= 1
        y, slope = _where(accepted, y_new, y), _where(accepted, slope_new, slope)
        phi = torch.where(accepted, torch.where(trial < left, phi + direction * trial, end), phi)
        proposed = trial * (0.9 * err.pow(-1 / 5)).clamp(1 / 5, 5)
        h = torch.where(accepted & (trial < h), torch.maximum(h, proposed), proposed)
        evaluations = evaluations + 6 * (trial > 0)
    return Walk(y, slope, h, evaluations)


def _stuck(row: int, how: str, phi: Tensor) -> Stuck:
    return Stuck(row, how, float(phi[row]))


def _size(error: State, y: State, y_new: State, tolerances: Sequence[Tolerance]) -> Tensor:
    """err of every sample, float64 (N,) on the CPU."""
    sizes = []
    for e, before, after, allow in zip(error, y, y_new, tolerances, strict=True):
        allowed = allow.atol + allow.rtol * torch.maximum(before.abs(), after.abs())
        sizes.append((e / allowed).reshape(len(e), -1).square().mean(1).sqrt().to("cpu", torch.float64))
    return torch.stack(sizes).amax(0)


def _where(accepted: Tensor, new: State, old: State) -> State:
    return tuple(
        torch.where(accepted.to(a.device).reshape(-1, *(1,) * (a.ndim - 1)), a, b)
        for a, b in zip(new, old, strict=True)
    )


def _attempt(f: Field, y: State, slope: State, phi: Tensor, h: Tensor) -> tuple[State, State, State]:
    """y and its slopes after steps h (N,) from phi (N,), and the error estimates."""
    slopes, stage = [slope], y
    for row in STAGES:
        moves = _combine(h, row, slopes)
        stage = tuple(component + move for component, move in zip(y, moves, strict=True))
        slopes.append(f(phi + h * sum(row), stage))
    return stage, slopes[-1], _combine(h, ERROR, slopes)


def _combine(h: Tensor, weights: Row, slopes: list[State]) -> State:
    """h Σ_j weights_j slopes_j, for each component."""
    totals = []
    for component in zip(*slopes, strict=True):
        total = torch.zeros_like(component[0])
        for weight, slope in zip(weights, component, strict=True):
            total = total + expand(h * weight, slope) * slope
        totals.append(total)
    return tuple(totals)
