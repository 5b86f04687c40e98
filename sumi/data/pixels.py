"""The map between pixel levels and the range in which models work.

A pixel takes one of L levels k = 0 .. L-1. The model sees

    x = 2 k / (L - 1) - 1   in [-1, 1],      and back      k = round((x + 1) (L - 1) / 2), clamped to 0 .. L-1.

Levels lie 2/(L-1) apart: the bin width that bits per dimension refer to. They are held as uint8 up to 256 levels, and
as uint16 above.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from numpy.typing import NDArray

from sumi.errors import InputError, SumiError
from sumi.figures.pictures import channels_apart, is_shown

MOST_LEVELS: Final = 2**16


@dataclass(frozen=True)
class PixelRange:
    """Pixels of ``levels`` values (2..65536).

    Raises:
        InputError: ``levels`` is out of that range.
    """

    levels: int = 256

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= MOST_LEVELS:
            raise InputError(f"levels: {self.levels} is out of range; give 2 to {MOST_LEVELS}")

    @property
    def dtype(self) -> torch.dtype:
        """The type that holds the levels."""
        return torch.uint8 if self.levels <= 256 else torch.uint16

    @property
    def bin_width(self) -> float:
        """The distance of two neighbouring levels in [-1, 1]."""
        return 2 / (self.levels - 1)

    def to_model(self, images: NDArray[Any] | torch.Tensor) -> torch.Tensor:
        """Levels (`dtype`) of any shape -> float32 in [-1, 1] of the same shape, on the same device.

        2k - (L-1) is a whole number, so the one division rounds correctly: the ends are exactly -1 and 1, and level k
        and level L-1-k differ in sign only.

        Raises:
            InputError: the images are of another type.
        """
        match images:
            case torch.Tensor():
                levels = images
            case _:
                levels = torch.tensor(images)
        if levels.dtype != self.dtype:
            held = str(self.dtype).removeprefix("torch.")
            raise InputError(f"images: {levels.dtype} are not pixel levels; give {held} in 0..{self.levels - 1}")
        return levels.float().mul_(2).sub_(self.levels - 1).div_(self.levels - 1)

    def to_levels(self, x: torch.Tensor) -> torch.Tensor:
        """Float of any shape -> the nearest level (`dtype`), 0..levels-1. Values outside [-1, 1] take the end level.

        Raises:
            SumiError: ``x`` holds NaN, which no pixel stands for.
        """
        if torch.isnan(x).any():
            raise SumiError("images: hold NaN, which no pixel stands for; look for where the model's output became NaN")
        return x.float().add(1).mul_((self.levels - 1) / 2).round_().clamp_(0, self.levels - 1).to(self.dtype)

    def to_bytes(self, x: torch.Tensor) -> torch.Tensor:
        """Float (…, C, H, W) -> a picture, uint8 0..255: the nearest level, spread over the whole range.

        A picture so shows what the data could hold: 17 greys for the digits. Of other channels than 1 or 3 each is
        shown as a grey image (`channels_apart`).

        Raises:
            SumiError: ``x`` holds NaN.
        """
        levels = self.to_levels(x)
        if self.levels != 256:
            levels = levels.float().mul_(255 / (self.levels - 1)).round_().to(torch.uint8)
        return levels if is_shown(levels) else channels_apart(levels)
