"""Where a model's denoiser lives: in the data's own space, or in an autoencoder's latents (Rombach et al. 2022)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sumi.autoencoders.autoencoder import Autoencoder
from sumi.autoencoders.mdct import BandScale
from sumi.autoencoders.preview import LinearPreview
from sumi.autoencoders.scale import LatentScale
from sumi.autoencoders.tiling import tiled
from sumi.errors import InputError
from sumi.models.autoencoder import TILE


class Space(Protocol):
    """The way between items as they are seen and as they are denoised.

    Attributes:
        shape: of one item as it is denoised.
        factor: how many pixels a side's element stands for.
        bounded: whether values are limited to [-1, 1].
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def factor(self) -> int: ...

    @property
    def bounded(self) -> bool: ...

    def encode(self, x: Tensor) -> Tensor:
        """Items (N, …) as they are denoised."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """The way back, which can be differentiated."""
        ...

    def glimpse(self, z: Tensor) -> Tensor:
        """Pictures of states z on the way, which cost less than to decode them."""
        ...

    def refuse(self, what: str) -> None:
        """Raises InputError in latents, where ``what`` has no meaning."""
        ...


@dataclass(frozen=True)
class DataSpace:
    """The data as they are."""

    shape: tuple[int, ...]
    bounded: bool
    factor: int = 1

    def encode(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """z itself."""
        return z

    def glimpse(self, z: Tensor) -> Tensor:
        """z itself."""
        return z

    def refuse(self, what: str) -> None:
        """Nothing is refused."""


@dataclass(frozen=True)
class AffineSpace:
    """The data as ``scale`` · x[``channels``] + ``shift``; without channels in their own order."""

    shape: tuple[int, ...]
    scale: float
    shift: float
    channels: tuple[int, ...]
    bounded: bool = False
    factor: int = 1

    def encode(self, x: Tensor) -> Tensor:
        """Items (N, …) so."""
        return self.scale * (x[:, list(self.channels)] if self.channels else x) + self.shift

    def decode(self, z: Tensor) -> Tensor:
        """The way back."""
        x = (z - self.shift) / self.scale
        return x[:, [self.channels.index(c) for c in range(len(self.channels))]] if self.channels else x

    def glimpse(self, z: Tensor) -> Tensor:
        """As `decode`."""
        return self.decode(z)

    def refuse(self, what: str) -> None:
        """See `Space.refuse`."""
        raise InputError(f"autoencoder: {what} is of data in [-1, 1], and this model has them in another range")


@dataclass(frozen=True)
class LatentSpace:
    """Standardised latents of ``autoencoder``; pictures larger than a tile are encoded and decoded in tiles."""

    shape: tuple[int, ...]
    autoencoder: Autoencoder
    scale: LatentScale
    preview: LinearPreview | None = None
    bounded: bool = False

    @property
    def factor(self) -> int:
        return self.autoencoder.factor

    def encode(self, x: Tensor) -> Tensor:
        """The mean latents of images (N, C, H, W). Raises InputError for sides that the factor does not divide."""
        height, width = x.shape[2:]
        if height % self.factor or width % self.factor:
            raise InputError(
                f"images: are of {height}x{width}, and this model's autoencoder takes multiples of {self.factor}; "
                "resize them"
            )
        return self.scale(self._of_tiles(self.autoencoder.encode, x, TILE))

    def decode(self, z: Tensor) -> Tensor:
        """Images in [-1, 1]."""
        return self._of_tiles(self.autoencoder.decode, self.scale.inverse(z), TILE // self.factor)

    def glimpse(self, z: Tensor) -> Tensor:
        """The autoencoder's linear preview, a square of one colour a latent; decoded where it has none."""
        if self.preview is None:
            return self.decode(z)
        small = self.preview(self.scale.inverse(z))
        return small.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)

    def refuse(self, what: str) -> None:
        """See `Space.refuse`."""
        raise InputError(
            f"autoencoder: {what} of pixels is not known to a model of latents; use one of pixels, or take the bound "
            "of sumi nll"
        )

    @staticmethod
    def _of_tiles(function: Callable[[Tensor], Tensor], x: Tensor, tile: int) -> Tensor:
        return tiled(function, x, tile, tile // 4)


@dataclass(frozen=True)
class BandSpace:
    """Sound as its transform (`sumi.autoencoders.mdct`)."""

    scale: BandScale
    bounded: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.scale.shape

    @property
    def factor(self) -> int:
        """Samples a block."""
        return self.scale.shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """Of sound (N, 1, L)."""
        return self.scale(x)

    def decode(self, z: Tensor) -> Tensor:
        """Sound."""
        return self.scale.inverse(z)

    def glimpse(self, z: Tensor) -> Tensor:
        """Sound."""
        return self.scale.inverse(z)

    def refuse(self, what: str) -> None:
        """See `Space.refuse`."""
        raise InputError(f"autoencoder: {what} of sound is not known to a model of its transform; use diffwave")
