"""Diffusion beside a VAE, a GAN and a PixelCNN, for equal CPU time: for docs/results/baselines.md.

    python -m benchmarks.baselines [table] [stability] [picture]

All train on the built-in digits by the same loop on one thread, each for as many steps as its CPU seconds allow
(benchmarks/equal_time.py), and are measured in the features of one classifier of the digits.

    table       how like real images samples are, what they cost, how probable held-out images are
    stability   how often a training fails or collapses, by seed and learning rate (benchmarks/baselines_stability.py)
    picture     samples of each system of the table, and the Fréchet distances of the runs of stability

Runs and what was measured of them are kept in runs/baselines, and not trained or measured again. What each row is
trained by is printed as well.
"""

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.nn import functional as F

from benchmarks.baselines_stability import FACTORS, NAMES, Outcome, line, outcomes, stability
from benchmarks.baselines_systems import FOLDER, SYSTEMS, digits, sampled
from benchmarks.baselines_table import table
from sumi.figures.canvas import GREY, INK, RED, canvas, save
from sumi.models.model import GenerativeModel
from sumi.models.run import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = Path("docs/images/baselines.png")
SHOWN = 20
LOWEST = 1.0


def picture() -> None:
    """Above, samples of each system; below, the runs of `stability`."""
    figure = canvas(9.0, 7.4)
    above, below = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    rows = {"real": digits().held_out[:SHOWN], "pixels apart": digits().pixels_apart()[:SHOWN]}
    for name in SYSTEMS:
        rows[name] = sampled(load(FOLDER / name, GenerativeModel), SHOWN)
    for axes, (name, images) in zip(above.subplots(len(rows), 1), rows.items(), strict=True):
        line = torch.cat(list(F.pad(images[:, 0], (0, 1), value=1.0)), 1)
        axes.imshow(line.numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    found = outcomes()
    reached = [run.frechet for groups in found.values() for runs in groups.values() for run in runs if not run.failed]
    for axes, name in zip(below.subplots(1, len(NAMES), sharey=True), NAMES, strict=True):
        dots(axes, name, list(found[name].values()), 1.5 * max(reached))
    save(figure, PICTURE, "samples and distances of diffusion, VAE, GAN and PixelCNN")


def dots(axes: "Axes", name: str, groups: list[list[Outcome]], top: float) -> None:
    """Fréchet distances by learning rate; red where a run collapsed, a cross at the ``top`` where it failed."""
    for place, runs in enumerate(groups):
        for number, run in enumerate(runs):
            x = place + 0.09 * (number - (len(runs) - 1) / 2)
            colour, mark = (RED if run.failed or line().collapsed(run) else INK), "x" if run.failed else "o"
            axes.plot(x, top if run.failed else max(run.frechet, LOWEST), mark, color=colour, markersize=5)
    axes.axhline(line().frechet, color=GREY, linewidth=1, linestyle="--")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0.9 * LOWEST, 1.2 * top)
    axes.set_xticks(range(len(groups)), list(FACTORS))
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_xlabel("learning rate ×")
    axes.set_title(name, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if name == NAMES[0]:
        axes.set_ylabel("Fréchet distance")


def main() -> None:
    parts = {"table": table, "stability": stability, "picture": picture}
    wanted = sys.argv[1:] or list(parts)
    if not set(wanted) <= set(parts):
        sys.exit(__doc__)
    torch.set_num_threads(1)
    for name in wanted:
        parts[name]()
    print(f"\n{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")


if __name__ == "__main__":
    main()
