"""Guidance by extrapolation from a worse denoiser through a better one.

    x̂_0 = x̂_0(worse) + w (x̂_0(better) - x̂_0(worse)),         w = 1 is the better one alone, w = 0 the worse

| guidance               | better                  | worse                                        |
| ---------------------- | ----------------------- | -------------------------------------------- |
| classifier-free        | conditional             | unconditional (Ho & Salimans 2022)           |
| with a negative        | conditional             | conditioned on what is unwanted              |
| autoguidance           | the model               | a smaller or less trained one (Karras 2024)  |

In scores the first is ∇ log p(x_t) + w ∇ log p(y | x_t), at each noise level the score of p(x_t) p(y | x_t)^w. These
are not the noised versions of one distribution, so samples do not follow p(x) p(y | x)^w.

Guidance may be limited to an interval of noise levels, low < sigma/alpha ≤ high (Kynkäänniemi et al. 2024): at high
noise it reduces diversity, and at low noise it has no effect. Outside it the better denoiser is used alone. ``rescale``
φ brings the deviation of x̂_0 back to the better one's by that share (Lin et al. 2024, section 3.4, there for the
network's output).

`sumi.guidance.projection` and `sumi.guidance.renoising` are variants of it.

The variance of x_0 is the better denoiser's, as in GLIDE (Nichol et al. 2022), since an extrapolation has none.
"""

from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Number, Schedule, Time, noise_level


@dataclass(frozen=True)
class Interval:
    """The noise levels at which guidance counts. Raises InputError for an interval that is empty."""

    low: float = field(default=0.0, metadata={"help": "sigma/alpha above which guidance begins, ≥ 0"})
    high: float = field(default=inf, metadata={"help": "sigma/alpha up to which it goes"})

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise InputError(f"guidance: the interval from {self.low} to {self.high} is empty; give low below high")

    def within(self, other: "Interval") -> "Interval":
        """Where both count. Raises InputError where they have nothing in common."""
        return Interval(max(self.low, other.low), min(self.high, other.high))

    def choose(self, now: NoiseLevel, inside: float, outside: float) -> Number:
        """``inside`` at levels in the interval, ``outside`` elsewhere.

        One number where it is the same for all samples, else float64 (N,).
        """
        if self.low == 0 and self.high == inf:
            return float(inside)
        ratio = torch.as_tensor(now.sigma, dtype=torch.float64) / torch.as_tensor(now.alpha, dtype=torch.float64)
        counts = (ratio > self.low) & (ratio <= self.high)
        if bool(counts.all()) or not bool(counts.any()):
            return float(inside if bool(counts.all()) else outside)
        return torch.where(counts, inside, outside).double()


ALWAYS: Final = Interval()


@dataclass(frozen=True)
class Extrapolation:
    """See the module docstring. One evaluation of each denoiser, of one alone where the other does not count.

    Where levels differ by sample, both are evaluated unless all are outside of the interval: a denoiser may hold
    something for each row, such as a label. Raises InputError for a scale that is not finite, a share that is none, and
    two denoisers whose schedules differ.
    """

    better: Denoiser
    worse: Denoiser
    scale: float = field(metadata={"help": "w: 1 is the better denoiser alone"})
    interval: Interval = ALWAYS
    rescale: float = field(default=0.0, metadata={"help": "φ in [0, 1]: 1 keeps the deviation of x̂_0"})

    def __post_init__(self) -> None:
        if not isfinite(self.scale):
            raise InputError(f"guidance: {self.scale} is not a finite number; 1 is none")
        if not 0 <= self.rescale <= 1:
            raise InputError(f"guidance.rescale: {self.rescale} is not between 0 and 1")
        if not _alike(self.better.schedule, self.worse.schedule):
            raise InputError("guidance: the two denoisers have different schedules; take models that share one")

    @property
    def schedule(self) -> Schedule:
        return self.better.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        now = noise_level(self.schedule, t)
        scale = self.interval.choose(now, self.scale, 1.0)
        match scale:
            case float(1.0):
                return self.better(x_t, now)
            case float(0.0):
                return self.worse(x_t, now)
        better, worse = self.better(x_t, now), self.worse(x_t, now)
        return replace(better, clean=self.combined(better.clean, worse.clean, scale, now))

    def combined(self, better: Tensor, worse: Tensor, scale: Number, now: NoiseLevel) -> Tensor:
        """x̂_0 (N, …) of those of the two denoisers, with this w, one number or (N,)."""
        clean = better + expand(scale - 1, better) * self.difference(better, worse, now)
        return self.rescaled(clean, better)

    def difference(self, better: Tensor, worse: Tensor, now: NoiseLevel) -> Tensor:
        """What is added w - 1 times to x̂_0(better)."""
        del now
        return better - worse

    def rescaled(self, clean: Tensor, better: Tensor) -> Tensor:
        """x̂_0 with its deviation brought back."""
        if not self.rescale:
            return clean
        before, after = (x.flatten(1).std(1, correction=0) for x in (better, clean))
        ratio = torch.where(after > 0, before / after, 1.0)
        return clean * expand(self.rescale * ratio + (1 - self.rescale), clean)


def _alike(a: Schedule, b: Schedule) -> bool:
    """Whether two schedules have the same levels, at nine times."""
    if a is b:
        return True
    with torch.no_grad():
        one, other = (noise_level(s, torch.linspace(0, 1, 9, dtype=torch.float64)) for s in (a, b))
    return all(
        torch.allclose(torch.as_tensor(getattr(one, name)), torch.as_tensor(getattr(other, name)), rtol=1e-6, atol=1e-9)
        for name in ("alpha", "sigma")
    )
