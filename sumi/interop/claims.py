"""What a network means: which data it is of, which noise it knows, and what it predicts.

A file of weights does not say so. `Claims` do, as JSON (the mapping file of ``sumi import`` and ``sumi audit``):

    {"network": {"type": "diffusers", "kind": "UNet2DModel", "settings": "{…}"}, "shape": [3, 32, 32],
     "schedule": {"type": "cosine"}, "parameterization": {"type": "velocity"}, "rename": ["^module\\\\.=>"]}

``rename``: PATTERN=>REPLACEMENT pairs of regular expressions, applied in order to the name of each tensor.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from sumi.conditioning.labels import LabelConditioner, LabelConditioning
from sumi.conditioning.picture_sizes import SizesConditioning
from sumi.conditioning.states import StatesConditioning
from sumi.conditioning.text import TextConditioner, TextConditioning
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.specs import SPECS
from sumi.data.vectors import VectorSpec
from sumi.denoising.parameterization import ParameterizationConfig, PredictNoise
from sumi.denoising.variance import FixedVariance, LearnedVariance
from sumi.errors import InputError
from sumi.models.diffusion.autoencoder import AffineData, AutoencoderChoice, NoAutoencoder
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.model import RunDescription
from sumi.networks.adm import ADMConfig
from sumi.networks.diffusers import DiffusersNetwork
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
from sumi.objectives.times import GridTimes, UniformTimes
from sumi.process.chain import LinearBeta
from sumi.process.schedules import ScheduleConfig
from sumi.sampling.sampler import Sampling, Threshold

RECIPE = "imported"
"""The recipe of an imported run."""

ONE_HOT: Final = (
    *(DiffusersNetwork.name, SongUNetConfig.name, EDM2Config.name, HourglassConfig.name, GuidedConfig.name),
    *(ImageTransformerV1Config.name, KarrasUnetConfig.name),
)
"""Networks to which a class is a vector with one place for each, and one more for "no class"."""


@dataclass(frozen=True)
class Claims:
    """What is claimed of a network. Raises InputError for a shape of neither images nor vectors.

    ``rename``: PATTERN=>REPLACEMENT for the names of the tensors in its file.
    """

    shape: tuple[int, ...] = field(
        default=(3, 32, 32), metadata={"help": "of what is denoised: C,H,W, or D of vectors"}
    )
    network: (
        UNetConfig
        | ADMConfig
        | TransformerConfig
        | MLPConfig
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
    ) = field(default_factory=UNetConfig, metadata={"help": "the network, as in a configuration"})
    schedule: ScheduleConfig = field(default_factory=LinearBeta, metadata={"help": "its noise at each time"})
    parameterization: ParameterizationConfig = field(
        default_factory=PredictNoise, metadata={"help": "what it predicts"}
    )
    autoencoder: NoAutoencoder | AffineData = field(
        default_factory=NoAutoencoder,
        metadata={"help": "affine: the network takes other numbers than -1 to 1, or its channels in another order"},
    )
    learned_variance: bool = field(default=False, metadata={"help": "whether half of its output is a variance"})
    classes: tuple[str, ...] = field(default=(), metadata={"help": "names of the classes that it is conditioned on"})
    conditioning: tuple[TextConditioning | StatesConditioning | SizesConditioning, ...] = field(
        default=(), metadata={"help": "what else it is conditioned on: text, states, sizes"}
    )
    label_dropout: float = field(
        default=0.0, metadata={"help": 'share of its training without a class; 0: it does not know "no class"'}
    )
    threshold: Threshold = field(default="static", metadata={"help": "what keeps x̂_0 in [-1, 1] in sampling"})
    data_std: float = field(default=0.5, metadata={"help": "standard deviation of what is denoised"})
    rename: tuple[str, ...] = field(default=(), metadata={"help": "PATTERN=>REPLACEMENT for the tensors' names"})

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 3):
            raise InputError(f"shape: {list(self.shape)} is of neither images nor vectors; give 3,32,32, or 2")
        for pair in self.rename:
            pattern, arrow, _ = pair.partition("=>")
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"rename: {pattern} is no regular expression ({error}); correct it") from None
            if not arrow:
                raise InputError(f"rename: {pair} has no =>; write PATTERN=>REPLACEMENT")

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors by their names here."""
        found = dict(weights)
        for pair in self.rename:
            pattern, _, replacement = pair.partition("=>")
            found = {re.sub(pattern, replacement, name): value for name, value in found.items()}
        return found

    def items(self, factor: int = 1, channels: int | None = None) -> SPECS:
        """The data; of latents of ``factor`` and ``shape`` the images, which have ``channels``."""
        match self.shape:
            case (own, height, width):
                return ImageSpec(channels or own, factor * height, factor * width, 256, self.classes)
            case shape:
                return VectorSpec(shape[0], None, label_names=self.classes)

    def configuration(self, source: str, autoencoder: AutoencoderChoice) -> DiffusionConfig:
        """The settings of a run. Raises InputError where the claims do not fit each other."""
        steps = self.schedule.steps
        latent = autoencoder != NoAutoencoder()
        return DiffusionConfig(
            recipe=RECIPE,
            data=DataConfig(source=source),
            autoencoder=autoencoder,
            schedule=self.schedule,
            parameterization=self.parameterization,
            conditioning=(*((LabelConditioning(self.label_dropout),) if self.classes else ()), *self.conditioning),
            variance=LearnedVariance() if self.learned_variance else FixedVariance(),
            times=UniformTimes() if steps is None else GridTimes(steps),
            network=self.network,
            sampling=Sampling(steps=min(50, steps or 50), threshold="none" if latent else self.threshold),
        )

    def model(
        self,
        weights: Mapping[str, Tensor] | None,
        source: str,
        *,
        folder: Path | None = None,
        autoencoder: AutoencoderChoice | None = None,
        images: SPECS | None = None,
        step: int = 0,
        device: torch.device | None = None,
    ) -> DiffusionModel:
        """The model of a network with these ``weights``, by the names of its own tensors; None: those that it has.

        ``source``: what it was read from; ``folder``: where its parts are; ``autoencoder``: of whose latents it is,
        with the spec of the ``images``. Raises InputError where the tensors are not the network's.
        """
        chosen = autoencoder or self.autoencoder
        items = images or self.items()
        config = self.configuration(source, chosen)
        description = RunDescription(config, items, "", self.data_std if chosen == self.autoencoder else 1.0)
        module = config.build(items).model
        if weights is not None:
            take(module.network, weights, source)
        for conditioner in module.conditioner or ():
            match conditioner:
                case LabelConditioner() if self.network.name in ONE_HOT:
                    conditioner.table.weight.data.copy_(torch.eye(len(self.classes) + 1))
                case TextConditioner():  # the states are all that it is conditioned on
                    for weight in conditioner.pooled.parameters():
                        weight.data.zero_()
                case _:
                    pass
        return config.wrap(description, module.to(device or torch.device("cpu")), step, folder or Path(source))


@dataclass(frozen=True)
class Recognised:
    """A file that is known: its tensors by the names of a network, what it means, and what was assumed."""

    weights: dict[str, Tensor]
    claims: Claims
    notes: tuple[str, ...]


def take(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Give the network its ``weights``, in float32. Raises InputError where they are of another."""
    match getattr(network, "of_library", None):
        case nn.Module() as inner:  # whose tensors the file has
            network = inner
    wanted = network.state_dict()
    for name in sorted(weights.keys() ^ wanted.keys()):
        wrong = "is missing" if name in wanted else "is of no tensor of the network"
        raise InputError(f"{source}: {name} {wrong}; name the network that it is of, or rename its tensors")
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            raise InputError(
                f"{source}: {name} is of shape {tuple(value.shape)}, and the network's of {tuple(wanted[name].shape)}; "
                "name the network that it is of"
            )
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{source}: {name} is not finite; get the file again")
    network.load_state_dict({name: value.to(wanted[name].dtype) for name, value in weights.items()})
