"""All figures of a run whose data are vectors: a cloud of vectors being noised, and generated from noise."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import Dataset, everything
from sumi.explain.density import draw_density, draw_energy, is_energy
from sumi.explain.reverse import draw_loss, held_out_loss
from sumi.explain.schedule import draw_schedule
from sumi.explain.second_distribution import draw_second_distribution
from sumi.figures.canvas import DATA, INK, SavedFigure, canvas, name_row, noised, save
from sumi.figures.vectors import draw
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.trajectory import trajectory
from sumi.process.schedule import deviation, noise_level, noise_levels
from sumi.randomness import Purpose, normal

SHOWN = 6
POINTS = 1000


def draw_noised_cloud(model: DiffusionModel, x_0: Tensor, path: Path) -> SavedFigure:
    """The data (N, D) noised to six times, by one jump each."""
    schedule, levels_of = model.network_denoiser.schedule, model.items.levels
    x_0 = x_0[:POINTS]
    noise = normal(model.config.seed, range(len(x_0)), 0, Purpose.START, x_0.shape[1:])
    times = torch.linspace(0, 1, SHOWN, dtype=torch.float64)
    figure = canvas(2.3 * SHOWN, 2.6)
    for axes, t in zip(figure.subplots(1, SHOWN, sharex=True, sharey=True), noise_levels(schedule, times), strict=True):
        x_t = x_0 if t.t == 0 else model.network_denoiser.process.noised(x_0, noise, t)
        size = max(1.0, float(deviation(t)))
        draw(axes, x_t / size, levels_of, 3.0, colour=noised(DATA, float(t.t)))
        axes.set_title(f"t = {float(t.t):.1f}", fontsize=9)
    if levels_of == 2:
        kept = 100 * float((x_t == x_0).double().mean())
        return save(figure, path, f"at t = 1 {kept:.1f} % of the bits are unchanged")
    mean, std = float((x_t / size).mean()), float((x_t / size).std())
    return save(figure, path, f"at t = 1 the mean is {mean:.3f} and the deviation {std:.3f}, relative to noise")


def draw_reverse_cloud(model: DiffusionModel, path: Path, *, seed: int = 0) -> SavedFigure:
    """Six states of the samples: above x_t, below the prediction x̂_0."""
    way = trajectory(model, 0, n=POINTS, seed=seed)
    chosen = torch.linspace(0, len(way.x) - 1, SHOWN).round().long().tolist()
    figure = canvas(2.3 * SHOWN, 4.9)
    axes = figure.subplots(2, SHOWN, sharex=True, sharey=True)
    denoiser, schedule = model.denoiser(), model.network_denoiser.schedule
    reach = max(3.0, 1.2 * float(way.x[-1].abs().quantile(0.995)))
    for column, k in enumerate(chosen):
        x_t, t = way.x[k], way.t[k]
        with torch.inference_mode():
            size = max(1.0, float(deviation(noise_level(schedule, t))))
            clean = denoiser((x_t * size).to(model.device), t).clean.cpu() if t > 0 else x_t
        draw(axes[0][column], x_t, model.items.levels, reach, colour=noised(INK, t))
        draw(axes[1][column], clean, model.items.levels, reach)
        axes[0][column].set_title(f"t = {t:.2f}", fontsize=9)
    name_row(axes[0][0], "xₜ")
    name_row(axes[1][0], "x̂₀")
    return save(figure, path, f"{len(way.x[0])} samples of seed {seed} in {len(way.x) - 1} steps")


def explain_vectors(
    model: DiffusionModel, dataset: Dataset, folder: Path, count: Count | None
) -> Iterator[SavedFigure]:
    """Schedule, forward and reverse process, second distribution; for points also loss and density."""
    train, _ = dataset.split(model.config.data.held_out)
    x_0 = everything(train)
    schedule = model.network_denoiser.schedule
    with torch.no_grad():
        yield draw_schedule(schedule, model.config.schedule.steps or 1000, folder / "schedule.png")
        yield draw_noised_cloud(model, x_0, folder / "noising.png")
        yield draw_reverse_cloud(model, folder / "reverse.png")
    if _can_be_conditioned(model):
        yield draw_second_distribution(model, x_0, folder / "second_distribution.png")
    if model.binomial:
        return
    yield draw_loss(held_out_loss(model, dataset), folder / "loss_by_noise.png")
    if dataset.shape != (2,):
        return
    yield draw_density(model, x_0, folder / "density.png", progress=counting_one(count, "the density"))
    if is_energy(model):
        yield draw_energy(model, x_0, folder / "energy.png")


def _can_be_conditioned(model: DiffusionModel) -> bool:
    """Whether to multiply in a second distribution: this needs alpha(1) > 0, and multiplies the cost per evaluation.

    So solvers with thousands of evaluations are excluded.
    """
    schedule = model.network_denoiser.schedule
    if model.config.sampling.solver == "langevin":
        return False
    return model.binomial or float(schedule.alpha(torch.ones(1).double())) > 0
