"""Does a model generalise or copy? The verdict on 60 planted cases, whose truth is known; nothing is trained to sample.

    python benchmarks/verdicts.py [--seeds 0,1,2,3]

A part of the built-in digits (even seeds) or pieces of clothing (odd seeds) is called training images, another is held
out, and the rest is what the true law still holds. A "model" is a set of samples made of these, and its denoising
losses on training and held-out images, made up by image and noise level. Fifteen kinds of model, four seeds of each.

The limits of sumi/evaluation/generalization.py were chosen on the seeds 100 to 103, those judged are 0 to 3. One
thread.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sumi.data.config import DataConfig
from sumi.data.dataset import every_label, everything
from sumi.data.load import load
from sumi.evaluation.generalization import Generalization, generalization
from sumi.evaluation.images import evaluate
from sumi.evaluation.loss_by_noise import LossByLogSnr, NoiseBin, bootstrapped
from sumi.metrics.features.learned import train_classifier
from sumi.metrics.features.network import FeatureNetwork

SAMPLES, BINS, LOSSES = 300, 12, 300
SIZES = {"digits": (700, 300), "fashion": (1000, 400)}
"""How many images are training images, and how many held out."""


@dataclass(frozen=True)
class Case:
    """Images (N, C, H, W), and by how much the loss on held-out images exceeds that on training images."""

    training: Tensor
    held_out: Tensor
    samples: Tensor
    gap: float = 1.05
    mirrored: bool = False


@dataclass(frozen=True)
class World:
    """Images of the same law: some to train on, some held out, and new ones; and a source of chance."""

    training: Tensor
    held_out: Tensor
    new: Tensor
    chance: torch.Generator

    def of_law(self, count: int = SAMPLES) -> Tensor:
        return self.new[:count]

    def copied(self, count: int) -> Tensor:
        return self.training[torch.randperm(len(self.training), generator=self.chance)[:count]]

    def noise(self, like: Tensor, deviation: float) -> Tensor:
        return (like + deviation * torch.randn(like.shape, generator=self.chance)).clamp(-1, 1)

    def with_copies(self, copies: Tensor, **more: float | bool) -> Case:
        """A model whose first samples are these copies."""
        samples = torch.cat([copies, self.of_law(SAMPLES - len(copies))])
        return Case(self.training, self.held_out, samples, **more)  # type: ignore[arg-type]

    def with_twins(self, share: float = 0.1) -> "World":
        """Data of which a share occurs twice, once with a little noise; the two are divided like all others."""
        every = torch.cat([self.training, self.held_out, self.new])
        extra = self.noise(every[: round(share * len(every))], 0.03)
        every = torch.cat([every, extra])[torch.randperm(len(every) + len(extra), generator=self.chance)]
        first, second = len(self.training), len(self.training) + len(self.held_out)
        return World(every[:first], every[first:second], every[second:], self.chance)


def blurred(x: Tensor) -> Tensor:
    return 0.6 * x + 0.4 * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def moved(world: World, count: int) -> Tensor:
    return world.noise(world.copied(count).roll((1, -1), (2, 3)), 0.05)


CASES: dict[str, tuple[str, Callable[[World], Case]]] = {
    "the true law": ("generalises", lambda w: Case(w.training, w.held_out, w.of_law())),
    "the true law, a little noisy": ("generalises", lambda w: Case(w.training, w.held_out, w.noise(w.of_law(), 0.05))),
    "the true law, a little blurred": ("generalises", lambda w: Case(w.training, w.held_out, blurred(w.of_law()))),
    "the true law of data with twins": ("generalises", lambda w: (t := w.with_twins()).with_copies(t.copied(0))),
    "10 % exact copies": ("copies", lambda w: w.with_copies(w.copied(SAMPLES // 10))),
    "20 % copies, moved and noisy": ("copies", lambda w: w.with_copies(moved(w, SAMPLES // 5))),
    "30 % mirrored copies": ("copies", lambda w: w.with_copies(w.copied(3 * SAMPLES // 10).flip(3), mirrored=True)),
    "all copies, losses apart": ("copies", lambda w: w.with_copies(w.copied(SAMPLES), gap=5.0)),
    "20 % copies of data with twins": ("copies", lambda w: (t := w.with_twins()).with_copies(t.copied(SAMPLES // 5))),
    "24 samples, all copies": ("copies", lambda w: Case(w.training, w.held_out, w.copied(24))),
    "three training images, again and again": (
        "copies",
        lambda w: Case(w.training, w.held_out, w.noise(w.copied(3).repeat(SAMPLES // 3, 1, 1, 1), 0.02)),
    ),
    "12 samples of the true law": ("undecided", lambda w: Case(w.training, w.held_out, w.of_law(12))),
    "12 held-out images": ("undecided", lambda w: Case(w.training, w.held_out[:12], w.of_law())),
    "the true law, losses apart": ("undecided", lambda w: Case(w.training, w.held_out, w.of_law(), gap=2.0)),
    "noise": ("undecided", lambda w: Case(w.training, w.held_out, w.noise(torch.zeros_like(w.of_law()), 0.7))),
}
"""Of each kind of model, the true verdict, and how it is made."""


@cache
def data(name: str, seed: int) -> tuple[World, FeatureNetwork]:
    """Images divided at random, and a network trained on the training images of the first division of the data."""
    whole = load(DataConfig(name))
    chance = torch.Generator().manual_seed(1000 + seed)
    order = torch.randperm(len(whole), generator=chance)
    images, labels = everything(whole)[order], every_label(whole)
    assert labels is not None
    train, held = SIZES[name]
    world = World(images[:train], images[train : train + held], images[train + held :][: 2 * SAMPLES], chance)
    return world, _network(name)


@cache
def _network(name: str) -> FeatureNetwork:
    whole = load(DataConfig(name))
    first = whole.subset(np.random.default_rng(7).permutation(len(whole))[: SIZES[name][0]])
    labels = every_label(first)
    assert labels is not None
    return train_classifier(everything(first), labels, classes=len(whole.label_names), seed=0)


def losses(factor: float, chance: torch.Generator, seed: int) -> LossByLogSnr:
    """By noise level, of images some of which are harder than others at all levels."""
    levels = torch.logspace(-3, 0, BINS, dtype=torch.float64) * factor
    of_image = torch.randn(LOSSES, 1, generator=chance, dtype=torch.float64)
    own = torch.randn(LOSSES, BINS, generator=chance, dtype=torch.float64)
    means = bootstrapped(levels * (0.3 * of_image + 0.4 * own).exp(), seed)
    return LossByLogSnr(LOSSES, tuple(NoiseBin(k, k + 1, mean, mean) for k, mean in enumerate(means)))


def judged(kind: str, seed: int) -> Generalization:
    """The verdict on one case."""
    world, network = data(("digits", "fashion")[seed % 2], seed)
    world.chance.manual_seed(seed)
    case = CASES[kind][1](world)
    training, held_out = losses(1.0, world.chance, seed), losses(case.gap, world.chance, seed)
    evaluation = evaluate(case.samples, case.training, case.held_out, network, mirrored=case.mirrored, seed=seed)
    return generalization(evaluation, training, held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3")
    seeds = [int(seed) for seed in parser.parse_args().seeds.split(",")]
    torch.set_num_threads(1)
    print("| model | truth | right | wrong |\n" + "| --- " * 4 + "|")
    right = 0
    for kind, (truth, _) in CASES.items():
        found = [judged(kind, seed) for seed in seeds]
        wrong = [f"{x.verdict}: {x.reason}" for x in found if x.verdict != truth]
        right += len(seeds) - len(wrong)
        print(f"| {kind} | {truth} | {len(seeds) - len(wrong)} of {len(seeds)} | {'; '.join(wrong)} |", flush=True)
    print(f"\n{right} of {len(seeds) * len(CASES)} are right.")
    sys.exit(right < 0.95 * len(seeds) * len(CASES))


if __name__ == "__main__":
    main()
