"""How long a classifier can recognise a noised image.

A classifier sees x_t/√(alpha² + sigma²), which depends on log-SNR alone: √u x_0 + √(1 - u) ε with u = sigmoid(log_snr).
So what is recognisable at a log-SNR is a property of the data; the schedule only sets *when* it is reached. We compare
two classifiers: one trained on clean images, and one on images noised at every log-SNR from -8 to 8 (as for guidance:
Dhariwal & Nichol 2021, section 4). Sampling decides what an image shows near the point where accuracy is half-way
between clean images and guessing; later it decides appearance.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sumi.boundary.progress import Count
from sumi.data.dataset import Dataset, every_label, everything
from sumi.errors import InputError
from sumi.figures.canvas import GREY, INK, RED, SavedFigure, canvas, name_lines, save
from sumi.metrics.features.learned import train_classifier
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.intervals import Estimate, share
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import NoiseLevel, Schedule, at_log_snr, deviation, noise_levels
from sumi.randomness import Purpose, normal, uniform

HELD_OUT = 0.25
COPIES = 8
REACH = 8.0  # log-SNR from -8 to 8
TIMES = 21
MOST = 6_000  # images to learn from


def noised(images: Tensor, t: NoiseLevel, noise: Tensor) -> Tensor:
    """x_t/√(alpha² + sigma²) of images (N, C, H, W), at one noise level or one per image."""
    return add_noise(images, noise, t) / expand(deviation(t), images)


def train_on_noised(
    images: Tensor, labels: Tensor, *, classes: int, seed: int, count: Count, copies: int = COPIES
) -> FeatureNetwork:
    """A classifier trained on ``copies`` noised copies of each image, log-SNR uniform in [-8, 8]."""
    repeated, answers = images.repeat(copies, 1, 1, 1), labels.repeat(copies)
    which = range(len(repeated))
    log_snr = REACH * (2 * uniform(seed, which, 0, Purpose.TRAINING_TIME) - 1)
    noise = normal(seed, which, 0, Purpose.TRAINING_NOISE, images.shape[1:])
    seen = noised(repeated, at_log_snr(log_snr), noise)
    return train_classifier(
        seen, answers, classes=classes, seed=seed, progress=lambda done, all_: count("learning noised", done, all_)
    )


@dataclass(frozen=True)
class Recognition:
    """Accuracy on ``images`` held-out images at each time, of classifiers trained on clean and on noised images.

    ``guess``: the accuracy of random answers with training's class frequencies.
    """

    t: tuple[float, ...]
    log_snr: tuple[float, ...]
    clean: tuple[Estimate, ...]
    noised: tuple[Estimate, ...]
    guess: float
    images: int


def recognise(
    dataset: Dataset, schedule: Schedule, *, seed: int = 0, copies: int = COPIES, count: Count | None = None
) -> Recognition:
    """Train both classifiers and evaluate them at 21 times from 0 to 1. Raises InputError for data without labels."""
    if not dataset.label_names:
        raise InputError("data.source: has no classes; give labelled images, such as digits")
    count = count or (lambda *_: None)
    learned, held_out = dataset.split(HELD_OUT)
    learned = learned.subset(range(min(MOST, len(learned))))
    classes = len(dataset.label_names)
    images, labels = everything(learned), every_label(learned)
    shown, answers = everything(held_out), every_label(held_out)
    knows_clean = train_classifier(
        images, labels, classes=classes, seed=seed, progress=lambda done, all_: count("learning clean", done, all_)
    )
    knows_noised = train_on_noised(images, labels, classes=classes, seed=seed, count=count, copies=copies)
    rows: list[tuple[float, float, Estimate, Estimate]] = []
    for k, now in enumerate(noise_levels(schedule, torch.linspace(0, 1, TIMES, dtype=torch.float64))):
        x_t = noised(shown, now, normal(seed, range(len(shown)), k, Purpose.EVALUATION, shown.shape[1:]))
        by_clean, by_noised = (_right(network, x_t, answers) for network in (knows_clean, knows_noised))
        rows.append((float(now.t), float(now.log_snr), by_clean, by_noised))
    shares = [found.bincount(minlength=classes) / len(found) for found in (labels, answers)]
    guess = float(shares[0].double() @ shares[1].double())
    return Recognition(*zip(*rows, strict=True), guess=guess, images=len(shown))


def _right(network: FeatureNetwork, x_t: Tensor, answers: Tensor) -> Estimate:
    return share(int((network.probabilities(x_t).argmax(1) == answers).sum()), len(answers))


def half_way(t: tuple[float, ...], accuracy: tuple[Estimate, ...], guess: float) -> float:
    """The first time at which accuracy, linearly interpolated, is half-way from its clean value to guessing, or 1."""
    wanted = (accuracy[0].value + guess) / 2
    for k in range(1, len(t)):
        before, after = accuracy[k - 1].value, accuracy[k].value
        if after <= wanted:
            return t[k - 1] + (t[k] - t[k - 1]) * (before - wanted) / (before - after)
    return 1.0


def draw_recognition(recognition: Recognition, schedule: Schedule, path: Path) -> SavedFigure:
    """Accuracy over t with 95 % intervals, log-SNR on top; marks where each is half-way to guessing."""
    t, guess = recognition.t, recognition.guess
    figure = canvas(7.5, 4.2)
    axes = figure.subplots()
    crossings = []
    for name, accuracy, colour in (
        ("trained on clean images", recognition.clean, INK),
        ("trained on noised images", recognition.noised, RED),
    ):
        axes.fill_between(t, [a.low for a in accuracy], [a.high for a in accuracy], color=colour, alpha=0.15, lw=0)
        axes.plot(t, [a.value for a in accuracy], color=colour, marker=".", label=name)
        half = half_way(t, accuracy, guess)
        log_snr = float(schedule.log_snr(torch.tensor([half], dtype=torch.float64)))
        height = (accuracy[0].value + guess) / 2
        axes.plot([half, half], [0, height], color=colour, linestyle=":", linewidth=1)
        axes.plot([half], [height], "o", color=colour, markerfacecolor="white", zorder=3)
        crossings.append(f"t = {half:.2f} (log-SNR {log_snr:.1f}) if {name}")
    axes.axhline(guess, color=GREY, linestyle="--", linewidth=1, label=f"guessing: {guess:.2f}")
    axes.set_ylim(0, 1.03)
    axes.set_xlim(0, 1)
    axes.set_xlabel("t   (0 data, 1 noise)")
    axes.set_ylabel(f"accuracy on {recognition.images} held-out images")
    axes.grid(alpha=0.25)
    name_lines(axes)
    above = axes.secondary_xaxis("top")
    ticks = range(0, len(t), 4)
    above.set_xticks([t[k] for k in ticks], [f"{recognition.log_snr[k]:.1f}".replace("inf", "∞") for k in ticks])
    above.set_xlabel("log-SNR")
    return save(figure, path, f"a classifier is half-way to guessing at {', at '.join(crossings)}")
