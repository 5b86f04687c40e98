"""The U-Net of denoising-diffusion-pytorch (P. Wang, MIT licence), with the names of its tensors.

It differs from ours and from ADM's: channels are normalised at each pixel (RMS norm); every level attends, all but the
lowest linearly in the number of pixels (Shen et al. 2021); and some learned keys and values are attended to as well.

    down    two residual blocks, attention, then four pixels become one (1×1 convolution of them); each block is held
    middle  residual block, attention, residual block
    up      two residual blocks on what was held, attention, then nearest neighbours and a 3×3 convolution

The noise level enters by fixed sines and cosines, or by learned or random ``frequencies`` and itself. A network that is
conditioned on its own x̂_0 of the step before is given zeros, as the library does at the first step.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import ConditionShape

LEARNED_KEYS = 4
"""Keys and values that are learned."""


@dataclass(frozen=True)
class LucidrainsConfig:
    """Shape of such a U-Net."""

    name: ClassVar[str] = "lucidrains"

    width: int = field(default=64, metadata={"most": 16_384, "help": "channels of the first level; even"})
    multiples: tuple[int, ...] = field(default=(1, 2, 4, 8), metadata={"help": "of width in each level"})
    attention: tuple[int, ...] = field(default=(-1,), metadata={"help": "levels with full attention; -1 is the lowest"})
    heads: int = field(default=4, metadata={"most": 1024, "help": "of attention"})
    head_width: int = field(default=32, metadata={"most": 16_384, "help": "channels of a head"})
    embedding: int = field(default=128, metadata={"most": 16_384, "help": "not used: it is conditioned on nothing"})
    first: int = field(default=0, metadata={"most": 16_384, "help": "channels of the first convolution; 0: width"})
    frequencies: int = field(
        default=0, metadata={"most": 16_384, "help": "learned or random ones of the noise level; 0: fixed ones"}
    )
    self_condition: bool = field(default=False, metadata={"help": "whether it takes its own x̂_0 too, here zeros"})

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 2 or not self.multiples or min(*self.multiples, self.heads) < 1:
            raise InputError("network.width: is no even number of 4 or more, or multiples or heads are below 1")

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "Lucidrains":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for sides that cannot be halved between the levels.
        """
        del condition
        factor = 2 ** (len(self.multiples) - 1)
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
            raise InputError(f"network=lucidrains: takes images of multiples of {factor}, not {shape}; give others")
        return Lucidrains(self, shape[0], outputs)


class Lucidrains(nn.Module):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,)) -> (N, outputs · C, H, W)``."""

    def __init__(self, config: LucidrainsConfig, channels: int, outputs: int) -> None:
        super().__init__()
        width, levels = config.width, len(config.multiples)
        first, self.self_condition = config.first or width, config.self_condition
        widths = [first, *(width * multiple for multiple in config.multiples)]
        full = {level % levels for level in config.attention}

        def attention(width: int, level: int) -> nn.Module:
            return (Attention if level in full else LinearAttention)(width, config.heads, config.head_width)

        def residual(width: int, out: int) -> ResidualBlock:
            return ResidualBlock(width, out, 4 * config.width)

        self.init_conv = nn.Conv2d((1 + self.self_condition) * channels, first, 7, padding=3)
        waves, inputs = Sinusoids(width), width
        if config.frequencies:
            waves, inputs = Frequencies(config.frequencies), 2 * config.frequencies + 1
        layers = nn.Linear(inputs, 4 * width), nn.GELU(), nn.Linear(4 * width, 4 * width)
        self.time_mlp = nn.Sequential(waves, *layers)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (own, below) in enumerate(pairwise(widths)):
            last = level == levels - 1
            shrink = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * own, below, 1))
            change = nn.Conv2d(own, below, 3, padding=1) if last else shrink
            parts = (residual(own, own), residual(own, own), attention(own, level), change)
            self.downs.append(nn.ModuleList(parts))
        lowest = widths[-1]
        self.mid_block1, self.mid_block2 = residual(lowest, lowest), residual(lowest, lowest)
        self.mid_attn = Attention(lowest, config.heads, config.head_width)
        for level, (above, own) in reversed([*enumerate(pairwise(widths))]):
            conv = nn.Conv2d(own, above, 3, padding=1)
            change = conv if level == 0 else nn.Sequential(nn.Upsample(scale_factor=2), conv)
            parts = (residual(own + above, own), residual(own + above, own), attention(own, level), change)
            self.ups.append(nn.ModuleList(parts))
        self.final_res_block = residual(2 * first, first)
        self.final_conv = nn.Conv2d(first, outputs * channels, 1)

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        h = first = self.init_conv(torch.cat([torch.zeros_like(x), x], 1) if self.self_condition else x)
        embedding = self.time_mlp(c_noise)
        held = []
        for block1, block2, attention, change in map(_parts, self.downs):
            h = block1(h, embedding)
            held.append(h)
            h = block2(h, embedding)
            h = attention(h) + h
            held.append(h)
            h = change(h)
        h = self.mid_block1(h, embedding)
        h = self.mid_attn(h) + h
        h = self.mid_block2(h, embedding)
        for block1, block2, attention, change in map(_parts, self.ups):
            h = block1(torch.cat([h, held.pop()], 1), embedding)
            h = block2(torch.cat([h, held.pop()], 1), embedding)
            h = attention(h) + h
            h = change(h)
        return self.final_conv(self.final_res_block(torch.cat([h, first], 1), embedding)).to(x.dtype)


def _parts(level: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    block1, block2, attention, change = level.children()
    return block1, block2, attention, change


class Sinusoids(nn.Module):
    """(N,) -> (N, width): sines and cosines of angular frequencies from 1 down to 1e-4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = width // 2

    def forward(self, time: Tensor) -> Tensor:
        exponents = torch.arange(self.pairs, device=time.device) * (-math.log(10_000) / (self.pairs - 1))
        phase = time[:, None] * exponents.exp()
        return torch.cat([phase.sin(), phase.cos()], 1)


