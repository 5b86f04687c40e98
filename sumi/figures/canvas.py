"""Shared by all figures: a canvas without global state, a common style, and saving."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sumi.figures.files import SOFTWARE, write_picture
from sumi.figures.pictures import channels_apart, is_shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

INK, RED, GREY = "#1f2937", "#c2410c", "#9ca3af"


@dataclass(frozen=True)
class SavedFigure:
    """A figure's file, and a caption of one or two lines."""

    path: Path
    says: str


def canvas(width: float, height: float) -> "Figure":
    """An empty figure; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def show_image(axes: "Axes", image: "Tensor") -> None:
    """Draw an image (C, H, W) in [-1, 1] without ticks; values outside are clamped. Other channels than 1 or 3 are
    beside each other (`channels_apart`)."""
    levels = ((image + 1) / 2).clamp(0, 1)
    picture = (levels if is_shown(levels) else channels_apart(levels)).permute(1, 2, 0).squeeze(-1).numpy()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def save(figure: "Figure", path: Path, says: str) -> SavedFigure:
    """Write the figure as PNG. Raises InputError for a file that somebody else made, SumiError if it cannot."""
    return SavedFigure(write_picture(path, png_of(figure, dpi=110)), says)


def png_of(figure: "Figure", dpi: int, facecolor: str = "auto") -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": SOFTWARE}, facecolor=facecolor)
    return file.getvalue()
