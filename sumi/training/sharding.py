"""Each process holds its share of every weight, and the whole of a block only while it computes (FSDP, ZeRO-3).

    gather a block → compute it → drop it, forward and once more backward;      add up its gradients → keep a share

Weights, their averages, gradients and the optimizer are then `DTensor`s: rows of dim 0, shared out among the processes.
Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion parameter models"; Zhao et al. 2023,
"PyTorch FSDP: experiences on scaling fully sharded data parallel", whose second form is `fully_shard`.
"""

import copy
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

import torch
from torch import Tensor, nn

from sumi.boundary.group import group

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

    from sumi.objectives.objective import Objective

SMALLEST: Final = 0.01
"""Of all weights: blocks with a smaller share stay gathered during the step, as a message for each costs more."""


def shard(objective: "Objective") -> None:
    """Share out the weights of ``objective`` in place, but for scalars; their order in memory becomes the usual one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(objective.device.type, (group().size,))
    for weight in objective.parameters():
        weight.data = weight.data.contiguous()
    total = _count(objective)
    for block in objective.blocks() if objective.calls_alike else []:
        if _count(block) >= SMALLEST * total:
            scalars = {weight for weight in block.parameters() if not weight.ndim}
            fully_shard(block, mesh=mesh, ignored_params=scalars)
    fully_shard(objective, mesh=mesh, ignored_params={weight for weight in objective.parameters() if not weight.ndim})


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def is_sharded(tensor: Tensor) -> bool:
    """Whether each process holds only its rows of ``tensor``."""
    if type(tensor) in (Tensor, nn.Parameter):  # without the import, which takes a moment
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def rows(tensor: Tensor) -> Tensor:
    """The rows of ``tensor`` that this process holds, in the same memory: all, unless it is sharded."""
    return cast("DTensor", tensor.detach()).to_local() if is_sharded(tensor) else tensor


def rows_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """`rows` of each."""
    return [*map(rows, tensors)]


def whole(tensor: Tensor) -> Tensor:
    """All rows of ``tensor``; all processes ask together."""
    return cast("DTensor", tensor.detach()).full_tensor() if is_sharded(tensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole ``tensor``, sharded as ``like`` is: each process takes its rows. What is sharded already is unchanged."""
    if is_sharded(tensor) or not is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    own = cast("DTensor", like)
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def all_placed(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`placed` of each, by name."""
    return {name: placed(tensor, like[name]) if name in like else tensor for name, tensor in tensors.items()}


@torch.no_grad()
def clip_sharded(weights: Sequence[Sequence[nn.Parameter]], largest: float, device: torch.device) -> Tensor:
    """As `torch.nn.utils.clip_grad_norm_` of each group of weights: their norms (groups,), in one exchange for all."""
    gradients = [[weight.grad for weight in one if weight.grad is not None] for one in weights]
    own = [rows_of(gradient for gradient in one if is_sharded(gradient) or group().first) for one in gradients]
    sums = [sum(norm.double().square() for norm in torch._foreach_norm(one)) if one else 0.0 for one in own]
    squares = torch.stack([torch.as_tensor(one, dtype=torch.float64, device=device) for one in sums])
    norms = group().total(squares).sqrt().float()
    for one, norm in zip(gradients, norms, strict=True):
        if one:
            torch._foreach_mul_(rows_of(one), (largest / (norm + 1e-6)).clamp(max=1.0))
    return norms


@torch.no_grad()
def average_loose(weights: Sequence[nn.Parameter]) -> None:
    """Give each process the mean gradient of the scalars among ``weights``, which are not sharded."""
    scalars = [weight for weight in weights if not is_sharded(weight)]
    if not scalars:
        return
    present = torch.tensor([weight.grad is not None for weight in scalars], device=scalars[0].device)
    gradients = torch.stack([torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in scalars])
    present, gradients = group().total(present.float()), group().total(gradients) / group().size
    for weight, any_present, gradient in zip(scalars, present.tolist(), gradients, strict=True):
        weight.grad = gradient if any_present else None


def unsharded_type(module: nn.Module) -> type:
    """The class of ``module``, which `shard` has replaced by one with the same name after FSDP."""
    kind = type(module)
    return kind.__bases__[1] if kind.__bases__[0].__name__ == "FSDPModule" else kind


class ShardedEMA:
    """`sumi.training.ema.EMA` of sharded weights: each process averages its own.

    ``hollow``: a copy of the module without its weights (`hollow_of`, from before it was sharded), which gets them
    while it is `whole`.
    """

    def __init__(self, source: nn.Module, hollow: nn.Module) -> None:
        self.hollow = hollow
        pairs = zip(source.parameters(), hollow.parameters(), strict=True)
        self._averages = {empty: weight.detach().clone() for weight, empty in pairs}
        trained = [
            (weight, average) for weight, average in zip(source.parameters(), self._averages.values(), strict=True)
        ]
        self._trained = [(weight, average) for weight, average in trained if weight.requires_grad]
        self._buffers = list(zip(hollow.buffers(), source.buffers(), strict=True))

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """One step towards the source's present weights; decay in [0, 1)."""
        weights, averages = zip(*self._trained, strict=True)
        torch._foreach_lerp_(rows_of(averages), rows_of(weights), 1 - decay)
        for copied, present in self._buffers:
            copied.copy_(present)

    @torch.no_grad()
    def restore_buffers(self) -> None:
        """The source's buffers again as they were at the last update."""
        for copied, present in self._buffers:
            present.copy_(copied)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged weights and the buffers, by the names of ``state_dict``."""
        found = self.hollow.state_dict(keep_vars=True)
        return {name: self._averages.get(value, value) for name, value in found.items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], strict: bool = True) -> None:
        """Take over `tensors`, sharded alike. ``strict``: all of them."""
        for name, own in self.tensors().items():
            if strict or name in tensors:
                own.copy_(tensors[name])

    @contextmanager
    def whole(self) -> Generator[nn.Module]:
        """The module with all averaged weights, in the first process; all ask together."""
        for empty, average in self._averages.items():
            found = whole(average)
            if group().first:
                empty.data = found
        yield self.hollow
        for empty in self._averages:
            empty.data = empty.data.new_empty(0)


def hollow_of(module: nn.Module) -> nn.Module:
    """A copy of ``module`` for evaluation whose weights are empty; its buffers are copies."""
    empty = {
        id(weight): nn.Parameter(weight.detach().new_empty(0), requires_grad=False) for weight in module.parameters()
    }
    return copy.deepcopy(module, {**empty}).eval()
