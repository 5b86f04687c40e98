"""How different two pictures look: the distance between the inner values of a network that has learned to see.

In the manner of LPIPS (Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric",
eq. 1): with h_l(x), of C_l × H_l × W_l, the values of the network's stage l, and ĥ_l the same with the vector of C_l
values at each place scaled to length 1,

    d(a, b) = Σ_l 1/(H_l W_l) Σ_places ‖ĥ_l(a) - ĥ_l(b)‖²

A picture one pixel to the side is near, one that is blurred is far, where a mean squared error says the opposite. The
paper also learns a weight for every channel from people's judgements; here all are 1 (its row "uncalibrated"). The
network decides what counts: two distances compare only in the same one, and only over the same number of stages.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import torch
from torch import Tensor

from sumi.errors import InputError

LEAST: Final = 1e-10
"""Added to lengths, so that a place where a stage has only zeros stays 0."""


class Stages(Protocol):
    """A network that shows what it sees."""

    def maps(self, images: Tensor, /) -> Sequence[Tensor]:
        """The values of each stage, (N, C_l, H_l, W_l), for images (N, C, H, W) in [-1, 1]."""
        ...


def perceptual_distance(network: Stages, a: Tensor, b: Tensor) -> Tensor:
    """d between each of ``a`` and the one of ``b`` at its place, (N, C, H, W) in [-1, 1]: float64 (N,), 0 or more.

    At most 4 for each stage. Raises InputError where the two differ in shape, and what ``network`` raises.
    """
    if a.shape != b.shape:
        raise InputError(f"images of shapes {tuple(a.shape)} and {tuple(b.shape)}: give pairs of one shape")
    pairs = zip(network.maps(a), network.maps(b), strict=True)
    stages = [(_unit(one) - _unit(other)).square().sum(1).mean((1, 2)) for one, other in pairs]
    return torch.stack(stages).sum(0)


def _unit(values: Tensor) -> Tensor:
    values = values.double()
    return values / (values.square().sum(1, keepdim=True).sqrt() + LEAST)
