"""One model sampled in many ways: with more or less noise in each step, and in more or fewer steps.

The samples at every setting begin from the same noise, so that what differs is the setting. η is DDIM's, in the run's
number of steps; the numbers of steps are of the run's own solver, as many as the network's grid has at most.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.evaluation.copy_rate import OWN_NEIGHBOURS
from sumi.evaluation.feature_network import FeatureNetwork
from sumi.evaluation.sweep_measures import Copies, Detail, Distance, Variety
from sumi.evaluation.sweeps import Sweep, sweep
from sumi.measured import Count, counting_one
from sumi.model import DiffusionModel

ETAS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS: Final = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Sweeps:
    """What η did, by DDIM in ``eta_steps`` steps, and what the number of steps of ``solver`` did."""

    eta_steps: int
    eta: Sweep
    solver: str
    steps: Sweep


def sweep_sampler(
    model: DiffusionModel,
    network: FeatureNetwork,
    training: Tensor,
    held_out: Tensor,
    *,
    n: int,
    labels: Tensor | None = None,
    seed: int = 0,
    progress: Count | None = None,
) -> Sweeps:
    """Sample ``n`` images of ``seed`` at each setting, and measure them in the features of ``network``.

    ``training``, ``held_out``: real images (N, C, H, W) in [-1, 1]; ``labels`` (n,): classes to ask for.
    ``progress(what, done, total)``. Raises InputError for too few training images.
    """
    if len(training) <= OWN_NEIGHBOURS:
        raise InputError(
            f"--sweeps: {len(training)} images to train on are too few to look for copies of; "
            f"give more than {OWN_NEIGHBOURS}, or leave it out"
        )
    config, grid = model.config.sampling, model.network_denoiser.grid
    alike, mixed = (in_random_order(images, seed) for images in (training, held_out))

    def drawn(what: str, steps: int, solver: str, eta: float | None = None) -> Tensor:
        counting = counting_one(progress, f"sampling {what}")
        return as_saved(
            model, model.sample(n, steps=steps, solver=solver, eta=eta, seed=seed, label=labels, progress=counting)
        )

    distance = Distance(network, mixed, alike)
    copies = Copies(training, mixed, samples=n * len(ETAS), mirrored=model.config.data.flip)
    by_eta = sweep(
        lambda eta: drawn(f"with η = {eta:g}", config.steps, "ddim", eta),
        ETAS,
        (distance, Variety(network, mixed, alike, samples=n, seed=seed), copies),
        seed=seed,
        progress=counting_one(progress, "comparing η = 0 with η = 1"),
    )
    numbers = sorted({k if grid is None else min(k, grid) for k in STEPS})
    by_steps = sweep(
        lambda steps: drawn(f"in {steps:g} steps", int(steps), config.solver),
        numbers,
        (distance, Detail(mixed, alike, samples=n)),
        seed=seed,
        progress=counting_one(progress, f"comparing {numbers[0]} steps with {numbers[-1]}"),
    )
    return Sweeps(config.steps, by_eta, config.solver, by_steps)


def in_random_order(images: Tensor, seed: int) -> Tensor:
    """The same images: of training ones, those that an evaluation of this seed compares with come first."""
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]


def as_saved(model: DiffusionModel, images: Tensor) -> Tensor:
    """Samples rounded to the levels of the data."""
    return model.pixels.to_model(model.pixels.to_levels(images))
