"""Pictures of vectors: a panel a group on shared axes, every point where it is, and those outside counted."""

import io
import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sumi.figures.vectors import ROWS, draw, picture, reach_of


def points(n: int, dimensions: int, size: float = 0.4) -> Tensor:
    return size * torch.randn(n, dimensions, generator=torch.Generator().manual_seed(0))


def pixels(png: bytes) -> NDArray[np.uint8]:
    """The grey pixels of a PNG."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize(("dimensions", "levels"), [(1, None), (2, None), (5, None), (20, 2)])
@pytest.mark.parametrize(("panels", "columns", "size"), [(1, None, (1, 1)), (2, None, (1, 2)), (5, 3, (2, 3))])
def test_a_picture_has_a_panel_for_each_group(dimensions, levels, panels, columns, size: tuple[int, int]) -> None:
    x = points(200, dimensions)
    x = x.sign() if levels else x
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = pixels(picture([(f"group {k}", x) for k in range(panels)], levels, columns=columns))
    rows, across = size
    assert shown.shape == (int(110 * 2.85 * rows), int(110 * 2.6 * across))
    for k in range(rows * across):
        panel = np.array_split(np.array_split(shown, rows, 0)[k // across], across, 1)[k % across]
        high, wide = panel.shape  # ticks are in the margins of outer panels alone, so panels are not the same size
        assert (panel[high // 4 : -high // 4, wide // 4 : -wide // 4] < 100).any() == (k < panels)


def axes_of(x: Tensor, levels: int | None, reach: float = 2.0):
    axes = Figure().add_subplot()
    draw(axes, x, levels, reach)
    return axes


def test_points_stand_where_they_are() -> None:
    x = points(50, 5)
    axes = axes_of(x, None)
    assert np.asarray(axes.collections[0].get_offsets()) == pytest.approx(x[:, :2].numpy())
    assert (axes.get_xlim(), axes.get_ylim()) == ((-2, 2), (-2, 2))
    assert axes.get_xlabel() == "the first 2 of 5 numbers"
    assert axes_of(x[:, :2], None).get_xlabel() == ""


def test_a_histogram_shows_the_share_of_all_numbers_in_each_bin() -> None:
    x = torch.tensor([[-1.0], [0.5], [0.5], [5.0]])  # the last is outside
    axes = axes_of(x, None)
    bars = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axes.patches if bar.get_height()]
    assert [height for _, _, height in bars] == [0.25, 0.5]
    assert all(low <= value <= high for (low, high, _), value in zip(bars, (-1, 0.5), strict=True))
    assert axes.get_xlim() == (-2, 2)


def test_a_raster_has_a_row_a_sequence_and_ones_are_dark() -> None:
    x = points(40, 20).sign()
    shown = np.asarray(axes_of(x, 2).images[0].get_array())
    assert (shown == x[:ROWS].numpy()).all()
    panel = pixels(picture([("", torch.tensor([[1.0, -1.0]]))], 2))
    middle = panel[len(panel) // 2]
    assert middle[len(middle) // 4] < 60 < 180 < middle[3 * len(middle) // 4]


def test_the_reach_is_that_of_the_farthest_unless_few_are_so_far() -> None:
    even = torch.linspace(-1, 1, 1001)[:, None]
    assert reach_of([even]) == pytest.approx(1.08)
    assert reach_of([even, 3 * even]) == pytest.approx(3.24)
    far = torch.cat([even, torch.full((20, 1), 80.0)])
    assert reach_of([far]) == pytest.approx(2 * 0.95 * 1.08, rel=0.03)
    broken = torch.cat([even, torch.tensor([[torch.nan], [torch.inf]])])
    assert reach_of([broken]) == pytest.approx(1.08)
    unseen = torch.cat([even, even, 90 * even], 1)  # only what is drawn counts
    assert reach_of([unseen]) == pytest.approx(1.08)
    mostly_nothing = torch.cat([torch.zeros(99, 2), torch.ones(1, 2)])
    assert reach_of([mostly_nothing]) == pytest.approx(1.08)
    assert reach_of([torch.zeros(3, 2)]) > 0


@pytest.mark.parametrize("dimensions", [1, 2])
def test_titles_tell_how_many_are_outside(monkeypatch: pytest.MonkeyPatch, dimensions: int) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    x = points(1000, dimensions)
    x[:3] = torch.tensor([50.0, torch.nan, -torch.inf])[:, None]
    picture([("samples", x), ("real", x[3:])], None)
    panels = figures[0].axes
    assert [axes.get_title() for axes in panels] == ["samples (3 outside)", "real"]
    assert panels[0].get_xlim() == panels[1].get_xlim()
    assert panels[0].get_ylim() == panels[1].get_ylim()


@pytest.mark.parametrize("dimensions", [1, 2])
def test_panels_share_their_axes_and_only_the_outer_ones_have_numbers(dimensions: int, monkeypatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    picture([("narrow", points(500, dimensions, 0.05)), ("wide", points(500, dimensions))], None)
    narrow, wide = figures[0].axes
    assert (narrow.get_xlim(), narrow.get_ylim()) == (wide.get_xlim(), wide.get_ylim())
    assert not any(tick.label1.get_visible() for tick in wide.yaxis.get_major_ticks())


@pytest.mark.parametrize("x", [torch.zeros(1, 2), torch.zeros(1, 1), torch.full((4, 2), torch.nan), torch.ones(1, 3)])
def test_a_degenerate_cloud_is_still_a_picture(x: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(picture([("", x)], None)).size
