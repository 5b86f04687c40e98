"""Image to image on held-out images of a run: how exactly they come back, and what strengths leave of them.

    python -m benchmarks.image_to_image RUN [FIGURE.png]      (from the root of the repository)

Prints two tables. *There and back*: root mean square and largest difference of images in [-1, 1] from what they are
inverted to and decoded as, evaluations of the network there and back, and the deviation of the noise in between. *By
strength*: root mean square difference of one variation of each image from it, with an interval of 95 % (of the mean
over images, ± 1.96 standard errors), and the share that the feature network takes for the original's class (Wilson's).

FIGURE: eight images between two held-out ones, which stand at both ends, for the first five pairs of two classes.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sumi.evaluation.images import learn_features
from sumi.figures.pictures import image_grid
from sumi.metrics.intervals import Z, share
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load

WAYS = [
    ("ddim", 10, 0),
    ("ddim", 50, 0),
    ("ddim", 200, 0),
    ("ddim", 50, 10),
    ("adams", 50, 0),
    ("adams", 100, 0),
    ("heun", 18, 0),
    ("heun", 50, 0),
    ("heun", 18, 10),
]
STRENGTHS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)
MOST = 155


def there_and_back(model: DiffusionModel, images: Tensor, solver: str, steps: int, corrections: int) -> str:
    """A line of the first table."""
    latents = model.invert(images, steps=steps, solver=solver, corrections=corrections)
    off = model.decode(latents, steps=steps, solver=solver) - images
    back = steps if solver != "heun" else 2 * steps - 1
    there = back + corrections * back
    rms, most = float(off.square().mean().sqrt()), float(off.abs().max())
    std = float(latents.std()) / model.prior_std
    fixed = f" | {corrections} | {there} + {back} | {rms:.1e} | {most:.1e} | {std:.2f} |"
    return f"| {solver} | {steps}{fixed}"


def draw(model: DiffusionModel, images: Tensor, labels: Tensor, path: Path) -> None:
    """The figure."""
    pairs = [k for k in range(0, len(images) - 1, 2) if labels[k] != labels[k + 1]][:5]
    rows = [
        torch.cat([images[k : k + 1], model.interpolate(images[k], images[k + 1]), images[k + 1 : k + 2]])
        for k in pairs
    ]
    image_grid(model.pixels.to_bytes(torch.cat(rows)), columns=10, scale=8, gap=4).save(path)


def main(run: str, figure: str | None = None) -> None:
    model = load(run, DiffusionModel, device="cpu")
    train, held_out = model.load_images().split(model.config.data.held_out)
    chosen = np.arange(min(MOST, len(held_out)))
    images, labels = held_out.batch(chosen), held_out.labels_of(chosen)
    if figure is not None:
        draw(model, images, labels, Path(figure))
    print(f"{len(images)} held-out images\n")
    print("| solver | steps | corrections | evaluations | rms | largest | deviation of the noise |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for way in WAYS:
        print(there_and_back(model, images, *way), flush=True)
    network = learn_features(train)
    right = share(int((network.probabilities(images).argmax(1) == labels).sum()), len(images))
    print(f"\nthe feature network is right about {right.value:.3f} [{right.low:.3f}, {right.high:.3f}] of them\n")
    print("| strength | rms difference | class kept |")
    print("| --- | --- | --- |")
    for strength in STRENGTHS:
        made = model.vary(images, strength)
        far = (made - images).square().flatten(1).mean(1).sqrt()
        half = Z * float(far.std()) / len(far) ** 0.5
        kept = share(int((network.probabilities(made).argmax(1) == labels).sum()), len(images))
        distance = f"{float(far.mean()):.3f} ± {half:.3f}"
        print(f"| {strength:g} | {distance} | {kept.value:.3f} [{kept.low:.3f}, {kept.high:.3f}] |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
