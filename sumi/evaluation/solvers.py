"""Solvers compared on one model, at equal numbers of network evaluations.

There are two measures. One is the distance of each image to the solution of the model's probability-flow ODE from the
same noise, computed with many steps: the error of a deterministic solver, in units of the data's standard deviation.
The other is the Fréchet distance to held-out real images, which also applies to samplers that do not follow the ODE.

By default every solver uses its paper's time grid; UniPC, the best of them, also uses ours.

A student of few steps (`sumi.distillation`) follows the ODE of its teacher, or of that one's where it is a student too:
with its own solver it is compared with the teacher's, "adams, teacher", where that is still there.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sumi.boundary.files import write_text
from sumi.boundary.progress import Count
from sumi.data.dataset import everything
from sumi.denoising.denoiser import CountingDenoiser, FunctionDenoiser
from sumi.errors import InputError
from sumi.evaluation.images import learn_features
from sumi.figures.canvas import INK, RED, SavedFigure, canvas, name_lines, save, scale_by_powers
from sumi.metrics.features.network import FEWEST, FeatureNetwork
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import is_student, teacher_at_hand
from sumi.models.diffusion.tuning import fine_method
from sumi.randomness import Purpose, SampleNoise
from sumi.sampling.sample import sample
from sumi.sampling.sampler import LEAST_STD, Method
from sumi.sampling.solvers.solver import Noise
from sumi.sampling.tuning import distance

COLOURS = ("#2563eb", "#15803d", "#a16207", "#7e22ce", "#0e7490", "#be185d")
BATCH = 64
REFERENCE_STEPS = 1000
OF_TEACHER = "adams, teacher"
DEFAULT_SOLVERS = ("adams", "unipc", "unipc@log_snr", "dpmpp_2m@log_snr", "heun@karras", "ddim", "ddpm")


@dataclass(frozen=True)
class Row:
    """One solver at one number of evaluations, with ``seconds`` per image.

    ``median`` and ``percentile_95`` of the distance to the ODE's solution are NaN where the solver drew noise on the
    way, which in a single step to the data it need not; ``frechet`` is None unless requested.
    """

    solver: str
    evaluations: int
    steps: int
    median: float
    percentile_95: float
    frechet: Estimate | None
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """All rows; ``images``: number of samples, ``held_out``: number of real images for the Fréchet distances."""

    rows: tuple[Row, ...]
    images: int
    held_out: int


def compare(
    model: DiffusionModel,
    solvers: Sequence[str] | None = None,
    evaluations: Sequence[int] = (5, 10, 20, 50),
    *,
    n: int = 64,
    frechet: bool = False,
    seed: int = 0,
    reference: int | None = None,
    progress: Count | None = None,
) -> Comparison:
    """Sample ``n`` images with each solver at each number of evaluations.

    ``solvers``: None for `DEFAULT_SOLVERS`, or for a student's own and its teacher's `adams`.
    The ODE is solved for the first `BATCH` of them in ``reference`` steps of `adams`, `REFERENCE_STEPS` by default:
    that takes as long as all the rest. A solver with several evaluations per step takes as many steps as fit, at least
    one; its row has the actual numbers. ``tuned`` runs at the numbers of steps it was tuned for. ``frechet``: also
    measure against the run's held-out images, with features learned on its training images. ``progress(what, done,
    total)``. Raises InputError.
    """
    if n < 2:
        raise InputError(f"n: {n} images are too few to compare; give 2 or more")
    teacher = teacher_at_hand(model)
    if teacher is None:
        model.require_ode("solvers: the ODE that they are compared with")
    if solvers is None:
        own = str(model.config.sampling.solver)
        solvers = (own, *(() if teacher is None else (OF_TEACHER,))) if is_student(model) else DEFAULT_SOLVERS
    solvers, evaluations = tuple(dict.fromkeys(solvers)), tuple(dict.fromkeys(evaluations))
    if not solvers or not evaluations:
        raise InputError("solvers: there is nothing to compare; give at least one solver and one number of steps")
    known = model.gaussian_denoiser().trained_steps
    if known is not None and 4 * max(evaluations) > known:
        raise InputError(
            f"steps: {max(evaluations)} are too many for a network trained at {known} times, which also has to "
            f"solve the ODE; give at most {known // 4}"
        )
    jobs = [(name, count) for name in solvers for count in evaluations if name != "tuned" or model.is_tuned(count)]
    models = [teacher if name == OF_TEACHER and teacher is not None else model for name, _ in jobs]
    methods = [  # errors come before any computation
        _method(of, "adams" if name == OF_TEACHER else name, count)
        for of, (name, count) in zip(models, jobs, strict=True)
    ]
    if "tuned" in solvers and all(name != "tuned" for name, _ in jobs):
        model.method(steps=evaluations[0], solver="tuned")
    network, real = _features(model, progress) if frechet else (None, torch.empty(0))
    if frechet and min(n, len(real)) < FEWEST:
        raise InputError(f"n: the Fréchet distance needs {FEWEST} samples and held-out images; got {n} and {len(real)}")
    rows: list[Row] = []
    with torch.inference_mode():
        steps = REFERENCE_STEPS if reference is None else reference
        ends = _ends(teacher or model, min(n, BATCH), seed, steps, progress)
        for done, (of, (name, _), method) in enumerate(zip(models, jobs, methods, strict=True)):
            rows.append(_row(of, name, method, n, ends, seed, network, real))
            if progress is not None:
                progress("comparing", done + 1, len(jobs))
    return Comparison(tuple(rows), n, len(real))


def write_comparison(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write comparison.json and comparison.png into ``folder``. Raises SumiError if it cannot."""
    file = folder / "comparison.json"
    content = [{key: _plain(value) for key, value in asdict(row).items()} for row in comparison.rows]
    write_text(file, json.dumps({"images": comparison.images, "rows": content}, indent=2) + "\n")
    return file, draw_comparison(comparison, folder / "comparison.png").path


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    match value:
        case float() if isnan(value):
            return None
    return value


