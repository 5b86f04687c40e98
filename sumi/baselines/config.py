"""The configuration of a run of one of the systems that diffusion is compared with."""

from dataclasses import dataclass, field
from typing import ClassVar

from sumi.baselines.gan import GANConfig
from sumi.baselines.pixelcnn import PixelCNNConfig
from sumi.baselines.vae import VAEConfig
from sumi.data.config import DataConfig
from sumi.errors import InputError
from sumi.training.config import TrainingConfig

NetworkConfig = VAEConfig | GANConfig | PixelCNNConfig


@dataclass(frozen=True)
class BaselineConfig:
    """A VAE, a GAN or a PixelCNN, and how it is trained."""

    name: ClassVar[str] = "baseline"

    recipe: str = field(metadata={"help": "the recipe this began as"})
    data: DataConfig
    seed: int = field(default=0, metadata={"help": "all randomness of the run follows from it; 0 or more"})
    network: NetworkConfig = field(default_factory=VAEConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise InputError(f"seed: {self.seed} is not a whole number from 0 to 2^64 - 1")
        if self.data.dequantize:
            raise InputError(f"data.dequantize: network={self.network.name} takes levels as they are; set it false")

    @property
    def identity(self) -> tuple[object, ...]:
        """All that the weights mean nothing without."""
        return (self.network,)
