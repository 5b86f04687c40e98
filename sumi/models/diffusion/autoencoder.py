"""What a diffusion model denoises instead of the data: the latents of an autoencoder, or a transform of sound."""

from dataclasses import dataclass, field, replace
from math import inf
from typing import ClassVar, Protocol

from sumi.autoencoders.autoencoder import AutoencoderNetwork
from sumi.autoencoders.diffusers import DiffusersAutoencoder
from sumi.autoencoders.mdct import BandScale
from sumi.data.latents import Latents
from sumi.errors import InputError
from sumi.objectives.reconstruction import ReconstructionLoss


class DenoisedItems(Protocol):
    """What a denoiser needs to know about its items."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def levels(self) -> int | None: ...

    @property
    def label_names(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class NoAutoencoder:
    """The data are denoised as they are."""

    name: ClassVar[str] = "none"

    def denoised(self, items: DenoisedItems) -> DenoisedItems:
        """The items themselves."""
        return items


@dataclass(frozen=True)
class TrainedAutoencoder:
    """The latents of an autoencoder, which is trained on the same data first, or taken from a run."""

    name: ClassVar[str] = "trained"

    source: str = field(default="", metadata={"help": "a run of an autoencoder to take; empty: one is trained first"})
    steps: int = field(default=6000, metadata={"most": 10**9, "help": "of its training, 1 or more"})
    batch_size: int = field(default=16, metadata={"most": 2**20, "help": "of its training, 1 or more"})
    network: AutoencoderNetwork | DiffusersAutoencoder = field(
        default_factory=AutoencoderNetwork, metadata={"help": "its shape"}
    )
    loss: ReconstructionLoss = field(default_factory=ReconstructionLoss, metadata={"help": "what counts how much"})
    weights: str = field(default="", metadata={"help": "sha256 of the weights that were trained; not to be set"})

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"autoencoder.{name}: {getattr(self, name)} is too few; give 1 or more")

    def continued(self, before: object) -> "TrainedAutoencoder":
        """With the weights that an earlier start of the run has recorded, and what it has found out about them."""
        match before:
            case TrainedAutoencoder(network=network, loss=loss, weights=weights) if weights:
                if self.source:
                    return replace(self, network=network, loss=loss, weights=weights)
                return replace(self, loss=self.loss.found_before(loss), weights=weights)
            case _:
                return replace(self, weights="")

    def denoised(self, items: DenoisedItems) -> DenoisedItems:
        """Their latents. Raises InputError where the factor does not divide the sides."""
        try:
            shape = self.network.latent_shape(items.shape)
        except InputError as error:
            raise InputError(f"autoencoder.{error}") from None
        channels, height, width = items.shape
        return Latents(shape, items.label_names, (channels, height, width))


@dataclass(frozen=True)
class MDCTBands:
    """Sound as a picture of bands and moments, of which nothing is lost (`sumi.autoencoders.mdct`)."""

    name: ClassVar[str] = "mdct"

    bands: int = field(default=64, metadata={"most": 4096, "help": "frequencies, an even number that divides 256"})
    power: float = field(default=0.5, metadata={"help": "that is taken of each value, above 0; 1: none, it is linear"})

    def __post_init__(self) -> None:
        if self.bands < 2 or self.bands % 2:
            raise InputError(f"autoencoder.bands: {self.bands} is not an even number of 2 or more; give such as 64")
        if not 0 < self.power <= 1:
            raise InputError(f"autoencoder.power: {self.power:g} is out of range; give more than 0 and at most 1")

    def denoised(self, items: DenoisedItems) -> DenoisedItems:
        """Pictures (1, bands, length/bands). Raises InputError for data that are no sound of such a length."""
        scale = self.scale(items.shape)
        return Latents(scale.shape, items.label_names)

    def scale(self, shape: tuple[int, ...]) -> BandScale:
        """A new scale for sound of ``shape`` (1, L). Raises InputError as `denoised`."""
        match shape:
            case (1, length) if not length % self.bands:
                return BandScale(length, self.bands, self.power)
            case (1, length):
                raise InputError(f"autoencoder.bands: {self.bands} does not divide {length} samples; give such as 64")
            case _:
                raise InputError(f"autoencoder: mdct is of sound, not of data of shape {shape}; set autoencoder=none")


@dataclass(frozen=True)
class AffineData:
    """Data in another range or order of channels, scale · x[channels] + shift, as another network may have them."""

    name: ClassVar[str] = "affine"

    scale: float = field(default=1.0, metadata={"help": "by which values in [-1, 1] are multiplied, above 0"})
    shift: float = field(default=0.0, metadata={"help": "that is added then: 0.5 after a scale of 0.5 for [0, 1]"})
    channels: tuple[int, ...] = field(default=(), metadata={"help": "their order, such as 2,1,0; empty: as it is"})

    def __post_init__(self) -> None:
        if not 0 < self.scale < inf:
            raise InputError(f"autoencoder.scale: {self.scale:g} is out of range; give a number above 0")
        if sorted(self.channels) != list(range(len(self.channels))):
            raise InputError(f"autoencoder.channels: {list(self.channels)} is no order of channels; give such as 2,1,0")

    def denoised(self, items: DenoisedItems) -> DenoisedItems:
        """Items of the same shape, without levels. Raises InputError for another number of channels."""
        if self.channels and len(self.channels) != items.shape[0]:
            raise InputError(
                f"autoencoder.channels: {list(self.channels)} orders {len(self.channels)} channels, and the data have "
                f"{items.shape[0]}; give as many"
            )
        return Latents(items.shape, items.label_names)


AutoencoderChoice = NoAutoencoder | TrainedAutoencoder | MDCTBands | AffineData
