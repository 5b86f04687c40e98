"""A network that looks at a picture: convolutions down to a small map, which is read place by place.

    picture ─ convolution ─ residual blocks, halved twice ─ norm, SiLU ─ 4×4 means ─ linear, SiLU ─ features

A block is x + convolution(silu(convolution(silu(norm(x))))), and starts as the identity. A side of 64 pixels is halved
three times, to 8 places; larger pictures are averaged over small squares first, and smaller ones halved less often.
Group norm treats every picture alone, so its features do not depend on the others of a batch.
"""

from dataclasses import dataclass, field
from math import ceil, log2
from typing import ClassVar, Final

import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.layers import group_norm, to_channels_last

GROUP_WIDTH: Final = 16
LEAST_SIDE: Final = 4
GRID: Final = 4
"""The map is read in means of its 4×4 parts."""
HALVINGS: Final = 3


@dataclass(frozen=True)
class VisionConfig:
    """Shape of a network that looks at pictures."""

    name: ClassVar[str] = "vision"

    widths: tuple[int, ...] = field(
        default=(32, 64, 128), metadata={"help": f"channels of the three levels; multiples of {GROUP_WIDTH}"}
    )
    blocks: tuple[int, ...] = field(default=(1, 2, 2), metadata={"most": 100, "help": "residual blocks of each level"})
    features: int = field(default=256, metadata={"most": 65_536, "help": "numbers that it gives, 1 or more"})

    def __post_init__(self) -> None:
        if len(self.widths) != HALVINGS or any(width < 1 or width % GROUP_WIDTH for width in self.widths):
            raise InputError(
                f"network.widths: {self.widths} are not {HALVINGS} multiples of {GROUP_WIDTH}; give such as 32,64,128"
            )
        if len(self.blocks) != HALVINGS or min(self.blocks) < 0:
            raise InputError(
                f"network.blocks: {self.blocks} are not {HALVINGS} numbers of 0 or more; give such as 1,2,2"
            )
        if self.features < 1:
            raise InputError(f"network.features: {self.features} is too few; give 1 or more")

    def build(self, shape: tuple[int, ...]) -> "Vision":
        """A new network for pictures of ``shape`` = (C, H, W). Raises InputError for anything else."""
        self.check(shape)
        channels, height, width = shape
        return Vision(self, (channels, height, width))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises InputError for a shape that is none of pictures, or too small."""
        if len(shape) != 3:
            raise InputError("data.source: holds no images, and this network looks at pictures; give images")
        _, height, width = shape
        if min(height, width) < LEAST_SIDE:
            raise InputError(f"data.size: {width}x{height} is too small; give {LEAST_SIDE} pixels or more")


class Vision(nn.Module):
    """``forward(x: (N, C, H, W)) -> (N, features)``; see the module docstring."""

    def __init__(self, config: VisionConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *sides = shape
        self.features = config.features
        halvings = max(0, ceil(log2(min(sides) / 8)))
        layers: list[nn.Module] = []
        if halvings > HALVINGS:
            layers.append(nn.AvgPool2d(2 ** (halvings - HALVINGS)))
        width = channels
        for level, (wider, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            halved = HALVINGS - level <= halvings
            layers.append(nn.Conv2d(width, wider, 5 if level == 0 else 3, 2 if halved else 1, 2 if level == 0 else 1))
            layers += [Block(wider) for _ in range(blocks)]
            width = wider
        self.body = nn.Sequential(*layers, group_norm(width, GROUP_WIDTH), nn.SiLU())
        self.read = nn.Linear(GRID**2 * width, config.features)
        to_channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        h = F.adaptive_avg_pool2d(self.body(x), GRID)
        return F.silu(self.read(h.flatten(1)))


class Block(nn.Module):
    """x + convolution(silu(convolution(silu(norm(x))))); ``forward(x: (N, C, H, W)) -> (N, C, H, W)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = group_norm(width, GROUP_WIDTH)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_out(F.silu(self.conv_in(F.silu(self.norm(x)))))
