"""Low-rank adaptation of trained weights (Hu et al. 2021, "LoRA: low-rank adaptation of large language models").

The weight W of a layer stays as it is, and B A is added to it, with A (r, inputs) and B (outputs, r):

    W' = W + (alpha/r) B A,        alpha = r, so the factor is 1

B begins at zero, so that W' = W at first. A kernel of k × k counts as a matrix (outputs k, inputs k), a row for each
output channel and height, as in the authors' own code, which costs fewer numbers than one of (outputs, inputs k k).
Merged, W' is an ordinary weight, computed as in training, so nothing changes.

An addition to a small layer can be nearly as large as the layer, so that the rank there is what a share of it allows.
"""

import math
from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sumi.errors import InputError

RATE: Final = 10.0
"""The learning rate of A and B, as a multiple of that of whole weights."""


class LowRank(nn.Module):
    """``forward(W)`` = W + B A in the shape of W."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = sides(weight)
        self.A = nn.Parameter(torch.empty(rank, inputs))
        self.B = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        outputs, inputs, *kernel = weight.shape
        half = len(kernel) // 2
        with torch.autocast(weight.device.type, enabled=False):
            product = (self.B @ self.A).view(outputs, *kernel[:half], inputs, *kernel[half:])
            return weight + product.movedim(1 + half, 1)


def sides(weight: Tensor) -> tuple[int, int]:
    """Rows and columns of a weight (outputs, inputs, kernel …) as a matrix; the kernel's first half is in the rows."""
    rows = weight.shape[0] * math.prod(weight.shape[2 : 2 + (weight.ndim - 2) // 2])
    return rows, weight.numel() // rows


class NewRows(nn.Module):
    """``forward(W)`` = W with the rows that were ``taken`` as they were, so that only the others train."""

    def __init__(self, weight: Tensor, taken: Iterable[int]) -> None:
        super().__init__()
        kept = torch.zeros(len(weight), 1, dtype=torch.bool)
        kept[list(taken)] = True
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("base", weight.detach().clone(), persistent=False)

    kept: Tensor
    base: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.kept, self.base, weight)


def rank_within(weight: Tensor, share: float | None) -> int:
    """The largest rank of an addition that has at most ``share`` of the weight's numbers; none: its full rank."""
    whole = min(sides(weight))
    return whole if share is None else min(whole, int(share * weight.numel() / sum(sides(weight))))


def adapt(
    module: nn.Module, rank: int, taken: Iterable[str], rows: dict[str, list[int]], share: float | None = None
) -> None:
    """Freeze the parameters that were ``taken``, and give each layer among them an addition of ``rank``.

    Where that would have more than ``share`` of the layer's numbers, the rank is lower; a layer without room for rank 1
    stays as it is. ``rows``: of tables taken in part, the rows that were. Raises InputError where no layer is as wide
    as the rank, and where none has room.
    """
    frozen = set(taken)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    parts = dict(module.named_modules())
    layers = [part for name, part in parts.items() if f"{name}.weight" in frozen and _is_layer(part)]
    if not layers:
        raise InputError("training.lora_rank: the network has no Linear or convolution to adapt; leave it out")
    widest = max(min(sides(part.get_parameter("weight"))) for part in layers)
    if rank > widest:
        raise InputError(f"training.lora_rank: {rank} is above {widest}, the full rank of the widest layer; give less")
    ranks = {part: min(rank, rank_within(part.get_parameter("weight"), share)) for part in layers}
    if not any(ranks.values()):
        raise InputError(f"training.lora_share: {share:g} of any layer is less than rank 1; give more, or none")
    tables = {parts[name.removesuffix(".weight")]: taken_rows for name, taken_rows in rows.items()}
    for part in (part for part in layers if ranks[part]):
        parametrize.register_parametrization(part, "weight", LowRank(part.get_parameter("weight"), ranks[part]))
    for part, taken_rows in tables.items():
        new = NewRows(part.get_parameter("weight"), taken_rows)
        parametrize.register_parametrization(part, "weight", new)


def _is_layer(part: nn.Module) -> bool:
    match part:
        case nn.Linear() | nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return True
        case _:
            return False


def additions(module: nn.Module) -> list[nn.Parameter]:
    """All A and B of a module."""
    return [weight for part in module.modules() if type(part) is LowRank for weight in part.parameters()]


def frozen(module: nn.Module) -> frozenset[str]:
    """The names of the parameters that an adapted module takes from its base; none where it is not adapted."""
    if not additions(module):
        return frozenset()
    return frozenset(name for name, weight in module.named_parameters() if not weight.requires_grad)


def without(tensors: dict[str, Tensor], names: frozenset[str]) -> dict[str, Tensor]:
    """The tensors but for those of these names."""
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def merge(module: nn.Module) -> None:
    """Put W + B A in the place of each weight; the module's tensors have their usual names again."""
    for part in list(module.modules()):
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight")