class Frequencies(nn.Module):
    """(N,) -> (N, 2 count + 1): itself, and sines and cosines of 2π times it by each of ``weights``."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(count))

    def forward(self, time: Tensor) -> Tensor:
        phase = time[:, None] * self.weights * 2 * math.pi
        return torch.cat([time[:, None], phase.sin(), phase.cos()], 1)


class RMSNorm(nn.Module):
    """Each pixel's channels, divided by their root mean square, times weights ``g``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * self.g * x.shape[1] ** 0.5


class Block(nn.Module):
    """silu of the norm of a convolution, scaled and shifted in between."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(width, out, 3, padding=1), RMSNorm(out)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        h = self.norm(self.proj(x))
        return F.silu(h if scale is None or shift is None else h * (scale + 1) + shift)


class ResidualBlock(nn.Module):
    """Two blocks, the first with the scale and shift that the noise level gives, and x."""

    def __init__(self, width: int, out: int, embedding: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * out))
        self.block1, self.block2 = Block(width, out), Block(out, out)
        self.res_conv = nn.Identity() if width == out else nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.mlp(embedding)[..., None, None].chunk(2, 1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


class LinearAttention(nn.Module):
    """Attention whose softmax is taken of queries and keys apart, so that keys and values meet first."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = RMSNorm(width)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, head_width, LEARNED_KEYS))
        self.to_qkv = nn.Conv2d(width, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * head_width, width, 1), RMSNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, breadth = x.shape
        query, key, value = self.to_qkv(self.norm(x)).unflatten(1, (3, self.heads, -1)).flatten(4).unbind(1)
        learned = self.mem_kv[:, None].expand(-1, n, -1, -1, -1)
        key, value = torch.cat([learned[0], key], 3), torch.cat([learned[1], value], 3)  # (N, heads, width, pixels)
        query = query.softmax(2) * query.shape[2] ** -0.5
        mixed = value @ key.softmax(3).transpose(2, 3) @ query
        return self.to_out(mixed.reshape(n, -1, height, breadth))


class Attention(nn.Module):
    """Attention over all pixels and the learned keys."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = RMSNorm(width)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, LEARNED_KEYS, head_width))
        self.to_qkv = nn.Conv2d(width, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, breadth = x.shape
        three = self.to_qkv(self.norm(x)).unflatten(1, (3, self.heads, -1)).flatten(4).transpose(3, 4)
        query, key, value = three.unbind(1)
        learned = self.mem_kv[:, None].expand(-1, n, -1, -1, -1)
        key, value = torch.cat([learned[0], key], 2), torch.cat([learned[1], value], 2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(mixed.transpose(2, 3).reshape(n, -1, height, breadth))
