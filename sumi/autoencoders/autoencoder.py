"""Autoencoders of pictures: a picture as a smaller grid of latents, and back (Rombach et al. 2022, section 3.1)."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from sumi.autoencoders.network import Decoder, Encoder
from sumi.autoencoders.regularizers import KL, Regularizer, RegularizerConfig
from sumi.errors import InputError
from sumi.networks.convolutional import GROUP_WIDTH


@dataclass(frozen=True)
class AutoencoderNetwork:
    """Shape of an autoencoder: each level halves the sides."""

    widths: tuple[int, ...] = field(
        default=(32, 64),
        metadata={"help": "channels of each level, half the resolution first; each divides 4 times the one before"},
    )
    blocks: tuple[int, ...] = field(
        default=(1, 2), metadata={"most": 1000, "help": "residual blocks of each level, of encoder and decoder"}
    )
    regularizer: RegularizerConfig = field(
        default_factory=KL, metadata={"help": "what keeps the latents in bounds: kl, vq or fsq"}
    )

    def __post_init__(self) -> None:
        widths = self.widths
        if not widths or any(width < 1 or width % GROUP_WIDTH for width in widths):
            raise InputError(f"network.widths: {list(widths)} are not multiples of {GROUP_WIDTH}; give such as 32,64")
        for width, wider in pairwise(widths):
            if 4 * width % wider:  # four pixels of the finer level are the shortcut
                raise InputError(
                    f"network.widths: {wider} does not divide 4 · {width}; give such as {width},{2 * width}"
                )
        if len(self.blocks) != len(widths) or any(count < 0 for count in self.blocks):
            raise InputError(
                f"network.blocks: {list(self.blocks)} are not one number, 0 or more, for each of network.widths"
            )

    @property
    def factor(self) -> int:
        """How many pixels of each side a latent stands for."""
        return 2 ** len(self.widths)

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Of images of ``shape`` (C, H, W). Raises InputError where the factor does not divide their sides."""
        if len(shape) != 3:
            raise InputError(f"network: an autoencoder takes images, not data of shape {shape}; give other data")
        _, height, width = shape
        if height % self.factor or width % self.factor:
            raise InputError(
                f"network.widths: {len(self.widths)} levels halve as often, which images of "
                f"{height}x{width} do not allow; give fewer, or set data.size to a multiple of {self.factor}"
            )
        return self.regularizer.channels, height // self.factor, width // self.factor

    def build(self, channels: int) -> "Autoencoder":
        """An untrained one for images of ``channels``."""
        regularizer = self.regularizer.build()
        return Autoencoder(
            self.factor,
            regularizer,
            Encoder(channels, self.widths, self.blocks, regularizer.inputs),
            Decoder(regularizer.channels, self.widths, self.blocks, channels),
        )


class LatentDecoder(Protocol):
    """From latents (N, c, H/f, W/f) to images (N, C, H, W); ``last``: its last layer."""

    @property
    def last(self) -> nn.Conv2d: ...

    def __call__(self, z: Tensor, /) -> Tensor: ...


class Autoencoder(nn.Module):
    """Images (N, C, H, W) in [-1, 1] to latents (N, c, H/f, W/f) and back, of any H and W that the factor f divides."""

    def __init__(self, factor: int, regularizer: Regularizer, encoder: nn.Module, decoder: LatentDecoder) -> None:
        super().__init__()
        self.factor, self.regularizer, self.encoder = factor, regularizer, encoder
        self.decoder: LatentDecoder = decoder

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each latent of x, float32."""
        return self.regularizer.posterior(self.encoder(x))

    def encode(self, x: Tensor) -> Tensor:
        """The mean latents of x."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """The images of latents z, clamped to [-1, 1]. The gradient passes as if nothing were projected or clamped."""
        known = self.regularizer.project(z)
        made = self.decoder(z + (known - z).detach() if z.requires_grad else known)
        return made + (made.clamp(-1, 1) - made).detach() if z.requires_grad else made.clamp(-1, 1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """x encoded and decoded, in [-1, 1]."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Latents in training, drawn with ``noise`` (N, c, H/f, W/f), and the regularizer's loss (N,)."""
        return self.regularizer(self.encoder(x), noise)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device
