"""The report's charts: loss, shares of the classes, loss by noise level, spectra, sweeps, trade-off. Each is SVG text.

Colours are CSS variables (``--ink``, ``--faint``, ``--first``, ``--second``, ``--noise``) that the page sets for light
and dark mode; a chart on its own falls back to colours for a light background. The same numbers give the same text.
"""

import io
import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle, pairwise
from typing import TYPE_CHECKING

import numpy as np

from sumi.figures.canvas import DATA, NOISE, name_lines, own_colour, png_of, scale_by_powers
from sumi.metrics.classes import Balance
from sumi.metrics.intervals import Estimate
from sumi.metrics.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# placeholders that are replaced after plotting: matplotlib has no CSS variables
INK, FAINT, FIRST, SECOND = "#1c1b1a", "#b9b4ab", "#b5432f", DATA
VARIABLES = {INK: "--ink", FAINT: "--faint", FIRST: "--first", SECOND: "--second", NOISE: "--noise"}
SERIES = (FIRST, SECOND, INK, NOISE)
SIZE = (5.2, 3.0)  # inches: 11-point text stays legible on a phone
MANY_CLASSES = 20
FEW = 20  # points of a line that are marked
CLOSE = 0.07  # of an axis: numbers of ticks nearer than this would touch
LABEL, AWAY = 9.5, (10.0, 14.0, 19.0)  # of a point's label: its size and its distances to try, in points


def loss_curve(
    steps: Sequence[int], losses: Sequence[float], *, held_out: tuple[Sequence[int], Sequence[float]] | None = None
) -> str:
    """The training loss (K,) at ``steps`` (K,) with its running median; ``held_out``: (steps, losses).

    The axis is logarithmic if all are positive; the loss of a density may not be.
    """
    figure, axes = _blank("step", "loss")
    values = np.asarray(losses, dtype=float)
    axes.plot(steps, values, color=FIRST, linewidth=0.7, alpha=0.35)
    few = "o" if len(values) < 10 else None  # a line of one point would be invisible
    axes.plot(steps, _running_median(values), color=FIRST, linewidth=2, marker=few, label="training")
    if held_out is not None:
        axes.plot(*held_out, color=SECOND, linewidth=2, marker="o", markersize=3.5, label="held out")
    every = values if held_out is None else np.concatenate([values, held_out[1]])
    if not (every <= 0).any():
        scale_by_powers(axes, "y")
    if held_out is not None:
        _name(axes)
    return _svg(figure)


def class_shares(balance: Balance, *, names: Sequence[str] | None = None) -> str:
    """Shares of the predicted classes among samples and real images, in percent; ``names``: of the classes."""
    samples, real = (100 * np.asarray(counts) / sum(counts) for counts in (balance.samples, balance.real))
    labels = list(names) if names is not None else [str(label) for label in range(len(real))]
    figure, axes = _blank("", "share, %")
    place = np.arange(len(real))
    axes.bar(place - 0.2, samples, 0.38, color=FIRST, label="samples")
    axes.bar(place + 0.2, real, 0.38, color=SECOND, label="real")
    if len(labels) <= MANY_CLASSES:
        slanted = max(map(len, labels)) * len(labels) > 50
        turn, end = (40, "right") if slanted else (0, "center")
        axes.set_xticks(place, labels, rotation=turn, ha=end, parse_math=False)
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, labelcolor=INK, fontsize=10.5)
    return _svg(figure)


def accuracy_by_noise_level(log_snr: Sequence[float], accuracy: Sequence[Estimate], guess: float) -> str:
    """Accuracy by log-SNR, noise on the left, with 95 % intervals and a line at the accuracy of guessing."""
    figure, axes = _blank("log-SNR   (noise ← → data)", "accuracy")
    low, high = [a.low for a in accuracy], [a.high for a in accuracy]
    axes.fill_between(log_snr, low, high, color=FIRST, alpha=0.25, linewidth=0)
    axes.plot(log_snr, [a.value for a in accuracy], color=FIRST, linewidth=1.6, marker="o", markersize=3)
    axes.axhline(guess, color=INK, linewidth=1, linestyle="--", label="most frequent class")
    axes.set_ylim(0, 1.03)
    _name(axes)
    return _svg(figure)


