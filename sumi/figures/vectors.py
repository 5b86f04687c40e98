"""Pictures of vectors: points in the plane as dots, numbers as a histogram, bits as a raster with one row per sequence.

Real vectors with more than two numbers show their first two. The panels of one picture share their axes, so they
can be compared. A few distant points do not shrink the rest; titles state how many are outside.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sumi.figures.canvas import INK, own_colour, png_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 24  # sequences in a raster
PANEL = 2.6  # inches


def picture(
    groups: Sequence[tuple[str, Tensor]],
    levels: int | None,
    *,
    columns: int | None = None,
    reach: float | None = None,
    colours: Sequence[str] | None = None,
) -> bytes:
    """A PNG with a panel for each (title, vectors (N, D)), in rows of ``columns``; ``levels`` is 2 for bits.

    All axes run from -reach to reach; None: by `reach_of`, over all panels. ``colours``: of the panels; None: those of
    noise and data where a title names them.
    """
    from matplotlib.figure import Figure

    columns = columns or len(groups)
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(PANEL * columns, (PANEL + 0.25) * rows), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    shown = reach or reach_of([x for _, x in groups])
    colours = colours or [own_colour(title) or INK for title, _ in groups]
    for axes, (title, x), colour in zip(panels, groups, colours, strict=False):
        outside = 0 if levels == 2 else int((~(x[:, :2].abs() <= shown)).any(1).sum())
        axes.set_title(f"{title} ({outside:,} outside)" if outside else title, fontsize=9)
        draw(axes, x, levels, shown, colour=colour)
    for axes in list(figure.axes)[len(groups) :]:
        axes.set_axis_off()
    for axes in list(figure.axes)[max(0, len(groups) - columns) : len(groups)]:  # with none below
        axes.tick_params(labelbottom=levels is None)
    return png_of(figure, dpi=110)


def reach_of(clouds: Sequence[Tensor]) -> float:
    """The largest plotted coordinate of vectors (N, D), at most twice the reach of 95 % of them."""
    reaches = [0.0]
    for x in clouds:
        far = x[: 10**6, :2].abs().flatten()
        far = far[far.isfinite()]
        if len(far):
            usual = 2 * float(far.quantile(0.95))
            reaches.append(min(float(far.max()), usual or float("inf")))
    return 1.08 * max(reaches) or 1.0


def draw(axes: "Axes", x: Tensor, levels: int | None, reach: float, *, colour: str = INK) -> None:
    """Plot vectors (N, D) on ``axes``, which run from -reach to reach."""
    if levels == 2:
        axes.imshow(x[:ROWS].numpy(), cmap="gray_r", vmin=-1.4, vmax=1.2, interpolation="nearest", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    if x.shape[1] == 1:
        bins = torch.linspace(-reach, reach, 60).tolist()
        axes.hist(x[:, 0].numpy(), bins=bins, color=colour, weights=[1 / len(x)] * len(x))
        axes.set_xlim(-reach, reach)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        return
    size = min(6.0, max(0.6, 1500 / len(x)))
    axes.scatter(x[:, 0].numpy(), x[:, 1].numpy(), s=size, color=colour, alpha=0.55, linewidths=0)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=7)
    if x.shape[1] > 2:
        axes.set_xlabel(f"the first 2 of {x.shape[1]} numbers", fontsize=7)
