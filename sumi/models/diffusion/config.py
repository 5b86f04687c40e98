"""The settings of a diffusion model: its process, what the network learns of it, and how it is sampled.

Parts that do not fit each other are refused here, by name, before anything is read or trained.
"""

from abc import ABC
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from sumi.boundary.config import describe, nearest, to_json
from sumi.boundary.settings import override
from sumi.conditioning.conditioners import ConditioningConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import (
    ParameterizationConfig,
    PredictEnergy,
    PredictFlow,
    PredictNoise,
    PredictSmoothFlow,
)
from sumi.denoising.variance import FixedVariance, VarianceConfig
from sumi.denoising.weighting import (
    FlowWeighting,
    LearnedUncertainty,
    LikelihoodWeighting,
    SNRWeighting,
    WeightingConfig,
)
from sumi.errors import InputError
from sumi.models.diffusion.autoencoder import (
    AffineData,
    AutoencoderChoice,
    MDCTBands,
    NoAutoencoder,
    TrainedAutoencoder,
)
from sumi.models.model import SystemConfig
from sumi.networks.adm import ADMConfig
from sumi.networks.diffusers import DiffusersNetwork
from sumi.networks.diffwave import DiffWaveConfig
from sumi.networks.edm2 import EDM2Config
from sumi.networks.guided import GuidedConfig
from sumi.networks.hourglass import HourglassConfig
from sumi.networks.image_transformer_v1 import ImageTransformerV1Config
from sumi.networks.image_v1 import ImageV1Config
from sumi.networks.karras_unet import KarrasUnetConfig
from sumi.networks.lucidrains import LucidrainsConfig
from sumi.networks.mlp import MLPConfig
from sumi.networks.own import OwnNetwork
from sumi.networks.song import SongUNetConfig
from sumi.networks.transformer import TransformerConfig
from sumi.networks.unet import UNetConfig
from sumi.objectives.times import GridTimes, ImportanceTimes, TimeSamplerConfig, UniformTimes
from sumi.process.binomial import Binomial
from sumi.process.chain import LinearBeta
from sumi.process.continuous import Erasing
from sumi.process.gaussian import Gaussian
from sumi.process.learned import Learned, LearnedChain
from sumi.process.process import ProcessConfig
from sumi.process.schedules import ScheduleConfig
from sumi.sampling.sampler import BINOMIAL, NATURAL, TUNED, Sampling, find_solver, refuse_off_grid
from sumi.sampling.solvers.ddim import DDIM

if TYPE_CHECKING:
    from sumi.models.diffusion.few_steps import FewSteps