def recognised_by_noise(kept: Sequence[float], share: Mapping[str, Sequence[Estimate]], guess: float) -> str:
    """What is recognised, by name, by the share of symbols that noise ``kept`` (K,), with 95 % intervals.

    A line stands at ``guess``, what guessing gets right.
    """
    figure, axes = _blank("share of symbols kept   (noise ← → data)", "share recognised")
    for (name, line), colour in zip(share.items(), _colours(share), strict=True):
        axes.fill_between(kept, [e.low for e in line], [e.high for e in line], color=colour, alpha=0.25, linewidth=0)
        axes.plot(kept, [e.value for e in line], color=colour, linewidth=1.6, marker="o", markersize=3, label=name)
    axes.axhline(guess, color=INK, linewidth=1, linestyle="--", label="guessing")
    axes.set_ylim(min(-0.03, *(e.low for line in share.values() for e in line)), 1.03)
    _name(axes)
    return _svg(figure)


def loss_by_noise_level(losses: Mapping[str, tuple[Sequence[float], Sequence[Estimate]]]) -> str:
    """Held-out losses by log-SNR, by name: (log-SNRs (K,), losses (K,)); noise on the left, data on the right.

    The loss axis is logarithmic; bands are 95 % intervals.
    """
    figure, axes = _blank("log-SNR   (noise ← → data)", "error")
    for (name, (log_snr, line)), colour in zip(losses.items(), _colours(losses), strict=True):
        low, high = [e.low for e in line], [e.high for e in line]
        axes.fill_between(log_snr, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(log_snr, [e.value for e in line], color=colour, linewidth=1.6, marker="o", markersize=3, label=name)
    scale_by_powers(axes, "y")
    if len(losses) > 1:
        _name(axes)
    return _svg(figure)


def power_spectra(spectra: Mapping[str, Spectrum], *, fine: float) -> str:
    """Radially averaged power spectra by name, without the mean brightness; logarithmic, with 95 % intervals.

    ``fine``: where fine detail begins, in cycles per pixel, marked by a line.
    """
    figure, axes = _blank("cycles per pixel   (coarse ← → fine)", "power")
    for (name, spectrum), colour in zip(spectra.items(), _colours(spectra), strict=True):
        # zero power has no logarithm
        rings = [(f, p) for f, p in zip(spectrum.frequency, spectrum.power, strict=True) if f > 0 and p.value > 0]
        frequency = [f for f, _ in rings]
        axes.fill_between(
            frequency, [p.low for _, p in rings], [p.high for _, p in rings], color=colour, alpha=0.2, linewidth=0
        )
        few = "o" if len(rings) < 20 else None
        axes.plot(frequency, [p.value for _, p in rings], color=colour, linewidth=2, marker=few, label=name)
    axes.axvline(fine, color=FAINT, linewidth=1, linestyle="--")
    scale_by_powers(axes, "y")
    _name(axes)
    return _svg(figure)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str, logarithmic: str = ""
) -> str:
    """Lines by name, each (x (K,), y (K,)); ``logarithmic``: which axes are, such as "x" or "xy"."""
    figure, axes = _blank(x, y)
    for (name, line), colour in zip(lines.items(), _colours(lines), strict=True):
        axes.plot(*line, color=colour, linewidth=2, marker="o" if len(line[0]) < FEW else None, label=name)
    if "x" in logarithmic:
        scale_by_powers(axes, "x")
    if "y" in logarithmic:
        scale_by_powers(axes, "y")
    if "x" in logarithmic and all(len(line[0]) < FEW for line in lines.values()):
        _tick_at(axes.xaxis, sorted({value for line in lines.values() for value in line[0]}))
    if len(lines) > 1:
        _name(axes)
    return _svg(figure)


