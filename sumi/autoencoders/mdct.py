"""Sound as a picture that loses nothing: the modified discrete cosine transform, as many numbers as samples.

Sound of M F samples is cut into F blocks of M. At each boundary between two blocks the M/2 samples on either side are
rotated in pairs (u after it, v before it, at the same distance j + 1/2),

    u' = w(M/2 + j) u + w(M/2 - 1 - j) v,    v' = w(M/2 + j) v - w(M/2 - 1 - j) u,    w(n) = sin(π (n + 1/2)/(2 M)),

where w(M/2 + j)² + w(M/2 - 1 - j)² = 1 (Princen & Bradley 1986), and every block is transformed by the DCT-IV,

    c_k = √(2/M) Σ_n x'_n cos(π/M (n + 1/2)(k + 1/2)).

That is the MDCT of windows of 2 M samples, but for the two ends, where nothing overlaps. Both steps are orthogonal:
its transpose is its inverse, and noise stays white. Row k of the picture is the band around (k + 1/2) rate/(2 M).

Speech is many quiet values and few loud ones, and so a power p < 1 is taken of each, and each band is scaled:

    z = STD/std_k · sign(c) |c|^p,     std_k: of sign(c) |c|^p of band k over the training data.
"""

from functools import lru_cache
from math import pi
from typing import Final

import torch
from torch import Tensor, nn

STD: Final = 0.5
"""Of what is denoised: σ_data of Karras et al. 2022."""


def mdct(x: Tensor, bands: int) -> Tensor:
    """Sound (N, 1, bands · F) -> (N, 1, bands, F)."""
    blocks = _folded(x.unflatten(-1, (-1, bands)), 1.0)
    with torch.autocast(x.device.type, enabled=False):  # in training too, where bfloat16 would round what is learned
        return (blocks @ _dct(bands).to(blocks)).mT


def inverse_mdct(c: Tensor) -> Tensor:
    """The inverse of `mdct`, and its transpose."""
    with torch.autocast(c.device.type, enabled=False):
        blocks = c.mT @ _dct(c.shape[-2]).to(c)
    return _folded(blocks, -1.0).flatten(-2)


class BandScale(nn.Module):
    """Sound (N, 1, ``length``) <-> z (N, 1, ``bands``, length/bands) of deviation STD (module docstring)."""

    std: Tensor

    def __init__(self, length: int, bands: int, power: float) -> None:
        super().__init__()
        self.shape, self.power = (1, bands, length // bands), power
        self.register_buffer("std", torch.ones(bands, 1))

    def fit(self, square: Tensor, count: int) -> None:
        """Take the deviations from the ``square`` of `compressed` summed over ``count`` values: (bands, 1) each."""
        std = (square / count).sqrt()
        self.std.copy_(torch.where(std > 0, std, 1.0))

    def compressed(self, x: Tensor) -> Tensor:
        """sign(c) |c|^p of sound x."""
        return self._powers(mdct(x, self.shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Sound as it is denoised."""
        return self.of_values(mdct(x, self.shape[1]))

    def inverse(self, z: Tensor) -> Tensor:
        """The way back, which can be differentiated."""
        return inverse_mdct(self.values(z))

    def of_values(self, c: Tensor) -> Tensor:
        """z of c (…, bands, F), each by itself."""
        return self._powers(c) * (STD / self.std).to(c)

    def values(self, z: Tensor) -> Tensor:
        """c of z (…, bands, F), the inverse of `of_values`."""
        c = z * (self.std / STD).to(z)
        return c if self.power == 1 else c * c.abs() ** (1 / self.power - 1)

    def _powers(self, c: Tensor) -> Tensor:
        return c if self.power == 1 else c.sign() * c.abs() ** self.power


def _folded(blocks: Tensor, way: float) -> Tensor:
    """The rotations at the boundaries of ``blocks`` (…, F, M); ``way`` = -1: back."""
    size = blocks.shape[-1]
    if blocks.shape[-2] == 1:
        return blocks
    angle = pi / (2 * size) * (size // 2 + torch.arange(size // 2, dtype=torch.float64) + 0.5)
    near, far = angle.sin().to(blocks), way * angle.cos().to(blocks)
    half = size // 2
    u, v = blocks[..., 1:, :half], blocks[..., :-1, half:].flip(-1)
    first = torch.cat([blocks[..., :1, :half], near * u + far * v], -2)
    last = torch.cat([(near * v - far * u).flip(-1), blocks[..., -1:, half:]], -2)
    return torch.cat([first, last], -1)


@lru_cache(maxsize=8)
def _dct(size: int) -> Tensor:
    """The DCT-IV, which is symmetric and its own inverse: float64 (size, size)."""
    n = torch.arange(size, dtype=torch.float64) + 0.5
    return (2 / size) ** 0.5 * torch.cos(pi / size * n[:, None] * n)
