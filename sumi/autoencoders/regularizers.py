"""What keeps an autoencoder's latents in bounds: a divergence, a codebook, or rounding.

    kl     z = m + s ε, and the divergence of N(m, s²) from N(0, 1)      (Rombach et al. 2022)
    vq     z = the nearest of K learned vectors                          (van den Oord et al. 2017)
    fsq    z = each channel rounded to one of a few levels               (Mentzer et al. 2024)

The gradient passes rounding and the nearest vector unchanged. The vectors of ``vq`` are moving averages of what they
replace (Razavi et al. 2019, appendix A.1), and one that is hardly used begins again at a vector of the batch. ``fsq``
has nothing to learn, and nothing that could go unused.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.boundary.group import group
from sumi.errors import InputError
from sumi.randomness import Purpose, generator

LOG_STD = (-12.0, 6.0)
"""Bounds of log s."""


class Regularizer(nn.Module, ABC):
    """From the encoder's output to latents of ``channels``. ``inputs``: how many channels it takes from the encoder."""

    def __init__(self, channels: int, inputs: int) -> None:
        super().__init__()
        self.channels, self.inputs = channels, inputs

    @abstractmethod
    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, (N, channels, H, W) each, of h (N, inputs, H, W)."""

    @abstractmethod
    def forward(self, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (N, channels, H, W) in training, and the loss (N,); ``noise``: standard normal, of their shape."""

    def project(self, z: Tensor) -> Tensor:
        """The latents nearest to z (N, channels, H, W) that the decoder knows."""
        return z

    def codes(self, z: Tensor) -> Tensor | None:
        """The number of each place's code in [0, ``count``), int64 (N, H, W); None where there are none."""
        del z

    @property
    def count(self) -> int:
        """How many codes there are; 0: latents are real numbers."""
        return 0

    def begin(self, seed: int, step: int) -> None:
        """Before each training step: take in what the last one has seen."""


@dataclass(frozen=True)
class KL:
    """A Gaussian for each latent, held near N(0, 1)."""

    name: ClassVar[str] = "kl"

    channels: int = field(default=4, metadata={"help": "of the latents, 1 or more"})
    weight: float = field(
        default=1e-6, metadata={"help": "of the divergence, summed over a picture's latents; 0 or more"}
    )

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        _check_weight(self.weight)

    def build(self) -> "Gaussian":
        """The regularizer with these settings."""
        return Gaussian(self)


