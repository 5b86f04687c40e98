"""Pictures of sound: a spectrogram (`sumi.metrics.features.log_mel`) a clip, time to the right, pitch upwards."""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from sumi.figures.canvas import canvas, png_of
from sumi.metrics.features.log_mel import BANDS, FLOOR, log_mel, mel

MOST: Final = 25
"""Of more clips, the first are shown."""
_TICKS = (250, 500, 1000, 2000, 4000, 8000, 16_000)


def spectrograms(x: Tensor, rate: int, titles: Sequence[str], *, columns: int | None = None, title: str = "") -> bytes:
    """A PNG with a panel for each of the clips (N, …, n), up to `MOST`, in rows of ``columns``."""
    x, titles = x[:MOST].detach().float().cpu().flatten(1), titles[:MOST]
    columns = columns or min(len(x), max(4, math.ceil(math.sqrt(len(x)))))
    rows = math.ceil(len(x) / columns)
    figure = canvas(1.9 * columns + 1.0, 1.55 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    seconds, top = x.shape[1] / rate, float(mel(torch.tensor(rate / 2.0)))
    ticks = [f for f in _TICKS if f < rate / 2]
    places = [float(mel(torch.tensor(float(f)))) for f in ticks]
    shown = None
    for axes, decibels, name in zip(panels.flat, log_mel(x, rate, 2 * BANDS), titles, strict=False):
        shown = axes.imshow(
            decibels.numpy(),
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, top),
            vmin=FLOOR,
            vmax=-10,
            cmap="magma",
            interpolation="nearest",
        )
        axes.set_title(name, fontsize=8, pad=2)
        axes.set_yticks(places, [f"{f / 1000:g}" for f in ticks])
        axes.tick_params(labelsize=7, length=2, pad=1)
    for axes in list(panels.flat)[len(x) :]:
        axes.set_axis_off()
    figure.supxlabel("seconds", fontsize=8)
    figure.supylabel("kHz, mel scale", fontsize=8)
    if title:
        figure.suptitle(title, fontsize=9)
    if shown is not None:
        bar = figure.colorbar(shown, ax=panels, fraction=0.03, pad=0.01)
        bar.set_label("dB", fontsize=7)
        bar.ax.tick_params(labelsize=7)
    return png_of(figure, dpi=100)
