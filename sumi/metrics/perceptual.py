"""Perceptual distance of two images: the distance between a trained network's activations.

As in LPIPS (Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", eq. 1): with
h_l(x), C_l × H_l × W_l, the activations of the network's stage l, and ĥ_l the same with the C_l channels at each place
normalised to length 1,

    d(a, b) = Σ_l 1/(H_l W_l) Σ_places ‖ĥ_l(a) - ĥ_l(b)‖²

An image shifted by one pixel is near and a blurred one far, the opposite of a mean squared error. The paper also learns
channel weights from human judgements; here all are 1 (its row "uncalibrated"). Distances compare only within the same
network and over the same number of stages.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import torch
from torch import Tensor

from sumi.errors import InputError

LEAST: Final = 1e-10
"""Added to lengths, so that all-zero activations stay 0."""


class Stages(Protocol):
    """A network that exposes its activations."""

    def maps(self, images: Tensor, /) -> Sequence[Tensor]:
        """The activations of each stage, (N, C_l, H_l, W_l), for images (N, C, H, W) in [-1, 1]."""
        ...


def perceptual_distance(network: Stages, a: Tensor, b: Tensor) -> Tensor:
    """d of each pair of ``a`` and ``b``, (N, C, H, W) in [-1, 1]: float64 (N,), between 0 and 4 per stage.

    Raises InputError for different shapes, and what ``network`` raises.
    """
    if a.shape != b.shape:
        raise InputError(f"images: have shapes {tuple(a.shape)} and {tuple(b.shape)}; give pairs of one shape")
    pairs = zip(network.maps(a), network.maps(b), strict=True)
    stages = [(_unit(one) - _unit(other)).square().sum(1).mean((1, 2)) for one, other in pairs]
    return torch.stack(stages).sum(0)


def _unit(values: Tensor) -> Tensor:
    values = values.double()
    return values / (values.square().sum(1, keepdim=True).sqrt() + LEAST)
