"""The network of a perceptual loss by name: learned of the data, EfficientNet-Lite0, or the user's LPIPS weights.

A network from elsewhere is no part of a run, which names it and the sha256 of its weights.
"""

from pathlib import Path
from typing import Final

from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.features.efficientnet import CHANNELS, LEAST_SIDE, is_installed, open_efficientnet_distance
from sumi.metrics.features.learned import train_classifier, train_rotations
from sumi.metrics.features.lpips import open_lpips
from sumi.metrics.features.open import EFFICIENTNET, LEARNED
from sumi.metrics.perceptual import PerceptualDistance

AUTO: Final = "auto"
"""EFFICIENTNET where it is installed and sees such images, else LEARNED."""
SEED: Final = 1
"""Of the learned network: with that of the one that evaluations measure by, a loss would be judged by itself."""


def chosen(name: str, shape: tuple[int, int, int], *, halved: bool = False) -> str:
    """``name``, of a file or folder the whole path; of AUTO what it is for images of ``shape`` (C, H, W).

    ``halved``: they are seen at half their size, too.
    """
    channels, *sides = shape
    if name == AUTO:
        suits = is_installed() and channels in CHANNELS and min(sides) >= LEAST_SIDE * (2 if halved else 1)
        return EFFICIENTNET if suits else LEARNED
    return name if name in (LEARNED, EFFICIENTNET) else str(Path(name).expanduser().resolve())


def open_distance(name: str, shape: tuple[int, int, int], *, halved: bool = False) -> PerceptualDistance:
    """The distance in a network from elsewhere, EFFICIENTNET or a path, for images as `chosen` takes them.

    Raises InputError where it is not there, is another, or does not see such images.
    """
    found = open_efficientnet_distance() if name == EFFICIENTNET else open_lpips(Path(name))
    channels, *sides = shape
    if channels not in found.channels:
        raise InputError(f"features: {found.name} sees grey or colour images, not {channels} channels; choose learned")
    least = found.side * (2 if halved else 1)
    if min(sides) < least:
        half = " where they are halved" if halved else ""
        raise InputError(
            f"features: {found.name} needs sides of {least} pixels{half}, not {min(sides)}; choose larger images, or "
            "learned"
        )
    return found


def learned_distance(images: Tensor, labels: Tensor | None, classes: int) -> PerceptualDistance:
    """The distance in a network trained on ``images`` (N, C, H, W), with ``labels`` (N,) or without.

    The same images give the same network. Raises InputError for fewer than 10 images.
    """
    if labels is None:
        network = train_rotations(images, seed=SEED)
    else:
        network = train_classifier(images, labels, classes=classes, seed=SEED)
    return PerceptualDistance("learned", network.classifier, (images.shape[1],), 1)
