"""Latents in the units of a diffusion model: each channel with mean 0 and standard deviation 1 over the data."""

import torch
from torch import Tensor, nn


class LatentScale(nn.Module):
    """``mean`` and ``std`` of each channel over the whole training set, which Rombach et al. 2022 take of one batch."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))

    def set(self, mean: Tensor, std: Tensor) -> None:
        """The statistics (c,). A channel that is constant keeps its scale."""
        self.mean.copy_(mean.view(-1, 1, 1))
        self.std.copy_(torch.where(std > 0, std, 1.0).view(-1, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        """Latents (N, c, h, w) of an autoencoder, standardised."""
        return (z - self.mean) / self.std

    def inverse(self, z: Tensor) -> Tensor:
        """Standardised latents in the autoencoder's units."""
        return z * self.std + self.mean

    def sampled(self, moments: Tensor, noise: Tensor) -> Tensor:
        """Standardised latents of mean and standard deviation in ``moments`` (N, 2c, h, w), and such ``noise``."""
        mean, std = moments.chunk(2, dim=1)
        return self(torch.addcmul(mean, std, noise))
