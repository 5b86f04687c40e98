"""``sumi mend``: what an audit found, put right where that needs no training, in a new run beside the old one.

    prediction type, time            the parameterization, or `Reread` of it
    schedule, squared alphas         the schedule, or the list of its β
    data range, channels             autoencoder=affine; of latents the scale that they are kept with
    terminal signal                  β rescaled to end with no signal (Lin et al. 2024, algorithm 1), or its last alone
    average lags                     the raw weights
    few steps                        a grid and coefficients fitted to the model (`sumi.models.diffusion.tuning`)

Whatever else was found is named as left over.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.autoencoders.scale import LatentScale
from sumi.boundary.progress import Count, counting_one
from sumi.check.audit.audit import ITEMS, Audit, audit
from sumi.check.audit.reading import KNOWN_SCHEDULES, PREDICTIONS, Changed, Frame, Reading
from sumi.check.audit.search import MATERIAL, Change, Probe
from sumi.check.audit.subject import Rows, of_model, rows_of_model
from sumi.denoising.parameterization import (
    ParameterizationConfig,
    PredictClean,
    PredictEnergy,
    PredictFlow,
    PredictPreconditioned,
    PredictVelocity,
    Reread,
)
from sumi.errors import InputError
from sumi.interop.card import write_card
from sumi.interop.schedulers import LEAST_SIGNAL, zero_terminal_snr
from sumi.models.diffusion.autoencoder import AffineData, NoAutoencoder, TrainedAutoencoder
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuning import tune
from sumi.models.run import load
from sumi.objectives.times import GridTimes, UniformTimes
from sumi.process.schedule import Schedule, noise_level
from sumi.process.schedules import ListedBeta, ScheduleConfig
from sumi.sampling.sampler import Sampling
from sumi.training.checkpoint import load_weights
from sumi.training.run_folder import RunFolder

STRAIGHT: Final = (PredictVelocity(), PredictClean(), PredictFlow())
"""Predictions that say something of x_0 where alpha is 0."""


@dataclass(frozen=True)
class Figures:
    """Of one model: short names of its faults; its one-step error, the geometric mean over noise levels of shares of
    the data's variance; the energy distance of its samples to the items; alpha at t = 1."""

    faults: tuple[str, ...]
    error: float
    distance: float
    last_alpha: float


@dataclass(frozen=True)
class Mended:
    """The new ``model``; what was ``done``, and what is ``left``, in words; figures ``before`` and ``after``."""

    model: DiffusionModel
    done: tuple[str, ...]
    left: tuple[str, ...]
    before: Figures
    after: Figures


def mend(
    model: DiffusionModel,
    out: Path | str,
    *,
    data: object = None,
    n: int = ITEMS,
    seed: int = 0,
    tuned: Sequence[int] = (),
    progress: Count | None = None,
) -> Mended:
    """Audit ``model``, write the run folder ``out`` without its faults, and audit that.

    ``tuned``: numbers of steps to fit a grid to. Raises InputError where nothing can be mended, where the corrected
    settings do not fit each other, and as `audit`; ``out`` must be new or empty.
    """
    found = audit(model, data=data, n=n, seed=seed, copies=False, compared=False, progress=progress)
    config, done, left = model.config, list[str](), list[str]()
    rows = rows_of_model(model, data, n)
    items = None if rows is None else rows[0]
    std = model.description.data_std * found.reading.frame.scale
    for change in found.changes:
        config, words = corrected(config, change)
        done.append(words)
    raw = None
    for finding in found.findings:
        match finding.fault:
            case None:
                pass
            case "terminal signal" if (endings := _endings(config)) is not None:
                rescaled, last = (_error(model, found, schedule, items, seed) for schedule in endings)
                if rescaled - last < -log(MATERIAL):
                    config = replace(config, schedule=endings[0])
                    done.append("schedule: rescaled to end with no signal")
                else:  # a step as long as its last is one for DDIM alone
                    plain = Sampling(steps=config.sampling.steps, solver="ddim", guidance=config.sampling.guidance)
                    sampling = replace(plain, threshold=config.sampling.threshold)
                    config = replace(config, schedule=endings[1], sampling=sampling)
                    done.append("schedule: no signal at its last time, and sampled by ddim")
            case "average lags":
                raw = load_weights(RunFolder(model.folder).checkpoints / f"{model.step:08d}", "model")
                done.append("weights: the raw ones")
            case fault if fault not in [change.taken.fault for change in found.changes]:
                left.append(f"{fault}: {finding.change}")
            case _:
                pass
    if not done and not tuned:
        rest = f"; what was found needs more ({'; '.join(left)})" if left else ""
        raise InputError(f"{model.folder}: there is nothing to mend without training{rest}")
    made = _remade(model, config, std, raw)
    _rescale_latents(made, found.reading.frame)
    made.save(out)
    mended = load(out, DiffusionModel, device=model.device)
    write_card(mended)
    for steps in tuned:
        fitted = tune(mended, steps, progress=counting_one(progress, f"tuning {steps} steps"))
        done.append(f"{steps} steps: distance to the exact end {fitted.before:.2g}, tuned {fitted.after:.2g}")
    before = figures(model, found, items, seed)
    again = audit(mended, data=data, n=n, seed=seed, copies=False, compared=False, progress=progress)
    new_items = rows_of_model(mended, data, n)
    after = figures(mended, again, new_items[0] if new_items else None, seed)
    return Mended(mended, tuple(done), tuple(left), before, after)


