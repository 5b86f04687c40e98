"""Samples of which each is one of K particles: twisted restoration, and steering towards a reward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, sides, whole
from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.guidance.steering import Potential, Reward, feynman_kac
from sumi.models.diffusion.options import SampleOptions, sampling_options
from sumi.models.samples import Samples
from sumi.sampling.sampler import Guidance, Method, SamplingOptions

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel

ANCESTRAL: Final = "ddpm"
"""The usual solver: copies of particles must part, and by the ODE restored photographs are much too rough
(docs/results/restoration.md)."""


def by_particles(
    model: DiffusionModel,
    n: int,
    particles: int,
    options: SampleOptions,
    method: Callable[[int | None], Method],
    wrap: Callable[[Denoiser], Denoiser] | None = None,
    *,
    together: int = 1,
) -> Tensor:
    """The first of the K = ``particles`` of each of n samples: sample i has those from K i on, all in one batch.

    ``together``: how many particles count as one of a batch. All else as of `DiffusionModel.walk`.
    """
    start, guidance, size = options.get("start", 0), options.get("guidance"), options.get("size")
    model.shape_of(size)  # or refused
    whole_groups = particles * model.windows_of(None if size is None else sides("size", size))
    given = model.condition_of(
        range(start, start + n),
        options.get("label"),
        options.get("condition"),
        guidance if isinstance(guidance, Guidance) else None,
        options.get("prompt"),
    )
    used = model.config.sampling.replaced(sampling_options(options)).guidance
    guided = used.extrapolates and (given is not None or used.worse is not None)
    if particles > 1 and guided and used.method == "apg" and used.momentum:
        raise InputError("guidance.momentum: remembers what particles had before they were resampled; give 0")
    all_of: SampleOptions = {
        **options,
        "label": None,
        "prompt": None,
        "condition": None if given is None else given.rows(torch.arange(n).repeat_interleave(particles)),
        "start": particles * start,
        "batch_size": whole_groups * max(1, options.get("batch_size", 64) * together // whole_groups),
    }
    return Samples.of(model.walk(particles * n, all_of, method=method, wrap=wrap)[::particles], model.items)


def steer(
    model: DiffusionModel,
    reward: Reward,
    n: int,
    particles: int,
    scale: float,
    potential: Potential,
    options: SampleOptions,
) -> Tensor:
    """See `DiffusionModel.steer`."""
    own: SamplingOptions = {**sampling_options(options)}
    given: SampleOptions = {**options}
    n, particles = (whole(name, v, least=1, most=MOST_COUNT) for name, v in (("n", n), ("particles", particles)))
    if model.config.sampling.replaced(own).error is not None:
        raise InputError("error: is of samples that take one way, and particles take many; give steps")
    if options.get("x") is not None:
        raise InputError("x: is where one sample begins, and here each has many particles; leave it out")
    if not any(own.get(name) is not None for name in ("solver", "eta", "sampling")):
        own["solver"] = given["solver"] = ANCESTRAL

    def seen(z: Tensor) -> Tensor:
        return reward(model.items.clamp(model.space.decode(z)))

    def method(steps: int | None) -> Method:
        found = model.method(tuned=False, **own if steps is None else {**own, "steps": steps})
        return replace(found, solver=feynman_kac(found.name, found.solver, seen, particles, scale, potential))

    return by_particles(model, n, particles, given, method)
