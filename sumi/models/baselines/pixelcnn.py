"""The PixelCNN (van den Oord et al. 2016): an image as a sentence of pixels, each conditioned on those before it.

    log p(x) = Σ_i Σ_c log p(x_ic | rows above, pixels to the left, channels before c)

Two streams of features look at the past without a blind spot (there "Conditional image generation with PixelCNN
decoders"; shifted instead of masked convolutions as in Salimans et al. 2017, "PixelCNN++"):

    above      sees all rows above:           convolutions 2 high, 3 wide, that reach up and to both sides
    before     sees also what is to the left: convolutions 2 high, 2 wide, that reach up and left, told by ``above``

Both begin shifted, so that no pixel sees itself. A block is x + a·σ(b), where a and b come from two convolutions. The
channels of a pixel are told one after the other: that of channel c sees the features and the channels before it.

The likelihood is exact. An image is drawn pixel by pixel, one evaluation of the network each, of the rows so far.

How an autoregressive network says which level a value takes: parameters (N, P, …), one distribution an element.

    softmax    one logit a level                                     for few levels
    mixture    Σ_k π_k Logistic(m_k, s_k), over the level's bin       for many (Salimans et al. 2017, "PixelCNN++")

A logistic's cumulative function is σ((x - m)/s), so that a bin of half width h has, for each k,

    P = σ((x + h - m)/s) - σ((x - h - m)/s) = σ(a) - σ(b) = σ(a) σ(-b) (1 - e^(b - a)),

written as a product so that its logarithm is exact far away too. The bin of the lowest level reaches down to -∞, that
of the highest up to ∞. A draw takes two uniform numbers: which component, and where in it; the nearest level is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.models.baselines.baseline import Baseline
from sumi.networks.dropout import Dropout
from sumi.randomness import Purpose, generator

LOWEST_LOG_STD = -7.0


class LevelDistribution(Protocol):
    """A distribution over ``levels`` values in [-1, 1], 2/(levels - 1) apart."""

    @property
    def parameters(self) -> int:
        """How many numbers describe one, P."""
        ...

    def log_probability(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log P(x) in nats, float64 (N, H, W); ``parameters`` (N, P, H, W), ``x`` (N, H, W) on the levels."""
        ...

    def draw(self, parameters: Tensor, u: Tensor) -> Tensor:
        """A value on the levels, (N,), for parameters (N, P) and uniform numbers ``u`` (N, 2) in (0, 1)."""
        ...


@dataclass(frozen=True)
class Softmax:
    """One logit a level."""

    levels: int

    @property
    def parameters(self) -> int:
        return self.levels

    def log_probability(self, parameters: Tensor, x: Tensor) -> Tensor:
        """See `LevelDistribution`."""
        index = ((x + 1) * ((self.levels - 1) / 2)).round().long()
        return parameters.double().log_softmax(1).gather(1, index[:, None])[:, 0]

    def draw(self, parameters: Tensor, u: Tensor) -> Tensor:
        """The first level at which the cumulative probability passes u."""
        cumulative = parameters.double().softmax(1).cumsum(1)
        index = (cumulative < u[:, :1].to(cumulative) * cumulative[:, -1:]).sum(1)
        return (2 * index - (self.levels - 1)).to(parameters.dtype) / (self.levels - 1)


