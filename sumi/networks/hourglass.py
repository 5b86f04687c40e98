"""k-diffusion's hourglass transformer (Crowson et al. 2024, "Scalable high-resolution pixel-space image synthesis with
hourglass diffusion transformers"), by its names of their tensors.

    patches ── levels ── merge 2×2 ── … the lowest level … ── split 2×2, mixed with what was held ── levels ── pixels

Queries and keys are of unit length, times a learned scale, and are turned by their place on both axes. A level attends
globally; or each place to the ``neighbours`` × ``neighbours`` nearest, at the border as many further in (Hassani et al.
2023, "Neighborhood attention transformer"); or within windows, which every second block shifts by half of one (Liu et
al. 2021, "Swin transformer"). All norms are of the root mean square; those of the blocks are scaled by the noise level
and the class.
"""

from dataclasses import dataclass, field
from math import log, pi
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition

LEAST = 1e-6
AUGMENTATIONS = 9
"""Numbers that say how a training image was changed; 0 of samples."""


@dataclass(frozen=True)
class HourglassConfig:
    """Shape of such a network. ``depths`` to ``windows``: of each level, from the pixels to the lowest."""

    name: ClassVar[str] = "hourglass"

    patch: int = field(default=4, metadata={"most": 1024, "help": "side of the square of pixels that is one token"})
    depths: tuple[int, ...] = field(default=(2, 4), metadata={"help": "blocks of each level"})
    widths: tuple[int, ...] = field(default=(256, 512), metadata={"help": "width of each level"})
    hidden: tuple[int, ...] = field(default=(768, 1536), metadata={"help": "width of each level's perceptrons"})
    heads: tuple[int, ...] = field(default=(4, 8), metadata={"help": "heads of each level"})
    neighbours: tuple[int, ...] = field(
        default=(7, 0), metadata={"help": "side of the square that each level attends to; 0: all"}
    )
    windows: tuple[int, ...] = field(
        default=(0, 0), metadata={"help": "side of the windows within which each level attends; 0: none"}
    )
    mapping: tuple[int, ...] = field(
        default=(2, 256, 768), metadata={"help": "blocks, width and inner width of what reads the noise level"}
    )
    embedding: int = field(default=1, metadata={"most": 65_536, "help": "the number of classes and one"})

    def __post_init__(self) -> None:
        each = (self.depths, self.widths, self.hidden, self.heads, self.neighbours, self.windows)
        if len({*map(len, each)}) != 1 or not self.depths or len(self.mapping) != 3:
            raise InputError("network.depths: depths, widths, hidden, heads and neighbours are one number a level")
        if self.patch < 1 or any(width % (8 * heads) for width, heads in zip(self.widths, self.heads, strict=True)):
            raise InputError("network.heads: a head is of a multiple of 8 channels; give fewer heads, or a patch")

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "Hourglass":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for sides that patches and levels do not divide.
        """
        del condition
        factor = self.patch * 2 ** (len(self.depths) - 1)
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
            raise InputError(f"network=hourglass: takes images of multiples of {factor}, not {shape}; give others")
        return Hourglass(self, shape[0], outputs * shape[0])


class Mapped(nn.Module):
    """What both transformers of k-diffusion read besides the images: the noise level, no augmentation, and a class."""

    def __init__(self, blocks: int, width: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.time_emb, self.time_in_proj = Frequencies(1, width), nn.Linear(width, width, bias=False)
        self.aug_emb, self.aug_in_proj = Frequencies(AUGMENTATIONS, width), nn.Linear(width, width, bias=False)
        self.class_emb = nn.Embedding(embedding, width) if embedding > 1 else None
        self.mapping = Mapping(blocks, width, hidden)

    def about(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition) -> Tensor:
        """For x (N, C, H, W), c_noise (N,) and one-hot classes, the last of which is none: (N, width), as x's type."""
        found = self.time_in_proj(self.time_emb(c_noise[:, None]).to(x.dtype))
        found = found + self.aug_in_proj(self.aug_emb(x.new_zeros(len(x), AUGMENTATIONS)))
        if self.class_emb is not None:
            none = torch.full((len(x),), self.class_emb.num_embeddings - 1, device=x.device)
            found = found + self.class_emb(none if condition.vector is None else condition.vector.argmax(1))
        return self.mapping(found)


