"""Diffusion models as a system: a denoiser, the objective of its denoising, and the model that samples with it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Final

import torch
from torch import nn

from sumi.autoencoders.mdct import STD
from sumi.boundary.group import group
from sumi.conditioning.guidance import GUIDANCE
from sumi.conditioning.text import TextConditioning, texts_fingerprint
from sumi.data.dataset import Dataset
from sumi.data.latents import encoded, is_encoded
from sumi.data.spec import DataSpec
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PredictBoundedClean, PredictClean
from sumi.errors import InputError
from sumi.guidance.guidance import extrapolation
from sumi.models.diffusion.autoencoder import AffineData, MDCTBands, NoAutoencoder, TrainedAutoencoder
from sumi.models.diffusion.build import Denoising
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.diffusion.few_steps import Consistency, FewSteps, MeanFlow, Progressive
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import AUTOENCODER, autoencoder_of, teacher_of, with_autoencoder, with_teacher
from sumi.models.model import RunDescription, SystemConfig, TrainedModel
from sumi.objectives.consistency import ConsistencyObjective
from sumi.objectives.direction import KeptTeacher, NoTeacher, OfTeacher
from sumi.objectives.mean_flow import MeanFlowObjective
from sumi.objectives.objective import Objective
from sumi.objectives.progressive import ProgressiveObjective
from sumi.training.checkpoint import checkpoint_step, find_checkpoints, holds_checkpoints
from sumi.training.run_folder import RunFolder

OBJECTIVES = Denoising | Consistency | MeanFlow | Progressive
"""One line an objective; its ``build(settings, items)`` makes an `Objective` of a denoiser (`build_denoiser`)."""

DATA: Final = "training.npy"
"""The training data, encoded."""


@dataclass(frozen=True)
class DiffusionConfig(DiffusionSettings):
    """The full configuration of a diffusion model."""

    objective: OBJECTIVES = field(default_factory=Denoising, metadata={"help": "what the denoiser is trained on"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop and (self.objective != Denoising() or self.autoencoder != NoAutoencoder()):
            raise InputError("crop: is of pixels and of objective=denoising; leave it out")
        match self.objective:
            case FewSteps() as few:
                few.check(self)
                if self.conditioned_on_guidance and few.teacher == NoTeacher():
                    raise InputError("conditioning: guidance is learned from a teacher; use `sumi distil --guidance`")
            case _:
                if self.conditioned_on_guidance:
                    raise InputError("conditioning: guidance is learned by distilling; leave it out")

    @property
    def conditioned_on_guidance(self) -> bool:
        """Whether the scale of guidance is one of the network's inputs."""
        return self.condition(GUIDANCE) is not None

    @property
    def few_steps(self) -> FewSteps | None:
        match self.objective:
            case FewSteps() as few:
                return few
            case _:
                return None

    @property
    def identity(self) -> tuple[object, ...]:
        """As of the settings; and the objective, where it is not denoising."""
        return super().identity if self.objective == Denoising() else (*super().identity, self.objective)

    def build(self, items: DataSpec) -> Objective:
        """What the objective makes of the settings. Raises InputError where they do not fit the data."""
        if items.name == "symbols":
            raise InputError(
                f"data.source: {self.data.source} has symbols; train symbols on them: `sumi train symbols`"
            )
        return self.objective.build(self, items)

    @property
    def prepares(self) -> bool:
        """Whether it is of latents: an autoencoder is trained or taken, and the data are encoded."""
        return self.autoencoder.name == TrainedAutoencoder.name

    def phase(self, run: RunFolder) -> str | None:
        """See `SystemConfig.phase`: of latents the autoencoder's training, the encoding, and the steps after it."""
        match self.autoencoder:
            case TrainedAutoencoder(weights="", steps=steps):
                part = run.part(AUTOENCODER)
                done = max(map(checkpoint_step, find_checkpoints(part.checkpoints)[0]), default=0)
                return f"the autoencoder is trained, {done} of {steps} steps, in {part.path}"
            case TrainedAutoencoder() if not holds_checkpoints(run.checkpoints) and not is_encoded(run.latents / DATA):
                return "the data are encoded"
            case TrainedAutoencoder():
                return "the latents are learned"
            case _:
                return None

    def continued(self, before: "DiffusionConfig | None") -> "DiffusionConfig":
        """See `SystemConfig.continued`: that of the autoencoder, and of a frozen encoder of texts."""
        conditions = self.conditioning
        match before:
            case DiffusionConfig(conditioning=earlier):
                texts = [c for c in earlier if type(c) is TextConditioning]
                conditions = tuple(c.continued(*texts) if type(c) is TextConditioning else c for c in conditions)
            case _:
                pass
        config = replace(self, conditioning=conditions)
        match self.autoencoder:
            case TrainedAutoencoder() as chosen:
                return replace(config, autoencoder=chosen.continued(None if before is None else before.autoencoder))
            case _:
                return config

    def with_parts(
        self, items: DataSpec, run: RunFolder, train: Callable[[SystemConfig, RunFolder], TrainedModel]
    ) -> "DiffusionConfig":
        """With the autoencoder whose latents it is of in ``run``: the one there, a copy of ``source``, or a new one.

        And with the teacher that it learns from, and the fingerprint of a frozen encoder of texts.
        """
        conditions = tuple(c.found() if type(c) is TextConditioning else c for c in self.conditioning)
        config = replace(self, conditioning=conditions)
        match self.autoencoder:
            case NoAutoencoder() | MDCTBands() | AffineData():
                pass
            case TrainedAutoencoder() as chosen:
                config = replace(config, autoencoder=with_autoencoder(chosen, self, items, run, train))
        match self.objective:
            case FewSteps(teacher=KeptTeacher() as kept):
                config = replace(config, objective=replace(self.objective, teacher=with_teacher(kept, items, run)))
            case _:
                pass
        return config

    def annotations(self, data: Dataset) -> str:
        """See `SystemConfig.annotations`: captions and keywords, where the network is given texts."""
        return "" if self.condition(TextConditioning.name) is None else texts_fingerprint(data)

    def std_of(self, data: Dataset) -> float:
        """Of latents that of their scale."""
        match self.autoencoder:
            case NoAutoencoder():
                return data.std()
            case MDCTBands():
                return STD
            case AffineData(scale=scale):
                return scale * data.std()
            case TrainedAutoencoder():
                return 1.0

    def training_data(
        self, data: Dataset, run: RunFolder, device: torch.device, progress: Callable[[int, int], None] | None
    ) -> Dataset:
        """The images, or their latents."""
        match self.autoencoder:
            case NoAutoencoder() | MDCTBands():
                return data
            case AffineData():
                raise InputError(
                    "autoencoder: affine is of a network of elsewhere, which is not trained further here; set none"
                )
            case TrainedAutoencoder(weights=weights):
                model = autoencoder_of(run.path, weights, device)
                with group().in_turn():
                    return encoded(
                        data,
                        model.posterior,
                        run.latents / DATA,
                        {"autoencoder": weights},
                        mirrored=self.data.flip,
                        progress=progress,
                    )

    def attach(self, objective: Objective, run: RunFolder, device: torch.device) -> None:
        """The teacher in ``run``, whose direction the objective follows. Raises InputError where it is gone."""
        match self.objective, objective:
            case (
                FewSteps(teacher=KeptTeacher() as kept),
                ConsistencyObjective() | MeanFlowObjective() | ProgressiveObjective() as taught,
            ):
                teacher = teacher_of(run.path, kept.weights, device)
                network, guidance = teacher.gaussian_denoiser(), teacher.config.sampling.guidance
                match teacher.config.parameterization, self.parameterization:
                    case PredictBoundedClean(), PredictClean() as plain:  # what a bound leaves in x̂_0 cannot be learned
                        network.parameterization = plain
                    case _:
                        pass
                combination = extrapolation(network, network, guidance).combined
                low, high = guidance.interval or (0.0, inf)
                taught.direction = OfTeacher(network, combination, kept.guidance, (low, high))
            case _:
                pass

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> DiffusionModel:
        """The denoiser with all that is needed to sample."""
        assert isinstance(module, NetworkDenoiser | BinomialDenoiser)
        return DiffusionModel(description, module, step, folder)
