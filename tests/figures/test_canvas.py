"""Names beside lines: in their order, apart from each other, and at the ends that they name."""

import pytest
from matplotlib.figure import Figure

from sumi.figures.canvas import DATA, INK, NOISE, name_lines, noised, own_colour, scale_by_powers, spread


def test_places_that_are_far_apart_stay_and_near_ones_share_what_they_move() -> None:
    assert spread([0.1, 0.5, 0.9], [0.1] * 3) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5, 0.9], [0.1] * 3) == pytest.approx([0.45, 0.55, 0.9])
    assert spread([0.2, 0.2, 0.2], [0.1, 0.2, 0.1]) == pytest.approx([0.05, 0.2, 0.35])


def test_a_line_has_its_name_at_its_right_end_in_its_colour() -> None:
    axes = Figure(figsize=(5, 3)).add_subplot()
    axes.plot([0, 1], [0, 8], color=INK, label="rising")
    axes.plot([1, 0], [2, 9], color=NOISE, label="drawn from the right")
    axes.plot([0, 1], [5, 5], color=DATA)  # without a name
    axes.set_ylim(0, 10)
    axes.invert_xaxis()
    name_lines(axes)
    found = {text.get_text(): (text.xy[1], text.get_color()) for text in axes.texts}
    assert found == {
        "rising": (pytest.approx(0.05, abs=0.05), INK),
        "drawn from the right": (pytest.approx(0.9, abs=0.01), NOISE),
    }


def test_a_name_stands_at_the_end_of_a_line_whose_axes_find_their_own_limits() -> None:
    axes = Figure(figsize=(5, 3)).add_subplot()
    axes.plot([0, 1], [0, 1000], label="high")
    axes.plot([0, 1], [0, 0], label="low")
    name_lines(axes)
    assert {text.get_text(): text.xy[1] > 0.5 for text in axes.texts} == {"high": True, "low": False}


@pytest.mark.parametrize(
    ("values", "ticks"), [((1.2, 7), {2, 3, 4, 6}), ((1.2, 70), {2, 5, 10, 20, 50}), ((0.5, 7000), {1, 10, 100, 1000})]
)
def test_ticks_of_powers_are_few_and_plain(values: tuple[float, float], ticks: set[float]) -> None:
    axes = Figure().add_subplot()
    axes.plot([0, 1], values)
    axes.set_ylim(*values)
    scale_by_powers(axes, "y")
    low, high = values
    shown = {float(tick) for tick in axes.yaxis.get_major_locator()() if low <= tick <= high}
    assert shown == ticks
    assert len(axes.yaxis.get_minor_locator()()) == 0
    assert [axes.yaxis.get_major_formatter()(tick) for tick in (100, 1e-4, 1e-6, 2e7)] == [
        "100",
        "0.0001",
        "10⁻⁶",
        "2·10⁷",
    ]


def test_noise_and_data_have_colours_of_their_own() -> None:
    names = ("of the noise ε̂", "real, held out", "the data", "samples")
    assert [own_colour(name) for name in names] == [NOISE, DATA, DATA, None]


def test_what_is_noised_goes_to_the_colour_of_noise() -> None:
    assert (noised(DATA, 0), noised(DATA, 1), noised("#000000", 0.5)) == (DATA, NOISE, "#48320a")