class Hourglass(Mapped):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs, H, W)``."""

    def __init__(self, config: HourglassConfig, channels: int, outputs: int) -> None:
        blocks, width, hidden = config.mapping
        super().__init__(blocks, width, hidden, config.embedding)
        self.config = config
        self.patch_in = Merge(channels, config.widths[0], config.patch)
        each = (config.widths, config.hidden, config.heads, config.neighbours, config.windows)
        rows = [*zip(*each, strict=True)]

        def level(number: int, first: int = 0) -> nn.ModuleList:
            depth = config.depths[number]
            return nn.ModuleList(Layer(*rows[number], k % 2, width) for k in range(first, first + depth))

        levels = [level(number) for number in range(len(rows))]
        again = [level(number, config.depths[number]) for number in range(len(rows) - 1)]
        self.down_levels, self.mid_level = nn.ModuleList(levels[:-1]), levels[-1]
        self.up_levels = nn.ModuleList(again)
        pairs = [*zip(config.widths[:-1], config.widths[1:], strict=True)]
        self.merges = nn.ModuleList(Merge(above, below, 2) for above, below in pairs)
        self.splits = nn.ModuleList(Joined(below, above, 2) for above, below in pairs)
        self.out_norm, self.patch_out = Norm(config.widths[0]), Split(config.widths[0], outputs, config.patch)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        about = self.about(x, c_noise, condition)
        h = self.patch_in(x.movedim(1, -1))
        places, held = positions(h.shape[1], h.shape[2]).to(h), list[tuple[Tensor, Tensor]]()
        for level, merge in zip(self.down_levels, self.merges, strict=True):
            h = _through(level, h, places, about)
            held.append((h, places))
            h, places = merge(h), F.avg_pool2d(places.movedim(-1, 0), 2).movedim(0, -1)
        h = _through(self.mid_level, h, places, about)
        for level, split in [*zip(self.up_levels, self.splits, strict=True)][::-1]:
            own, places = held.pop()
            h = _through(level, split(h, own), places, about)
        return self.patch_out(self.out_norm(h)).movedim(-1, 1)


def _through(level: nn.Module, h: Tensor, places: Tensor, about: Tensor) -> Tensor:
    for layer in level.children():
        h = layer(h, places, about)
    return h


def positions(height: int, width: int) -> Tensor:
    """The centres (height, width, 2) of a grid of squares whose longer side runs from -1 to 1."""
    longer = max(height, width)
    rows, columns = ((2 * torch.arange(n) + 1 - n) / longer for n in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)


def near(n: int, side: int) -> Tensor:
    """Which of n places each attends to along one axis: the ``side`` around it, moved in from the border."""
    places = torch.arange(n)
    first = (places - side // 2).clamp(0, max(n - side, 0))[:, None]
    return (places >= first) & (places < first + side)


def within(n: int, side: int, shift: int) -> Tensor:
    """Those of its window, after all have moved on by ``shift``; what came round from the end stays by itself."""
    places = (torch.arange(n) + shift) % n
    window = torch.where(places < shift, -1, places // side)
    return window[:, None] == window


def over_rms(x: Tensor, scale: Tensor) -> Tensor:
    """x over the root mean square of its last axis, times ``scale``."""
    return x * scale * (x.square().mean(-1, keepdim=True) + LEAST).rsqrt()


class Norm(nn.Module):
    """`over_rms` with a learned scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return over_rms(x, self.scale)


class ScaledNorm(nn.Module):
    """`over_rms` with 1 and what the noise level gives."""

    def __init__(self, width: int, about: int) -> None:
        super().__init__()
        self.linear = nn.Linear(about, width, bias=False)

    def forward(self, x: Tensor, about: Tensor) -> Tensor:
        return over_rms(x, 1 + self.linear(about)[:, None, None])


