"""Fitting a sampler of few steps to a trained model, and keeping it in the run folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from sumi.boundary.arguments import MOST_COUNT, torch_defaults, whole
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuned import save_tuned, tuned_file
from sumi.sampling.sample import sample
from sumi.sampling.sampler import LEAST_STD, Method, build_method
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.tuning import Fit, distance, fit, reference

REFERENCE_STEPS = 200


@dataclass(frozen=True)
class Tuning:
    """What tuning brought: the median distances to the ODE's end, on trajectories that it was not fitted to."""

    steps: int
    before: float
    after: float
    file: Path | None


@torch_defaults()
@torch.inference_mode()
def tune(
    model: DiffusionModel,
    steps: int,
    *,
    trajectories: int = 64,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Tuning:
    """Fit a grid and coefficients for ``steps`` steps to the model and keep them in its run folder.

    They are kept where, on as many other trajectories, they land nearer to the ODE's end than `adams` and `fitted` do;
    ``file`` is None otherwise. Raises InputError for a number of steps that the model cannot take, and for one without
    an ODE of its own; SumiError where it cannot write.
    """
    model.require_ode("tune: it")
    steps, trajectories = (
        whole("tune", steps, most=MOST_COUNT),
        whole("trajectories", trajectories, least=2, most=MOST_COUNT),
    )
    if not 2 <= steps <= REFERENCE_STEPS // 4:
        raise InputError(f"tune: {steps} is out of range; give a number of steps from 2 to {REFERENCE_STEPS // 4}")
    known = model.gaussian_denoiser().trained_steps
    if known is not None and 4 * steps > known:
        raise InputError(
            f"tune: {steps} are too many for a network trained at {known} times; give at most {known // 4}"
        )
    plain, fine = fine_method(model, steps), fine_method(model, REFERENCE_STEPS)
    adams, denoiser = fine.solver, model.denoiser()
    assert isinstance(adams, Adams)
    seen = reference(denoiser, adams, fine.times, model.start_noise(range(trajectories), seed))
    found = fit(denoiser, adams, seen, plain.times, progress)
    unseen = model.start_noise(range(trajectories, 2 * trajectories), seed)
    end = sample(denoiser, adams, fine.times, unseen)
    few = fine_method(model, steps, "fitted")
    *others, after = (
        float(distance(sample(denoiser, way.solver, way.times, unseen), end).median())
        / max(model.description.data_std, LEAST_STD)
        for way in (plain, few, found)
    )
    before = min(others)
    return Tuning(steps, before, after, _keep(model, found, before, after, trajectories) if after < before else None)


def _keep(model: DiffusionModel, found: Fit, before: float, after: float, trajectories: int) -> Path:
    file = tuned_file(model.folder, model.step, len(found.times) - 1)
    about = {"checkpoint": model.step, "trajectories": trajectories, "distance_before": before, "distance_after": after}
    save_tuned(file, found.solver, found.times, model.digest, about)
    return file


def fine_method(model: DiffusionModel, steps: int, solver: str = "adams") -> Method:
    """The solver in this many steps, or as many as the network knows times for."""
    denoiser = model.network_denoiser
    known = denoiser.trained_steps
    return build_method(
        solver,
        steps if known is None else min(steps, known),
        denoiser.schedule,
        data_std=model.description.data_std,
        grid=known,
    )
