"""A density in the plane: its values on a lattice, and its integral.

    ∫ p ≈ h_1 h_2 Σ w_ij p(x_ij)        the trapezoidal rule: w is 1, and 1/2 for each edge that a point is on

For a smooth density that vanishes at the edges the rule's error falls faster than any power of h; otherwise like h².
Every second point gives the rule with 2h, whose error is at least four times as large. The two differ by at least three
times the finer one's error; the stated error is the whole difference.

Samples of the model bound the mass outside the rectangle: if k of M fall outside, its probability is below Wilson's
upper limit at two standard errors, which is 4/(M + 4) for k = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError

LIMIT = 2.0
"""Standard errors to the upper limit of the mass outside."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """A density on the lattice of ``first`` (P,) × ``second`` (P,), the coordinates of its points, float64.

    ``log_density``: (P, P), nats, float64; row i is where the first coordinate is first[i]. ``log_integral``: of the
    density over the rectangle; ``relative_error``: that of the rule on it. ``outside``: upper limit of the probability
    beyond.
    """

    first: Tensor
    second: Tensor
    log_density: Tensor
    log_integral: float
    relative_error: float
    outside: float

    @property
    def integral(self) -> float:
        """∫ p over the rectangle."""
        return float(torch.tensor(self.log_integral, dtype=torch.float64).exp())

    @property
    def error(self) -> float:
        """The possible error of `integral` as that over the whole plane."""
        return self.integral * self.relative_error + self.outside


def lattice(rectangle: tuple[Interval, Interval], points: int) -> tuple[Tensor, Tensor]:
    """The coordinates of ``points`` × ``points`` places, edges included: float64 (points,) each.

    Raises InputError unless points is odd and 5 or more, and for an empty rectangle.
    """
    if points < 5 or points % 2 == 0:
        raise InputError(f"points: {points} must be odd and 5 or more, to compare with every second point")
    for low, high in rectangle:
        if not low < high:
            raise InputError(f"rectangle: {low} to {high} holds nothing; give the lower end first")
    first, second = (torch.linspace(low, high, points, dtype=torch.float64) for low, high in rectangle)
    return first, second


def density_on_plane(
    log_density: Callable[[Tensor], Tensor],
    rectangle: tuple[Interval, Interval],
    samples: Tensor,
    *,
    points: int = 129,
    batch_size: int = 4096,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Plane:
    """``log_density`` of points (N, 2), nats (N,), on a lattice of ``points``² over the ``rectangle``, and its sum.

    ``samples`` of the same model, (M, 2), bound the mass outside. The points have ``dtype`` and ``device``.
    ``progress(done, total)`` counts points. The stated error does not include that of ``log_density`` itself; for an
    ODE it is of the order of the tolerances. Raises InputError where the samples are not points, and as `lattice` does.
    """
    if samples.ndim != 2 or samples.shape[1] != 2 or not len(samples):
        raise InputError(f"samples: {tuple(samples.shape)} is not the shape of points in the plane, (M, 2)")
    first, second = lattice(rectangle, points)
    places = torch.cartesian_prod(first, second)
    rows: list[Tensor] = []
    for batch in places.split(batch_size):
        rows.append(log_density(batch.to(device, dtype)).to("cpu", torch.float64))
        if progress is not None:
            progress(sum(map(len, rows)), len(places))
    values = torch.cat(rows).reshape(points, points)
    log_integral, relative_error = integrate_lattice(values, first, second)
    inside = torch.ones(len(samples), dtype=torch.bool)
    for (low, high), coordinate in zip(rectangle, samples.detach().cpu().unbind(1), strict=True):
        inside &= (coordinate >= low) & (coordinate <= high)
    outside = upper_limit(int((~inside).sum()), len(samples))
    return Plane(first, second, values, log_integral, relative_error, outside)


def integrate_lattice(log_values: Tensor, first: Tensor, second: Tensor) -> tuple[float, float]:
    """log of the integral of exp(log_values) (P, P) over the lattice, and its relative error (module docstring)."""

    def rule(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.trapezoid(torch.trapezoid(values, y, dim=1), x)

    peak = log_values.max()
    values = (log_values - peak).exp()
    fine, coarse = rule(values, first, second), rule(values[::2, ::2], first[::2], second[::2])
    return float(peak + fine.log()), float((fine - coarse).abs() / fine)


def upper_limit(count: int, total: int) -> float:
    """Wilson's upper limit for the probability of an event seen ``count`` of ``total`` times, at `LIMIT` errors."""
    z2, share = LIMIT**2, count / total
    spread = LIMIT * (share * (1 - share) * total + z2 / 4) ** 0.5
    return (count + z2 / 2 + spread) / (total + z2)