class Frequencies(nn.Module):
    """(N, D) -> (N, width): cosines and sines of 2π f·x, with f random and kept."""

    weight: Tensor

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(width // 2, inputs))

    def forward(self, x: Tensor) -> Tensor:
        phase = 2 * pi * x @ self.weight.T
        return torch.cat([phase.cos(), phase.sin()], -1)


class Perceptron(nn.Module):
    """A linear layer of two halves, one times the GELU of the other, and a linear layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(width, 2 * hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def transformed(self, x: Tensor) -> Tensor:
        """What is added to x."""
        value, gate = self.up_proj(x).chunk(2, -1)
        return self.down_proj(value * F.gelu(gate))


class MappingBlock(Perceptron):
    """x + perceptron(norm(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden)
        self.norm = Norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.transformed(self.norm(x))


class Mapping(nn.Module):
    """What reads the noise level and the class."""

    def __init__(self, depth: int, width: int, hidden: int) -> None:
        super().__init__()
        self.in_norm, self.out_norm = Norm(width), Norm(width)
        self.blocks = nn.ModuleList(MappingBlock(width, hidden) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_norm(x)
        for block in self.blocks:
            x = block(x)
        return self.out_norm(x)


class FeedForward(Perceptron):
    """x + perceptron(norm(x)), with the scale that the noise level gives."""

    def __init__(self, width: int, hidden: int, about: int) -> None:
        super().__init__(width, hidden)
        self.norm = ScaledNorm(width, about)

    def forward(self, x: Tensor, about: Tensor) -> Tensor:
        return x + self.transformed(self.norm(x, about))


class Turning(nn.Module):
    """Angles from the place on both axes: over all heads from π to 10 π, geometrically (Su et al. 2021, axial)."""

    freqs: Tensor

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        each = head_width // 8
        steps = torch.linspace(log(pi), log(10 * pi), heads * each + 1)[:-1]
        self.register_buffer("freqs", steps.exp().view(each, heads).T.contiguous())

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """x (N, heads, L, D): pairs of the first half of its channels turned by the angles of their place (L, 2)."""
        angles = (places[:, :, None] * self.freqs[:, None, None]).flatten(2)
        first, second, rest = x.tensor_split([angles.shape[-1], 2 * angles.shape[-1]], -1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)


class Attention(nn.Module):
    """See the top of this module. ``shift``: of the windows, 0 or 1 halves of one."""

    def __init__(self, width: int, heads: int, neighbours: int, window: int, shift: int, about: int) -> None:
        super().__init__()
        self.heads, self.neighbours, self.window, self.shift = heads, neighbours, window, shift
        self.norm = ScaledNorm(width, about)
        self.qkv_proj, self.out_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.scale, self.pos_emb = nn.Parameter(torch.full((heads,), 10.0)), Turning(heads, width // heads)

    def _seen(self, n: int) -> Tensor:
        """Which of n places each attends to along one axis: bool (n, n)."""
        if self.window:
            return within(n, self.window, self.shift * (self.window // 2))
        return near(n, self.neighbours or n)

    def forward(self, x: Tensor, places: Tensor, about: Tensor) -> Tensor:
        three = self.qkv_proj(self.norm(x, about)).flatten(1, 2).unflatten(-1, (3, self.heads, -1))
        query, key, value = three.permute(2, 0, 3, 1, 4)
        root = self.scale[:, None, None].sqrt()
        query, key = (
            self.pos_emb(v * root * (v.square().sum(-1, keepdim=True) + LEAST).rsqrt(), places.flatten(0, 1))
            for v in (query, key)
        )
        mask = None
        if self.window or self.neighbours:
            rows, columns = (self._seen(n).to(x.device) for n in places.shape[:2])
            mask = (rows[:, None, :, None] & columns[None, :, None, :]).flatten(2).flatten(0, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, mask, scale=1.0)
        return x + self.out_proj(mixed.transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    """Attention and perceptron."""

    def __init__(
        self, width: int, hidden: int, heads: int, neighbours: int, window: int, shift: int, about: int
    ) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, neighbours, window, shift, about)
        self.ff = FeedForward(width, hidden, about)

    def forward(self, x: Tensor, places: Tensor, about: Tensor) -> Tensor:
        return self.ff(self.self_attn(x, places, about), about)


class Merge(nn.Module):
    """Squares of ``side`` tokens (N, H, W, D) as one each."""

    def __init__(self, width: int, out: int, side: int) -> None:
        super().__init__()
        self.side, self.proj = side, nn.Linear(width * side**2, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squares = x.unflatten(2, (-1, self.side)).unflatten(1, (-1, self.side)).transpose(2, 3)
        return self.proj(squares.flatten(3))


class Split(nn.Module):
    """Each token (N, H, W, D) as a square of ``side``."""

    def __init__(self, width: int, out: int, side: int) -> None:
        super().__init__()
        self.side, self.proj = side, nn.Linear(width, out * side**2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return spread(self.proj(x), self.side)


class Joined(nn.Module):
    """A split, mixed in a learned proportion with what was held."""

    def __init__(self, width: int, out: int, side: int) -> None:
        super().__init__()
        self.side, self.proj = side, nn.Linear(width, out * side**2, bias=False)
        self.fac = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x: Tensor, held: Tensor) -> Tensor:
        return held.lerp(spread(self.proj(x), self.side), self.fac)


def spread(x: Tensor, side: int) -> Tensor:
    """(N, H, W, side² D) as (N, side H, side W, D)."""
    squares = x.unflatten(3, (side, side, -1)).transpose(2, 3)
    return squares.flatten(3, 4).flatten(1, 2)
