"""What a diffusion model keeps in its run folder: ``parts/autoencoder`` of latents, ``parts/teacher`` of few steps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from sumi.boundary.group import group
from sumi.data.spec import DataSpec
from sumi.errors import InputError
from sumi.models.autoencoder import AutoencoderConfig, AutoencoderModel
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.model import SystemConfig, TrainedModel
from sumi.objectives.direction import KeptTeacher
from sumi.training.config import TrainingConfig
from sumi.training.run_folder import RunFolder

if TYPE_CHECKING:
    from sumi.models.diffusion.config import DiffusionSettings
    from sumi.models.diffusion.model import DiffusionModel

AUTOENCODER: Final = "autoencoder"
TEACHER: Final = "teacher"


def with_autoencoder(
    chosen: TrainedAutoencoder,
    settings: "DiffusionSettings",
    items: DataSpec,
    run: RunFolder,
    train: Callable[[SystemConfig, RunFolder], TrainedModel],
) -> TrainedAutoencoder:
    """``chosen`` as it is in ``run`` once it is there; with weights, it must be.

    Raises InputError where it is of other images than ``items``, or not the one that the run was trained with.
    """
    from sumi import load  # which knows this system, too

    part = run.part(AUTOENCODER)
    if chosen.weights:
        autoencoder_of(run.path, chosen.weights, torch.device("cpu"))
        return chosen
    if chosen.source:
        model = load(chosen.source, AutoencoderModel)
        check(model, items, chosen.source)
        with group().in_turn():
            if not part.config_file.exists():
                model.save(part.path)
    else:
        chosen.denoised(items)  # refuses sides that the factor does not divide, before anything is trained
        own = settings.training
        order = own.order
        if part.config_file.exists():  # it goes on as it was begun: an older one had its own order
            match part.read_config():
                case {"config": {"training": {"order": "keyed" | "windowed" as order}}}:
                    pass
                case _:
                    order = "shuffled"
        training = TrainingConfig(
            steps=chosen.steps,
            batch_size=chosen.batch_size,
            optimizer="muon",
            decay="cosine",
            sample_every=0,
            precision=own.precision,
            log_every=own.log_every,
            checkpoint_every=own.checkpoint_every,
            keep_checkpoints=own.keep_checkpoints,
            noise=own.noise,
            order=order,
            micro_batch=own.micro_batch,
            recompute=own.recompute,
            skip_limit=own.skip_limit,
            tracker=own.tracker,
        )
        config = AutoencoderConfig(
            recipe="autoencoder",
            data=settings.data,
            seed=settings.seed,
            training=training,
            network=chosen.network,
            loss=chosen.loss,
        )
        model = train(config, part)
        assert isinstance(model, AutoencoderModel)
    return replace(chosen, network=model.config.network, loss=model.config.loss, weights=model.digest)


def check(model: AutoencoderModel, items: DataSpec, source: str) -> None:
    """Raises InputError for an autoencoder of other channels than the images, or a factor that does not divide them."""
    own = model.images
    if len(items.shape) != 3 or own.channels != items.shape[0]:
        raise InputError(
            f"autoencoder.source: {source} is of images of {own.channels} channels, and these data are of shape "
            f"{'x'.join(map(str, items.shape))}; give another, or train one"
        )
    factor, (_, height, width) = model.autoencoder.factor, items.shape
    if height % factor or width % factor:
        raise InputError(
            f"autoencoder.source: {source} divides sides by {factor}, which images of {height}x{width} do not allow; "
            f"set data.size to a multiple of {factor}"
        )


def autoencoder_of(run: Path, weights: str, device: torch.device) -> AutoencoderModel:
    """The autoencoder of a run of latents, with these ``weights`` (its `digest`).

    Raises InputError where it is gone, damaged or another.
    """
    from sumi import load  # which knows this system, too

    part = RunFolder(run).part(AUTOENCODER)
    if not part.config_file.exists():
        raise InputError(f"{part.path}: is gone, and the run is of its latents; restore it")
    model = load(part.path, AutoencoderModel, device=str(device))
    if model.digest != weights:
        raise InputError(f"{part.path}: is not the autoencoder that the run was trained with; restore it")
    return model


def with_teacher(chosen: KeptTeacher, items: DataSpec, run: RunFolder) -> KeptTeacher:
    """``chosen`` as it is in ``run`` once it is there: a copy of its source.

    Raises InputError where it is of other items, or not the one that the run learned from.
    """
    from sumi import load  # which knows this system, too
    from sumi.models.diffusion.model import DiffusionModel

    part = run.part(TEACHER)
    if run.config_file.exists():  # it is begun
        return replace(chosen, weights=teacher_of(run.path, chosen.weights, torch.device("cpu")).digest)
    model = load(chosen.source, DiffusionModel, device="cpu")
    if model.items != items:
        raise InputError(
            f"objective.teacher.source: {chosen.source} is of other items or classes than these data; give its own data"
        )
    with group().in_turn():
        if not part.config_file.exists():
            model.save(part.path)
    return replace(chosen, weights=model.digest)


def teacher_of(run: Path, weights: str, device: torch.device) -> "DiffusionModel":
    """The teacher of a run, with these ``weights`` (its `digest`). Raises InputError where it is gone or another."""
    from sumi import load  # which knows this system, too
    from sumi.models.diffusion.model import DiffusionModel

    part = RunFolder(run).part(TEACHER)
    if not part.config_file.exists():
        raise InputError(f"{part.path}: is gone, and the run learns from it; restore it, or distil again")
    model = load(part.path, DiffusionModel, device=str(device))
    if weights not in ("", model.digest):
        raise InputError(f"{part.path}: is not the teacher that the run began with; restore it")
    return model


def is_student(model: "DiffusionModel") -> bool:
    """Whether it was distilled of another model."""
    return model.config.few_steps is not None and model.description.start is not None


def teacher_at_hand(model: "DiffusionModel") -> "DiffusionModel | None":
    """The model of which this one was distilled, or in turn that one's teacher: its copy in the run, or the source.

    None: gone, or changed, or one that has no ODE of its own.
    """
    from sumi import load  # which knows this system, too
    from sumi.models.diffusion.model import DiffusionModel

    begun = model.description.start
    if begun is None or not is_student(model):
        return None
    for place in (RunFolder(model.folder).part(TEACHER).path, Path(begun.source)):
        if RunFolder(place).config_file.exists():
            found = load(place, DiffusionModel, device=str(model.device))
            if found.digest == begun.weights:
                return teacher_at_hand(found) or (found if found.config.has_ode else None)
    return None