class Gaussian(Regularizer):
    """See `KL`."""

    def __init__(self, config: KL) -> None:
        super().__init__(config.channels, 2 * config.channels)
        self.weight = config.weight

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = h.float().chunk(2, dim=1)
        return mean, log_std.clamp(*LOG_STD).exp()

    def forward(self, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self.posterior(h)
        divergence = (mean.square() + std.square() - 1) / 2 - std.log()
        return torch.addcmul(mean, std, noise), self.weight * divergence.flatten(1).sum(1)


@dataclass(frozen=True)
class VQ:
    """A codebook."""

    name: ClassVar[str] = "vq"

    channels: int = field(default=4, metadata={"help": "of the latents, 1 or more"})
    codes: int = field(default=1024, metadata={"help": "vectors of the codebook, 2 or more"})
    weight: float = field(default=0.25, metadata={"help": "of the distance to the nearest vector; 0 or more"})
    decay: float = field(default=0.99, metadata={"help": "of the moving averages, 0 ≤ d < 1"})

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        _check_weight(self.weight)
        if self.codes < 2:
            raise InputError(f"regularizer.codes: {self.codes} is too few; give 2 or more, such as 1024")
        if not 0 <= self.decay < 1:
            raise InputError(f"regularizer.decay: {self.decay} is not in [0, 1); give such as 0.99")

    def build(self) -> "Codebook":
        """The regularizer with these settings."""
        return Codebook(self)


class Codebook(Regularizer):
    """See `VQ`. A step's vectors are counted in its forward passes, and averaged at the beginning of the next step."""

    UNUSED = 0.1
    """A vector begins again when its moving count falls below this share of the mean."""

    vectors: Tensor
    counts: Tensor
    seen_counts: Tensor
    seen_sums: Tensor
    seen: Tensor

    def __init__(self, config: VQ) -> None:
        super().__init__(config.channels, config.channels)
        self.weight, self.decay = config.weight, config.decay
        size = (config.codes, config.channels)
        self.register_buffer("vectors", torch.randn(size))
        self.register_buffer("counts", torch.zeros(config.codes))
        self.register_buffer("seen_counts", torch.zeros(config.codes))
        self.register_buffer("seen_sums", torch.zeros(size))
        self.register_buffer("seen", torch.zeros(size))  # some of the step's vectors, where unused codes begin again

    @property
    def count(self) -> int:
        return len(self.vectors)

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """What is encoded, before the nearest vector is taken: the decoder takes it (`project`)."""
        return h.float(), torch.zeros_like(h, dtype=torch.float32)

    def codes(self, z: Tensor) -> Tensor:
        rows = z.movedim(1, -1).flatten(0, -2).to(self.vectors)
        return torch.cdist(rows, self.vectors).argmin(1).view(len(z), *z.shape[2:])

    def project(self, z: Tensor) -> Tensor:
        return F.embedding(self.codes(z), self.vectors).movedim(-1, 1).to(z)

    def forward(self, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        del noise
        h = h.float()
        codes = self.codes(h.detach())
        nearest = F.embedding(codes, self.vectors).movedim(-1, 1)
        if self.training:
            rows = group().together(h.detach().movedim(1, -1).flatten(0, -2))
            codes = group().together(codes)
            self.seen_counts.index_add_(0, codes.flatten(), self.seen_counts.new_ones(len(rows)))
            self.seen_sums.index_add_(0, codes.flatten(), rows)
            self.seen.copy_(rows[torch.linspace(0, len(rows) - 1, self.count, device=rows.device).long()])
        distance = (h - nearest).square().flatten(1).mean(1)
        return h + (nearest - h).detach(), self.weight * distance

    @torch.no_grad()
    def begin(self, seed: int, step: int) -> None:
        """The moving averages with the last step's vectors; unused codes begin again at some of them."""
        seen = self.seen_counts.any()  # not at the first step; left on the device, which nothing waits for
        weighted = self.vectors * self.counts[:, None]
        counts = self.counts.lerp(self.seen_counts, 1 - self.decay)
        weighted.lerp_(self.seen_sums, 1 - self.decay)
        vectors = torch.where(counts[:, None] > 0, weighted / counts[:, None], self.vectors)
        mean = counts.mean()
        unused = counts < self.UNUSED * mean
        order = torch.from_numpy(generator(seed, 0, step, Purpose.CODEBOOK).permutation(self.count)).to(unused.device)
        vectors = torch.where(unused[:, None], self.seen[order], vectors)
        self.vectors.copy_(torch.where(seen, vectors, self.vectors))
        self.counts.copy_(torch.where(seen, torch.where(unused, mean, counts), self.counts))
        for buffer in (self.seen_counts, self.seen_sums):
            buffer.zero_()


@dataclass(frozen=True)
class FSQ:
    """Each channel rounded to a few levels.

    All levels of 5 are used about as often; of 8 the lowest hardly is, and so are the codes that have it.
    """

    name: ClassVar[str] = "fsq"

    levels: tuple[int, ...] = field(
        default=(5, 5, 5, 5),
        metadata={"help": "values of each channel, 2 or more; their product is the number of codes"},
    )

    def __post_init__(self) -> None:
        if not self.levels or any(level < 2 for level in self.levels):
            raise InputError(
                f"regularizer.levels: {list(self.levels)} are too few; give 2 or more each, such as 5,5,5,5"
            )

    @property
    def channels(self) -> int:
        """Of the latents."""
        return len(self.levels)

    def build(self) -> "Rounding":
        """The regularizer with these settings."""
        return Rounding(self)


class Rounding(Regularizer):
    """See `FSQ`: z in [-1, 1], at equal distances (Mentzer et al. 2024, appendix A.1).

    Of an even number of levels one more is below 0 than above; the shift puts h = 0 at the level 0 nevertheless.
    """

    levels: Tensor

    def __init__(self, config: FSQ) -> None:
        super().__init__(config.channels, config.channels)
        self.register_buffer("levels", torch.tensor(config.levels).view(-1, 1, 1), persistent=False)

    @property
    def count(self) -> int:
        return prod(self.levels.flatten().tolist())

    def bounded(self, h: Tensor) -> Tensor:
        """h squeezed between the outer levels, in units of a level."""
        half = (self.levels - 1) * (1 - 1e-3) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        return (h.float() + torch.tan(offset / half)).tanh() * half - offset

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        z = self.bounded(h).round() / (self.levels // 2)
        return z, torch.zeros_like(z)

    def project(self, z: Tensor) -> Tensor:
        half = self.levels // 2
        return ((z * half).round().clamp(-half, (self.levels - 1) // 2) / half).to(z)

    def codes(self, z: Tensor) -> Tensor:
        half = self.levels // 2
        digits = (self.project(z) * half + half).round().long()
        base = torch.cat([self.levels.new_ones(1), self.levels.flatten()[:-1].cumprod(0)])
        return (digits * base.view(-1, 1, 1)).sum(1)

    def forward(self, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        del noise
        bounded = self.bounded(h)
        z = (bounded + (bounded.round() - bounded).detach()) / (self.levels // 2)
        return z, z.new_zeros(len(z))


RegularizerConfig = KL | VQ | FSQ


def _check_channels(channels: int) -> None:
    if channels < 1:
        raise InputError(f"regularizer.channels: {channels} is too few; give 1 or more, such as 4")


def _check_weight(weight: float) -> None:
    if not weight >= 0:
        raise InputError(f"regularizer.weight: {weight} is negative; give 0 or more")
