"""``KarrasUnet`` of denoising-diffusion-pytorch (P. Wang, MIT licence), with the names of its tensors: a reading of the
magnitude-preserving U-Net of Karras et al. 2024 whose blocks differ from theirs (`sumi.networks.edm2`).

    down    pixels normalised, then two convolutions with the noise level's scale between, mixed with x; attention
    middle  two blocks of those going up
    up      two convolutions, mixed with x, of what was held too; all of a level, then twice the side, bilinearly

Weights are of unit length for each output; sums, concatenations and silu keep the variance.
"""

from dataclasses import dataclass, field
from math import ceil, pi, sqrt
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition

HEAD = 64
LEARNED_KEYS = 4
LEAST = 1e-4
MIX = 0.3
"""Share of x in a sum with what a block or attention gives."""


@dataclass(frozen=True)
class KarrasUnetConfig:
    """Shape of such a U-Net."""

    name: ClassVar[str] = "karras_unet"

    widths: tuple[int, ...] = field(default=(192, 384, 768, 768), metadata={"help": "channels of each level"})
    blocks: int = field(default=4, metadata={"most": 1000, "help": "blocks of each level going down"})
    attention: tuple[int, ...] = field(
        default=(2, 3), metadata={"help": "levels with attention; of the first, where its side has been doubled to"}
    )
    frequencies: int = field(default=8, metadata={"most": 16_384, "help": "random ones of the noise level"})
    head_width: int = field(default=HEAD, metadata={"most": 16_384, "help": "channels of a head"})
    embedding: int = field(default=1, metadata={"most": 65_536, "help": "the number of classes and one"})
    self_condition: bool = field(default=False, metadata={"help": "whether it takes its own x̂_0 too, here zeros"})

    def __post_init__(self) -> None:
        if not self.widths or min(*self.widths, self.blocks, self.frequencies, self.head_width) < 1:
            raise InputError("network.widths: they, or blocks, frequencies or head_width, are below 1; give 1 or more")

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "KarrasUnet":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for sides that cannot be halved between the levels.
        """
        del condition
        factor = 2 ** (len(self.widths) - 1)
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
            raise InputError(f"network=karras_unet: takes images of multiples of {factor}, not {shape}; give others")
        return KarrasUnet(self, shape[0], outputs * shape[0])


class KarrasUnet(nn.Module):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs, H, W)``."""

    def __init__(self, config: KarrasUnetConfig, channels: int, outputs: int) -> None:
        super().__init__()
        self.config, first = config, config.widths[0]
        about = 4 * first
        self.input_block = Conv((1 + config.self_condition) * channels, first, 3, ones=True)
        self.output_block = nn.Sequential(Conv(first, outputs, 3), Gain())
        self.to_time_emb = nn.Sequential(Waves(config.frequencies), Dense(2 * config.frequencies, about))
        classes = config.embedding - 1
        self.to_class_emb = Dense(classes, about) if classes else None
        down, up, above = list[nn.Module](), list[nn.Module](), first
        for level, width in enumerate(config.widths):
            attends = level in config.attention
            if level:
                down.append(Block(above, width, about, config, attends=attends, change="down"))
            inner = [Block(width, width, about, config, attends=attends and level > 0) for _ in range(config.blocks)]
            down += inner
            outer = [
                Block(2 * width, width, about, config, attends=attends and level > 0, change="held")
                for _ in range(config.blocks + 1)
            ]
            if level:
                outer.append(Block(width, above, about, config, attends=level - 1 in config.attention, change="up"))
            up, above = outer + up, width
        lowest = len(config.widths) - 1 in config.attention
        middle = (Block(above, above, about, config, attends=lowest, change="middle") for _ in range(2))
        self.downs, self.mids, self.ups = nn.ModuleList(down), nn.ModuleList(middle), nn.ModuleList(up)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        about = self.to_time_emb(c_noise)
        if self.to_class_emb is not None:  # one-hot; the last place is "no class"
            count = self.config.embedding - 1
            known = x.new_zeros(len(x), count) if condition.vector is None else condition.vector[:, :-1].to(x.dtype)
            about = mixed(about, self.to_class_emb(known * sqrt(count)), 0.5)
        about = silu(about)
        h = self.input_block(torch.cat([torch.zeros_like(x), x], 1) if self.config.self_condition else x)
        held = [h]
        for block in self.downs:
            h = block(h, about)
            held.append(h)
        for block in self.mids:
            h = block(h, about)
        for block in self.ups:
            own = held.pop() if getattr(block, "change", "") == "held" else None
            h = block(h if own is None else joined(h, own), about)
        return self.output_block(h).to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """silu that keeps the variance of normal numbers."""
    return F.silu(x) / 0.596


