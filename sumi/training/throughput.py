"""How much of the device a training uses: its operations in a second, next to those of one large matrix product.

Operations are those of matrix products, convolutions and attention, a multiplication and an addition being two; what
else is computed counts as nothing (model FLOP utilization; Chowdhery et al. 2022, "PaLM", appendix B).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sumi.boundary.group import group

T = TypeVar("T")
SIDES: Final = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices that are multiplied to find what a device reaches, by its type."""
ROUNDS: Final = 4


@dataclass
class Throughput:
    """Counts the operations of one step of a training in ``dtype`` on ``device``."""

    device: torch.device
    dtype: torch.dtype
    operations: int = 0

    def counted(self, step: Callable[[], T]) -> T:
        """What ``step`` returns, its operations counted."""
        with _Counting() as counting:
            found = step()
        self.operations = counting.operations
        return found

    def line(self, seconds: float) -> str | None:
        """In words, for steps of so many seconds; None where nothing was counted, or the device is of another type."""
        if not self.operations or self.device.type not in SIDES:
            return None
        now, most = self.operations / seconds / 1e9, fastest(self.device, self.dtype) / 1e9
        dtype = str(self.dtype).removeprefix("torch.")
        own = " in each process" if group().size > 1 else ""
        return (
            f"{self.operations / 1e9:,.3g} GFLOP a step{own}, {now:,.0f} GFLOP/s: {now / most:.0%} of the {most:,.0f} "
            f"that a product of {dtype} matrices reaches here"
        )


class _Counting(TorchDispatchMode):
    """Adds up what torch knows of each function; its own `FlopCounterMode` watches modules, too, and refuses some."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.operations += 0 if count is None else count(*args, **(kwargs or {}), out_val=found)
        return found


@cache
def fastest(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a square matrix product, the best of `ROUNDS`."""
    side = SIDES[device.type]
    a, b = torch.ones(2, side, side, device=device, dtype=dtype)
    seconds: list[float] = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return 2.0 * side**3 / min(seconds)
