"""Autoencoders of the library diffusers, with its own weights: what `sumi.interop` imports.

AutoencoderKL's encoder gives mean and log variance, ours mean and log deviation; VQModel's codebook is `Codebook`'s.
"""

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from sumi.autoencoders.autoencoder import Autoencoder
from sumi.autoencoders.regularizers import KL, VQ, RegularizerConfig
from sumi.errors import InputError
from sumi.networks.diffusers import made


@dataclass(frozen=True)
class DiffusersAutoencoder:
    """Shape of an autoencoder of diffusers."""

    name: ClassVar[str] = "diffusers"

    kind: Literal["AutoencoderKL", "VQModel"] = field(
        default="AutoencoderKL", metadata={"help": "the class in diffusers"}
    )
    settings: str = field(default="{}", metadata={"help": "its settings as JSON, as config.json of diffusers has them"})

    @property
    def _settings(self) -> dict[str, Any]:
        try:
            return {**json.loads(self.settings)}
        except (ValueError, TypeError):
            raise InputError(f"network.settings: is no table of JSON; write {self.kind}'s settings") from None

    @property
    def factor(self) -> int:
        """How many pixels of each side a latent stands for."""
        return 2 ** (len(self._settings.get("block_out_channels", (64,))) - 1)

    @property
    def regularizer(self) -> RegularizerConfig:
        """What keeps the latents in bounds."""
        settings = self._settings
        channels = settings.get("latent_channels", 4 if self.kind == "AutoencoderKL" else 3)
        if self.kind == "AutoencoderKL":
            return KL(channels)
        return VQ(settings.get("vq_embed_dim") or channels, settings.get("num_vq_embeddings", 256))

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Of images of ``shape`` (C, H, W). Raises InputError where the factor does not divide their sides."""
        if len(shape) != 3 or any(side % self.factor for side in shape[1:]):
            raise InputError(f"network.settings: {shape} are no images of multiples of {self.factor}; give others")
        return self.regularizer.channels, shape[1] // self.factor, shape[2] // self.factor

    def build(self, channels: int) -> Autoencoder:
        """An untrained one for images of ``channels``."""
        found = made(
            self.kind, self._settings | {"in_channels": channels, "out_channels": channels}, "network.settings"
        )
        nothing = nn.Identity()
        return Autoencoder(
            self.factor,
            self.regularizer.build(),
            _Encoder(found.encoder, found.quant_conv or nothing, halved=self.kind == "AutoencoderKL"),
            _Decoder(found.post_quant_conv or nothing, found.decoder),
        )


class _Encoder(nn.Module):
    """``halved``: the second half of its channels is a log variance, and is made the log deviation."""

    def __init__(self, network: nn.Module, quant_conv: nn.Module, *, halved: bool) -> None:
        super().__init__()
        self.network, self.quant_conv, self.halved = network, quant_conv, halved

    def forward(self, x: Tensor) -> Tensor:
        h = self.quant_conv(self.network(x))
        if not self.halved:
            return h
        mean, log_variance = h.chunk(2, dim=1)
        return torch.cat([mean, log_variance / 2], 1)


class _Decoder(nn.Module):
    def __init__(self, post_quant_conv: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.post_quant_conv, self.network = post_quant_conv, network

    @property
    def last(self) -> nn.Conv2d:
        """The last layer, whose gradient an adversarial loss looks at."""
        layer = self.network.get_submodule("conv_out")
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, z: Tensor) -> Tensor:
        return self.network(self.post_quant_conv(z))