def corrected(config: DiffusionSettings, change: Change) -> tuple[DiffusionSettings, str]:
    """The settings with one change of the reading, and that in words. Raises InputError where no setting says it."""
    reading, axis, words = change.taken.reading, change.taken.axis, change.taken.words
    match axis:
        case "prediction" | "clock":
            parameterization = _parameterization(config.parameterization, change)
            return replace(config, parameterization=parameterization), f"{axis}: {words}"
        case "schedule":
            schedule = _schedule(config, change)
            times = UniformTimes() if schedule.steps is None else GridTimes(schedule.steps)
            sampling = config.sampling
            if (schedule.steps is None) != (config.schedule.steps is None):
                sampling = Sampling(steps=sampling.steps, guidance=sampling.guidance, threshold=sampling.threshold)
            return replace(config, schedule=schedule, times=times, sampling=sampling), f"schedule: {words}"
        case _:
            return _framed(config, reading.frame), f"data: {words}"


def _parameterization(now: ParameterizationConfig, change: Change) -> ParameterizationConfig:
    """What the changed reading predicts, with its time input stated as a line in one that a run can state."""
    words = change.taken.words
    if change.taken.axis == "prediction":
        named = (config for config, name in PREDICTIONS.values() if name == words)
        now = next(named, PredictPreconditioned())
    match now:
        case PredictEnergy():
            raise InputError("parameterization: energy has a time input of its own; set another by hand")
        case Reread() as read:
            pass
        case plain:
            read = Reread(plain)
    plain_time = replace(read, time_scale=1.0, time_offset=0.0)
    for own in (replace(plain_time, clock="own"), replace(plain_time, clock="log_ratio")):
        if (line := _line(change.before.schedule, own, change.taken.reading)) is not None:
            found = replace(own, time_scale=line[0], time_offset=line[1])
            return found.of if found == Reread(found.of) else found
    raise InputError(f"parameterization: {words} is no time input that a run can state; set schedule=edm")


def _line(schedule: Schedule, own: Reread, wanted: Reading) -> tuple[float, float] | None:
    """a and b with a · (the time input of ``own``) + b = that of ``wanted`` at every level; None: there are none."""
    levels = [noise_level(schedule, t) for t in torch.linspace(0.1, 0.9, 9, dtype=torch.float64).tolist()]
    given, sought = ([float(r.coefficients(level).c_noise) for level in levels] for r in (own, wanted))
    scale = (sought[-1] - sought[0]) / (given[-1] - given[0])
    offset = sought[0] - scale * given[0]
    size = max(map(abs, sought))
    if any(abs(scale * a + offset - b) > 1e-9 * size for a, b in zip(given, sought, strict=True)):
        return None
    return round(scale, 12), round(offset, 9)


def _schedule(config: DiffusionSettings, change: Change) -> ScheduleConfig:
    match change.taken.reading.schedule, config.schedule.steps:
        case Changed() as schedule, int() as steps:
            return ListedBeta(tuple(schedule.betas(steps).clamp(1e-12, 1 - 1e-9).tolist()))
        case Changed(), None:
            raise InputError(f"schedule: {change.taken.words} is no schedule in continuous time; state another")
        case _:
            return KNOWN_SCHEDULES[change.taken.words]


