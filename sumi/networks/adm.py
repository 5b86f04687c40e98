"""The ADM U-Net of guided diffusion (Dhariwal & Nichol 2021, section 3 and appendix).

    image ─ conv ─ (block, attention) … ─┬─ … (block, attention), one more ─ norm, silu, conv ─ output
                         │               │ skip connections, concatenated
                     block, ½        block, ×2
                         └─ (block, attention) … ─┬─ …
                                    └─ block, attention, block ─┘

Compared with the U-Net of `sumi.networks.unet`: *every* activation on the way down, after the first convolution and
after each block, is concatenated to the input of a block on the way up, so a level has one more block up than down;
resolution changes inside residual blocks, in both branches (Brock et al. 2019); and attention, in heads of 64 channels,
is at several resolutions. The noise level and the condition enter every block by adaptive group norm. At equal widths a
training step takes two to three times as long.

`Encoder` is the way down and the middle, shared with the classifier (`sumi.networks.classifier`).

At the start the network is exactly zero: its last convolution, and the last one of every block, start there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.layers import (
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
class EncoderConfig(LevelsConfig):
    """Shape of the encoder: the way down and the middle."""

    blocks: tuple[int, ...] = field(
        default=(1, 1, 1),
        metadata={"most": 1000, "help": "residual blocks of each level going down, one more each going up"},
    )
    attention: tuple[int, ...] = field(
        default=(1, 2), metadata={"help": "levels whose blocks are followed by self-attention; the middle always is"}
    )
    head_width: int = field(default=64, metadata={"help": "channels of one attention head"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_width < 1 or self.widths[-1] % self.head_width:
            raise InputError(
                f"network.head_width: {self.head_width} does not divide {self.widths[-1]}, the lowest level's width; "
                "give one that does, such as 32"
            )
        self.check_attention("attention", self.attention, self.head_width)


@dataclass(frozen=True)
class ADMConfig(EncoderConfig):
    """Shape of an ADM U-Net."""

    name: ClassVar[str] = "adm"

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "ADM":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        ``condition``: the shapes of what it is given besides a vector.

        Raises:
            InputError: if these are no images, or their size is too small, see `check_size`.
        """
        channels, _, _ = self.check_images(self.name, shape)
        return ADM(self, channels, outputs, condition or ConditionShape())


class Block(nn.Module):
    """A residual block, optionally followed by self-attention and then cross-attention to any tokens.

    ``forward(x: (N, C, H, W), modulation, condition, size=None) -> (N, C', H', W')``.
    """

    def __init__(
        self, config: EncoderConfig, width: int, out: int, attends: bool = False, token_width: int = 0
    ) -> None:
        super().__init__()
        self.out = out
        self.residual = ResidualBlock(width, config.group_width, config.dropout, out)
        self.attention = SelfAttention(out, config.group_width, config.head_width) if attends else None
        looks = attends and token_width
        self.cross = CrossAttention(out, config.group_width, token_width, config.head_width) if looks else None

    def forward(
        self,
        x: Tensor,
        modulation: Iterator[tuple[Tensor, Tensor]],
        condition: NetworkCondition = NOTHING,
        size: Sequence[int] | None = None,
    ) -> Tensor:
        x = self.residual(x, *next(modulation), size)
        if self.attention is not None:
            x = self.attention(x)
        if self.cross is not None:
            x = self.cross(x, condition.tokens, condition.bias)
        return x


class Encoder(nn.Module):
    """The way down and the middle: ``forward(x: (N, inputs, H, W), modulation, condition) -> (h, held)``.

    ``held``: the outputs of the first convolution and of every block on the way down, in order, with ``held_widths``
    channels; h is the lowest level's. ``block_widths``: the channels that ``modulation`` scales, block by block.
    """

    def __init__(self, config: EncoderConfig, inputs: int, token_width: int = 0) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.levels, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.held_widths, width = [widths[0]], widths[0]
        for level, (out, count) in enumerate(zip(widths, config.blocks, strict=True)):
            blocks = nn.ModuleList()
            for _ in range(count):
                blocks.append(Block(config, width, out, level in config.attention, token_width))
                width = out
                self.held_widths.append(out)
            self.levels.append(blocks)
            if level < len(widths) - 1:
                self.shrink.append(Block(config, out, out))
                self.held_widths.append(out)
        self.middle = nn.ModuleList([Block(config, width, width, True, token_width), Block(config, width, width)])
        self.block_widths = [*self.held_widths[1:], width, width]

    def forward(
        self, x: Tensor, modulation: Iterator[tuple[Tensor, Tensor]], condition: NetworkCondition = NOTHING
    ) -> tuple[Tensor, list[Tensor]]:
        # One-channel images and their weights have either layout, and convolution then takes the slow one.
        h = self.conv_in(x).contiguous(memory_format=torch.channels_last)
        held = [h]
        for level, blocks in enumerate(self.levels):
            if level:
                h = self.shrink[level - 1](h, modulation, size=[(side + 1) // 2 for side in h.shape[2:]])
                held.append(h)
            for block in blocks.children():
                h = block(h, modulation, condition)
                held.append(h)
        for block in self.middle:
            h = block(h, modulation, condition)
        return h, held


class ADM(nn.Module):
    """An ADM U-Net conditioned on the noise level.

    ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs · C, H, W)``, any H and W that
    `LevelsConfig.check_size` accepts (odd and unequal ones too). ``c_noise`` comes from the parameterization, in one of
    the ranges named at `layers.NoiseEmbedding`. A network built for an image or tokens must get them; cross-attention
    to tokens follows every self-attention. The output has the dtype of ``x``, under autocast too.
    """

    def __init__(
        self, config: ADMConfig, channels: int, outputs: int = 1, condition: ConditionShape | None = None
    ) -> None:
        super().__init__()
        condition = condition or ConditionShape()
        self.config = config
        self.noise_embedding = NoiseEmbedding(config.embedding)
        self.encoder = Encoder(config, channels + condition.channels, condition.token_width)
        self.levels, self.enlarge = nn.ModuleList(), nn.ModuleList()
        held, width = list(self.encoder.held_widths), config.widths[-1]
        up_widths: list[int] = []
        for level in reversed(range(len(config.widths))):
            out, attends = config.widths[level], level in config.attention
            blocks = nn.ModuleList()
            for _ in range(config.blocks[level] + 1):
                blocks.append(Block(config, width + held.pop(), out, attends, condition.token_width))
                width = out
            self.levels.append(blocks)
            up_widths += [out] * len(blocks)
            if level:
                self.enlarge.append(Block(config, out, out))
                up_widths.append(out)
        self.norm_out = group_norm(width, config.group_width)
        self.conv_out = nn.Conv2d(width, outputs * channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv_out.weight)
        self.modulation = Modulation(config.embedding, [*self.encoder.block_widths, *up_widths])
        to_channels_last(self)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.noise_embedding(c_noise)
        if condition.vector is not None:
            embedding = embedding + condition.vector
        modulation = self.modulation.of_blocks(embedding)
        inputs = x if condition.image is None else torch.cat([x, condition.image.to(x.dtype)], 1)
        h, held = self.encoder(inputs, modulation, condition)
        for index, blocks in enumerate(self.levels):
            if index:
                h = self.enlarge[index - 1](h, modulation, size=held[-1].shape[2:])
            for block in blocks.children():
                h = block(torch.cat([h, held.pop()], 1), modulation, condition)
        return self.conv_out(F.silu(self.norm_out(h))).to(x.dtype)
