"""The variational autoencoder (Kingma & Welling 2014): an image explained by a small vector, and how well.

    p(x) = ∫ p(x | z) N(z; 0, I) dz        q(z | x) = N(m(x), s(x)²)

    ELBO(x) = E_q[log p(x | z)] - KL(q(z | x) ‖ N(0, I)) ≤ log p(x)
    KL      = Σ ½ (m² + s² - 1) - log s

p(x | z) is a discretised Gaussian for each value of the image, with a mean and a standard deviation from the decoder,
so that it is a probability of the levels and the bound is one of bits (`sumi.likelihood.discretised`). The loss is
-ELBO in nats a dimension, from one draw z = m + s ε. More draws together bound log p(x) better (Burda et al. 2016):

    log (1/K) Σ_k w_k,    w_k = p(x | z_k) N(z_k; 0, I)/q(z_k | x),    z_k from q.

Samples are the decoder's means: its own noise is not drawn, as is usual for pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log, pi
from typing import ClassVar

import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.likelihood.discretised import discretised_gaussian
from sumi.models.baselines.baseline import Baseline
from sumi.models.baselines.pixelcnn import floored
from sumi.networks.convolutional import ImageToVector, VectorToImage, check_size, check_widths
from sumi.randomness import Purpose, normal

LOWEST_LOG_STD = -6.0
"""Below it a level of 256 has all the probability of its bin."""


@dataclass(frozen=True)
class VAEConfig:
    """Shape of the two networks and of what is between them."""

    name: ClassVar[str] = "vae"

    widths: tuple[int, ...] = field(
        default=(32, 64, 128), metadata={"help": "channels of each level, full resolution first; multiples of 16"}
    )
    blocks: int = field(default=1, metadata={"most": 1000, "help": "residual blocks of each level, of either network"})
    latent: int = field(default=32, metadata={"help": "numbers that explain an image"})

    def __post_init__(self) -> None:
        check_widths(self.widths, self.blocks)
        if self.latent < 1:
            raise InputError(f"network.latent: {self.latent} is too few; give 1 or more")

    def build(self, shape: tuple[int, int, int], levels: int) -> "VAE":
        """An untrained one for images (C, H, W) of these levels. Raises InputError where they cannot be halved."""
        check_size(shape, self.widths)
        encoder = ImageToVector(shape, self.widths, self.blocks, 2 * self.latent, norm=True)
        decoder = VectorToImage(self.latent, shape, self.widths, self.blocks, 2 * shape[0], norm=True)
        return VAE(encoder, decoder, self.latent, levels)


class VAE(Baseline):
    """``encoder``: x (N, C, H, W) -> m and log s concatenated, (N, 2 latent). ``decoder``: z (N, latent) -> means
    and log standard deviations of x, above each other, (N, 2C, H, W). ``levels`` None: x are real numbers.
    """

    likelihood = "weights"

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent: int, levels: int | None) -> None:
        super().__init__()
        self.encoder, self.decoder, self.latent, self.levels = encoder, decoder, latent, levels
        self.noise_shape = (latent,)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """m and log s of q(z | x), (N, latent) each."""
        mean, log_std = self.encoder(x).chunk(2, dim=1)
        return mean, log_std

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of p(x | z), (N, C, H, W) each; these are above e^-6."""
        mean, log_std = self.decoder(z).chunk(2, dim=1)
        return mean, floored(log_std, LOWEST_LOG_STD).exp()

    def nats(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x | z) of each image, float64 (N,)."""
        mean, std = self.decode(z)
        return discretised_gaussian(x, mean, std, self.levels).flatten(1).sum(1)

    def losses(self, x: Tensor, noise: Tensor) -> Tensor:
        """-ELBO in nats a dimension, float32 (N,)."""
        mean, log_std = (v.double() for v in self.encode(x))
        divergence = (mean.square() + (2 * log_std).exp() - 1) / 2 - log_std
        nats = self.nats(x, (mean + log_std.exp() * noise).to(x))
        return ((nats + divergence.sum(1)) / x[0].numel()).float()

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """log w of one draw of each image, z = m + s · ``noise`` (N, latent): float64 (N,)."""
        mean, log_std = (v.double() for v in self.encode(x))
        z = mean + log_std.exp() * noise
        log_prior = -(z.square() + log(2 * pi)).sum(1) / 2
        log_q = -((noise.double().square() + log(2 * pi)) / 2 + log_std).sum(1)
        return log_prior - log_q - self.nats(x, z.to(x))

    @torch.no_grad()
    def log_importance_weights(self, x: Tensor, *, seed: int, indices: Sequence[int], draws: int) -> Tensor:
        """See `Baseline`."""
        noises = (
            normal(seed, indices, 0, Purpose.POSTERIOR, (self.latent,), draw=number).to(x) for number in range(draws)
        )
        return torch.stack([self.log_weights(x, noise) for noise in noises], dim=1)

    def generate(self, seed: int, indices: Sequence[int]) -> Tensor:
        """The decoder's mean for z from the prior."""
        place = next(self.parameters())
        z = normal(seed, indices, 0, Purpose.START, (self.latent,)).to(place)
        return self.decode(z)[0].clamp(-1, 1)
