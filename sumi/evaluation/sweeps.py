"""Sweeps: how figures of the samples change with a setting of the sampler, and whether the change is significant.

All sets of samples start from the same noise and are measured against the same held-out images, so only the setting
differs. Each figure has an interval at each value. Whether it changes from the first value to the last is decided by a
permutation test that exchanges pairs with the same noise (`sumi.metrics.permutation_test`). It is more powerful than
the intervals, which also cover other noise and other real images.

`sweep_sampler` varies DDIM's η at the run's number of steps, and the number of steps of the run's own solver (at most
the network's trained steps).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.errors import InputError
from sumi.evaluation.measures import Measures
from sumi.evaluation.sweep_measures import Copies, Detail, Distance, Measure, Variety
from sumi.metrics.copies import OWN_NEIGHBOURS
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.intervals import Estimate
from sumi.metrics.permutation_test import exchange_p_values, exchanged
from sumi.models.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Sweep:
    """Figures of ``samples`` samples at each of ``values``: ``lines`` by name, one estimate per value.

    ``real``: some of them for real images. ``p_values``, by name: of the change from the first value to the last, if
    computed. ``left_out``: what could not be measured, with the reason.
    """

    values: tuple[float, ...]
    lines: Mapping[str, tuple[Estimate, ...]]
    real: Mapping[str, Estimate]
    p_values: Mapping[str, float]
    samples: int
    left_out: tuple[str, ...]

    def only(self, names: Collection[str]) -> "Sweep":
        """The figures of these names alone."""
        lines, real, p_values = (
            {name: value for name, value in of.items() if name in names}
            for of in (self.lines, self.real, self.p_values)
        )
        return replace(self, lines=lines, real=real, p_values=p_values)


def sweep(
    samples_at: Callable[[float], Tensor],
    values: Sequence[float],
    measures: Sequence[Measure],
    *,
    compare_ends: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Take ``measures`` of the samples at each of ``values``.

    ``samples_at(value)``: images (N, C, H, W) in [-1, 1], as they would be saved, image i always from the same noise.
    ``compare_ends``: also test whether the change from the first value to the last is significant.
    ``progress(done, total)`` counts the permutations, which ``seed`` chooses.
    """
    kept: list[list[Tensor]] = []
    samples = 0
    for value in values:
        images = samples_at(value)
        samples = len(images)
        kept.append([measure.kept(images) for measure in measures])
    possible, lines, real = Measures(), dict[str, tuple[Estimate, ...]](), dict[str, Estimate]()
    ends: list[tuple[Measure, Tensor, Tensor]] = []
    for measure, sets in zip(measures, zip(*kept, strict=True), strict=True):
        found = possible.where_possible(measure.name, lambda m=measure, s=sets: ([m.estimates(x) for x in s], m.real()))
        if found is not None:
            each, of_real = found
            everywhere = [name for name in each[0] if all(name in one for one in each)]
            lines |= {name: tuple(one[name] for one in each) for name in everywhere}
            real |= {name: estimate for name, estimate in of_real.items() if name in lines}
            some = {name for one in (of_real, *each) for name in one} - lines.keys()
            possible.left_out.extend(f"{name} (some samples are far from real images)" for name in sorted(some))
            ends.append((measure, sets[0], sets[-1]))

    def difference(chosen: Tensor) -> Tensor:
        change: list[float] = []
        for measure, first, last in ends:
            before, after = (measure.values(x) for x in exchanged(first, last, chosen[: len(first)]))
            change += [after[name] - before[name] for name in before if name in lines]
        return torch.tensor(change, dtype=torch.float64)

    p_values: dict[str, float] = {}
    if compare_ends:
        found = exchange_p_values(difference, samples, seed=seed, progress=progress)
        p_values = dict(zip(lines, found.tolist(), strict=True))
    return Sweep(tuple(values), lines, real, p_values, samples, tuple(possible.left_out))


ETAS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS: Final = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Sweeps:
    """A sweep over η, by DDIM in ``eta_steps`` steps, and one over the number of steps of ``solver``."""

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
    """Sample ``n`` images at each setting, and measure them in the features of ``network``.

    ``training``, ``held_out``: real images (N, C, H, W) in [-1, 1]; ``labels`` (n,): the requested classes.
    ``progress(what, done, total)``. Raises InputError for too few training images.
    """
    if len(training) <= OWN_NEIGHBOURS:
        raise InputError(
            f"sweeps: {len(training)} training images are too few to search for copies; give more than "
            f"{OWN_NEIGHBOURS}, or leave sweeps out"
        )
    config, grid = model.config.sampling, model.network_denoiser.trained_steps
    alike, mixed = (in_random_order(images, seed) for images in (training, held_out))

    def samples(what: str, steps: int, solver: str, eta: float | None = None) -> Tensor:
        counting = counting_one(progress, f"sampling {what}")
        return model.items.finish(
            model.sample(n, steps=steps, solver=solver, eta=eta, seed=seed, label=labels, progress=counting)
        )

    distance = Distance(network, mixed, alike)
    copies = Copies(training, mixed, samples=n * len(ETAS), mirrored=model.config.data.flip)
    by_eta = sweep(
        lambda eta: samples(f"with η = {eta:g}", config.steps, "ddim", eta),
        ETAS,
        (distance, Variety(network, mixed, alike, samples=n, seed=seed), copies),
        seed=seed,
        progress=counting_one(progress, "comparing η = 0 with η = 1"),
    )
    numbers = sorted({k if grid is None else min(k, grid) for k in STEPS})
    by_steps = sweep(
        lambda steps: samples(f"in {steps:g} steps", int(steps), str(config.solver)),
        numbers,
        (distance, Detail(mixed, alike, samples=n)),
        seed=seed,
        progress=counting_one(progress, f"comparing {numbers[0]} steps with {numbers[-1]}"),
    )
    return Sweeps(config.steps, by_eta, str(config.solver), by_steps)


def in_random_order(images: Tensor, seed: int) -> Tensor:
    """The images shuffled: the training images that an evaluation with this seed uses come first."""
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]
