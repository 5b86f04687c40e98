"""All figures of a run whose data are vectors."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sumi.data.vectors import VectorDataset
from sumi.denoising.binomial import BinomialDenoiser
from sumi.evaluation.loss_by_noise import looked_at, loss_by_noise
from sumi.explain.cloud import draw_noised_cloud, draw_reverse_cloud
from sumi.explain.density import draw_density, draw_energy, is_energy
from sumi.explain.figure import Drawn
from sumi.explain.loss import draw_loss
from sumi.explain.schedule import draw_schedule
from sumi.explain.second_distribution import draw_second_distribution
from sumi.measured import Count, counting_one
from sumi.model import DiffusionModel

LOSSES_OF = 1000


def explain_vectors(
    model: DiffusionModel, dataset: VectorDataset, folder: Path, count: Count | None
) -> Iterator[Drawn]:
    """The schedule as it was learned, both ways, the second distribution; of points also loss and density."""
    train, held_out = dataset.split(model.config.data.held_out)
    x_0 = torch.from_numpy(train.values)
    schedule, bits = model.network_denoiser.schedule, isinstance(model.network_denoiser, BinomialDenoiser)
    with torch.no_grad():
        yield draw_schedule(schedule, model.config.schedule.steps or 1000, folder / "schedule.png")
        yield draw_noised_cloud(model, x_0, folder / "noising.png")
        yield draw_reverse_cloud(model, folder / "reverse.png")
    if _can_be_told(model):
        yield draw_second_distribution(model, x_0, folder / "second_distribution.png")
    if bits:
        return
    times = looked_at(model.network_denoiser.grid)
    some = held_out.batch(np.arange(min(len(held_out), LOSSES_OF))).to(model.device)
    yield draw_loss(loss_by_noise(model.denoiser(), some, times, seed=model.config.seed), folder / "loss_by_noise.png")
    if dataset.shape != (2,):
        return
    yield draw_density(model, x_0, folder / "density.png", progress=counting_one(count, "the density"))
    if is_energy(model):
        yield draw_energy(model, x_0, folder / "energy.png")


def _can_be_told(model: DiffusionModel) -> bool:
    """Whether a second distribution can be multiplied in: where some of the data is left at t = 1.

    And where sampling takes no thousands of evaluations, each of which it makes several times as long.
    """
    schedule = model.network_denoiser.schedule
    if model.config.sampling.solver == "langevin":
        return False
    return isinstance(model.network_denoiser, BinomialDenoiser) or float(schedule.alpha(torch.ones(1).double())) > 0
