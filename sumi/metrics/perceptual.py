"""Perceptual distance of two images: the distance between a trained network's activations.

As in LPIPS (Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", eq. 1): with
h_l(x), C_l × H_l × W_l, the activations of the network's stage l, and ĥ_l the same with the C_l channels at each place
normalised to length 1,

    d(a, b) = Σ_l 1/(H_l W_l) Σ_places Σ_c w_lc (ĥ_l(a) - ĥ_l(b))_c²

An image shifted by one pixel is near and a blurred one far, the opposite of a mean squared error. The paper learns the
channel weights w from human judgements (`sumi.metrics.features.lpips`); without them all are 1 (its row
"uncalibrated"). Distances compare only within the same network and over the same number of stages.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.metrics.features.space import hash_of

LEAST: Final = 1e-8
"""Added to squared lengths, so that all-zero activations stay 0, with a gradient."""


class Stages(Protocol):
    """A network that exposes its activations."""

    def maps(self, images: Tensor, /) -> Sequence[Tensor]:
        """The activations of each stage, (N, C_l, H_l, W_l), for images (N, C, H, W) in [-1, 1]."""
        ...


def perceptual_distance(
    network: Stages, a: Tensor, b: Tensor, weights: Sequence[Tensor] = (), *, dtype: torch.dtype = torch.float64
) -> Tensor:
    """d of each pair of ``a`` and ``b``, (N, C, H, W) in [-1, 1]: (N,) of ``dtype``, between 0 and 4 per stage.

    ``weights``: w of each stage, (C_l,); none: 1. Raises InputError for different shapes, and what ``network`` raises.
    """
    if a.shape != b.shape:
        raise InputError(f"images: have shapes {tuple(a.shape)} and {tuple(b.shape)}; give pairs of one shape")
    pairs = zip(network.maps(a), network.maps(b), strict=True)
    squares = [(_unit(one.to(dtype)) - _unit(other.to(dtype))).square() for one, other in pairs]
    if weights:
        squares = [s * w.to(s)[:, None, None] for s, w in zip(squares, weights, strict=True)]
    return torch.stack([square.sum(1).mean((1, 2)) for square in squares]).sum(0)


def _unit(values: Tensor) -> Tensor:
    return values / (values.square().sum(1, keepdim=True) + LEAST).sqrt()


class PerceptualDistance(nn.Module):
    """d in a frozen ``network`` (`Stages`), as a loss: ``forward(a, b) -> (N,)``, float32, for (N, C, H, W) in [-1, 1].

    ``weights``: of each stage's channels; none: 1. ``side``: the fewest pixels of a side that it takes; ``channels``:
    those of the images that it takes. ``float32``: it computes so in a training of lower precision, too.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        channels: Sequence[int],
        side: int,
        weights: Sequence[Tensor] = (),
        *,
        float32: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.channels, self.side, self.float32 = name, tuple(channels), side, float32
        self.network = network
        self.weights = nn.ParameterList(weights)
        self.eval().requires_grad_(False)

    @property
    def sha256(self) -> str:
        """Of its weights, on the CPU."""
        return hash_of(self.name, self.state_dict())

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """It never is: batch norms keep their statistics."""
        del mode
        return super().train(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        stages: Stages = self.network  # pyrefly: ignore
        lower = torch.is_autocast_enabled(a.device.type) and not self.float32
        with torch.autocast(a.device.type, enabled=lower):
            return perceptual_distance(stages, a, b, tuple(self.weights), dtype=torch.float32)
