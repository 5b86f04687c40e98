"""How many samples are copies of training images, by how many images there were to train on; docs/images/copying.png.

    python benchmarks/copying.py

The same small network is trained for the same 1,500 steps on 16 to 1,642 of the built-in digits, by
``data.held_out``, which holds out all others. Copies are looked for as ``sumi evaluate`` does, in place and moved by 1
pixel (sumi/metrics/copies.py), with the digits that are held out as what is no copy.

Can the search be trusted? It is shown honest images, half of those held out, against the other half: that is what it
finds where there is nothing to find. Then a tenth of them are made copies: exact ones, copies moved by one pixel in any
of eight directions, and copies with Gaussian noise of 0.2 (pixels lie in -1 to 1).

Runs are kept in runs/copying and not trained again. One thread; the time is CPU seconds.
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from results import SMALL, flags
from torch import Tensor
from torch.nn import functional as F

from sumi.data.builtin import load_digits
from sumi.data.config import DataConfig
from sumi.data.dataset import everything, held_out_fraction
from sumi.figures.canvas import GREY, INK, RED, canvas, name_lines, save
from sumi.metrics.copies import CopyRate, Ratios, copy_rate, copy_ratios
from sumi.metrics.intervals import Estimate
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.training_run import train

FOLDER, PICTURE = Path("runs/copying"), Path("docs/images/copying.png")
SIZES = (16, 64, 256, 1024, 1642)
STEPS, SAMPLES, PLANTED = 1500, 1000, 0.1
SHOWN = 10
MOVES = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
COLOURS = {"exact": INK, "moved": "#2563eb", "noisy": "#15803d"}


@dataclass(frozen=True)
class Pair:
    """A sample (H, W), the training image nearest to it, and whether it is as near as hardly any new image."""

    sample: Tensor
    twin: Tensor
    copy: bool


def held_out_share(size: int) -> float:
    """``data.held_out`` that leaves ``size`` of the digits to train on: those with the largest fractions."""
    fractions = np.sort([held_out_fraction(key) for key in load_digits(DataConfig("digits")).keys])
    return round(float(fractions[-size - 1] + fractions[-size]) / 2, 6)


def trained(size: int) -> tuple[DiffusionModel, float]:
    """The run that learned from so many images, and the CPU seconds that it took."""
    run = FOLDER / str(size)
    seconds = run / "cpu-seconds"
    settings = (*SMALL, f"data.held_out={held_out_share(size)}")
    if not seconds.exists():  # written at the end: a run that was stopped is made anew
        shutil.rmtree(run, ignore_errors=True)
        begin = time.process_time()
        train("ddpm", data="digits", out=run, steps=STEPS, settings=settings)
        seconds.write_text(f"{time.process_time() - begin:.0f}")
    print(f"sumi train ddpm --data digits --steps {STEPS} --out {run} {flags(settings)}")
    return load(run, DiffusionModel), float(seconds.read_text())


def ratios(images: Tensor, training: Tensor) -> Ratios:
    return copy_ratios(images, training, reach=1, mirrored=False)


def copies(training: Tensor, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """``count`` copies of training images drawn at random, of each kind."""
    x = training[torch.randint(len(training), (count,), generator=generator)]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    ways = torch.randint(len(MOVES), (count,), generator=generator).tolist()
    moved = [
        image[:, 1 - down : image.shape[1] - 1 - down, 1 - right : image.shape[2] - 1 - right]
        for image, (down, right) in zip(padded, (MOVES[way] for way in ways), strict=True)
    ]
    noisy = (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)
    return {"exact": x, "moved": torch.stack(moved), "noisy": noisy}


def detector(training: Tensor, held_out: Tensor) -> dict[str, CopyRate]:
    """What the search finds among honest images, and where a tenth of them are copies of each kind."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(held_out), generator=generator)
    half = len(order) // 2
    yardstick = ratios(held_out[order[half:]], training).ratio
    honest = ratios(held_out[order[:half]], training).ratio
    found = {"nothing": copy_rate(honest, yardstick)}
    planted = round(PLANTED * half)
    for name, images in copies(training, planted, generator).items():
        found[name] = copy_rate(torch.cat([ratios(images, training).ratio, honest[planted:]]), yardstick)
    return found


