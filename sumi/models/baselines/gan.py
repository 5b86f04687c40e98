"""The generative adversarial network (Goodfellow et al. 2014), in a form that can be trained without tricks.

A generator G makes images of noise z; a discriminator D tells them from real ones. Each fake is judged against a real
one of the batch (Jolicoeur-Martineau 2019), which leaves no mode of the data unrewarded, and D's loss has gradient
penalties that make the game converge near its end (Mescheder et al. 2018; both together: Huang et al. 2024, "R3GAN"):

    L_D = f(D(G(z)) - D(x)) + γ/2 (‖∇D(x)‖² + ‖∇D(G(z))‖²)          f(u) = log(1 + e^u)
    L_G = f(D(x) - D(G(z)))

One optimizer trains both. The loss of an image is L_D + L_G, where L_D sees G(z) as a constant and L_G sees the weights
of D as constants: the gradient that reaches either network is that of its own loss alone. There is no likelihood.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sumi.errors import InputError
from sumi.models.baselines.baseline import Baseline
from sumi.networks.convolutional import ImageToVector, VectorToImage, check_size, check_widths
from sumi.randomness import Purpose, normal


@dataclass(frozen=True)
class GANConfig:
    """Shape of the two networks, and the weight of the gradient penalties."""

    name: ClassVar[str] = "gan"

    widths: tuple[int, ...] = field(
        default=(32, 64, 128), metadata={"help": "channels of each level, full resolution first; multiples of 16"}
    )
    blocks: int = field(default=1, metadata={"most": 1000, "help": "residual blocks of each level, of either network"})
    latent: int = field(default=64, metadata={"help": "numbers of noise that an image is made of"})
    penalty: float = field(default=1.0, metadata={"help": "γ, weight of the gradient penalties"})

    def __post_init__(self) -> None:
        check_widths(self.widths, self.blocks)
        if self.latent < 1:
            raise InputError(f"network.latent: {self.latent} is too few; give 1 or more")
        if not self.penalty >= 0:
            raise InputError(f"network.penalty: {self.penalty} is negative; give 0 or more")

    def build(self, shape: tuple[int, int, int], levels: int) -> "GAN":
        """An untrained one for images (C, H, W). Raises InputError for a size that cannot be halved."""
        del levels
        check_size(shape, self.widths)
        generator = VectorToImage(self.latent, shape, self.widths, self.blocks, shape[0], norm=False)
        discriminator = ImageToVector(shape, self.widths, self.blocks, 1, norm=False)
        return GAN(generator, discriminator, self.latent, self.penalty)


class GAN(Baseline):
    """``generator``: z (N, latent) -> (N, C, H, W), made to [-1, 1] by tanh here. ``discriminator``: -> (N, 1)."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, latent: int, penalty: float) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.latent, self.penalty = latent, penalty
        self.noise_shape = (latent,)

    def auxiliary(self) -> list[nn.Module]:
        """The discriminator."""
        return [self.discriminator]

    def fake(self, z: Tensor) -> Tensor:
        """G(z), (N, C, H, W) in [-1, 1]."""
        return self.generator(z).tanh()

    def generator_loss(self, x: Tensor, fake: Tensor) -> Tensor:
        """L_G of each pair, (N,); the discriminator's weights are constants."""
        constants = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        with torch.no_grad():
            real = self.discriminator(x)
        return F.softplus(real - functional_call(self.discriminator, constants, (fake,)))[:, 0]

    def discriminator_loss(self, x: Tensor, fake: Tensor) -> Tensor:
        """L_D of each pair, (N,); what was generated is a constant."""
        both = torch.cat([x, fake]).detach().requires_grad_()
        score = self.discriminator(both)
        real, made = score[:, 0].chunk(2)
        penalty = squared_gradient(score, both)
        return F.softplus(made - real) + self.penalty / 2 * (penalty[: len(x)] + penalty[len(x) :])

    def losses(self, x: Tensor, noise: Tensor) -> Tensor:
        """L_D + L_G of each image, (N,)."""
        fake = self.fake(noise)
        return self.discriminator_loss(x, fake) + self.generator_loss(x, fake)

    def generate(self, seed: int, indices: Sequence[int]) -> Tensor:
        """G of noise."""
        place = next(self.parameters())
        return self.fake(normal(seed, indices, 0, Purpose.START, (self.latent,)).to(place))


def squared_gradient(score: Tensor, x: Tensor) -> Tensor:
    """‖∇_x D(x)‖² of each image, (N,), which can itself be differentiated; ``score`` (N, 1) is D(x), row by row."""
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1)
