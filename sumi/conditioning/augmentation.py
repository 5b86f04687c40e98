"""Pictures that are moved, turned and stretched in training, and a condition that says how, so that it does not leak.

Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", appendix F.2. Each of these is
done to a share of the pictures, each for itself:

    mirrored left to right, or upside down, half of the time
    larger by 2^(0.2 n)                         n standard normal, as below
    turned by any angle
    stretched by 2^(0.2 n) along any direction, and narrowed by as much across it
    shifted by an eighth of the width and of the height, times n

in that order, about the middle, and what is missing is reflected. The network is given nine numbers that say what was
done; samples are made with zeros, which stand for nothing. So a small set is seen from many sides, and samples are
still those of the set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log, pi
from typing import ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.images import ImageSpec
from sumi.data.latents import LatentDataset
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.networks.condition import NetworkCondition
from sumi.randomness import Purpose

AUGMENTATION: Final = "augmentation"
TRANSFORMS: Final = 6
"""Transforms of a picture, each with its own chance."""
NUMBERS: Final = 9
"""That say what was done."""
SPREAD: Final = 0.2
"""Deviation of log2 of how much larger, and of how much longer, a picture becomes."""
SHIFT: Final = 0.125
"""Deviation of a shift, of the whole width or height."""


@dataclass(frozen=True)
class AugmentationConditioning:
    """Pictures are moved, turned and stretched in training, and the network is given how."""

    name: ClassVar[str] = AUGMENTATION

    share: float = field(
        default=0.12, metadata={"help": "of the pictures that each kind of augmentation is done to, 0 < share < 1"}
    )

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"conditioning.share: {self.share:g} is not between 0 and 1; give such as 0.12")

    @property
    def dropout(self) -> float:
        """The share of the pictures that nothing is done to."""
        return (1 - self.share) ** TRANSFORMS

    def build(self, items: Items, width: int) -> "AugmentationConditioner":
        """A new conditioner, for pictures. Raises InputError for other data."""
        if len(items.shape) != 3:
            raise InputError("conditioning: augmentation is of pictures, and the data are none; leave it out")
        return AugmentationConditioner(self.share, width)


class AugmentationConditioner(Conditioner):
    """``augmentation`` (N, 9): what was done, 0 for nothing, -> one vector (N, width)."""

    def __init__(self, share: float, width: int) -> None:
        super().__init__()
        self.share, self.dropout = share, (1 - share) ** TRANSFORMS
        self.embedding = nn.Linear(NUMBERS, width, bias=False)
        nn.init.zeros_(self.embedding.weight)

    def fit(self, data: Dataset) -> None:
        """Raises InputError for anything but pictures as they are."""
        match data:
            case LatentDataset():
                raise InputError("conditioning: augmentation is of pictures, and latents are learned; leave it out")
            case _:
                why = "conditioning: augmentation is of pictures, and the data are none; leave it out"
                expect(data.spec, ImageSpec, why)

    def augmented(self, batch: Batch, x: Tensor) -> Tensor:
        """The pictures ``x`` (n, C, H, W) of a batch, of which those that something is done to are new."""
        done = self._of(batch)
        moved = done.any(1)
        if not bool(moved.any()):
            return x
        found = x.clone()
        found[moved.to(x.device)] = warped(x[moved.to(x.device)], matrix(done[moved], x.shape[3] / x.shape[2]))
        return found

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """Raises InputError: samples are made as if nothing was done."""
        del given, indices
        raise InputError("condition: augmentation is for training, and samples have none; leave it out")

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """What `augmented` has done."""
        del x_0, draw
        return Condition({AUGMENTATION: self._of(batch).float()})

    def null(self, like: Tensor) -> Condition:
        return Condition({AUGMENTATION: like.new_zeros(len(like), NUMBERS)})

    def forward(self, condition: Condition) -> NetworkCondition:
        return NetworkCondition(vector=self.embedding(condition[AUGMENTATION].to(self.embedding.weight)))

    def _of(self, batch: Batch) -> Tensor:
        """float64 (n, 9): mirrored and upside down (0, 1), log2 of the size, cos - 1 and sin of the turn, log2 of the
        stretch times cos and sin of twice its direction, the shifts."""
        random = batch.uniforms(Purpose.AUGMENTATION, TRANSFORMS + 8)
        done = (random[:, :TRANSFORMS] < self.share).double()
        halves = (random[:, TRANSFORMS : TRANSFORMS + 2] < 0.5).double()
        turn, direction = (2 * pi * random[:, TRANSFORMS + 2 : TRANSFORMS + 4]).unbind(1)
        size, stretch, *shifts = torch.special.ndtri(random[:, TRANSFORMS + 4 :].clamp(1e-9, 1 - 1e-9)).unbind(1)
        numbers = (
            *(done[:, 0] * halves[:, 0], done[:, 1] * halves[:, 1]),
            done[:, 2] * SPREAD * size,
            *(done[:, 3] * (turn.cos() - 1), done[:, 3] * turn.sin()),
            *(done[:, 4] * SPREAD * stretch * wave for wave in (direction.cos(), direction.sin())),
            *(done[:, 5] * SHIFT * shift for shift in shifts),
        )
        return torch.stack(numbers, 1)


def matrix(done: Tensor, aspect: float) -> Tensor:
    """Where places of the new picture come from: float64 (n, 2, 3), of coordinates from -1 to 1, x before y.

    ``done`` float64 (n, 9), see `AugmentationConditioner`; ``aspect``: width over height.
    """
    mirrored, upside_down, size, cos, sin, along, across, right, down = done.unbind(1)
    whole = torch.eye(2, dtype=done.dtype).expand(len(done), 2, 2)
    cos = cos + 1
    flips = torch.diag_embed(torch.stack([1 - 2 * mirrored, 1 - 2 * upside_down], 1))
    turns = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    # log2 of the stretch is a symmetric matrix without a trace, ± its length along and across the direction
    stretches = torch.linalg.matrix_exp(log(2) * torch.stack([along, across, across, -along], 1).view(-1, 2, 2))
    forth = stretches @ turns @ (torch.exp2(size)[:, None, None] * whole) @ flips
    units = torch.tensor([aspect, 1.0], dtype=done.dtype)  # of x and y, in halves of the height
    back = torch.linalg.inv(forth) * units / units[:, None]
    shift = 2 * torch.stack([right, down], 1)
    return torch.cat([back, -back @ shift[..., None]], 2)


def warped(x: Tensor, places: Tensor) -> Tensor:
    """Pictures (n, C, H, W) whose every place is read from that in `matrix` (n, 2, 3), at twice the resolution."""
    height, width = x.shape[2:]
    fine = F.interpolate(x, scale_factor=2, mode="bicubic")
    grid = F.affine_grid(places.to(x), [len(x), x.shape[1], 2 * height, 2 * width], align_corners=False)
    found = F.grid_sample(fine, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(found, 2)