def draw_comparison(comparison: Comparison, path: Path) -> SavedFigure:
    """Distance to the ODE's solution by evaluations, one line per deterministic solver."""
    figure = canvas(6.0, 4.0)
    axes = figure.add_subplot()
    lines: dict[str, list[Row]] = {}
    for row in comparison.rows:
        if not isnan(row.median):
            lines.setdefault(row.solver, []).append(row)
    for k, (name, rows) in enumerate(lines.items()):
        places = [row.evaluations for row in rows]
        colour = {"adams": INK, "tuned": RED}.get(name, COLOURS[k % len(COLOURS)])
        width = 2.2 if name in ("adams", "tuned") else 1.3
        axes.plot(
            places, [row.median for row in rows], marker="o", markersize=4, label=name, color=colour, linewidth=width
        )
    axes.set_xscale("log")
    scale_by_powers(axes, "y")
    ticks = _ticks([row.evaluations for rows in lines.values() for row in rows])
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("network evaluations")
    axes.set_ylabel("median distance to the ODE's solution / data std")
    axes.spines[["top", "right"]].set_visible(False)
    name_lines(axes)
    return save(figure, path, "the error of each solver: its distance to the solution of the model's ODE")


def _ticks(numbers: list[int]) -> list[int]:
    """The most frequent numbers, without those that would overlap."""
    kept: list[int] = []
    for number in sorted(set(numbers), key=lambda number: (-numbers.count(number), number)):
        if all(max(number / other, other / number) > 1.2 for other in kept):
            kept.append(number)
    return sorted(kept)


def _method(model: DiffusionModel, name: str, evaluations: int) -> Method:
    """As many steps as the evaluations allow, at least one, by bisection on a trivial denoiser."""
    method = model.method(steps=evaluations, solver=name)
    if _evaluations(model, method) <= evaluations:
        return method
    fewest, too_many = 1, evaluations
    while too_many - fewest > 1:
        middle = (fewest + too_many) // 2
        fits = _evaluations(model, model.method(steps=middle, solver=name)) <= evaluations
        fewest, too_many = (middle, too_many) if fits else (fewest, middle)
    return model.method(steps=fewest, solver=name)


@torch.inference_mode()
def _evaluations(model: DiffusionModel, method: Method) -> int:
    """How often this method evaluates the denoiser (for an adaptive one: on a trivial problem)."""
    nothing = FunctionDenoiser(lambda x_t, _: torch.zeros_like(x_t), model.network_denoiser.schedule)
    counting = CountingDenoiser(nothing)
    x = torch.ones_like(model.start_noise(range(1), 0), device="cpu")
    sample(counting, method.solver, method.times, x, SampleNoise(0, range(1), tuple(x.shape[1:])))
    return counting.evaluations


def _ends(model: DiffusionModel, n: int, seed: int, steps: int, progress: Count | None) -> Tensor:
    """The solutions of the model's ODE from the noise of images 0 … n - 1: (n, C, H, W)."""
    method = fine_method(model, steps)

    def report(step: int, *_: Any) -> None:
        if progress is not None:
            progress("solving the ODE", step + 1, method.steps)

    return sample(model.denoiser(), method.solver, method.times, model.start_noise(range(n), seed), callback=report)


def _batches(n: int) -> list[range]:
    return [range(first, min(first + BATCH, n)) for first in range(0, n, BATCH)]


def _features(model: DiffusionModel, progress: Count | None) -> tuple[FeatureNetwork, Tensor]:
    """The feature network, and the features of the run's held-out images."""
    train, held_out = model.load_images().split(model.config.data.held_out)
    network = learn_features(train, progress)
    return network, network.features(everything(held_out))


@dataclass
class _CountingNoise:
    """``noise``, and how often it was drawn."""

    noise: Noise
    draws: int = 0

    def __call__(self, step: int, purpose: Purpose, draw: int = 0) -> Tensor:
        self.draws += 1
        return self.noise(step, purpose, draw)


def _row(
    model: DiffusionModel,
    name: str,
    method: Method,
    n: int,
    ends: Tensor,
    seed: int,
    network: FeatureNetwork | None,
    real: Tensor,
) -> Row:
    denoiser = CountingDenoiser(model.denoiser())
    made: list[Tensor] = []
    batches, draws = _batches(n), 0
    begin = _now(model.device)
    for indices in batches:
        noise = _CountingNoise(SampleNoise(seed, indices, model.space.shape, device=model.device))
        made.append(sample(denoiser, method.solver, method.times, model.start_noise(indices, seed), noise))
        draws += noise.draws
    seconds = (_now(model.device) - begin) / n
    images = torch.cat(made)
    away = distance(images[: len(ends)], ends) / max(model.description.data_std, LEAST_STD)
    median, high = (float(away.quantile(q)) for q in (0.5, 0.95))
    frechet = None
    if network is not None:
        with torch.inference_mode():
            pictures = torch.cat([model.space.decode(part) for part in images.split(BATCH)])
        saved = model.pixels.to_model(model.pixels.to_levels(pictures.clamp(-1, 1).cpu()))
        frechet = frechet_distance(network.features(saved), real)
    return Row(
        solver=name,
        evaluations=round(denoiser.evaluations / len(batches)),
        steps=method.steps,
        median=nan if draws else median,
        percentile_95=nan if draws else high,
        frechet=frechet,
        seconds=seconds,
    )


def _now(device: torch.device) -> float:
    """The time, once the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
