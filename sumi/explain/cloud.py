"""A cloud of vectors noised, and made from noise: what the pictures of one image are for data that are vectors."""

from pathlib import Path

import torch
from torch import Tensor

from sumi.denoising.binomial import BinomialDenoiser
from sumi.evaluation.vector_pictures import draw
from sumi.explain.figure import Drawn, canvas, save
from sumi.model import DiffusionModel
from sumi.process.binomial import flip
from sumi.process.forward import add_noise
from sumi.process.noise import Purpose, normal
from sumi.process.schedule import deviation, levels
from sumi.trajectory import trajectory

SHOWN = 6
POINTS = 1000


def draw_noised_cloud(model: DiffusionModel, x_0: Tensor, path: Path) -> Drawn:
    """The data (N, D) at six times from data to noise, one jump each."""
    schedule, levels_of = model.network_denoiser.schedule, model.items.levels
    x_0 = x_0[:POINTS]
    noise = normal(model.config.seed, range(len(x_0)), 0, Purpose.START, x_0.shape[1:])
    bits = isinstance(model.network_denoiser, BinomialDenoiser)
    times = torch.linspace(0, 1, SHOWN, dtype=torch.float64)
    figure = canvas(2.3 * SHOWN, 2.6)
    for axes, t in zip(figure.subplots(1, SHOWN), levels(schedule, times), strict=True):
        x_t = x_0 if t.t == 0 else flip(x_0, noise, t) if bits else add_noise(x_0, noise, t)
        size = 1.0 if bits else max(1.0, float(deviation(t)))
        draw(axes, x_t / size, levels_of, 3.0)
        axes.set_title(f"t = {float(t.t):.1f}", fontsize=9)
    kept = float((flip(x_0, noise, t) == x_0).double().mean()) if bits else 0.0
    moments = f"{100 * kept:.1f} % of the bits are as they were" if bits else _moments(x_t / size)
    return save(figure, path, f"at t = 1 {moments}")


def _moments(x: Tensor) -> str:
    return f"the mean is {float(x.mean()):.3f} and the deviation {float(x.std()):.3f} of what noise would have"


def draw_reverse_cloud(model: DiffusionModel, path: Path, *, seed: int = 0) -> Drawn:
    """Six states of samples on their way: above x_t, below what the network believes, x̂_0."""
    way = trajectory(model, 0, n=POINTS, seed=seed)
    chosen = torch.linspace(0, len(way.x) - 1, SHOWN).round().long().tolist()
    figure = canvas(2.3 * SHOWN, 4.9)
    axes = figure.subplots(2, SHOWN)
    denoiser, schedule = model.denoiser(), model.network_denoiser.schedule
    bits = model.items.levels == 2
    reach = 1.2 * float(way.x[-1].abs().quantile(0.995))
    for column, k in enumerate(chosen):
        x_t, t = way.x[k], way.t[k]
        with torch.inference_mode():
            size = 1.0 if bits else max(1.0, float(deviation(next(levels(schedule, torch.tensor([t]).double())))))
            clean = denoiser((x_t * size).to(model.device), t).clean.cpu() if t > 0 else x_t
        draw(axes[0][column], x_t, model.items.levels, max(reach, 3.0 * t))
        draw(axes[1][column], clean, model.items.levels, reach)
        axes[0][column].set_title(f"t = {t:.2f}", fontsize=9)
    axes[0][0].set_ylabel("xₜ", fontsize=10)
    axes[1][0].set_ylabel("x̂₀ = E[x₀ | xₜ]", fontsize=10)
    return save(figure, path, f"{len(way.x[0])} samples of seed {seed} in {len(way.x) - 1} steps")
