"""The reverse process of a run: x_t on its way to an image, and the network's prediction x̂_0.

And the loss by noise level: which times are easy and which are hard.
"""

import math
from pathlib import Path

import torch

from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import Dataset, evenly_spaced
from sumi.evaluation.loss_by_noise import ITEMS, LossByNoise, loss_by_noise, probe_times
from sumi.figures.canvas import (
    DATA,
    NOISE,
    SavedFigure,
    canvas,
    name_lines,
    name_row,
    save,
    scale_by_powers,
    show_image,
)
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.trajectory import size, trajectory
from sumi.process.schedule import noise_level

SHOWN = 11
LEAST = 1e-5  # of the errors that are shown


def draw_reverse(model: DiffusionModel, path: Path, *, index: int = 0, seed: int = 0) -> SavedFigure:
    """Eleven states of image ``index``: above x_t, below x̂_0 = E[x_0 | x_t]."""
    way = trajectory(model, index, seed=seed)
    chosen = torch.linspace(0, len(way.x) - 1, min(SHOWN, len(way.x))).round().long().tolist()
    figure = canvas(max(4.0, 1.1 * len(chosen)), 2.5)
    axes = figure.subplots(2, len(chosen))
    denoiser = model.denoiser()
    for column, k in enumerate(chosen):
        now, x_t = noise_level(model.network_denoiser.schedule, way.t[k]), way.x[k][None]
        with torch.inference_mode():
            clean = denoiser((x_t * size(now)).to(model.device), now).clean if way.t[k] > 0 else x_t
        for row, x in enumerate(map(model.seen, (x_t, clean))):
            show_image(axes[row][column], x[0])
        axes[0][column].set_title(f"t = {way.t[k]:.2f}", fontsize=9)
    name_row(axes[0][0], "xₜ")
    name_row(axes[1][0], "x̂₀")
    return save(figure, path, f"image {index} of seed {seed} in {len(way.x) - 1} steps")


def held_out_loss(model: DiffusionModel, dataset: Dataset, progress: Count | None = None) -> LossByNoise:
    """The model's errors on held-out items of ``dataset`` at about 20 times."""
    _, held_out = dataset.split(model.config.data.held_out)
    x_0, times = evenly_spaced(held_out, ITEMS).to(model.device), probe_times(model.network_denoiser.trained_steps)
    with torch.inference_mode():
        x_0 = model.space.encode(x_0)
    counted = counting_one(progress, "computing the loss on held-out images")
    return loss_by_noise(model.denoiser(), x_0, times, seed=model.config.seed, progress=counted)


def draw_loss(losses: LossByNoise, path: Path) -> SavedFigure:
    """Held-out mean squared errors of x̂_0 and ε̂ over t."""
    figure = canvas(6.5, 3.4)
    axes = figure.subplots()
    for errors, colour, what in (
        (losses.mse_noise, NOISE, "of the noise ε̂"),
        (losses.mse_clean, DATA, "of the image x̂₀"),
    ):  # of pure noise the noise is known, so its error is 0, which has no place on the axis
        axes.plot(losses.t, [error or math.nan for error in errors], color=colour, marker=".", label=what)
    axes.set_xlabel("t   (0 data, 1 noise)")
    axes.set_ylabel("mean squared error, held-out images")
    axes.grid(alpha=0.25)
    scale_by_powers(axes, "y")
    axes.set_ylim(bottom=max(axes.get_ylim()[0], LEAST))
    name_lines(axes)
    (noise, noise_at), (image, image_at) = (
        max(zip(errors, losses.t, strict=True)) for errors in (losses.mse_noise, losses.mse_clean)
    )
    return save(
        figure,
        path,
        f"the noise is hardest to predict at t = {noise_at:.3f} (error {noise:.3f}), "
        f"the image at t = {image_at:.3f} (error {image:.3f})",
    )
