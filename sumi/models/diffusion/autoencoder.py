"""Which autoencoder's latents a diffusion model is of: none, or one that is trained first and kept in the run."""

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from sumi.autoencoders.autoencoder import AutoencoderNetwork
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
class Latents:
    """Latents of ``shape`` (c, h, w), of images of these classes."""

    shape: tuple[int, ...]
    label_names: tuple[str, ...]
    levels: None = None


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
    network: AutoencoderNetwork = field(default_factory=AutoencoderNetwork, metadata={"help": "its shape"})
    loss: ReconstructionLoss = field(default_factory=ReconstructionLoss, metadata={"help": "what counts how much"})
    weights: str = field(default="", metadata={"help": "sha256 of the weights that were trained; not to be set"})

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"autoencoder.{name}: {getattr(self, name)} is too few; give 1 or more")

    def denoised(self, items: DenoisedItems) -> DenoisedItems:
        """Their latents. Raises InputError where the factor does not divide the sides."""
        return Latents(self.network.latent_shape(items.shape), items.label_names)


AutoencoderChoice = NoAutoencoder | TrainedAutoencoder