def shown(estimate: Estimate) -> str:
    value, low, high = (100 * v + 0.0 for v in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def draw_pairs(axes: Axes, pairs: list[Pair]) -> None:
    """Each sample in a frame with the training image below it, a line from one to the other."""
    side, gap = len(pairs[0].sample), 3
    for k, pair in enumerate(pairs):
        left, colour = 1.4 * side * k, RED if pair.copy else GREY
        for top, image in ((0, pair.sample), (side + gap, pair.twin)):
            box = (left, left + side, top + side, top)
            axes.imshow(image.numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest", extent=box)
        axes.plot([left + side / 2] * 2, [side, side + gap], color=colour, linewidth=2)
        frame = (left - 0.7, -0.7), side + 1.4, 2 * side + gap + 1.4
        axes.add_patch(Rectangle(*frame, fill=False, edgecolor=colour, linewidth=1.2))
    axes.set_xlim(-8, 1.4 * side * len(pairs))
    axes.set_ylim(2 * side + gap + 1, -1)
    axes.set_axis_off()


def main() -> None:
    torch.set_num_threads(1)
    rates: list[Estimate] = []
    found: list[dict[str, CopyRate]] = []
    pairs: list[list[Pair]] = []
    rows: list[str] = []
    for size in SIZES:
        model, seconds = trained(size)
        train_part, rest = model.load_images().split(model.config.data.held_out)
        assert len(train_part) == size
        training, held_out = everything(train_part), everything(rest)
        samples = model.items.finish(model.sample(SAMPLES))
        near = ratios(samples, training)
        copied = copy_rate(near.ratio, ratios(held_out, training).ratio)
        rates.append(copied.rate)
        found.append(detector(training, held_out))
        message = near.ratio <= copied.ratios.threshold
        pairs.append([Pair(samples[i, 0], training[near.index[i], 0], bool(message[i])) for i in range(SHOWN)])
        cells = [f"{size:,}", f"{len(rest):,}", shown(rates[-1]), *(shown(one.rate) for one in found[-1].values())]
        rows.append(f"| {' | '.join(cells)} | {seconds:.0f} |")
    print("\n| to train on | held out | copies among samples, % | nothing planted | ", end="")
    print("10 % exact copies | 10 % moved | 10 % noisy | CPU s |\n" + "| --- " * 8 + "|")
    print("\n".join(rows))
    draw(rates, found, pairs)


def draw(rates: list[Estimate], found: list[dict[str, CopyRate]], pairs: list[list[Pair]]) -> None:
    """Above, copies by size and what the search finds; below, the first samples over their nearest training images."""
    figure = canvas(9.0, 9.6)
    charts, pictures = figure.subfigures(2, 1, height_ratios=(1, 2))
    left, right = charts.subplots(1, 2)
    for axes, lines in (
        (left, {"copies among samples": (RED, rates)}),
        (
            right,
            {
                name: (COLOURS.get(name, GREY), [one[name].rate for one in found])
                for name in ("exact", "moved", "noisy", "nothing")
            },
        ),
    ):
        for name, (colour, line) in lines.items():
            low, middle, high = (
                [100 * v for v in ends] for ends in zip(*((e.low, e.value, e.high) for e in line), strict=True)
            )
            axes.fill_between(SIZES, low, high, color=colour, alpha=0.12, linewidth=0)
            axes.plot(SIZES, middle, color=colour, marker="o", markersize=4, label=name)
        axes.set_xscale("log")
        axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES], fontsize=8, rotation=30)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("images to train on")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("copies among samples, %")
    left.set_ylim(-5, 105)
    right.axhline(100 * PLANTED, color=GREY, linewidth=1, linestyle="--")
    right.set_ylabel("copies found, %")
    right.set_title("what the search finds, where 10 % are planted", fontsize=9)
    name_lines(right)
    pictures.suptitle(
        "the first samples, each tied to the training image nearest to it; red: as near as the nearest 1 % of held-out",
        fontsize=9,
    )
    for axes, size, row in zip(pictures.subplots(len(SIZES), 1), SIZES, pairs, strict=True):
        draw_pairs(axes, row)
        axes.text(-1.5, 9.5, f"{size:,}\nimages", ha="right", va="center", fontsize=9)
    save(figure, PICTURE, "copies by the number of training images")


if __name__ == "__main__":
    main()
