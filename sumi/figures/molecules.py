"""Pictures of molecules: atoms as balls in the usual colours, bonds as sticks, seen along their flattest direction.

A molecule is turned so that its places spread most to the right and least towards the viewer (their principal axes);
nearer atoms cover farther ones. Bonds are those of `sumi.metrics.bonds`.
"""

import io
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sumi.figures import pictures
from sumi.figures.canvas import canvas, png_of
from sumi.metrics.bonds import bond_orders
from sumi.metrics.perception import can_perceive, perceived

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

Placed = tuple[tuple[str, ...], NDArray[np.float64]]
"""Elements, and places (n, 3) in ångström."""
MOST: Final = 24
PANEL: Final = 1.5
"""Inches."""
COLOURS: Final = {"H": "#f3f4f6", "C": "#4b5563", "N": "#2563eb", "O": "#dc2626", "F": "#65a30d", "S": "#eab308"}
OTHERS: Final = {"P": "#ea580c", "Cl": "#16a34a", "Br": "#92400e", "I": "#7e22ce"}
STRANGE: Final = "#db2777"
SMALLEST: Final = 2.5
"""Ångström: half the side of a panel is at least this."""


def picture(
    molecules: Sequence[Placed], titles: Sequence[str] = (), *, title: str = "", columns: int = 6, width: float = PANEL
) -> bytes:
    """A PNG with a panel for each of the first `MOST` molecules, all on one scale."""
    return png_of(_figure(molecules[:MOST], titles, title, columns, width), dpi=110)


def animation(molecules: Sequence[Placed], titles: Sequence[str]) -> bytes:
    """A WebP of up to 30 of them, one after the other, in the axes of the last."""
    chosen = np.linspace(0, len(molecules) - 1, min(30, len(molecules))).round().astype(int).tolist()
    axes = principal_axes(molecules[-1][1])
    frames = []
    for k in chosen:
        figure = canvas(2.6, 2.8)
        panel = figure.subplots()
        draw(panel, molecules[k], reach_of(molecules[-1:]), axes)
        panel.set_title(titles[k], fontsize=9)
        frames.append(Image.open(io.BytesIO(png_of(figure, dpi=80))))
    return pictures.animation(frames)


def sheet_of_formulas(molecules: Sequence[Placed], most: int = 12) -> bytes | None:
    """A PNG of structural formulas of the first ``most`` in which rdkit finds bonds; None without rdkit, or any."""
    if not can_perceive():
        return None
    chem, flat = import_module("rdkit.Chem"), list[Any]()
    for elements, places in molecules:
        if len(flat) < most and (found := perceived(elements, places)) is not None:
            shown = chem.RemoveHs(found)
            import_module("rdkit.Chem.rdDepictor").Compute2DCoords(shown)
            flat.append(shown)
    if not flat:
        return None
    draw = import_module("rdkit.Chem.Draw")
    picture = draw.MolsToGridImage(flat, molsPerRow=6, subImgSize=(160, 130), returnPNG=False)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _figure(molecules: Sequence[Placed], titles: Sequence[str], title: str, columns: int, width: float) -> "Figure":
    columns = max(1, min(columns, len(molecules)))
    rows = -(-len(molecules) // columns)
    figure = canvas(width * columns, (width + (0.2 if titles else 0)) * rows + (0.3 if title else 0))
    if title:
        figure.suptitle(title, fontsize=9)
    reach = reach_of(molecules)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for k, (panel, molecule) in enumerate(zip(panels, molecules, strict=False)):
        draw(panel, molecule, reach)
        if titles:
            panel.set_title(titles[k], fontsize=8)
    for panel in list(figure.axes)[len(molecules) :]:
        panel.set_axis_off()
    return figure


def principal_axes(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows: the direction of most spread first, (3, 3)."""
    return np.linalg.svd(places - places.mean(0))[2]


def reach_of(molecules: Sequence[Placed]) -> float:
    """Ångström: half the side of a panel that shows almost all of their atoms."""
    far = [float(np.abs((places - places.mean(0)) @ principal_axes(places).T)[:, :2].max()) for _, places in molecules]
    return max(SMALLEST, min(max(far, default=0.0), 2 * float(np.median(far)) if far else 0.0) + 0.6)


def draw(axes: "Axes", molecule: Placed, reach: float, directions: NDArray[np.float64] | None = None) -> None:
    """One molecule on ``axes``, which run from -reach to reach ångström. ``directions`` (3, 3): right, up, near."""
    elements, places = molecule
    at = (places - places.mean(0)) @ (principal_axes(places) if directions is None else directions).T
    orders = bond_orders(elements, places)
    low, high = at[:, 2].min(), at[:, 2].max()
    depth = (at[:, 2] - low) / (high - low) if high > low else np.ones(len(at))
    for i, j in zip(*np.nonzero(np.triu(orders)), strict=True):
        across = at[j, :2] - at[i, :2]
        aside = np.array([-across[1], across[0]]) / max(float(np.linalg.norm(across)), 1e-6)
        for k in range(orders[i, j]):
            shift = 0.16 * (k - (orders[i, j] - 1) / 2) * aside
            line = np.stack([at[i, :2] + shift, at[j, :2] + shift])
            axes.plot(*line.T, color="#6b7280", linewidth=1.4, zorder=1 + min(depth[i], depth[j]), alpha=0.9)
    for k in np.argsort(at[:, 2]):
        colour = COLOURS.get(elements[k]) or OTHERS.get(elements[k], STRANGE)
        size = (0.27 if elements[k] == "H" else 0.42) * (0.85 + 0.15 * depth[k])
        ball = _ball(at[k, :2], size, colour, 1.01 + depth[k])
        axes.add_patch(ball)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _ball(at: NDArray[np.float64], radius: float, colour: str, order: float) -> "Circle":
    from matplotlib.patches import Circle

    return Circle(
        (float(at[0]), float(at[1])), radius, facecolor=colour, edgecolor="#1f2937", linewidth=0.7, zorder=order
    )
