"""k-diffusion's first transformer (its ``image_transformer_v1``), by its names of their tensors.

    squares of `patch` pixels ── linear ── blocks: attention over all, perceptron ── norm, linear ── squares

As its successor (`sumi.networks.hourglass`) in one level, of heads of 64 channels, except in attention: queries and
keys are of root mean square 1, times a learned scale that is at most 100; and their neighbouring channels are pairs,
which learned frequencies turn by the place on each axis.
"""

from dataclasses import dataclass, field
from math import log, pi
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.hourglass import (
    FeedForward,
    Mapped,
    Norm,
    ScaledNorm,
    over_rms,
    positions,
)

HEAD = 64
MAPPING_BLOCKS = 2
MOST_SCALE = 100.0


@dataclass(frozen=True)
class ImageTransformerV1Config:
    """Shape of such a transformer."""

    name: ClassVar[str] = "image_transformer_v1"

    patch: int = field(default=4, metadata={"most": 1024, "help": "side of the square of pixels that is one token"})
    width: int = field(default=512, metadata={"most": 65_536, "help": f"width of a token; a multiple of {HEAD}"})
    depth: int = field(default=8, metadata={"most": 1000, "help": "number of blocks"})
    hidden: int = field(default=1408, metadata={"most": 262_144, "help": "width of the perceptrons"})
    embedding: int = field(default=1, metadata={"most": 65_536, "help": "the number of classes and one"})

    def __post_init__(self) -> None:
        if self.width < HEAD or self.width % HEAD:
            raise InputError(f"network.width: {self.width} is no multiple of {HEAD}; give such as 512")
        if min(self.patch, self.depth, self.hidden) < 1:
            raise InputError("network.patch: it, depth or hidden is below 1; give 1 or more")

    def build(
        self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None
    ) -> "ImageTransformerV1":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for sides that patches do not divide.
        """
        del condition
        if len(shape) != 3 or shape[1] % self.patch or shape[2] % self.patch:
            raise InputError(f"network={self.name}: takes images of multiples of {self.patch}, not {shape}")
        return ImageTransformerV1(self, shape[0], outputs * shape[0])


class ImageTransformerV1(Mapped):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs, H, W)``."""

    def __init__(self, config: ImageTransformerV1Config, channels: int, outputs: int) -> None:
        super().__init__(MAPPING_BLOCKS, config.width, config.hidden, config.embedding)
        self.config, width, area = config, config.width, config.patch**2
        self.in_proj = nn.Linear(channels * area, width, bias=False)
        self.blocks = nn.ModuleList(Block(width, config.hidden) for _ in range(config.depth))
        self.out_norm, self.out_proj = Norm(width), nn.Linear(width, outputs * area, bias=False)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        about = self.about(x, c_noise, condition)
        h = self.in_proj(F.pixel_unshuffle(x, self.config.patch).movedim(1, -1))
        places = positions(h.shape[1], h.shape[2]).to(h)
        for block in self.blocks:
            h = block(h, places, about)
        return F.pixel_shuffle(self.out_proj(self.out_norm(h)).movedim(-1, 1), self.config.patch)


class Block(nn.Module):
    """Attention and perceptron."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.self_attn, self.ff = Attention(width), FeedForward(width, hidden, width)

    def forward(self, x: Tensor, places: Tensor, about: Tensor) -> Tensor:
        return self.ff(self.self_attn(x, places, about), about)


class Attention(nn.Module):
    """x (N, H, W, D) and the attention of every place to all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ScaledNorm(width, width)
        self.qkv_proj, self.out_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.qk_norm, self.pos_emb = Scale(width // HEAD), Turning(width // HEAD)

    def forward(self, x: Tensor, places: Tensor, about: Tensor) -> Tensor:
        three = self.qkv_proj(self.norm(x, about)).flatten(1, 2).unflatten(-1, (3, -1, HEAD))
        query, key, value = three.permute(2, 0, 3, 1, 4)
        query, key = (self.pos_emb(self.qk_norm(v), places.flatten(0, 1)) for v in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.out_proj(mixed.transpose(1, 2).reshape(x.shape))


class Scale(nn.Module):
    """Queries or keys (N, heads, L, 64) of root mean square 1, times √scale/64^¼ of each head; kept as log scale."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((heads,), log(10.0)))

    def forward(self, x: Tensor) -> Tensor:
        factor = (0.5 * self.scale.clamp(max=log(MOST_SCALE)) - 0.25 * log(HEAD)).exp()
        return over_rms(x, factor[:, None, None])


class Turning(nn.Module):
    """Angles from the place on both axes, of learned frequencies from π to 5 π (Su et al. 2021, axial)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        frequencies = torch.linspace(log(pi), log(5 * pi), HEAD // 4).expand(heads, -1)
        self.freqs_h, self.freqs_w = nn.Parameter(frequencies.clone()), nn.Parameter(frequencies.clone())

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """x (N, heads, L, 64): pairs of neighbouring channels turned by the angles of their place (L, 2)."""
        rows, columns = (
            place[:, None] * frequencies.exp()[:, None]
            for place, frequencies in zip(places.unbind(-1), (self.freqs_h, self.freqs_w), strict=True)
        )
        angles = torch.cat([rows, columns], -1)
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = angles.cos(), angles.sin()
        return torch.stack([first * cos - second * sin, second * cos + first * sin], -1).flatten(-2)
