"""The configuration of a run of one of the systems that diffusion is compared with."""

from dataclasses import dataclass, field
from typing import ClassVar

from sumi.errors import InputError
from sumi.models.baselines.gan import GANConfig
from sumi.models.baselines.pixelcnn import PixelCNNConfig
from sumi.models.baselines.vae import VAEConfig
from sumi.models.common import CommonConfig

NetworkConfig = VAEConfig | GANConfig | PixelCNNConfig


@dataclass(frozen=True)
class BaselineConfig(CommonConfig):
    """A VAE, a GAN or a PixelCNN, and how it is trained."""

    name: ClassVar[str] = "baseline"

    network: NetworkConfig = field(default_factory=VAEConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.dequantize:
            raise InputError(f"data.dequantize: network={self.network.name} takes levels as they are; set it false")

    @property
    def identity(self) -> tuple[object, ...]:
        """All that the weights mean nothing without."""
        return (self.network,)
