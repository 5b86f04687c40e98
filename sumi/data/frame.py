"""How a picture of any size becomes one of a given size, H x W pixels (height first, as everywhere here).

    crop      the largest part about the picture's middle that has the shape H:W, resampled
    pad       the whole picture, resampled until it just fits inside and laid on the middle of a background
    stretch   the whole picture, height and width resampled each for itself

Resampling is Lanczos' over its whole support, so that nothing aliases.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

Fit = Literal["crop", "pad", "stretch"]
Size = int | tuple[int, int]
"""The side of a square, or (height, width)."""
WHITE: Final = "white"


@dataclass(frozen=True)
class Frame:
    """A size in pixels, and how pictures of another are made to have it; ``background`` is what "pad" adds."""

    height: int
    width: int
    fit: Fit = "crop"
    background: str = WHITE

    @property
    def turned(self) -> "Frame":
        """That of a picture which is turned by a quarter afterwards."""
        return Frame(self.width, self.height, self.fit, self.background)

    @property
    def done(self) -> str:
        """What becomes of pictures of other sizes, in words."""
        size = in_words(self.height, self.width)
        match self.fit:
            case "crop":
                return f"resized and centre-cropped to {size}"
            case "pad":
                return f"resized to fit into {size} and padded with {self.background}"
            case "stretch":
                return f"stretched to {size}"

    def done_to(self, height: int, width: int) -> str:
        """What becomes of a picture of this size, in words."""
        size, own = in_words(self.height, self.width), in_words(height, width)
        if height * self.width == width * self.height:
            return f"resized from {own} to {size}"
        if self.fit != "crop":
            return f"{self.done}, from {own}"
        shape = "a square" if self.height == self.width else "the shape of the model's images"
        return f"cropped to {shape} and resized from {own} to {size}"

    def enlarges(self, height: int, width: int) -> bool:
        """Whether a picture of this size gets more pixels in any direction than it has."""
        by = (self.height / height, self.width / width)
        return (min(by) if self.fit == "pad" else max(by)) > 1

    def fitted(self, image: Image.Image, resampling: Resampling = Resampling.LANCZOS) -> Image.Image:
        """A grey or RGB picture in this size; padding makes it RGB. Of mode F, padding adds 0."""
        width, height = image.size
        if (height, width) == (self.height, self.width):
            return image
        if self.fit == "pad":
            return self._padded(image, resampling)
        box = (0.0, 0.0, float(width), float(height)) if self.fit == "stretch" else self._middle(height, width)
        return image.resize((self.width, self.height), resampling, box, reducing_gap=3.0)

    def fitted_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (H', W') fitted as its picture is: True where any part of a pixel's area is, and not in padding."""
        shares = self.fitted(Image.fromarray(mask.astype(np.float32)), Resampling.BOX)
        return np.asarray(shares) > 0

    def _middle(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the largest part of the shape H:W about the middle."""
        across = min(width, height * self.width / self.height)
        down = min(height, width * self.height / self.width)
        left, top = (width - across) / 2, (height - down) / 2
        return left, top, left + across, top + down

    def _padded(self, image: Image.Image, resampling: Resampling) -> Image.Image:
        width, height = image.size
        left = _margin(self.width, width * self.height / height)
        top = _margin(self.height, height * self.width / width)
        inner = image.resize((self.width - 2 * left, self.height - 2 * top), resampling, reducing_gap=3.0)
        mode, ground = ("F", 0) if image.mode == "F" else ("RGB", self.background)
        whole = Image.new(mode, (self.width, self.height), ground)
        whole.paste(inner, (left, top))
        return whole


def _margin(side: int, inner: float) -> int:
    """Pixels on either side of ``inner`` of ``side`` pixels: as many, so that a mirrored picture stays mirrored."""
    return min((side - 1) // 2, max(0, round((side - inner) / 2)))


def frame_of(size: Size | Frame, fit: Fit = "crop", background: str = WHITE) -> Frame:
    """The frame of a ``size``; one that is complete is itself."""
    match size:
        case Frame():
            return size
        case (height, width):
            return Frame(height, width, fit, background)
        case side:
            return Frame(side, side, fit, background)


def in_words(height: int, width: int) -> str:
    """A size in words: 32x32, or 48x64 (height x width)."""
    return f"{height}x{width}" + ("" if height == width else " (height x width)")
