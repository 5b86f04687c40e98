"""Distilling: from a trained diffusion model to one of one to four steps, in a run folder of its own.

The student has the teacher's network, schedule, conditions and autoencoder, begins with its averaged weights, and is
trained on its data with another objective (`sumi.models.diffusion.few_steps`):

    consistency   the default, for every schedule and parameterization; sampled in 1, 2 or 4 steps
    mean_flow     of a run of flow
    progressive   several steps of the teacher in one of the student's

Guidance is built in: a scale that is fixed, or a range of which each sample chooses one. Then, and in progressive
distillation, the student learns the way of its teacher, of which it keeps a copy; else that of the data.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch

from sumi.boundary.arguments import listed, path, real, shown
from sumi.boundary.config import nearest
from sumi.boundary.progress import Progress
from sumi.boundary.settings import Settings, assignments, override
from sumi.conditioning.guidance import GUIDANCE, GuidanceConditioning
from sumi.data.spec import expect
from sumi.denoising.parameterization import (
    ParameterizationConfig,
    PredictBoundedClean,
    PredictBoundedNoise,
    PredictClean,
    PredictNoise,
    PredictSmoothFlow,
)
from sumi.errors import InputError
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.few_steps import Consistency, FewSteps, MeanFlow, Progressive
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import AUTOENCODER
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.resuming import refuse_other_start
from sumi.models.run import load, read_run
from sumi.networks.own import Network
from sumi.objectives.direction import KeptTeacher, NoTeacher
from sumi.sampling.sampler import Guidance, Sampling
from sumi.training.run_folder import RunFolder
from sumi.training_run import Events, own_network, train

Method = Literal["consistency", "mean_flow", "progressive"]
OBJECTIVES: Final[dict[Method, type[Consistency | MeanFlow | Progressive]]] = {
    "consistency": Consistency,
    "mean_flow": MeanFlow,
    "progressive": Progressive,
}
RATE: Final = 3e-4  # of a network that is trained already
STEPS: Final = 4000
ROUGH: Final = 0.01  # width in t of the derivative of networks that resolve thousandths of it
KEPT: Final = "objective.teacher=kept"


def distil(
    model: DiffusionModel | str | Path,
    *,
    out: Path | str,
    method: Method | None = None,
    steps: int | None = None,
    guidance: float | tuple[float, float] | None = None,
    data: object = None,
    seed: int | None = None,
    settings: Settings = (),
    device: str | torch.device | None = None,
    resume: bool = False,
    network: Network | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    events: Events | None = None,
) -> DiffusionModel | Any:
    """Train a student of ``model``, a run or a model in its folder, for one to four steps, and return it.

    ``out``: its run folder. ``method``: one of the module docstring's; None: consistency. ``steps``: of training
    (`STEPS`). ``guidance``: the scale that the student learns, or (low, high) where each of its samples chooses; None:
    the run's own. ``data``: other data of the same kind; None: the run's own. ``settings``: one or several
    "section.field=value" of its configuration. ``resume``: continue what is in ``out``, by the method and with the
    guidance that it was begun with. All else as of `sumi.train`. Raises InputError.
    """
    folder, given = RunFolder(path("out", out)), assignments(settings)
    if resume and folder.config_file.exists():
        begun = read_run(folder)
        config = expect(begun.config, DiffusionConfig, f"out: {folder.path} is of no diffusion model")
        _refuse_others(folder, config, method, guidance)
        refuse_other_start(begun.start, model)
        if steps is not None:
            config = replace(config, training=replace(config.training, steps=steps))
        given = _beyond_kept(config, given)
        if KEPT in given:
            why = "was begun without one; leave it out to resume, or give another out"
            raise InputError(f"objective.teacher: {folder.path} {why}")
        return train(
            override(config, given),
            data=data,
            out=folder.path,
            seed=seed,
            device=device,
            resume=True,
            network=network,
            progress=progress,
            events=events,
        )
    method = method or "consistency"
    match model:
        case DiffusionModel():
            teacher = model
        case source:
            teacher = load(path("model", source), DiffusionModel, device="cpu", network=network)
    if method != "consistency":
        teacher.require_mean(f"method: {method}", "use method=consistency, or ")
    own = own_network(teacher.config)
    student = student_of(teacher, method, guidance)
    given = _beyond_kept(student, given)
    if KEPT in given and not any(one.startswith("objective.teacher.source=") for one in given):
        given = (*given, f"objective.teacher.source={RunFolder(teacher.folder).source}")
    config = override(student, given)
    if steps is not None:
        config = replace(config, training=replace(config.training, steps=steps))
    match config.objective:
        case Progressive(steps=count) if not any(one.startswith("sampling.steps") for one in given):
            config = replace(config, sampling=replace(config.sampling, steps=count))
        case _:
            pass
    return train(
        config,
        data=data,
        out=folder.path,
        seed=seed,
        device=device,
        start=teacher,
        resume=resume,
        network=network if own is None else own.network,
        progress=progress,
        events=events,
    )


def _beyond_kept(config: DiffusionConfig, settings: tuple[str, ...]) -> tuple[str, ...]:
    """``settings`` without the one for a kept teacher, where ``config`` has one, with its source and guidance."""
    match config.objective:
        case FewSteps(teacher=KeptTeacher()):
            return tuple(one for one in settings if one != KEPT)
        case _:
            return settings


def _refuse_others(
    folder: RunFolder, config: DiffusionConfig, method: Method | None, guidance: float | tuple[float, float] | None
) -> None:
    """Raises InputError for a run that is no student, and for another method or guidance than it was begun with."""
    match config.objective:
        case FewSteps(teacher=teacher):
            pass
        case _:
            raise InputError(f"out: {folder.path} is no student, to be continued; resume it with `sumi train`")
    if method not in (None, config.objective.name):
        raise InputError(
            f"method: {folder.path} was begun with {config.objective.name}; leave it out to resume, or give another out"
        )
    match config.condition(GUIDANCE), teacher:
        case GuidanceConditioning(low=low, high=high), _:
            begun = [low, high]
        case _, KeptTeacher(guidance=scale):
            begun = [scale]
        case _:
            begun = [1.0]
    match guidance:
        case None:
            return
        case tuple() | list() as ends:
            given = [*ends]
        case number:
            given = [number]
    if given != begun:
        named = ",".join(f"{scale:g}" for scale in begun)
        raise InputError(f"guidance: {folder.path} was begun with {named}; leave it out to resume, or give another out")


def student_of(
    teacher: DiffusionModel,
    method: Method = "consistency",
    guidance: float | tuple[float, float] | None = None,
) -> DiffusionConfig:
    """The configuration of a student of ``teacher``. Raises InputError for a method or guidance that it cannot have."""
    if method not in get_args(Method):
        raise InputError(f"method: there is no {shown(method)}; {nearest(str(method), get_args(Method))}")
    own = expect(teacher.config, DiffusionConfig, f"model: {teacher.folder} is configured by a class of its own")
    teacher.gaussian_denoiser()
    scale, learned = _guidance(own, guidance)
    kept = KeptTeacher(RunFolder(teacher.folder).source, scale)
    taught = method == "progressive" or learned is not None or scale != 1
    objective = OBJECTIVES[method](teacher=kept if taught else NoTeacher())
    match own.objective, objective:
        case Progressive(steps=before), Progressive():
            objective = replace(objective, steps=max(1, before // objective.within))
        case _, Progressive(steps=count, within=within) if (grid := own.times.grid) and count * within > grid:
            objective = replace(objective, steps=max(1, grid // within))
        case _, MeanFlow() if own.parameterization != PredictSmoothFlow():
            objective = replace(objective, width=ROUGH)
        case _:
            pass
    match own.parameterization:
        case PredictNoise():  # whose errors a single step would multiply
            parameterization: ParameterizationConfig = PredictBoundedNoise()
        case PredictBoundedClean():  # the lowest levels, which learn from the data, count in full
            parameterization = PredictClean()
        case same:
            parameterization = same
    autoencoder = own.autoencoder
    match autoencoder:
        case TrainedAutoencoder():
            part = RunFolder(teacher.folder).part(AUTOENCODER).path
            autoencoder = replace(autoencoder, source=str(part.resolve()), weights="")
        case _:
            pass
    return replace(
        own,
        recipe=method,
        objective=objective,
        parameterization=parameterization,
        autoencoder=autoencoder,
        conditioning=own.conditioning if learned is None else (*own.conditioning, learned),
        training=replace(
            own.training,
            steps=STEPS,
            learning_rate=min(RATE, own.training.learning_rate),
            muon_learning_rate=own.training.muon_learning_rate * min(1.0, RATE / own.training.learning_rate),
            warmup_steps=min(50, own.training.warmup_steps),
            decay="constant",
            lora_rank=None,
            ema_decay=min(0.999, own.training.ema_decay),
        ),
        sampling=_sampling(own.sampling, objective, 1.0 if learned is None else scale),
    )


def _guidance(
    own: DiffusionConfig, given: float | tuple[float, float] | None
) -> tuple[float, GuidanceConditioning | None]:
    """The scale that is fixed, or the one that is usual of those that are learned; and these."""
    usual = own.sampling.guidance.scale if own.conditioning else 1.0
    match given:
        case None:
            learned, scale = None, usual
        case tuple() | list() as ends:
            low, high = (real("guidance", end) for end in listed("guidance", ends))
            learned = GuidanceConditioning(low, high)
            scale = min(max(usual, low), high)
        case number:
            learned, scale = None, real("guidance", number)
    if learned is None and scale == 1:
        return scale, learned
    if not own.conditioning:
        raise InputError("guidance: the teacher was trained without a condition to guide to; leave it out")
    if any(not condition.dropout for condition in own.conditioning):
        raise InputError("guidance: the teacher has learned nothing without its condition; leave it out")
    used = own.sampling.guidance
    if not used.is_field:
        raise InputError(
            "guidance: a student follows an ODE, and the teacher's guidance has none (cfg++, or apg with momentum); "
            "give 1, or take a run whose sampling.guidance.method is cfg"
        )
    if used.negative is not None:
        raise InputError(
            f"guidance: the teacher is guided away from {used.negative}, and a student learns guidance away from no "
            "condition; give 1, or take a run without sampling.guidance.negative"
        )
    return scale, learned


def _sampling(own: Sampling, objective: FewSteps, scale: float) -> Sampling:
    """How a student samples: in its own number of steps, or two, and guided by nothing but what it has learned."""
    match objective:
        case Progressive(steps=steps):
            pass
        case _:
            steps = 2
    grid = "uniform" if objective.name == "progressive" else "natural"
    threshold = "none" if objective.name == "mean_flow" else own.threshold
    return Sampling(solver=objective.solver, steps=steps, time_grid=grid, guidance=Guidance(scale), threshold=threshold)
