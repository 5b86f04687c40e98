"""What a condition brings, by each way in: print the tables of docs/results/conditioning.md.

    python -m benchmarks.conditions [values] [labels]

Trained on the built-in digits (small network of benchmarks/results.py, 2,500 steps, one thread), kept in
runs/conditions. values: a brightness is asked for, and that of what comes is measured. labels: classes told by norm
and by attention, and how many of 500 samples are the class asked for by a classifier of real digits.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks.results import SMALL
from sumi.data.image_set import ImageDataset
from sumi.evaluation.images import learn_features
from sumi.metrics.intervals import share
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.training_run import train

FOLDER, STEPS, SAMPLES = Path("runs/conditions"), 2500, 500


def trained(name: str, recipe: str, *settings: str) -> DiffusionModel:
    run = FOLDER / name
    train(recipe, data="digits", out=run, steps=STEPS, settings=[*SMALL, *settings], resume=True)
    return load(run, DiffusionModel)


def values() -> None:
    model = trained("values", "ddpm", "conditioning=values")
    data = model.load_images()
    bright = data.batch(torch.arange(len(data)).numpy()).mean((1, 2, 3))
    low, middle, high = bright.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    print(f"brightness of real digits: {low:.2f}, {middle:.2f} and {high:.2f} at 5, 50 and 95 %\n")
    print("| asked for | guidance 1: mean ± deviation | guidance 2 |\n| --- | --- | --- |")
    for requested in (low, middle, high):
        cells = []
        for guidance in (1.0, 2.0):
            made = model.sample(200, condition={"values": {"brightness": requested}}, guidance=guidance)
            got = made.mean((1, 2, 3))
            cells.append(f"{float(got.mean()):.3f} ± {float(got.std()):.3f}")
        print(f"| {requested:.3f} | {' | '.join(cells)} |")
    free = model.sample(200).mean((1, 2, 3))
    print(f"| nothing | {float(free.mean()):.3f} ± {float(free.std()):.3f} | |")
    print(f"| (real) | {float(bright.mean()):.3f} ± {float(bright.std()):.3f} | |")


def labels() -> None:
    print("| way | guidance 1 | 2 |\n| --- | --- | --- |")
    network = None
    for way in ("norm", "attention"):
        model = trained(way, "classifier-free", f"conditioning.way={way}")
        if network is None:
            dataset = model.load_data()
            assert isinstance(dataset, ImageDataset)
            network = learn_features(dataset.split(model.config.data.held_out)[0])
        cells = []
        for guidance in (1.0, 2.0):
            made = model.pixels.to_model(model.pixels.to_levels(model.sample(SAMPLES, label="all", guidance=guidance)))
            right = network.probabilities(made).argmax(1) == torch.arange(SAMPLES) % 10
            e = share(int(right.sum()), SAMPLES)
            cells.append(f"{100 * e.value:.1f} % [{100 * e.low:.1f}, {100 * e.high:.1f}]")
        print(f"| {way} | {' | '.join(cells)} |")


def main() -> None:
    torch.set_num_threads(1)
    for table in (
        [values, labels] if len(sys.argv) < 2 else [{"values": values, "labels": labels}[a] for a in sys.argv[1:]]
    ):
        table()
        print()


if __name__ == "__main__":
    main()
