"""k-diffusion's convolutional U-Net (its ``image_v1``), by its names of their tensors.

    noise level   cos, sin of random frequencies, then linear, gelu, linear, gelu: e
    norm          (1 + scale(e)) · group norm(x) + shift(e), of groups of 32 channels
    block         x + conv(gelu(norm(conv(gelu(norm(x)))))), and attention of heads of 64 channels after it
    levels        images of half the side by the filter 1-3-3-1 with the border mirrored; back with what each level held

Squares of ``patch`` pixels are the channels of the first level.
"""

from dataclasses import dataclass, field
from math import gcd
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.hourglass import Frequencies
from sumi.networks.song import resampled, smaller

TAPS = (1, 3, 3, 1)
GROUP, HEAD = 32, 64


@dataclass(frozen=True)
class ImageV1Config:
    """Shape of such a U-Net."""

    name: ClassVar[str] = "image_v1"
    embedding: ClassVar[int] = 1
    """It knows no classes."""

    patch: int = field(default=1, metadata={"most": 256, "help": "side of the squares of pixels that are channels"})
    width: int = field(default=128, metadata={"most": 16_384, "help": "channels of the first convolution"})
    widths: tuple[int, ...] = field(default=(128, 256, 512), metadata={"help": "channels of each level"})
    blocks: tuple[int, ...] = field(default=(2, 4, 4), metadata={"help": "blocks of each level"})
    attention: tuple[int, ...] = field(default=(1, 2), metadata={"help": "levels with attention"})
    features: int = field(default=256, metadata={"most": 65_536, "help": "width of what scales the blocks; even"})

    def __post_init__(self) -> None:
        if not self.widths or len(self.blocks) != len(self.widths) or min(self.patch, *self.blocks) < 1:
            raise InputError("network.blocks: give one number for each of network.widths, each 1 or more")
        if self.features < 2 or self.features % 2:
            raise InputError(f"network.features: {self.features} is no even number; give such as 256")
        for width in (self.width, *self.widths):
            if width < 1 or width % max(1, width // GROUP) or width % max(1, width // HEAD):
                raise InputError(f"network.widths: {width} is not of groups of {GROUP} and heads of {HEAD}; give 128")

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "ImageV1":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for sides that cannot be halved between the levels.
        """
        del condition
        factor = self.patch * 2 ** (len(self.widths) - 1)
        if len(shape) != 3 or gcd(*shape[1:], factor) != factor:
            raise InputError(f"network=image_v1: takes images of multiples of {factor}, not {shape}; give others")
        return ImageV1(self, shape[0], outputs * shape[0])


class ImageV1(nn.Module):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs, H, W)``."""

    def __init__(self, config: ImageV1Config, channels: int, outputs: int) -> None:
        super().__init__()
        self.config, area = config, config.patch**2
        self.timestep_embed = Frequencies(1, config.features)
        pair = (nn.Linear(config.features, config.features), nn.GELU())
        self.mapping = nn.Sequential(*pair, nn.Linear(config.features, config.features), nn.GELU())
        self.proj_in = nn.Conv2d(channels * area, config.width, 1)
        self.proj_out = nn.Conv2d(config.width, outputs * area, 1)
        nn.init.zeros_(self.proj_out.weight)
        down, up = nn.ModuleList(), nn.ModuleList()
        above = (config.width, *config.widths)
        for level, (width, depth) in enumerate(zip(config.widths, config.blocks, strict=True)):
            attends, twice = level in config.attention, 1 + (level < len(config.widths) - 1)
            down.append(nn.ModuleList([nn.Identity(), *_layers(above[level], width, width, depth, config, attends)]))
            up.insert(0, nn.ModuleList(_layers(twice * width, width, above[level], depth, config, attends)))
        self.u_net = Levels(down, up)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        del condition
        about = self.mapping(self.timestep_embed(c_noise[:, None]).to(x.dtype))
        h, held = self.proj_in(F.pixel_unshuffle(x, self.config.patch)), list[Tensor]()
        for level, block in enumerate(self.u_net.d_blocks):
            h = smaller(F.pad(h, (1,) * 4, "reflect"), TAPS, 0) if level else h
            for layer in list(block.children())[1:]:
                h = layer(h, about)
            held.append(h)
        lowest = held.pop()
        for number, block in enumerate(self.u_net.u_blocks):
            h = torch.cat([h, held.pop()], 1) if number else lowest
            for layer in block.children():
                h = layer(h, about)
            if number < len(self.config.widths) - 1:
                h = resampled(F.pad(h, (1,) * 4, "reflect"), TAPS, "up")[:, :, 2:-2, 2:-2]
        return F.pixel_shuffle(self.proj_out(h), self.config.patch)


class Levels(nn.Module):
    """The levels down and up, each a list of layers."""

    def __init__(self, down: nn.ModuleList, up: nn.ModuleList) -> None:
        super().__init__()
        self.d_blocks, self.u_blocks = down, up


def _layers(
    width: int, inner: int, out: int, depth: int, config: ImageV1Config, attends: bool
) -> list["Residual | Attention"]:
    """The blocks of a level, of ``inner`` channels between the first's and the last's, and their attention."""
    found: list[Residual | Attention] = []
    for number in range(depth):
        last = out if number == depth - 1 else inner
        found.append(Residual(width if number == 0 else inner, inner, last, config.features))
        if attends:
            found.append(Attention(last, config.features))
    return found


class Norm(nn.Module):
    """See the top of this module."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.groups, self.mapper = max(1, width // GROUP), nn.Linear(features, 2 * width)

    def forward(self, x: Tensor, about: Tensor) -> Tensor:
        scale, shift = self.mapper(about)[..., None, None].chunk(2, 1)
        return torch.addcmul(shift, F.group_norm(x, self.groups), scale + 1)


class Residual(nn.Module):
    """A block; its numbers are those of k-diffusion, which has dropout in between."""

    def __init__(self, width: int, inner: int, out: int, features: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(width, inner, 3, padding=1), nn.Conv2d(inner, out, 3, padding=1)
        norms = Norm(width, features), Norm(inner, features)
        self.main = nn.ModuleList([norms[0], nn.GELU(), first, nn.Identity(), norms[1], nn.GELU(), second])
        self.skip = nn.Identity() if width == out else nn.Conv2d(width, out, 1, bias=False)

    def forward(self, x: Tensor, about: Tensor) -> Tensor:
        norm0, gelu, conv0, _, norm1, _, conv1 = self.main
        return conv1(gelu(norm1(conv0(gelu(norm0(x, about))), about))) + self.skip(x)


class Attention(nn.Module):
    """x and the attention of every pixel to all."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.norm_in = Norm(width, features)
        self.qkv_proj, self.out_proj = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, about: Tensor) -> Tensor:
        three = self.qkv_proj(self.norm_in(x, about)).flatten(2).unflatten(1, (3 * self.heads, -1)).transpose(2, 3)
        mixed = F.scaled_dot_product_attention(*three.chunk(3, 1))
        return x + self.out_proj(mixed.transpose(2, 3).reshape(x.shape))
