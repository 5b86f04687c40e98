"""Shared by all figures: a canvas without global state, a common style, and saving."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sumi.figures.files import texts_of, write_picture
from sumi.figures.pictures import channels_apart, is_shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

INK, RED, GREY = "#1f2937", "#c2410c", "#9ca3af"
DATA, NOISE = "#2f6690", "#8f6514"
"""Of what belongs to the data and to the noise, in every figure."""
OWN = (("noise", NOISE), ("real", DATA), ("image", DATA), ("held out", DATA), ("the data", DATA))
NAME_WIDTH = 22  # characters of a line's name before it is broken


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
    beside each other (`channels_apart`). Pixels are squares where they are large, and smoothed where they are not."""
    levels = ((image + 1) / 2).clamp(0, 1)
    picture = (levels if is_shown(levels) else channels_apart(levels)).permute(1, 2, 0).squeeze(-1).numpy()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])


def scale_by_powers(axes: "Axes", which: str) -> None:
    """Make an axis, "x" or "y", logarithmic, with plain numbers: 1, 2, 3, 4, 6, 10 … within a decade, 1, 2, 5, 10
    within two, else powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 3.0, 4.0, 6.0) if high < 10 * low else (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: _plain(value))


def _plain(value: float) -> str:
    """Of an axis of powers: 0.001, 20, and 10⁻⁶ where zeros would have to be counted."""
    if 1e-4 <= value < 1e6:
        return f"{value:g}"
    digits, power = f"{value:.0e}".split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if digits == "1" else f"{digits}·10{raised}"


def name_row(axes: "Axes", name: str) -> None:
    """Write the name of a row of pictures to the left of its first."""
    axes.set_ylabel(name, fontsize=11, rotation=0, ha="right", va="center")


def own_colour(name: str) -> str | None:
    """The colour of what is named so in figures, where it is noise or data."""
    return next((colour for word, colour in OWN if word in name), None)


def noised(colour: str, t: float) -> str:
    """The colour of something at time t, from its own at 0 to that of noise at 1."""
    first, last = (np.array([int(one[k : k + 2], 16) for k in (1, 3, 5)]) for one in (colour, NOISE))
    return "#" + "".join(f"{round(level):02x}" for level in (1 - t) * first + t * last)


def name_lines(axes: "Axes", *, size: float = 9.0) -> None:
    """Write the name of every labelled line of ``axes`` to the right of its last point, in its colour, ``size`` in
    points; names that would collide are moved apart. Scales and limits must be set before."""
    from matplotlib.colors import to_hex

    axes.autoscale_view()  # it would wait until it is drawn
    ends: list[tuple[float, str, str]] = []
    for line in axes.get_lines():
        name = str(line.get_label())
        places = line.get_transform().transform(np.column_stack(line.get_data(orig=False)).astype(float))
        places = axes.transAxes.inverted().transform(places[np.isfinite(places).all(1)])
        if not name.startswith("_") and len(places):
            end = places[places[:, 0].argmax(), 1]
            ends.append(
                (
                    float(np.clip(end, 0, 1)),
                    "\n".join(textwrap.fill(part, NAME_WIDTH) for part in name.split("\n")),
                    to_hex(line.get_color()),
                )
            )
    ends.sort(key=lambda end: end[0])
    height = 72 * axes.bbox.height / axes.figure.dpi  # in points
    room = [1.3 * size * (1 + name.count("\n")) / height for _, name, _ in ends]
    for (_, name, colour), y in zip(ends, spread([end[0] for end in ends], room), strict=True):
        style = {"xycoords": "axes fraction", "color": colour, "fontsize": size, "va": "center"}
        axes.annotate(name, (1.015, y), annotation_clip=False, parse_math=False, **style)


def spread(places: Sequence[float], room: Sequence[float]) -> list[float]:
    """Ascending ``places`` (K,) moved as little as goes, so that neighbours are half of the sum of their ``room`` (K,)
    apart (isotonic regression of the places less their stacked height)."""
    stacked = np.cumsum(room) - np.asarray(room) / 2
    blocks: list[list[float]] = []
    for one in np.asarray(places) - stacked:
        blocks.append([one])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [float(np.mean(block)) + above for above, block in zip(stacked, [b for b in blocks for _ in b], strict=True)]


def save(figure: "Figure", path: Path, says: str, about: Mapping[str, object] | None = None) -> SavedFigure:
    """Write the figure as PNG, with what it is ``about``, as samples have it.

    Raises InputError for a file that somebody else made, SumiError if it cannot.
    """
    return SavedFigure(write_picture(path, png_of(figure, dpi=110, about=about)), says)


def png_of(figure: "Figure", dpi: int, facecolor: str = "auto", about: Mapping[str, object] | None = None) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata=texts_of(about), facecolor=facecolor)
    return file.getvalue()