@dataclass(frozen=True)
class DiffusionSettings(SystemConfig, ABC):
    """The parts of a diffusion model, each with its settings; `sumi.models.diffusion.system` builds them."""

    name: ClassVar[str] = "diffusion"

    process: ProcessConfig = field(
        default_factory=Gaussian, metadata={"help": "what noising does: Gaussian noise, or flipped bits"}
    )
    autoencoder: AutoencoderChoice = field(
        default_factory=NoAutoencoder, metadata={"help": "whose latents are denoised: none, trained, or mdct, of sound"}
    )
    schedule: ScheduleConfig = field(
        default_factory=LinearBeta, metadata={"help": "how much data and noise there is at each time"}
    )
    parameterization: ParameterizationConfig = field(
        default_factory=PredictNoise, metadata={"help": "what the network predicts"}
    )
    weighting: WeightingConfig = field(
        default_factory=SNRWeighting, metadata={"help": "how much each noise level counts in the loss"}
    )
    conditioning: tuple[ConditioningConfig, ...] = field(
        default=(),
        metadata={"help": "what the network is conditioned on: none, or labels, values, masked, small, grey"},
    )
    variance: VarianceConfig = field(default_factory=FixedVariance, metadata={"help": "of the steps of a chain"})
    times: TimeSamplerConfig = field(default_factory=GridTimes, metadata={"help": "which times a training step sees"})
    stratified_times: bool = field(
        default=False, metadata={"help": "spread the times of each batch evenly; the loss then varies less"}
    )
    network: (
        UNetConfig
        | ADMConfig
        | TransformerConfig
        | MLPConfig
        | DiffWaveConfig
        | DiffusersNetwork
        | LucidrainsConfig
        | KarrasUnetConfig
        | SongUNetConfig
        | EDM2Config
        | HourglassConfig
        | GuidedConfig
        | ImageTransformerV1Config
        | ImageV1Config
        | OwnNetwork
    ) = field(default_factory=UNetConfig, metadata={"help": "the backbone"})
    crop: int = field(
        default=0,
        metadata={"help": "side of the square of each image that a training step sees, drawn anew; 0: all of it"},
    )
    sampling: Sampling = field(default_factory=Sampling, metadata={"help": "how samples are made"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.sampling.solver, str):
            raise InputError("sampling.solver: is an object, and config.json holds names; give it to sample instead")
        if self.sampling.solver == TUNED:
            raise InputError("sampling.solver: tuned is chosen by itself once fitted; set another, such as adams")
        if self.times.grid is not None and self.schedule.steps is None:
            raise InputError(f"times: schedule={self.schedule.name} is continuous and has no grid; set times=uniform")
        if self.schedule.name in (Learned.name, LearnedChain.name):
            self._check_learned()
        if self.weighting == LearnedUncertainty() and self.times.name == ImportanceTimes.name:
            raise InputError("times: weighting=uncertainty makes all times count alike; set times=grid")
        if self.schedule.name == Erasing.name:
            self._check_erasing()
        self._check_conditioning()
        self._check_autoencoder()
        if self.variance == FixedVariance():
            self._check_solver()
        else:
            self._check_variance()
        if self.process == Binomial():
            self._check_binomial()
        elif self.sampling.solver == BINOMIAL:
            raise InputError(f"sampling.solver: {BINOMIAL} draws bits; choose another, or set process=binomial")
        if self.times.grid is not None:
            self._check_grid(self.times.grid)

    def suited(self, spec: DataSpec) -> Self:
        """With the data's defaults for fields that are at those of all runs; the network is the data's own always."""
        plain = type(self)(self.recipe, self.data)
        own, usual = ({name: value for name, value, _ in describe(config)} for config in (self, plain))
        fields = {setting.partition("=")[0]: setting for setting in spec.defaults}
        if self.autoencoder != NoAutoencoder():
            fields.pop("network", None)  # it is of what is denoised, and not of the data
        return override(self, [s for name, s in fields.items() if name == "network" or own[name] == usual[name]])

    @property
    def identity(self) -> tuple[object, ...]:
        """All that the weights mean nothing without: process, schedule, parameterization, times, network …

        And the weighting and the conditioning, where they have weights of their own.
        """
        parts: tuple[object, ...] = (
            self.process.name,
            self.schedule,
            self.parameterization,
            self.variance,
            self.times,
            self.network,
        )
        if self.weighting == LearnedUncertainty():
            parts = (*parts, self.weighting)
        match self.autoencoder:
            case TrainedAutoencoder(network=network, weights=weights):
                parts = (*parts, network, weights)
            case MDCTBands() as bands:
                parts = (*parts, bands)
            case NoAutoencoder() | AffineData():
                pass
        for condition in self.conditioning:
            fields = to_json(condition)
            parts = (*parts, {name: value for name, value in fields.items() if name != "dropout"})
        return parts

    def _check_grid(self, grid: int) -> None:
        """A network that learns a chain's own times is trained on all of them, and sampled at no others."""
        steps = self.schedule.steps
        if grid != steps:
            fewer = f" and sampling.steps={min(steps or grid, 50)}" if self.sampling.steps > (steps or grid) else ""
            raise InputError(
                f"times.steps: {grid} differs from schedule.steps = {steps}; a chain is trained on its own grid: "
                f"set times.steps={steps}{fewer}, or times=uniform"
            )
        if self.sampling.steps > grid:
            raise InputError(
                f"sampling.steps: {self.sampling.steps} is more than times.steps = {grid}, the times the network will "
                "know; set it lower"
            )
        refuse_off_grid(
            str(self.sampling.solver), find_solver(self.sampling.solver, "sampling.solver")[1], grid, "sampling.solver"
        )

    def _check_erasing(self) -> None:
        """At t = 1 alpha falls without bound, and what counts its slope is infinite or says nothing."""
        if self.parameterization in (PredictFlow(), PredictSmoothFlow()):
            raise InputError(
                "parameterization: schedule=erasing ends with an infinite slope, and so does "
                f"{self.parameterization.name}; set parameterization=velocity"
            )
        if self.weighting == FlowWeighting():
            raise InputError(
                "weighting: schedule=erasing ends with an infinite slope, and flow weighs it; set weighting=velocity"
            )
        if self.weighting == LikelihoodWeighting() and self.times.grid is None:
            raise InputError("times: weighting=likelihood has for schedule=erasing a bound of steps; set times=grid")

    def check(self, items: DataSpec) -> None:
        """See `SystemConfig`: the class to guide away from is one of the data's, and the network knows classes."""
        negative, names = self.sampling.guidance.negative, items.label_names
        if negative is None:
            return
        if self.condition("labels") is None:
            raise InputError("sampling.guidance.negative: the network knows no classes; set conditioning=labels")
        if negative not in names:
            raise InputError(f"sampling.guidance.negative: there is no class {negative}; {nearest(negative, names)}")

    @property
    def few_steps(self) -> "FewSteps | None":
        """The objective, where it is one of few steps."""
        return None

    @property
    def has_ode(self) -> bool:
        """Whether its x̂_0 are those of an ODE of its own, which solvers can follow in any number of steps."""
        return self.few_steps is None or not self.few_steps.without_ode

    def condition(self, name: str) -> ConditioningConfig | None:
        """The condition of that name; None where the network is not given it."""
        return next((condition for condition in self.conditioning if condition.name == name), None)

    def _check_conditioning(self) -> None:
        """Guidance needs a network that was also trained without its conditions."""
        names, guidance = [condition.name for condition in self.conditioning], self.sampling.guidance
        if len(set(names)) != len(names):
            raise InputError(f"conditioning: {','.join(names)} names one twice; give each once")
        if self.conditioning and self.parameterization == PredictEnergy():
            raise InputError("conditioning: parameterization=energy takes none; set conditioning=none")
        if any(not condition.dropout for condition in self.conditioning) and guidance.extrapolates:
            raise InputError(
                f"conditioning.dropout: 0 learns nothing unconditional, which guidance = {guidance.scale} "
                "needs; set sampling.guidance=1, or a dropout such as 0.1"
            )

    def _check_autoencoder(self) -> None:
        """Latents have no range, no levels, and no pixels to keep."""
        if self.autoencoder == NoAutoencoder():
            return
        if self.sampling.threshold != "none":
            raise InputError(
                f"sampling.threshold: {self.sampling.threshold} is of pixels; set none with an autoencoder"
            )
        if self.data.dequantize:
            raise InputError("data.dequantize: is of pixels, and an autoencoder makes them real numbers; set it false")
        if self.process == Binomial():
            raise InputError("process: binomial noises bits, and latents are none; set process=gaussian")
        for condition in self.conditioning:
            if condition.name in ("small", "grey") and self.autoencoder.name != TrainedAutoencoder.name:
                raise InputError(
                    f"conditioning: {condition.name} is of images in [-1, 1], and autoencoder={self.autoencoder.name} "
                    "has none; set conditioning=none"
                )

    def _check_variance(self) -> None:
        """A variance is learned for the steps of a chain, from the bound, with a plain mean."""
        if self.times.grid is None:
            raise InputError("variance: learned is that of a chain's steps; set a schedule of steps and times=grid")
        if self.parameterization == PredictEnergy():
            raise InputError("variance: parameterization=energy gives a gradient and no variance; set variance=fixed")
        if self.weighting == LearnedUncertainty():
            raise InputError("variance: weighting=uncertainty learns its own; set variance=fixed")
        if self.schedule.name == LearnedChain.name:
            raise InputError("variance: schedule=learned_chain is learned with fixed variances; set variance=fixed")

    def _check_solver(self) -> None:
        """A solver that asks for a learned variance fails at the first samples of a network that learns none."""
        _, solver, _ = find_solver(self.sampling.solver, "sampling.solver")
        if solver == DDIM(eta=1.0, variance="learned"):
            raise InputError(
                f"sampling.solver: {self.sampling.solver} takes a learned variance, and variance=fixed learns none; "
                "set sampling.solver=ddpm, or variance=learned"
            )

    def _check_binomial(self) -> None:
        """Bits are noised on a chain's grid, x_0 is predicted, and the bound is the loss."""
        wanted = {
            "parameterization": (self.parameterization.name, "clean"),
            "weighting": (self.weighting.name, "likelihood"),
            "variance": (self.variance.name, "fixed"),
            "conditioning": (",".join(c.name for c in self.conditioning) or "none", "none"),
            "times": (self.times.name, "grid"),
            "sampling.solver": (self.sampling.solver, BINOMIAL),
            "sampling.time_grid": (self.sampling.time_grid, NATURAL),
        }
        for name, (value, only) in wanted.items():
            if value != only:
                raise InputError(f"{name}: process=binomial has no {value}; set {name}={only}")
        if self.schedule.name == LearnedChain.name:
            raise InputError("schedule: process=binomial does not learn its schedule; set schedule=erasing")

    def _check_learned(self) -> None:
        """A schedule is learned by the bound alone, each kind from the times at which it is known how."""
        name = self.schedule.name
        if self.weighting != LikelihoodWeighting():
            raise InputError(
                f"weighting: schedule={name} is learned by the bound, not by {self.weighting.name}; "
                "set weighting=likelihood"
            )
        if self.schedule.steps is None and self.times.name != UniformTimes.name:
            raise InputError(f"times: schedule={name} is learned from uniform times; set times=uniform")
        if self.schedule.steps is not None and self.times.grid is None:
            raise InputError(f"times: schedule={name} is learned on its own grid; set times=grid")
