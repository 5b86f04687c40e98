"""What one item of the data is: an image of a size, or a vector, and how its values read."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class ImageSpec:
    """What a model of images makes."""

    name: ClassVar[str] = "images"

    channels: int
    height: int
    width: int
    levels: int
    label_names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class VectorSpec:
    """What a model of vectors makes; x = centre + scale · value in the user's units (`sumi.data.vectors`)."""

    name: ClassVar[str] = "vectors"

    dimensions: int
    levels: int | None
    centre: tuple[float, ...] = ()
    scale: float = 1.0
    label_names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int]:
        return (self.dimensions,)

    def as_saved(self, values: Tensor) -> Tensor:
        """Values (N, D) of the model: points as they are, of bits the nearer of -1 and 1."""
        return torch.where(values > 0, 1.0, -1.0).to(values) if self.levels == 2 else values

    def to_units(self, values: Tensor) -> NDArray[np.float64]:
        """Values (N, D) of the model, as saved, in the user's units: float64, as an offset may be large."""
        centre = torch.tensor(self.centre or (0.0,) * self.dimensions, dtype=torch.float64)
        return (centre + self.scale * self.as_saved(values).double()).numpy()


ItemSpec = ImageSpec | VectorSpec
