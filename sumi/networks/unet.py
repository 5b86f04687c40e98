"""The U-Net: an image network on several scales (Ronneberger et al. 2015; Ho et al. 2020).

    image ─ conv ─ blocks ──────────────── + ─ blocks ─ norm, silu, conv ─ output
                     │                     │
                  conv, ½               1×1, ×2
                     └─ blocks ─────── + ─ blocks
                          │            │
                        conv, ½      1×1, ×2
                          └── blocks ──┘

Going down, each level works at half the resolution and with more channels. Going up, a 1×1 convolution matches the
level's width (before enlarging, at a quarter of the cost), and the result is doubled in size and *added* to the level's
activation on the way down. The way up has one more block at full resolution, which decides detail and where a block
costs most time and fewest weights. The noise level enters every block (`layers.ResidualBlock`).

With ``fourier`` the network also gets sin(2^n π x) and cos(2^n π x) of its input. The condition
(`sumi.networks.condition`) enters as a vector added to the noise embedding, as an image concatenated to the input, and
as tokens by cross-attention after the blocks of the levels ``cross_attention``.

At the start the network is exactly zero: its last convolution, and the last one of every block, start there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.layers import (
    HEAD_WIDTH,
    CrossAttention,
    Modulation,
    NoiseEmbedding,
    ResidualBlock,
    SelfAttention,
    group_norm,
    to_channels_last,
)
from sumi.networks.resolution import LevelsConfig


@dataclass(frozen=True)
class UNetConfig(LevelsConfig):
    """Shape of a U-Net."""

    name: ClassVar[str] = "unet"

    blocks: tuple[int, ...] = field(
        default=(1, 1, 3),
        metadata={
            "most": 1000,
            "help": "residual blocks of each level, down and up; one more going up at full resolution; lowest: once",
        },
    )
    cross_attention: tuple[int, ...] = field(
        default=(-1,), metadata={"help": "levels with cross-attention to the condition's tokens; -1 is the lowest"}
    )
    fourier: tuple[int, ...] = field(
        default=(),
        metadata={"help": "n of the further inputs sin(2^n π x), cos(2^n π x), which resolve fine detail (VDM)"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_attention("attention", self.attention, HEAD_WIDTH)
        if self.cross_attention != (-1,):  # which any width allows
            self.check_attention("cross_attention", self.cross_attention, HEAD_WIDTH, -len(self.widths))
        if any(not 0 <= n <= 8 for n in self.fourier):
            raise InputError(
                f"network.fourier: {list(self.fourier)} are not whole numbers from 0 to 8; give such as 7,8"
            )

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "UNet":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        ``condition``: the shapes of what it is given besides a vector.

        Raises:
            InputError: if these are no images, or their size is too small, see `check_size`.
        """
        channels, _, _ = self.check_images(self.name, shape)
        return UNet(self, channels, outputs, condition or ConditionShape())


class Level(nn.Module):
    """The blocks of one level going down or up, each optionally followed by attention.

    ``forward(x: (N, C, H, W), modulation, condition) -> (N, C, H, W)``; each block takes its (scale, shift) from
    ``modulation``.
    """

    def __init__(self, config: UNetConfig, level: int, blocks: int, token_width: int) -> None:
        super().__init__()
        width = config.widths[level]
        self.blocks = nn.ModuleList(ResidualBlock(width, config.group_width, config.dropout) for _ in range(blocks))
        self.attentions = nn.ModuleList(
            SelfAttention(width, config.group_width) for _ in self.blocks if level in config.attention
        )
        attends = token_width and {level, level - len(config.widths)} & {*config.cross_attention}
        self.cross_attentions = nn.ModuleList(
            CrossAttention(width, config.group_width, token_width) for _ in self.blocks if attends
        )

    def forward(
        self, x: Tensor, modulation: Iterator[tuple[Tensor, Tensor]], condition: NetworkCondition = NOTHING
    ) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x, *next(modulation))
            if self.attentions:
                x = self.attentions[index](x)
            if self.cross_attentions:
                x = self.cross_attentions[index](x, condition.tokens, condition.bias)
        return x


class UNet(nn.Module):
    """A U-Net conditioned on the noise level.

    ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs · C, H, W)``, any H and W that
    `UNetConfig.check_size` accepts (odd and unequal ones too). ``c_noise`` comes from the parameterization, in one of
    the ranges named at `layers.NoiseEmbedding`. A network built for an image or tokens must get them. The output has
    the dtype of ``x``, under autocast too.
    """

    def __init__(
        self, config: UNetConfig, channels: int, outputs: int = 1, condition: ConditionShape | None = None
    ) -> None:
        super().__init__()
        condition = condition or ConditionShape()
        self.config, self.condition = config, condition
        widths = config.widths
        above_lowest = range(len(widths) - 1)
        *down_blocks, lowest_blocks = config.blocks
        up_blocks = [count + (level == 0) for level, count in enumerate(down_blocks)]
        self.noise_embedding = NoiseEmbedding(config.embedding)
        inputs = channels * (1 + 2 * len(config.fourier)) + condition.channels
        self.conv_in = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Level(config, i, down_blocks[i], condition.token_width) for i in above_lowest)
        self.shrink = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 3, stride=2, padding=1) for i in above_lowest)
        self.lowest = Level(config, len(widths) - 1, lowest_blocks, condition.token_width)
        self.enlarge = nn.ModuleList(nn.Conv2d(widths[i + 1], widths[i], 1) for i in above_lowest)
        self.up = nn.ModuleList(Level(config, i, up_blocks[i], condition.token_width) for i in above_lowest)
        self.norm_out = group_norm(widths[0], config.group_width)
        self.conv_out = nn.Conv2d(widths[0], outputs * channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv_out.weight)
        down_widths = [widths[level] for level in above_lowest for _ in range(down_blocks[level])]
        up_widths = [widths[level] for level in reversed(above_lowest) for _ in range(up_blocks[level])]
        block_widths = [*down_widths, *[widths[-1]] * lowest_blocks, *up_widths]
        self.modulation = Modulation(config.embedding, block_widths)
        to_channels_last(self)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.noise_embedding(c_noise)
        if condition.vector is not None:
            embedding = embedding + condition.vector
        modulation = self.modulation.of_blocks(embedding)

        # one-channel images fit both memory layouts, and convolution would then choose the slow one
        h = self.conv_in(self._inputs(x, condition.image)).contiguous(memory_format=torch.channels_last)
        held: list[Tensor] = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            h = blocks(h, modulation, condition)
            held.append(h)
            h = shrink(h)
        h = self.lowest(h, modulation, condition)
        for blocks, enlarge in zip(reversed(self.up), reversed(self.enlarge), strict=True):
            side = held.pop()
            h = side + F.interpolate(enlarge(h), size=side.shape[2:], mode="nearest-exact")
            h = blocks(h, modulation, condition)
        return self.conv_out(F.silu(self.norm_out(h))).to(x.dtype)

    def _inputs(self, x: Tensor, image: Tensor | None) -> Tensor:
        """x, the configured sines and cosines of it (Kingma et al. 2021, appendix C), and the condition's image."""
        phases = [2**n * torch.pi * x for n in self.config.fourier]
        known = [] if image is None else [image.to(x.dtype)]
        parts = [x, *(p.sin() for p in phases), *(p.cos() for p in phases), *known]
        return torch.cat(parts, 1) if len(parts) > 1 else x
