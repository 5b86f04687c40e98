"""A learned feature space: the last hidden layer of a small classifier trained on the training images.

Pixel distances say little about similarity, so quality is measured between *features* of a classifier. The usual
choice, a network trained on ImageNet, does not suit grey 8×8 digits; a few convolutions
(`sumi.metrics.features.network`) learn the data at hand in seconds.

The network classifies labelled data by label. Without labels it learns which of four quarter turns was applied to an
image (RotNet: Gidaris, Singh and Komodakis 2018), which requires recognising its content. Small random shifts reduce
overfitting, and a tenth of the images is held out to measure the accuracy.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sumi.errors import InputError
from sumi.metrics.features.network import (
    DIMENSION,
    ConvolutionalClassifier,
    FeatureFacts,
    FeatureNetwork,
    check_images,
    untrained,
)

BATCH = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
FEWEST_STEPS, MOST_STEPS, PASSES = 400, 1000, 10  # ten passes over the data, within 400 to 1000 steps
FEWEST_IMAGES = 10
TURNS = 4

Progress = Callable[[int, int], None]


def train_classifier(
    images: Tensor, labels: Tensor, *, classes: int, seed: int, progress: Progress | None = None
) -> FeatureNetwork:
    """Train a classifier of ``images`` (N, C, H, W), float32 in [-1, 1].

    ``labels``: int64 (N,) in [0, classes).

    The same images and seed give the same network (bit for bit with the same number of threads), without using global
    random state. ``progress`` is called with (steps done, total). Raises InputError for fewer than 10 images and for
    labels that do not fit.
    """
    check_images(images)
    if labels.shape != (len(images),):
        raise InputError(f"labels: have shape {tuple(labels.shape)} for {len(images)} images; give one per image")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"labels: are {int(labels.min())} to {int(labels.max())}; give labels in 0 to {classes - 1}")
    return _train(images, labels, "classes", classes, seed, progress)


def train_rotations(images: Tensor, *, seed: int, progress: Progress | None = None) -> FeatureNetwork:
    """Train a classifier of the quarter turn (0, 1, 2 or 3) of ``images`` (N, C, H, W), float32 in [-1, 1].

    For data without labels; otherwise as ``train_classifier``.
    """
    check_images(images)
    return _train(images, torch.zeros(len(images), dtype=torch.int64), "rotations", TURNS, seed, progress)


def _examples(images: Tensor, labels: Tensor, task: str) -> list[tuple[Tensor, Tensor]]:
    """Equal batches of inputs and targets: the images themselves, or turned four ways."""
    if task == "classes":
        return [(images, labels)]
    turned = [images.rot90(turn, (2, 3)) for turn in range(TURNS)]
    answers = [torch.full_like(labels, turn) for turn in range(TURNS)]
    if images.shape[2] == images.shape[3]:  # one batch of all is faster
        return [(torch.cat(turned), torch.cat(answers))]
    return list(zip(turned, answers, strict=True))


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to a sixteenth of its side, at least a pixel, with edge padding."""
    n, c, height, width = images.shape
    reach = max(1, min(height, width) // 16)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    down, right = (torch.randint(0, 2 * reach + 1, (n, 1), generator=generator) for _ in range(2))
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    image, channel = torch.arange(n)[:, None, None, None], torch.arange(c)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _train(
    images: Tensor, labels: Tensor, task: str, classes: int, seed: int, progress: Progress | None
) -> FeatureNetwork:
    if len(images) < FEWEST_IMAGES:
        raise InputError(f"images: {len(images)} are too few to learn features from; give at least {FEWEST_IMAGES}")
    images, labels = images.float().cpu(), labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    kept_out, learned = order[: len(images) // 10], order[len(images) // 10 :]
    facts = FeatureFacts(task, classes, images.shape[1], min(images.shape[2:]), math.nan, len(kept_out))
    network = untrained(facts.channels, facts.side, classes, generator)
    _fit(network, images[learned], labels[learned], task, generator, progress)
    plain = FeatureNetwork(network, torch.zeros(DIMENSION).double(), torch.ones(()).double(), facts)
    right = [
        (plain.probabilities(seen).argmax(1) == answer).double().mean()
        for seen, answer in _examples(images[kept_out], labels[kept_out], task)
    ]
    raw = plain.features(images[learned])
    scale = raw.var(0).mean().sqrt().clamp(min=1e-12)
    return FeatureNetwork(network, raw.mean(0), scale, replace(facts, accuracy=float(sum(right) / len(right))))


@torch.enable_grad()
def _fit(
    network: ConvolutionalClassifier,
    images: Tensor,
    labels: Tensor,
    task: str,
    generator: torch.Generator,
    progress: Progress | None,
) -> None:
    """AdamW with linear warm-up over a tenth of the steps and cosine decay."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    size = BATCH if min(images.shape[2:]) <= 32 else BATCH // 2  # large images are slow
    if task == "rotations":
        size //= TURNS
    steps = min(MOST_STEPS, max(FEWEST_STEPS, PASSES * len(images) // size))
    queue = torch.zeros(0, dtype=torch.int64)
    for step in range(steps):
        while len(queue) < size:
            queue = torch.cat([queue, torch.randperm(len(images), generator=generator)])
        batch, queue = queue[:size], queue[size:]
        warm_up, decay = min(1.0, 10 * (step + 1) / steps), 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warm_up * decay
        optimizer.zero_grad()
        examples = _examples(_shifted(images[batch], generator), labels[batch], task)
        for seen, answer in examples:
            logits = network(seen.contiguous(memory_format=torch.channels_last))
            (F.cross_entropy(logits, answer) / len(examples)).backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, steps)