def swept(
    values: Sequence[float],
    lines: Mapping[str, Sequence[Estimate]],
    *,
    x: str,
    y: str,
    real: Mapping[str, float],
    times: float = 1.0,
    logarithmic: bool = False,
) -> str:
    """Estimates, one line per name, at ``values`` (K,) of a setting called ``x``, with 95 % intervals as bands.

    ``real``: real images' values for some of the lines, dashed. ``times``: a factor for all values, 100 for percent;
    ``logarithmic``: whether the axis of ``values`` is, which must then be positive.
    """
    figure, axes = _blank(x, y)
    for (name, line), colour in zip(lines.items(), _colours(lines), strict=True):
        low, middle, high = (
            [times * v for v in ends] for ends in zip(*((e.low, e.value, e.high) for e in line), strict=True)
        )
        axes.fill_between(values, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(values, middle, color=colour, linewidth=2, marker="o", markersize=4.5, label=name)
        if name in real:
            own = "real" if len(lines) == 1 else f"{name}, real"
            axes.axhline(times * real[name], color=colour, linewidth=1.2, linestyle="--", label=own)
    if logarithmic:
        axes.set_xscale("log")
    _tick_at(axes.xaxis, values)
    if len(lines) > 1 or real:
        _name(axes)
    return _svg(figure)


def trade_off(
    sweeps: Mapping[str, tuple[Sequence[float], Mapping[str, Sequence[Estimate]]]],
    panels: Sequence[tuple[str, str]],
    *,
    names: Mapping[str, str],
    real: Mapping[str, Estimate],
) -> tuple[str, bytes]:
    """One metric against another in each of ``panels`` (x, y), a line for each sweep: as SVG, and as PNG on white.

    ``sweeps``: (scales (K,), estimates by name, each (K,)); points are labelled with their scale, faint lines are 95 %
    intervals. ``real``: real images' values, a star. The axis of ``accuracy`` is arcsin √p, on which intervals of
    shares have equal length.
    """
    labels: dict[Axes, list[tuple[str, float, float, str]]] = defaultdict(list)
    figure = _empty((9.6, 4.4))
    for one, (x, y) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _style(one, names[x], names[y])
        for (kind, (scales, lines)), colour in zip(sweeps.items(), SERIES, strict=False):
            _crosses(one, lines[x], lines[y], colour)
            places = [e.value for e in lines[x]], [e.value for e in lines[y]]
            one.plot(*places, color=colour, linewidth=1.4, marker="o", markersize=4.5, clip_on=False, label=kind)
            labels[one] += [(f"{scale:g}", a, b, colour) for scale, a, b in zip(scales, *places, strict=True)]
        if x in real and y in real:
            _crosses(one, [real[x]], [real[y]], INK)
            star = {"marker": "*", "markersize": 15, "linestyle": "none", "color": INK, "markerfacecolor": "none"}
            one.plot(real[x].value, real[y].value, clip_on=False, label="real images", **star)
        if x == "accuracy":
            one.set_xscale("function", functions=(_angle, _share))
            one.set_xticks([k / 100 for k in (0, 10, 25, 50, 75, 90, 100)])
        for name, axis in ((x, one.xaxis), (y, one.yaxis)):
            if name != "frechet":
                axis.set_major_formatter("{x:.0%}")
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=4, frameon=False, labelcolor=INK, fontsize=10.5)
    figure.draw_without_rendering()  # where the points are on the page
    for one, points in labels.items():
        _label(one, points)
    return _svg(figure), _png(figure)


def _colours(names: Collection[str]) -> list[str]:
    """Of the lines ``names``: noise and data have colours of their own, the others take what is left, in order."""
    own: dict[str, str] = {}
    for name in names:
        if (colour := own_colour(name)) and colour not in own.values():
            own[name] = colour
    left = cycle([colour for colour in SERIES if colour not in own.values()])
    return [own[name] if name in own else next(left) for name in names]


def _running_median(values: np.ndarray) -> np.ndarray:
    """The median over a window of a fiftieth of the curve."""
    reach = max(1, len(values) // 100)
    return np.array([np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))])


