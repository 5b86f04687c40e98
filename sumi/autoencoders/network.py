"""The networks of an autoencoder of pictures: convolutions that halve, and convolutions that double.

    x ─ 2×2 pixels as channels ─ conv ─ blocks ─ (½ ─ blocks) … ─ norm, silu, conv ─ h
    z ─ conv ─ blocks ─ (×2 ─ blocks) … ─ norm, silu, conv ─ channels as 2×2 pixels ─ x̂

At full resolution there is nothing but the picture: there a convolution costs most. Halving and doubling have a
shortcut without weights: four pixels become four channels, whose means are added to the convolution's output, and back
(Chen et al. 2025, "DC-AE", section 3.2). Nothing in it sees the size of the picture. The layers are lists, of which
`sumi.networks.recompute` computes the activations again.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sumi.networks.convolutional import GROUP_WIDTH, Block
from sumi.networks.layers import group_norm, to_channels_last


class Down(nn.Module):
    """(N, width, H, W) -> (N, out, H/2, W/2)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out, 3, stride=2, padding=1)
        self.out = out

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + F.pixel_unshuffle(x, 2).unflatten(1, (self.out, -1)).mean(2)


class Up(nn.Module):
    """(N, width, H, W) -> (N, out, 2H, 2W)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * out, 3, padding=1)
        self.times = 4 * out // width

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x) + x.repeat_interleave(self.times, 1), 2)


class Encoder(nn.Module):
    """``forward(x: (N, channels, H, W)) -> (N, outputs, H/f, W/f)``, f = 2^levels."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: Sequence[int], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, widths[0], 3, padding=1)]
        for level, width in enumerate(widths):
            layers += [Down(widths[level - 1], width)] if level else []
            layers += [Block(width, norm=True) for _ in range(blocks[level])]
        last = nn.Conv2d(widths[-1], outputs, 3, padding=1)
        self.body = nn.ModuleList([*layers, group_norm(widths[-1], GROUP_WIDTH), nn.SiLU(), last])
        to_channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.body:
            x = layer(x)
        return x


class Decoder(nn.Module):
    """``forward(z: (N, inputs, H, W)) -> (N, channels, f·H, f·W)``: `Encoder` in reverse."""

    def __init__(self, inputs: int, widths: Sequence[int], blocks: Sequence[int], channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(inputs, widths[-1], 3, padding=1)]
        for level in reversed(range(len(widths))):
            layers += [Block(widths[level], norm=True) for _ in range(blocks[level])]
            layers += [Up(widths[level], widths[level - 1])] if level else []
        self.last = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)
        end = [group_norm(widths[0], GROUP_WIDTH), nn.SiLU(), self.last, nn.PixelShuffle(2)]
        self.body = nn.ModuleList([*layers, *end])
        to_channels_last(self)

    def forward(self, z: Tensor) -> Tensor:
        for layer in self.body:
            z = layer(z)
        return z


class PatchDiscriminator(nn.Module):
    """A score for each patch of a picture, (N, C, H, W) -> (N, 1, h, w): real above 0 (Isola et al. 2017).

    ``side``: the shorter one of the pictures; up to three convolutions halve it, and half of it.
    """

    def __init__(self, channels: int, side: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        wider = width
        for _ in range(min(2, side.bit_length() - 4)):
            wider *= 2
            layers += [
                nn.Conv2d(wider // 2, wider, 4, stride=2, padding=1),
                group_norm(wider, GROUP_WIDTH),
                nn.LeakyReLU(0.2),
            ]
        self.body = nn.Sequential(*layers, nn.Conv2d(wider, 1, 3, padding=1))
        to_channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
