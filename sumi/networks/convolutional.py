"""Convolutional networks from images to vectors and back: the halves of an autoencoder or of a GAN.

    image ─ conv ─ blocks ─ conv, ½ ─ blocks ─ … ─ linear ─ vector
    vector ─ linear ─ … ─ blocks ─ ×2, conv ─ blocks ─ conv ─ image

A block is x + conv(silu(conv(silu(x)))), with group norm before each silu if ``norm``. Its last convolution starts at
zero, so a block starts as the identity and trains without norm (Zhang et al. 2019, "Fixup").
"""

import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.layers import group_norm

GROUP_WIDTH = 16


class Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), (N, width, H, W)."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.norm_in = group_norm(width, GROUP_WIDTH) if norm else nn.Identity()
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = group_norm(width, GROUP_WIDTH) if norm else nn.Identity()
        self.conv_out = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        return x + self.conv_out(F.silu(self.norm_out(h)))


class ImageToVector(nn.Module):
    """``forward(x: (N, C, H, W)) -> (N, outputs)``: ``blocks`` blocks at each of ``widths``, halving between them."""

    def __init__(
        self, shape: tuple[int, int, int], widths: tuple[int, ...], blocks: int, outputs: int, *, norm: bool
    ) -> None:
        super().__init__()
        channels, height, width = shape
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
        for level, now in enumerate(widths):
            if level:
                layers.append(nn.Conv2d(widths[level - 1], now, 3, stride=2, padding=1))
            layers += [Block(now, norm) for _ in range(blocks)]
        self.body = nn.Sequential(*layers, nn.SiLU(), nn.Flatten())
        shrink = 2 ** (len(widths) - 1)
        self.out = nn.Linear(widths[-1] * (height // shrink) * (width // shrink), outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x))


class VectorToImage(nn.Module):
    """``forward(z: (N, inputs)) -> (N, outputs, H, W)``: `ImageToVector` in reverse."""

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, int, int],
        widths: tuple[int, ...],
        blocks: int,
        outputs: int,
        *,
        norm: bool,
    ) -> None:
        super().__init__()
        _, height, width = shape
        shrink = 2 ** (len(widths) - 1)
        self.lowest = widths[-1], height // shrink, width // shrink
        self.into = nn.Linear(inputs, widths[-1] * (height // shrink) * (width // shrink))
        layers: list[nn.Module] = []
        for level in reversed(range(len(widths))):
            layers += [Block(widths[level], norm) for _ in range(blocks)]
            if level:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(widths[level], widths[level - 1], 3, padding=1)]
        last = group_norm(widths[0], GROUP_WIDTH) if norm else nn.Identity()
        self.body = nn.Sequential(*layers, last, nn.SiLU(), nn.Conv2d(widths[0], outputs, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(self.into(z).unflatten(1, self.lowest))


def check_widths(widths: tuple[int, ...], blocks: int) -> None:
    """Raises InputError for widths or blocks that no network can have."""
    if not widths or any(width < 1 or width % GROUP_WIDTH for width in widths):
        raise InputError(f"network.widths: {list(widths)} are not multiples of {GROUP_WIDTH}; give such as 32,64")
    if blocks < 1:
        raise InputError(f"network.blocks: {blocks} is too few; give 1 or more")


def check_size(shape: tuple[int, int, int], widths: tuple[int, ...]) -> None:
    """Raises InputError where images (C, H, W) cannot be halved between the levels."""
    shrink = 2 ** (len(widths) - 1)
    if shape[1] % shrink or shape[2] % shrink:
        raise InputError(
            f"network.widths: {len(widths)} levels halve {len(widths) - 1} times, which images of "
            f"{shape[1]}x{shape[2]} do not allow; give fewer, or set data.size to a multiple of {shrink}"
        )