def _tick_at(axis: "Axis", values: Sequence[float]) -> None:
    """Ticks at ``values`` themselves, without those whose numbers would touch."""
    low, high = axis.get_transform().transform(np.asarray(axis.get_view_interval()))
    places = (axis.get_transform().transform(np.asarray(values, dtype=float)) - low) / (high - low)
    kept: list[int] = []
    for k in sorted(range(len(values)), key=lambda k: (k not in (0, len(values) - 1), k)):  # the ends come first
        if all(abs(places[k] - places[other]) > CLOSE for other in kept):
            kept.append(k)
    axis.set_ticks([values[k] for k in sorted(kept)], [f"{values[k]:g}" for k in sorted(kept)])
    axis.set_ticks([], minor=True)


def _crosses(axes: "Axes", x: Sequence[Estimate], y: Sequence[Estimate], colour: str) -> None:
    """The intervals of each point, as faint crosses."""
    for a, b in zip(x, y, strict=True):
        axes.plot([a.low, a.high], [b.value, b.value], color=colour, linewidth=0.9, alpha=0.25)
        axes.plot([a.value, a.value], [b.low, b.high], color=colour, linewidth=0.9, alpha=0.25)


def _label(axes: "Axes", points: Sequence[tuple[str, float, float, str]]) -> None:
    """Write each point's (text, x, y, colour) near it, where it covers neither lines, points nor other labels; points
    at one place with one text share it."""
    unit = axes.figure.dpi / 72  # pixels of a point
    lines = [line.get_transform().transform(np.column_stack(line.get_data())) for line in axes.get_lines()]
    taken = [np.linspace(a, b, 40) for line in lines for a, b in pairwise(line)] + [line for line in lines if len(line)]
    shown: list[tuple[str, np.ndarray]] = []
    for text, x, y, colour in points:
        at = axes.transData.transform((x, y))
        if any(text == other and np.hypot(*(at - place)) < 3 * unit for other, place in shown):
            continue
        shown.append((text, at))
        half = LABEL * unit * np.array([0.33 * len(text), 0.55])
        turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        tried = [at + unit * away * np.array([np.cos(turn), np.sin(turn)]) for away in AWAY for turn in turns]
        every = np.concatenate(taken)
        covered = [int((np.abs(every - place) < half + 2 * unit).all(1).sum()) for place in tried]
        place = tried[int(np.argmin(covered))]
        corners = np.array([[a, b] for a in (-0.9, 0, 0.9) for b in (-0.9, 0, 0.9)])
        taken.append(np.repeat(place + corners * half, 20, axis=0))  # to cover a label is worse than to cover a line
        offset = tuple((place - at) / unit)
        style = {"textcoords": "offset points", "color": colour, "fontsize": LABEL, "ha": "center", "va": "center"}
        axes.annotate(text, (x, y), offset, **style)


def _angle(share: np.ndarray) -> np.ndarray:
    return np.arcsin(np.sqrt(np.clip(share, 0, 1)))


def _share(angle: np.ndarray) -> np.ndarray:
    return np.sin(np.clip(angle, 0, np.pi / 2)) ** 2


def _blank(x: str, y: str) -> "tuple[Figure, Axes]":
    figure = _empty(SIZE)
    axes = figure.add_subplot()
    _style(axes, x, y)
    return figure, axes


def _empty(size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0)
    return figure


def _style(axes: "Axes", x: str, y: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.patch.set_alpha(0)
    axes.set_xlabel(x, color=INK, fontsize=11)
    axes.set_ylabel(y, color=INK, fontsize=11)
    axes.tick_params(which="both", colors=INK, labelsize=10.5, width=0.6, color=FAINT)
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)


def _name(axes: "Axes") -> None:
    name_lines(axes, size=10.5)


def _svg(figure: "Figure") -> str:
    from matplotlib import rc_context

    file = io.StringIO()
    # deterministic names of clip paths; text stays text, since browsers have the fonts
    with rc_context({"svg.hashsalt": "sumi", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it only measures them
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable}, {colour})")
    return text


def _png(figure: "Figure") -> bytes:
    return png_of(figure, dpi=150, facecolor="white")
