"""Images: their shape, their levels, and how they are plotted and written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import log, prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.boundary.arguments import whole
from sumi.data.archives import write_archive
from sumi.data.config import DataConfig
from sumi.data.decode import LARGEST_PIXELS
from sumi.data.files import Writing, write_samples
from sumi.data.pixels import PixelRange
from sumi.data.spec import Unit, describe, states
from sumi.errors import InputError
from sumi.figures.pictures import animation, image_grid, png, strip


@dataclass(frozen=True)
class ImageSpec:
    """Images (C, H, W) of ``levels`` values a pixel, in [-1, 1].

    ``ends``: what the lowest and the highest level stand for in the data's own units (`sumi.data.arrays`); None where
    these are the levels themselves.
    """

    name: ClassVar[str] = "images"
    defaults: ClassVar[tuple[str, ...]] = ()  # what recipes name is for images
    together: ClassVar[bool] = False
    previewed: ClassVar[int] = 16

    channels: int
    height: int
    width: int
    levels: int
    label_names: tuple[str, ...]
    ends: tuple[float, float] | None = field(default=None, metadata={"later": True})

    def __post_init__(self) -> None:
        for name, number in (("channels", self.channels), ("height", self.height), ("width", self.width)):
            whole(name, number, least=1, most=LARGEST_PIXELS)
        _ = self.pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @property
    def pixels(self) -> PixelRange:
        """How images become pixels."""
        return PixelRange(self.levels)

    @property
    def as_files(self) -> bool:
        """Whether an image file holds such an image: grey or in colour, of 8 bits."""
        return self.channels in (1, 3) and self.levels <= 256 and self.ends is None

    @property
    def unit(self) -> Unit:
        """Bits per dimension of pixels."""
        dimensions = prod(self.shape)
        about = f"{dimensions} dimensions, bins of width 2/{self.levels - 1} in [-1, 1]"
        return Unit("bits/dim", about, dimensions * log(2))

    def describe(self) -> str:
        return describe(self) + (f", values {self.ends[0]:g} to {self.ends[1]:g}" if self.ends else "")

    def to_units(self, x: Tensor) -> NDArray[Any]:
        """Images (N, C, H, W) of the model in the data's own units: the type of whole numbers that holds their range,
        or float32. Raises SumiError where ``x`` holds NaN."""
        levels = self.pixels.to_levels(x).numpy()
        if self.ends is None:
            return levels
        low, high = self.ends
        if low.is_integer() and high - low == self.levels - 1:
            types = (np.uint8, np.uint16, np.int16, np.int32, np.int64)
            holding = next(t for t in types if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
            return (levels.astype(np.int64) + int(low)).astype(holding)
        return (low + levels.astype(np.float64) * ((high - low) / (self.levels - 1))).astype(np.float32)

    def of_units(self, values: NDArray[Any]) -> Tensor:
        """The inverse of `to_units`: float32 in [-1, 1]."""
        low, high = self.ends or (0, self.levels - 1)
        return torch.from_numpy((2 * (values.astype(np.float64) - low) / (high - low) - 1).astype(np.float32))

    def clamp(self, x: Tensor) -> Tensor:
        """To [-1, 1]."""
        return x.clamp(-1, 1)

    def finish(self, x: Tensor) -> Tensor:
        """To the levels of the data."""
        return self.pixels.to_model(self.pixels.to_levels(x))

    def picture(self, x: Tensor, title: str, captions: Sequence[str] | None = None) -> bytes:
        """A grid, which has no title."""
        del title
        return png(image_grid(self.pixels.to_bytes(x).numpy(), captions=captions))

    def strip(self, t: Sequence[float], x: Tensor) -> bytes:
        """States (K, C, H, W) of one image, its times below."""
        times, few = states(t, x, 10)
        return png(strip(self.pixels.to_bytes(few), labels=[f"t = {time:.2f}" for time in times]))

    def animation(self, t: Sequence[float], x: Tensor) -> bytes:
        """Up to 60 states (K, C, H, W) of one image, enlarged to about 256 pixels."""
        many = self.pixels.to_bytes(states(t, x, 60)[1])
        scale = max(1, 256 // many.shape[-1])
        return animation([image_grid(frame[None], columns=1, scale=scale) for frame in many])

    def write(self, folder: Path, make: Callable[[range], Tensor], indices: range, how: Writing) -> str:
        """One PNG an image or one file of all, and grid.png; of what image files cannot hold, one .npy in the data's
        own units. See `DataSpec.write`, `write_samples`, `write_archive`."""
        form: str = how.format or ("png" if self.as_files else "npy")
        if not self.as_files and form not in ("npy", "npz"):
            raise InputError(
                f"format: {form} holds grey or colour images of 8 bits, and these have {self.channels} channels of "
                f"{self.levels} levels; give npy or npz"
            )
        how = replace(how, format=form)
        if form == "png":
            end, there = write_samples(folder, lambda batch: self.pixels.to_bytes(make(batch)), indices, how)
        elif self.as_files:
            end, there = write_archive(
                folder, lambda batch: self.pixels.to_bytes(make(batch)), indices, how, self.label_names
            )
        else:
            end, there = write_archive(
                folder,
                lambda batch: torch.from_numpy(self.to_units(make(batch))),
                indices,
                how,
                self.label_names,
                shown=lambda values: self.pixels.to_bytes(self.of_units(values)).numpy(),
            )
        own = len(how.share(indices))
        before = f" ({there} of them were there)" if there else ""
        made = f"{own:,} image{'s' if own != 1 else ''}{before}"
        made += "" if how.shard[1] == 1 else f" of shard {how.shard[0]}/{how.shard[1]}"
        last = "grid.png" if form == "png" else f"samples.{form}"
        return f"{made} and {end}" if end else f"{made}; the shard that ends last writes {last}"

    def reading(self, config: DataConfig) -> DataConfig:
        """In the size, the channels and the units of the model."""
        return replace(config, size=(self.height, self.width), reduce=1, channels=self.channels, range=self.ends)

    def reduced(self, factor: int) -> "ImageSpec":
        """Of images whose sides are ``factor`` times smaller. Raises InputError where it does not divide them."""
        if self.height % factor or self.width % factor:
            raise InputError(f"data.reduce: {factor} does not divide the sides, {self.height} and {self.width}")
        return replace(self, height=self.height // factor, width=self.width // factor)
