"""Why many steps: a reverse step is Gaussian only if it is small.

By Bayes q(x_s | x_t) ∝ q(x_s) N(x_t; a x_s, v), with a, v of the transition. As β → 0 the second factor is so narrow
that log q(x_s) is a parabola across it, and the product a Gaussian (Feller 1949; Sohl-Dickstein et al. 2015, section
2.2). The remainder is its third derivative times the cube of the width √v, so the distance falls like β^(3/2).

The data here are two narrow peaks, Σ_k π_k N(m_k, c²). Then q(x_s | x_t) is such a mixture too, with components

    N(m'_k, 1/(1/V_k + a²/v)),  m'_k = (alpha_s m_k/V_k + a x_t/v)/(1/V_k + a²/v),   V_k = alpha_s² c² + sigma_s²
    with weights ∝ π_k N(x_t; a alpha_s m_k, a² V_k + v)

and its distance to the Gaussian with its mean and variance is one integral. For a single step from noise to data, that
Gaussian is a blur between the peaks. The same holds for images (`draw_one_step`), where the exact denoiser of the
training set is a mean over its images with weights softmax_i(-‖x_t - alpha x_i‖²/(2 sigma²)).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path

import torch
from torch import Tensor

from sumi.denoising.denoiser import FunctionDenoiser
from sumi.figures.canvas import GREY, INK, RED, SavedFigure, canvas, save, show_image
from sumi.process.gaussian import transition
from sumi.process.schedule import NoiseLevel, Schedule, deviation, noise_level, noise_levels
from sumi.randomness import Purpose, SampleNoise, normal
from sumi.sampling.sample import sample
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import uniform

PEAKS, WIDTH = (-1.0, 1.0), 0.1  # m_k, of equal weight, and c
SHOWN = (1, 10, 100, 1000)
MEASURED = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
IMAGES = 10


@dataclass(frozen=True)
class Kernel:
    """q(x_s | x_t) for N values of x_t: weights and means (N, 2), and the components' standard deviation."""

    weights: Tensor
    means: Tensor
    std: float

    @property
    def mean(self) -> Tensor:
        """E[x_s | x_t], (N,)."""
        return (self.weights * self.means).sum(1)

    @property
    def variance(self) -> Tensor:
        """Var(x_s | x_t), (N,)."""
        return (self.weights * (self.means - self.mean[:, None]) ** 2).sum(1) + self.std**2

    def density(self, x_s: Tensor) -> Tensor:
        """The density at x_s (N, K)."""
        return (self.weights[:, :, None] * _gaussian(x_s[:, None], self.means[:, :, None], self.std)).sum(1)


def reverse_kernel(s: NoiseLevel, t: NoiseLevel, x_t: Tensor) -> Kernel:
    """The exact kernel from x_t (N,) at time t back to the earlier time s, levels of floats (module docstring)."""
    step = transition(s, t)
    a, v, variance = float(step.scale), float(step.variance), float(s.alpha * WIDTH) ** 2 + float(s.sigma) ** 2
    peaks, x_t = float(s.alpha) * torch.tensor(PEAKS, dtype=torch.float64), x_t.double()[:, None]
    precision = 1 / variance + a**2 / v
    weights = (-((x_t - a * peaks) ** 2) / (2 * (a**2 * variance + v))).softmax(1)
    return Kernel(weights, (peaks / variance + a * x_t / v) / precision, precision**-0.5)


def distance(kernel: Kernel) -> Tensor:
    """Total variation ½∫|q - N| between each kernel and the Gaussian with its mean and variance, (N,), in [0, 1]."""
    std = kernel.variance.sqrt()[:, None]
    places = torch.linspace(-7, 7, 281, dtype=torch.float64)
    x_s = kernel.mean[:, None] + std * places
    apart = (kernel.density(x_s) - _gaussian(x_s, kernel.mean[:, None], std)).abs()
    return torch.trapezoid(apart * std, places) / 2


@dataclass(frozen=True)
class Step:
    """A step from t to s: its β, the mean distance of its kernels over q(x_t), and the x_t that contributes most."""

    s: NoiseLevel
    t: NoiseLevel
    beta: float
    distance: float
    x_t: float


def measure_step(s: NoiseLevel, t: NoiseLevel) -> Step:
    """The mean of the distance over x_t ~ q(x_t), by the trapezoidal rule."""
    std = float(deviation(t, WIDTH))
    reach = float(t.alpha) * max(PEAKS) + 5 * std
    x_t = torch.linspace(-reach, reach, 101, dtype=torch.float64)
    peaks = float(t.alpha) * torch.tensor(PEAKS, dtype=torch.float64)
    part = _gaussian(x_t[:, None], peaks, std).mean(1) * distance(reverse_kernel(s, t, x_t))
    beta = 1 - float(t.alpha / s.alpha) ** 2
    return Step(s, t, beta, float(torch.trapezoid(part, x_t)), float(x_t[part.argmax()]))


def worst_step(schedule: Schedule, steps: int) -> Step:
    """The step, among ``steps`` even ones from t = 1 to 0, whose kernels are farthest from Gaussian."""
    grid = noise_levels(schedule, uniform(steps).flip(0))
    return max((measure_step(s, t) for s, t in pairwise(grid)), key=lambda step: step.distance)


def order(far: Step, near: Step) -> float:
    """The exponent of β in the distance, from two steps."""
    return log(far.distance / near.distance) / log(far.beta / near.beta)


