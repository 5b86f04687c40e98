"""The report's charts: loss, shares of the classes, loss by noise level, spectra, sweeps, trade-off. Each is SVG text.

Colours are CSS variables (``--ink``, ``--faint``, ``--first``, ``--second``) that the page sets for light and dark
mode; a chart on its own falls back to colours for a light background. The same numbers give the same text.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sumi.figures.canvas import png_of
from sumi.metrics.classes import Balance
from sumi.metrics.intervals import Estimate
from sumi.metrics.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# placeholders that are replaced after plotting: matplotlib has no CSS variables
INK, FAINT, FIRST, SECOND = "#1c1b1a", "#b9b4ab", "#b5432f", "#2f6690"
VARIABLES = {INK: "--ink", FAINT: "--faint", FIRST: "--first", SECOND: "--second"}
SIZE = (5.2, 3.0)  # inches: 11-point text stays legible on a phone
MANY_CLASSES = 20
LABEL_OFFSETS = {FIRST: (5.0, 4.0), SECOND: (5.0, -11.0), INK: (-13.0, 4.0)}  # from a point to its label, in points


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
        _legend(axes)
    every = values if held_out is None else np.concatenate([values, held_out[1]])
    if not (every <= 0).any():
        axes.set_yscale("log")
        _tick(axes, values)
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
    _legend(axes)
    return _svg(figure)


def accuracy_by_noise_level(log_snr: Sequence[float], accuracy: Sequence[Estimate], guess: float) -> str:
    """Accuracy by log-SNR, noise on the left, with 95 % intervals and a line at the accuracy of guessing."""
    figure, axes = _blank("log-SNR   (noise ← → data)", "accuracy")
    low, high = [a.low for a in accuracy], [a.high for a in accuracy]
    axes.fill_between(log_snr, low, high, color=FIRST, alpha=0.25, linewidth=0)
    axes.plot(log_snr, [a.value for a in accuracy], color=FIRST, linewidth=1.6, marker="o", markersize=3)
    axes.axhline(guess, color=INK, linewidth=1, linestyle="--", label="most frequent class")
    axes.set_ylim(0, 1.03)
    _legend(axes)
    return _svg(figure)


def loss_by_noise_level(losses: Mapping[str, tuple[Sequence[float], Sequence[Estimate]]]) -> str:
    """Held-out losses by log-SNR, by name: (log-SNRs (K,), losses (K,)); noise on the left, data on the right.

    The loss axis is logarithmic; bands are 95 % intervals.
    """
    figure, axes = _blank("log-SNR   (noise ← → data)", "error")
    for (name, (log_snr, line)), colour in zip(losses.items(), (FIRST, SECOND, INK, FAINT), strict=False):
        low, high = [e.low for e in line], [e.high for e in line]
        axes.fill_between(log_snr, low, high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(log_snr, [e.value for e in line], color=colour, linewidth=1.6, marker="o", markersize=3, label=name)
    axes.set_yscale("log")
    if len(losses) > 1:
        _legend(axes)
    return _svg(figure)


def power_spectra(spectra: Mapping[str, Spectrum], *, fine: float) -> str:
    """Radially averaged power spectra by name, without the mean brightness; logarithmic, with 95 % intervals.

    ``fine``: where fine detail begins, in cycles per pixel, marked by a line.
    """
    figure, axes = _blank("cycles per pixel   (coarse ← → fine)", "power")
    for (name, spectrum), colour in zip(spectra.items(), (FIRST, SECOND, INK, FAINT), strict=False):
        # zero power has no logarithm
        rings = [(f, p) for f, p in zip(spectrum.frequency, spectrum.power, strict=True) if f > 0 and p.value > 0]
        frequency = [f for f, _ in rings]
        axes.fill_between(
            frequency, [p.low for _, p in rings], [p.high for _, p in rings], color=colour, alpha=0.2, linewidth=0
        )
        few = "o" if len(rings) < 20 else None
        axes.plot(frequency, [p.value for _, p in rings], color=colour, linewidth=2, marker=few, label=name)
    axes.axvline(fine, color=FAINT, linewidth=1, linestyle="--")
    axes.set_yscale("log")
    _legend(axes)
    return _svg(figure)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str, logarithmic: str = ""
) -> str:
    """Lines by name, each (x (K,), y (K,)); ``logarithmic``: which axes are, such as "x" or "xy"."""
    figure, axes = _blank(x, y)
    for (name, line), colour in zip(lines.items(), (FIRST, SECOND, INK, FAINT), strict=False):
        axes.plot(*line, color=colour, linewidth=2, marker="o" if len(line[0]) < 20 else None, label=name)
    if "x" in logarithmic:
        axes.set_xscale("log")
    if "y" in logarithmic:
        axes.set_yscale("log")
    if len(lines) > 1:
        _legend(axes)
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
    for (name, line), colour in zip(lines.items(), (FIRST, SECOND, INK, FAINT), strict=False):
        low, middle, high = (
            [times * v for v in ends] for ends in zip(*((e.low, e.value, e.high) for e in line), strict=True)
        )
        axes.fill_between(values, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(values, middle, color=colour, linewidth=2, marker="o", markersize=4.5, label=name)
        if name in real:
            axes.axhline(times * real[name], color=colour, linewidth=1.2, linestyle="--")
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)
    if len(lines) > 1:
        _legend(axes)
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
    from matplotlib.ticker import MaxNLocator

    figure = _empty((9.6, 4.4))
    for one, (x, y) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _style(one, names[x], names[y])
        for (kind, (scales, lines)), (colour, offset) in zip(sweeps.items(), LABEL_OFFSETS.items(), strict=False):
            _crosses(one, lines[x], lines[y], colour)
            places = [e.value for e in lines[x]], [e.value for e in lines[y]]
            one.plot(*places, color=colour, linewidth=1.4, marker="o", markersize=4.5, clip_on=False, label=kind)
            for scale, *place in zip(scales, *places, strict=True):
                one.annotate(f"{scale:g}", place, offset, textcoords="offset points", color=colour, fontsize=9.5)
        if x in real and y in real:
            _crosses(one, [real[x]], [real[y]], INK)
            star = {"marker": "*", "markersize": 15, "linestyle": "none", "color": INK, "markerfacecolor": "none"}
            one.plot(real[x].value, real[y].value, clip_on=False, label="real images", **star)
        if x == "accuracy":
            one.set_xscale("function", functions=(_angle, _share))
            one.set_xticks([k / 100 for k in (0, 10, 25, 50, 75, 90, 100)])
        for name, axis in ((x, one.xaxis), (y, one.yaxis)):
            if name in ("precision", "recall"):
                axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            if name != "frechet":
                axis.set_major_formatter("{x:.0%}")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, labelcolor=INK, fontsize=10.5)
    return _svg(figure), _png(figure)


def _running_median(values: np.ndarray) -> np.ndarray:
    """The median over a window of a fiftieth of the curve."""
    reach = max(1, len(values) // 100)
    return np.array([np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))])


def _tick(axes: "Axes", values: np.ndarray) -> None:
    """Plain numbers on a logarithmic axis: 1, 2, 3, 4, 6, 10 … for values within a decade, else powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    if _within_a_decade(values):
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 4.0, 6.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def _within_a_decade(values: np.ndarray) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(len(positive)) and bool(positive.max() < 10 * positive.min())


def _crosses(axes: "Axes", x: Sequence[Estimate], y: Sequence[Estimate], colour: str) -> None:
    """The intervals of each point, as faint crosses."""
    for a, b in zip(x, y, strict=True):
        axes.plot([a.low, a.high], [b.value, b.value], color=colour, linewidth=0.9, alpha=0.25)
        axes.plot([a.value, a.value], [b.low, b.high], color=colour, linewidth=0.9, alpha=0.25)


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
    axes.patch.set_alpha(0)
    axes.set_xlabel(x, color=INK, fontsize=11)
    axes.set_ylabel(y, color=INK, fontsize=11)
    axes.tick_params(which="both", colors=INK, labelsize=10.5, width=0.6, color=FAINT)
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)


def _legend(axes: "Axes") -> None:
    axes.figure.legend(loc="outside upper right", ncols=4, frameon=False, labelcolor=INK, fontsize=10.5)


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
