"""The U-Net of guided-diffusion and improved-diffusion (Dhariwal & Nichol 2021; Nichol & Dhariwal 2021), with the names
of their tensors; EDM's "ADM" is one too.

    noise level   cosines and sines, linear, silu, linear, plus the row of the class: e
    block         x + conv(silu(norm(conv(silu(norm(x)))), with e added, or as scale and shift of the second norm
    levels        `blocks` blocks, each followed by attention at some levels; then half the side, by a block, by a
                  convolution of stride 2, or by the mean of four pixels
    up            one block more in each level, on everything that was held; then twice the side by nearest neighbours

Query, key and value of attention lie in their tensor as (heads, 3, width), or in the ``new_order`` (3, heads, width);
no tensor tells which. `GuidedEncoder` is the way down and the middle, shared with the classifier
(`sumi.networks.guided_classifier`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition

GROUPS = 32
Resizing = Literal["block", "convolution", "none"]


@dataclass(frozen=True)
class GuidedEncoderConfig:
    """Shape of the way down and the middle."""

    width: int = field(default=128, metadata={"most": 16_384, "help": "of the sines and cosines; even"})
    widths: tuple[int, ...] = field(default=(128, 256, 384, 512), metadata={"help": "channels of each level"})
    blocks: int = field(default=2, metadata={"most": 1000, "help": "residual blocks of each level going down"})
    attention: tuple[int, ...] = field(default=(1, 2, 3), metadata={"help": "levels with attention"})
    heads: int = field(default=0, metadata={"most": 1024, "help": "of attention; 0: of head_width channels each"})
    head_width: int = field(default=64, metadata={"most": 16_384, "help": "channels of a head where heads is 0"})
    new_order: bool = field(
        default=False, metadata={"help": "query, key and value, then heads (use_new_attention_order); else heads first"}
    )
    resizing: Resizing = field(
        default="block", metadata={"help": "what has the weights that change the side: block (resblock_updown) …"}
    )
    scale_shift: bool = field(
        default=True, metadata={"help": "whether the noise level scales and shifts (use_scale_shift_norm), or is added"}
    )
    group_width: int = field(
        default=1, metadata={"most": 16_384, "help": "least channels of a group of a norm, of which there are up to 32"}
    )

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2 or not self.widths or min(self.blocks, self.group_width, *self.widths) < 1:
            raise InputError("network.width: is no even number, or widths, blocks or group_width are below 1")
        for level in {*self.attention, len(self.widths) - 1}:
            if level not in range(len(self.widths)):
                raise InputError(f"network.attention: {level} is no level; there are {len(self.widths)}, from 0")
            self.check_heads(self.widths[level], self.heads)

    def check_heads(self, width: int, heads: int) -> int:
        """The heads in ``width`` channels. Raises InputError where they do not divide them."""
        found = heads or width // self.head_width
        if found < 1 or width % found or (not heads and width % self.head_width):
            raise InputError(
                f"network.heads: {width} channels are not of {heads or 'any'} heads"
                f"{'' if heads else f' of {self.head_width}'}; set network.heads or network.head_width"
            )
        return found

    def check_images(self, name: str, shape: tuple[int, ...]) -> None:
        """Raises InputError for other data, and for sides that cannot be halved between the levels."""
        factor = 2 ** (len(self.widths) - 1)
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
            raise InputError(f"network={name}: takes images of multiples of {factor}, not {shape}; give others")


@dataclass(frozen=True)
class GuidedConfig(GuidedEncoderConfig):
    """Shape of such a U-Net."""

    name: ClassVar[str] = "guided"

    up_heads: int = field(default=0, metadata={"most": 1024, "help": "of attention going up; 0: as going down"})
    embedding: int = field(default=1, metadata={"most": 65_536, "help": "the number of classes and one"})

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "Guided":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for sides that cannot be halved between the levels.
        """
        del condition
        self.check_images(self.name, shape)
        return Guided(self, shape[0], outputs * shape[0])