def draw_reverse_kernel(schedule: Schedule, path: Path) -> SavedFigure:
    """The least Gaussian kernel of chains of 1, 10, 100 and 1000 steps, and its distance by the number of steps."""
    found = {steps: worst_step(schedule, steps) for steps in MEASURED}
    figure = canvas(13, 3.6)
    *panels, last = figure.subplots(1, len(SHOWN) + 1, width_ratios=[*(1 for _ in SHOWN), 1.6])
    for axes, steps in zip(panels, SHOWN, strict=True):
        step = found[steps]
        kernel = reverse_kernel(step.s, step.t, torch.tensor([step.x_t]))
        mean, std = float(kernel.mean), float(kernel.variance) ** 0.5
        x_s = torch.linspace(mean - 4 * std, mean + 4 * std, 801, dtype=torch.float64)
        axes.fill_between(x_s, kernel.density(x_s[None])[0], color=GREY, alpha=0.6, linewidth=0, label="q(xₛ | xₜ)")
        axes.plot(x_s, _gaussian(x_s, mean, std), color=RED, label="Gaussian")
        axes.set_title(f"{_counted(steps)}: β = {step.beta:.2g}\napart by {step.distance:.2g}", fontsize=10)
        axes.set_xlabel("xₛ")
        axes.set_yticks([])
        axes.set_ylim(0, 1.12 * axes.dataLim.y1)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_ylabel("density")
    panels[1].legend(frameon=False, fontsize=9, loc="upper right", handlelength=1.0)
    slope = order(found[100], found[1000])
    last.loglog(MEASURED, [found[steps].distance for steps in MEASURED], color=INK, marker=".")
    last.loglog(SHOWN, [found[steps].distance for steps in SHOWN], "o", color=RED, markersize=6)
    last.set_title(f"distance (total variation)\n∝ β^{slope:.2f}, theory 1.5", fontsize=10)
    last.set_xlabel("steps of the chain; its worst step")
    last.grid(alpha=0.25)
    numbers = ", ".join(f"{found[steps].distance:.2g} in {steps}" for steps in SHOWN)
    return save(
        figure, path, f"distance of the least Gaussian reverse step: {numbers} steps (total variation), ∝ β^{slope:.2f}"
    )


def empirical_denoiser(images: Tensor, schedule: Schedule) -> FunctionDenoiser:
    """The exact denoiser for data that are just these images (K, …): a softmax over them; x_t (N, …)."""
    known = images.flatten(1)
    lengths = known.square().sum(1) / 2

    def clean(x_t: Tensor, t: NoiseLevel) -> Tensor:
        alpha, variance = float(t.alpha), float(t.sigma) ** 2
        likeness = (x_t.flatten(1) @ known.T) * (alpha / variance) - lengths * (alpha**2 / variance)
        return (likeness.softmax(1) @ known).view_as(x_t)

    return FunctionDenoiser(clean, schedule)


def generate(images: Tensor, schedule: Schedule, steps: int, count: int, *, seed: int = 0) -> Tensor:
    """``count`` images by ancestral sampling in ``steps`` even steps, with the exact denoiser of ``images``."""
    noise = SampleNoise(seed, range(count), tuple(images.shape[1:]))
    start = normal(seed, range(count), 0, Purpose.START, images.shape[1:]) * float(
        deviation(noise_level(schedule, 1.0), 0.5)
    )
    return sample(empirical_denoiser(images, schedule), DDIM(eta=1.0), uniform(steps), start, noise)


def variety(images: Tensor) -> float:
    """The variance of a pixel over images (N, …), averaged over pixels: 0 if all images are equal."""
    return float(images.double().var(0).mean())


def draw_one_step(images: Tensor, schedule: Schedule, path: Path, *, count: int = 200, seed: int = 0) -> SavedFigure:
    """Images like ``images`` (K, C, H, W) in [-1, 1], made in one, ten and a hundred steps: from blurred to sharp."""
    kept: dict[int, float] = {}
    rows: list[tuple[str, Tensor]] = []
    for steps in SHOWN[:3]:
        made = generate(images, schedule, steps, count, seed=seed)
        kept[steps] = variety(made) / variety(images)
        rows.append((f"{_counted(steps)}: {100 * kept[steps]:.1f} %", made))
    rows.append(("the data: 100 %", images))
    figure = canvas(12, 1.05 * len(rows) + 0.5)
    panels = figure.subplots(len(rows), IMAGES + 1)
    for axes_row, (name, all_of_them) in zip(panels, rows, strict=True):
        for axes, image in zip(axes_row, [*all_of_them[:IMAGES], all_of_them.mean(0)], strict=True):
            show_image(axes, image)
            axes.set_axis_off()
        axes_row[0].text(-0.2, 0.5, name, transform=axes_row[0].transAxes, ha="right", va="center", fontsize=10)
    panels[0][-1].set_title("their mean", fontsize=10, color=RED)
    figure.suptitle(
        "made with the exact denoiser of the data; percent: variance over images, of the data's", fontsize=10
    )
    shares = ", ".join(f"{100 * share:.1f} % in {steps}" for steps, share in kept.items())
    return save(figure, path, f"of the data's variance over images, samples have {shares} steps: one step is a blur")


def _counted(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"


def _gaussian(x: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    z = (x - mean) / std
    return (-(z**2) / 2).exp() / (std * (2 * torch.pi) ** 0.5)