def mixed(a: Tensor, b: Tensor, share: float = MIX) -> Tensor:
    """A sum with the ``share`` of b, of the variance of both."""
    return (a * (1 - share) + b * share) / sqrt((1 - share) ** 2 + share**2)


def joined(a: Tensor, b: Tensor) -> Tensor:
    """Both as channels, of equal weight in what follows."""
    size = sqrt(2 * (a.shape[1] + b.shape[1]))
    return size * torch.cat([0.5 / sqrt(a.shape[1]) * a, 0.5 / sqrt(b.shape[1]) * b], 1)


def normalised(x: Tensor, axis: int) -> Tensor:
    """x over the root mean square along one axis."""
    return F.normalize(x, dim=axis, eps=LEAST) * sqrt(x.shape[axis])


class Gain(nn.Module):
    """Multiplication by a learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class Dense(nn.Module):
    """A linear layer whose rows are of unit length."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, normalised(self.weight, 1) / sqrt(self.weight.shape[1]))


class Conv(nn.Module):
    """A convolution whose filters are of unit length. ``ones``: of a channel of ones too, which is the first."""

    def __init__(self, width: int, out: int, side: int, *, ones: bool = False) -> None:
        super().__init__()
        self.weight, self.ones = nn.Parameter(torch.randn(out, width + ones, side, side)), ones
        self.inputs = width * side**2

    def forward(self, x: Tensor) -> Tensor:
        weight = normalised(self.weight.flatten(1), 1).view_as(self.weight) / sqrt(self.inputs)
        x = F.pad(x, (0, 0, 0, 0, 1, 0), value=1.0) if self.ones else x
        return F.conv2d(x, weight, padding=self.weight.shape[-1] // 2)


class Waves(nn.Module):
    """(N,) -> (N, 2 count): sines and cosines of 2π times it by each of ``weights``, of variance 1."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(count), requires_grad=False)

    def forward(self, time: Tensor) -> Tensor:
        phase = time[:, None] * self.weights * 2 * pi
        return torch.cat([phase.sin(), phase.cos()], 1) * sqrt(2)


class Block(nn.Module):
    """A block. ``change``: none, or "down", of one going down; "middle", "held" or "up", of one going up."""

    def __init__(
        self, width: int, out: int, about: int, config: KarrasUnetConfig, *, attends: bool, change: str = ""
    ) -> None:
        super().__init__()
        self.change = change
        own = out if change == "down" else width
        self.downsample_conv = Conv(width, out, 1) if change == "down" else None
        self.to_emb = nn.Sequential(Dense(about, out), Gain())
        self.block1 = nn.ModuleList([nn.Identity(), Conv(own, out, 3)])
        self.block2 = nn.ModuleList([nn.Identity(), nn.Identity(), Conv(out, out, 3)])
        self.res_conv = nn.Identity() if own == out else Conv(own, out, 1)
        self.attn = Attention(out, config.head_width) if attends else None

    def forward(self, x: Tensor, about: Tensor) -> Tensor:
        if self.downsample_conv is not None:
            x = self.downsample_conv(F.avg_pool2d(x, 2))
        if self.change == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        if self.change in ("", "down"):
            x = normalised(x, 1)
        h = self.block1[1](silu(x)) * (self.to_emb(about) + 1)[..., None, None]
        h = mixed(self.block2[2](silu(h)), self.res_conv(x))
        return h if self.attn is None else self.attn(h)


class Attention(nn.Module):
    """x mixed with the attention of every pixel to all, and to the learned keys; all three are normalised."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.heads = max(ceil(width / head_width), 2)
        self.mem_kv = nn.Parameter(torch.randn(2, self.heads, LEARNED_KEYS, head_width))
        self.to_qkv = Conv(width, 3 * self.heads * head_width, 1)
        self.to_out = Conv(self.heads * head_width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, breadth = x.shape
        three = self.to_qkv(x).unflatten(1, (3, self.heads, -1)).flatten(4).transpose(3, 4)
        query, key, value = three.unbind(1)
        learned = self.mem_kv[:, None].expand(-1, n, -1, -1, -1)
        key, value = torch.cat([learned[0], key], 2), torch.cat([learned[1], value], 2)
        query, key, value = normalised(query, 3), normalised(key, 3), normalised(value, 3)
        found = F.scaled_dot_product_attention(query, key, value)
        return mixed(self.to_out(found.transpose(2, 3).reshape(n, -1, height, breadth)), x)
