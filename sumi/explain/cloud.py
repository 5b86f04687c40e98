"""A cloud of vectors noised, and made from noise: what the pictures of one image are for data that are vectors."""

from pathlib import Path

import torch
from torch import Tensor

from sumi.evaluation.vector_pictures import draw
from sumi.explain.figure import Drawn, canvas, save
from sumi.model import DiffusionModel
from sumi.process.noise import Purpose, normal
from sumi.process.schedule import deviation, level, levels
from sumi.trajectory import trajectory

SHOWN = 6
POINTS = 1000


def draw_noised_cloud(model: DiffusionModel, x_0: Tensor, path: Path) -> Drawn:
    """The data (N, D) at six times from data to noise, one jump each."""
    schedule, levels_of = model.network_denoiser.schedule, model.items.levels
    x_0 = x_0[:POINTS]
    noise = normal(model.config.seed, range(len(x_0)), 0, Purpose.START, x_0.shape[1:])
    times = torch.linspace(0, 1, SHOWN, dtype=torch.float64)
    figure = canvas(2.3 * SHOWN, 2.6)
    for axes, t in zip(figure.subplots(1, SHOWN), levels(schedule, times), strict=True):
        x_t = x_0 if t.t == 0 else model.network_denoiser.noised(x_0, noise, t)
        size = max(1.0, float(deviation(t)))
        draw(axes, x_t / size, levels_of, 3.0)
        axes.set_title(f"t = {float(t.t):.1f}", fontsize=9)
    if levels_of == 2:
        kept = 100 * float((x_t == x_0).double().mean())
        return save(figure, path, f"at t = 1 {kept:.1f} % of the bits are as they were")
    mean, std = float((x_t / size).mean()), float((x_t / size).std())
    return save(figure, path, f"at t = 1 the mean is {mean:.3f} and the deviation {std:.3f} of what noise would have")


def draw_reverse_cloud(model: DiffusionModel, path: Path, *, seed: int = 0) -> Drawn:
    """Six states of samples on their way: above x_t, below what the network believes, x̂_0."""
    way = trajectory(model, 0, n=POINTS, seed=seed)
    chosen = torch.linspace(0, len(way.x) - 1, SHOWN).round().long().tolist()
    figure = canvas(2.3 * SHOWN, 4.9)
    axes = figure.subplots(2, SHOWN)
    denoiser, schedule = model.denoiser(), model.network_denoiser.schedule
    reach = 1.2 * float(way.x[-1].abs().quantile(0.995))
    for column, k in enumerate(chosen):
        x_t, t = way.x[k], way.t[k]
        with torch.inference_mode():
            size = max(1.0, float(deviation(level(schedule, t))))
            clean = denoiser((x_t * size).to(model.device), t).clean.cpu() if t > 0 else x_t
        draw(axes[0][column], x_t, model.items.levels, max(reach, 3.0 * t))
        draw(axes[1][column], clean, model.items.levels, reach)
        axes[0][column].set_title(f"t = {t:.2f}", fontsize=9)
    axes[0][0].set_ylabel("xₜ", fontsize=10)
    axes[1][0].set_ylabel("x̂₀ = E[x₀ | xₜ]", fontsize=10)
    return save(figure, path, f"{len(way.x[0])} samples of seed {seed} in {len(way.x) - 1} steps")
