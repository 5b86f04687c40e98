"""The map between pixel levels and the range in which models work.

A pixel takes one of L levels k = 0 .. L-1. The model sees

    x = 2 k / (L - 1) - 1   in [-1, 1],      and back      k = round((x + 1) (L - 1) / 2), clamped to 0 .. L-1.

Levels lie 2/(L-1) apart: the bin width that bits per dimension refer to.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sumi.errors import InputError, SumiError


@dataclass(frozen=True)
class PixelRange:
    """Pixels of ``levels`` values (2..256).

    Raises:
        InputError: ``levels`` is out of that range.
    """

    levels: int = 256

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 256:
            raise InputError(f"levels: {self.levels} is out of range; give 2 to 256")

    @property
    def bin_width(self) -> float:
        """The distance of two neighbouring levels in [-1, 1]."""
        return 2 / (self.levels - 1)

    def to_model(self, images: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """uint8 levels of any shape -> float32 in [-1, 1] of the same shape, on the same device.

        2k - (L-1) is a whole number, so the one division rounds correctly: the ends are exactly -1 and 1, and level k
        and level L-1-k differ in sign only.

        Raises:
            InputError: the images are not uint8.
        """
        match images:
            case torch.Tensor():
                levels = images
            case _:
                levels = torch.tensor(images)
        if levels.dtype != torch.uint8:
            raise InputError(f"images: {levels.dtype} are not pixel levels; give uint8 in 0..{self.levels - 1}")
        return levels.float().mul_(2).sub_(self.levels - 1).div_(self.levels - 1)

    def to_levels(self, x: torch.Tensor) -> torch.Tensor:
        """Float of any shape -> the nearest level, uint8 in 0..levels-1. Values outside [-1, 1] take the end level.

        Raises:
            SumiError: ``x`` holds NaN, which no pixel stands for.
        """
        if torch.isnan(x).any():
            raise SumiError("images: hold NaN, which no pixel stands for; look for where the model's output became NaN")
        return x.float().add(1).mul_((self.levels - 1) / 2).round_().clamp_(0, self.levels - 1).to(torch.uint8)

    def to_bytes(self, x: torch.Tensor) -> torch.Tensor:
        """Float of any shape -> uint8 0..255 for image files: the nearest level, spread over the whole range.

        A picture so shows what the data could hold: 17 greys for the digits.

        Raises:
            SumiError: ``x`` holds NaN.
        """
        levels = self.to_levels(x)
        if self.levels == 256:
            return levels
        return levels.float().mul_(255 / (self.levels - 1)).round_().to(torch.uint8)