@dataclass(frozen=True)
class LogisticMixture:
    """``components`` logistics: parameters are logits of π, then m, then log s."""

    levels: int
    components: int

    @property
    def parameters(self) -> int:
        return 3 * self.components

    def log_probability(self, parameters: Tensor, x: Tensor) -> Tensor:
        """See `LevelDistribution`."""
        logits, mean, log_std = parameters.double().chunk(3, dim=1)
        inverse = (-floored(log_std)).exp()
        x = x.double()[:, None]
        half = 1 / (self.levels - 1)
        above, below = (x + half - mean) * inverse, (x - half - mean) * inverse
        inner = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(below - above))
        log_bin = torch.where(x < half - 1, F.logsigmoid(above), torch.where(x > 1 - half, F.logsigmoid(-below), inner))
        return (logits.log_softmax(1) + log_bin).logsumexp(1)

    def draw(self, parameters: Tensor, u: Tensor) -> Tensor:
        """See `LevelDistribution`."""
        logits, mean, log_std = parameters.double().chunk(3, dim=1)
        cumulative = logits.softmax(1).cumsum(1)
        which = (cumulative < u[:, :1].to(cumulative) * cumulative[:, -1:]).sum(1, keepdim=True)
        place = u[:, 1:].to(cumulative).logit()
        x = mean.gather(1, which) + floored(log_std).exp().gather(1, which) * place
        index = ((x[:, 0] + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1)
        return ((2 * index - (self.levels - 1)) / (self.levels - 1)).to(parameters.dtype)


def level_distribution(levels: int, components: int) -> LevelDistribution:
    """A softmax for up to 32 levels, a mixture of so many logistics for more. Raises InputError."""
    if not 2 <= levels <= 256:
        raise InputError(f"levels: {levels} is out of range; give 2 to 256")
    return Softmax(levels) if levels <= 32 else LogisticMixture(levels, components)


def floored(log_std: Tensor, lowest: float = LOWEST_LOG_STD) -> Tensor:
    """log s, kept above ``lowest`` without losing its gradient."""
    return F.softplus(log_std - lowest) + lowest


@dataclass(frozen=True)
class PixelCNNConfig:
    """Shape of the network."""

    name: ClassVar[str] = "pixelcnn"

    width: int = field(default=64, metadata={"help": "channels of either stream"})
    blocks: int = field(
        default=6, metadata={"most": 1000, "help": "gated residual blocks; each sees two rows and columns further"}
    )
    dropout: float = field(default=0.0, metadata={"help": "share of a block's values dropped in training, 0 <= p < 1"})
    components: int = field(default=5, metadata={"help": "logistics of a value's distribution, above 32 levels"})

    def __post_init__(self) -> None:
        for name in ("width", "blocks", "components"):
            if getattr(self, name) < 1:
                raise InputError(f"network.{name}: {getattr(self, name)} is too few; give 1 or more")
        if not 0 <= self.dropout < 1:
            raise InputError(f"network.dropout: {self.dropout} is not in [0, 1)")

    def build(self, shape: tuple[int, int, int], levels: int) -> "PixelCNN":
        """An untrained one for images (C, H, W) of so many levels."""
        return PixelCNN(self, shape, level_distribution(levels, self.components))


class PixelCNN(Baseline):
    """A network of the features of the past, and for each channel a small one of its distribution."""

    likelihood = "exact"

    def __init__(self, config: PixelCNNConfig, shape: tuple[int, int, int], distribution: LevelDistribution) -> None:
        super().__init__()
        self.shape, self.distribution = shape, distribution
        channels, width = shape[0] + 1, config.width  # one channel is 1 inside the image, which the border is not
        self.rows_above = Past(channels, width, 2, 3)
        self.row_above = Past(channels, width, 1, 3)
        self.left = Past(channels, width, 2, 1)
        self.blocks_above = nn.ModuleList(
            GatedBlock(width, 3, config.dropout, joined=False) for _ in range(config.blocks)
        )
        self.blocks_before = nn.ModuleList(
            GatedBlock(width, 2, config.dropout, joined=True) for _ in range(config.blocks)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width + c, width, 1), nn.ELU(), nn.Conv2d(width, distribution.parameters, 1))
            for c in range(shape[0])
        )

    def features(self, x: Tensor) -> Tensor:
        """What is known of each pixel from those before it, (N, width, H, W)."""
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        above = F.pad(self.rows_above(x), (0, 0, 1, -1))
        before = F.pad(self.row_above(x), (0, 0, 1, -1)) + F.pad(self.left(x), (1, -1))
        for block_above, block_before in zip(self.blocks_above, self.blocks_before, strict=True):
            above = block_above(above)
            before = block_before(before, above)
        return F.elu(before)

    def of_channel(self, c: int, features: Tensor, x: Tensor) -> Tensor:
        """The parameters of channel c's distribution, (N, P, H, W), of features and the channels of x before it."""
        return self.heads[c](torch.cat([features, x[:, :c]], dim=1))

    def log_probability(self, x: Tensor) -> Tensor:
        """log p(x) in nats, float64 (N,)."""
        features = self.features(x)
        parts = [
            self.distribution.log_probability(self.of_channel(c, features, x), x[:, c]) for c in range(self.shape[0])
        ]
        return torch.stack(parts, dim=1).flatten(1).sum(1)

    def log_importance_weights(self, x: Tensor, *, seed: int, indices: Sequence[int], draws: int) -> Tensor:
        """See `Baseline`."""
        del seed, indices, draws
        return self.log_probability(x)[:, None]

    def losses(self, x: Tensor, noise: Tensor) -> Tensor:
        """-log p(x) in nats a dimension, float32 (N,)."""
        del noise
        return (-self.log_probability(x) / prod(self.shape)).float()

    def generate(self, seed: int, indices: Sequence[int]) -> Tensor:
        """Pixel after pixel, row after row; value (c, i, j) takes the uniform numbers of step (i W + j) C + c."""
        place = next(self.parameters())
        channels, height, width = self.shape
        x = torch.zeros(len(indices), *self.shape, dtype=place.dtype, device=place.device)
        for i in range(height):
            for j in range(width):
                features = self.features(x[:, :, : i + 1])[:, :, i : i + 1, j : j + 1]
                for c in range(channels):
                    parameters = self.of_channel(c, features, x[:, :, i : i + 1, j : j + 1])[:, :, 0, 0]
                    u = _uniform_pairs(seed, indices, (i * width + j) * channels + c)
                    x[:, c, i, j] = self.distribution.draw(parameters, u.to(place.device))
        return x


class Past(nn.Module):
    """A convolution ``height`` x ``breadth`` that reaches up and, 1 or 3 wide, to both sides; else up and left."""

    def __init__(self, inputs: int, outputs: int, height: int, breadth: int) -> None:
        super().__init__()
        left, right = (breadth // 2, breadth // 2) if breadth % 2 else (breadth - 1, 0)
        self.pad = left, right, height - 1, 0
        self.conv = nn.Conv2d(inputs, outputs, (height, breadth))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.pad))


class GatedBlock(nn.Module):
    """x + a·σ(b); if ``joined``, a second stream joins between the two convolutions."""

    def __init__(self, width: int, breadth: int, dropout: float, *, joined: bool) -> None:
        super().__init__()
        self.first = Past(width, width, 2, breadth)
        self.other = nn.Conv2d(width, width, 1) if joined else None
        self.dropout = Dropout(dropout)
        self.second = Past(width, 2 * width, 2, breadth)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        h = self.first(F.elu(x))
        if self.other is not None and other is not None:
            h = h + self.other(F.elu(other))
        a, b = self.second(self.dropout(F.elu(h))).chunk(2, dim=1)
        return x + a * b.sigmoid()


def _uniform_pairs(seed: int, indices: Sequence[int], step: int) -> Tensor:
    """Two uniform numbers in (0, 1) for each index, float64 (N, 2)."""
    rows = [generator(seed, i, step, Purpose.PIXEL).random(2) for i in indices]
    return torch.from_numpy(np.stack(rows)).clamp(min=2.0**-54)  # they are multiples of 2⁻⁵³, from 0