def _framed(config: DiffusionSettings, frame: Frame) -> DiffusionSettings:
    match config.autoencoder:
        case NoAutoencoder():
            affine = AffineData(frame.scale, frame.shift, frame.channels)
            return replace(config, autoencoder=affine, sampling=replace(config.sampling, threshold="none"))
        case TrainedAutoencoder() if not frame.channels and not frame.shift:
            return config
        case other:
            raise InputError(f"autoencoder: {other.name} cannot hold data {frame.words}; encode them so beforehand")


def _rescale_latents(model: DiffusionModel, frame: Frame) -> None:
    match model.config.autoencoder:
        case TrainedAutoencoder():
            scale = model.module.auxiliary["latents"]
            assert isinstance(scale, LatentScale)
            scale.std.div_(frame.scale)
        case _:
            pass


def _endings(config: DiffusionSettings) -> tuple[ListedBeta, ListedBeta] | None:
    """The schedule rescaled to end with no signal, and with none at its last time alone; None for a network that says
    nothing of the data there.

    The first changes all levels a little. Where a network has more error on them, it keeps its own, and knows the last
    x_t as the noise that it nearly is.
    """
    steps = config.schedule.steps
    if steps is None or config.parameterization not in STRAIGHT:
        return None
    betas = config.schedule.build().betas(steps)
    last = betas.clone()
    last[-1] = 1 - LEAST_SIGNAL / float((1 - betas[:-1]).prod())
    return ListedBeta(tuple(zero_terminal_snr(betas).tolist())), ListedBeta(tuple(last.tolist()))


@torch.inference_mode()
def _error(model: DiffusionModel, found: Audit, schedule: ScheduleConfig, items: Rows | None, seed: int) -> float:
    """Mean log error of one step on another schedule, at as much noise."""
    subject = of_model(model)
    probe = Probe(subject, items or subject.samples(found.reading, ITEMS, seed), seed=seed)
    errors = probe.errors(replace(found.reading, schedule=schedule.build())).mean(1)
    return float(errors[~errors.isnan()].log().mean())


def _remade(
    model: DiffusionModel, config: DiffusionSettings, std: float, raw: dict[str, Tensor] | None
) -> DiffusionModel:
    """The weights with other settings."""
    description = replace(model.description, config=config, data_std=std)
    module = config.build(model.items).model
    module.load_state_dict(model.module.state_dict() if raw is None else raw)
    made = config.wrap(description, module.to(model.device), model.step, model.folder)
    assert isinstance(made, DiffusionModel)
    return made


@torch.inference_mode()
def figures(model: DiffusionModel, found: Audit, rows: Rows | None, seed: int = 0) -> Figures:
    """What is put beside each other, of a model as it is stated; ``rows``: items of data, None: there are none."""
    subject = of_model(model)
    reading: Reading = subject.reading
    items = rows or subject.samples(reading, ITEMS, seed)
    errors = Probe(subject, items, seed=seed).errors(reading).mean(1) / items.std**2
    n = len(items.x)
    label = "all" if model.config.condition("labels") is not None else None
    made = model.sample(n, seed=seed, label=label, progress=False)
    distance = energy_distance(made, model.seen(items.x)) if rows is not None else float("nan")
    alpha = float(noise_level(reading.schedule, 1.0).alpha)
    return Figures(found.faults, exp(float(errors[~errors.isnan()].log().mean())), distance, alpha)


def energy_distance(a: Tensor, b: Tensor) -> float:
    """√(2 E‖A - B‖ - E‖A - A'‖ - E‖B - B'‖) of two samples (N, …), (M, …), over √d (Székely & Rizzo 2013): 0: alike."""
    a, b = (x.double().flatten(1) / x[0].numel() ** 0.5 for x in (a.nan_to_num(10, 10, -10), b))
    within = (float(torch.cdist(x, x).sum()) / (len(x) * (len(x) - 1)) for x in (a, b))
    return max(2 * float(torch.cdist(a, b).mean()) - sum(within), 0.0) ** 0.5


def rows_of(before: Figures, after: Figures) -> Iterable[tuple[str, str, str]]:
    """The figures as text: name, before, after."""
    yield "faults", ", ".join(before.faults) or "none", ", ".join(after.faults) or "none"
    yield "error of one step (share of the data's variance)", f"{before.error:.2g}", f"{after.error:.2g}"
    if before.distance == before.distance:
        yield "distance of samples to the data (0: alike)", f"{before.distance:.2g}", f"{after.distance:.2g}"
    yield "alpha left at the last time", f"{before.last_alpha:.2g}", f"{after.last_alpha:.2g}"