class Residual(nn.Module):
    """A block. ``change``: what halves or doubles the side in both branches."""

    def __init__(
        self, config: GuidedEncoderConfig, width: int, out: int, change: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.change, self.scale_shift = change, config.scale_shift
        about = (1 + config.scale_shift) * out
        self.in_layers = nn.Sequential(norm(config, width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * config.width, about))
        last = nn.Conv2d(out, out, 3, padding=1)
        self.out_layers = nn.Sequential(norm(config, out), nn.SiLU(), nn.Identity(), last)
        self.skip_connection = nn.Identity() if width == out else nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        first, silu, conv = self.in_layers
        h = silu(first(x))
        if self.change is not None:
            h, x = self.change(h), self.change(x)
        h = conv(h)
        about = self.emb_layers(embedding)[..., None, None]
        if self.scale_shift:
            scale, shift = about.chunk(2, 1)
            second, *rest = self.out_layers
            h = torch.addcmul(shift, second(h), 1 + scale)
            for layer in rest:
                h = layer(h)
        else:
            h = self.out_layers(h + about)
        return self.skip_connection(x) + h


class Attention(nn.Module):
    """x and the attention of every pixel to all."""

    def __init__(self, config: GuidedEncoderConfig, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.new_order = config.check_heads(width, heads), config.new_order
        self.norm = norm(config, width)
        self.qkv, self.proj_out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        mixed = attended(self.qkv(self.norm(flat)), self.heads, self.new_order)
        return (flat + self.proj_out(mixed)).view_as(x)


def attended(three: Tensor, heads: int, new_order: bool) -> Tensor:
    """(N, 3 C, L) of query, key and value -> (N, C, L)."""
    order = (3, heads, -1) if new_order else (heads, 3, -1)
    query, key, value = three.unflatten(1, order).transpose(3, 4).unbind(1 if new_order else 2)
    return F.scaled_dot_product_attention(query, key, value).transpose(2, 3).flatten(1, 2)


class Resize(nn.Module):
    """A convolution that changes the side: of stride 2 going down (``op``), after nearest neighbours going up."""

    def __init__(self, width: int, up: bool) -> None:
        super().__init__()
        self.up = up
        layer = nn.Conv2d(width, width, 3, stride=1 if up else 2, padding=1)
        self.add_module("conv" if up else "op", layer)

    def forward(self, x: Tensor) -> Tensor:
        (layer,) = self.children()
        return layer(double(x) if self.up else x)


class Plain(nn.Module):
    """A change of the side without weights."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


def halve(x: Tensor) -> Tensor:
    """The mean of squares of four pixels."""
    return F.avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    """Each pixel as a square of four."""
    return F.interpolate(x, scale_factor=2.0)


def norm(config: GuidedEncoderConfig, width: int) -> nn.GroupNorm:
    """A group norm of up to 32 groups."""
    return nn.GroupNorm(min(GROUPS, width // config.group_width), width)


def resized(config: GuidedEncoderConfig, width: int, up: bool) -> nn.Module:
    """What changes the side between two levels."""
    match config.resizing:
        case "block":
            return Residual(config, width, width, double if up else halve)
        case "convolution":
            return Resize(width, up)
        case "none":
            return Plain(double if up else halve)


def through(block: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    """h after the modules of a ``block``."""
    for layer in block.children():
        h = layer(h, embedding) if isinstance(layer, Residual) else layer(h)
    return h


def sinusoids(time: Tensor, width: int) -> Tensor:
    """(N,) -> (N, width): cosines and sines of angular frequencies from 1 down to nearly 1e-4."""
    pairs = width // 2
    exponents = torch.arange(pairs, device=time.device, dtype=time.dtype) * (-math.log(10_000) / pairs)
    phase = time[:, None] * exponents.exp()
    return torch.cat([phase.cos(), phase.sin()], 1)


class GuidedEncoder(nn.Module):
    """The noise level, the way down and the middle. ``held_widths``: channels of what each block down gives."""

    def __init__(self, config: GuidedEncoderConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.time_embed = nn.Sequential(
            nn.Linear(config.width, 4 * config.width), nn.SiLU(), nn.Linear(4 * config.width, 4 * config.width)
        )
        width = config.widths[0]
        blocks, self.held_widths = [nn.Sequential(nn.Conv2d(channels, width, 3, padding=1))], [width]
        for level, out in enumerate(config.widths):
            for _ in range(config.blocks):
                attends = [Attention(config, out, config.heads)] if level in config.attention else []
                blocks.append(nn.Sequential(Residual(config, width, out), *attends))
                self.held_widths.append(width := out)
            if level < len(config.widths) - 1:
                blocks.append(nn.Sequential(resized(config, width, up=False)))
                self.held_widths.append(width)
        self.input_blocks = nn.ModuleList(blocks)
        attention = Attention(config, width, config.heads)
        self.middle_block = nn.Sequential(Residual(config, width, width), attention, Residual(config, width, width))

    def down(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the middle gives, and what each block of the way down does."""
        h, held = x, list[Tensor]()
        for block in self.input_blocks:
            h = through(block, h, embedding)
            held.append(h)
        return through(self.middle_block, h, embedding), held


class Guided(GuidedEncoder):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs, H, W)``."""

    def __init__(self, config: GuidedConfig, channels: int, outputs: int) -> None:
        super().__init__(config, channels)
        classes = config.embedding - 1
        self.label_emb = nn.Embedding(classes, 4 * config.width) if classes else None
        width, held, blocks = config.widths[-1], list(self.held_widths), list[nn.Module]()
        for level in reversed(range(len(config.widths))):
            out = config.widths[level]
            for number in range(config.blocks + 1):
                layers: list[nn.Module] = [Residual(config, width + held.pop(), out)]
                if level in config.attention:
                    layers.append(Attention(config, out, config.up_heads or config.heads))
                if level and number == config.blocks:
                    layers.append(resized(config, out, up=True))
                blocks.append(nn.Sequential(*layers))
                width = out
        self.output_blocks = nn.ModuleList(blocks)
        self.out = nn.Sequential(norm(config, width), nn.SiLU(), nn.Conv2d(width, outputs, 3, padding=1))

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.time_embed(sinusoids(c_noise, self.config.width).to(x.dtype))
        if self.label_emb is not None and condition.vector is not None:  # one-hot; the last place is "no class"
            embedding = embedding + condition.vector[:, :-1].to(x.dtype) @ self.label_emb.weight
        h, held = self.down(x, embedding)
        for block in self.output_blocks:
            h = through(block, torch.cat([h, held.pop()], 1), embedding)
        return self.out(h).to(x.dtype)
