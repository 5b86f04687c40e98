"""A device other than the CPU where there is none: "meta", whose tensors have a shape and no numbers.

As on a GPU, an operation on tensors of both devices raises. What reads a number back (``item``, ``bool``, ``nonzero``)
raises too, and copies to the host (``cpu``, ``tolist``) are counted and are zeros. Torch's own FakeTensorMode pretends
a "cuda", but no gradient can be computed on it without a torch that is built for CUDA.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
DEVICE = torch.device("meta")


class PretendedGPU(TorchDispatchMode):
    """``copies``: how many tensors were copied to the host so far."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = (*args, *kwargs.values())
        if func.overloadpacket in (aten.to, aten._to_copy) and args[0].is_meta and torch.device("cpu") in given:
            self.copies += 1
            return torch.zeros(args[0].shape, dtype=next((v for v in given if type(v) is torch.dtype), args[0].dtype))
        return func(*args, **kwargs)

    def counted(self, work: Callable[[], object]) -> int:
        """How many tensors ``work`` copies to the host."""
        before = self.copies
        work()
        return self.copies - before


@contextmanager
def pretended_gpu() -> Generator[PretendedGPU]:
    """While it holds, `DEVICE` is a GPU. Automatic precision, which knows no "meta", is off."""
    with (
        patch("torch.autocast", lambda *_, **__: nullcontext()),
        patch("torch.is_autocast_enabled", lambda *_: False),
        patch("torch.nn.utils.clip_grad._device_has_foreach_support", lambda _: True),
        PretendedGPU() as gpu,
    ):
        yield gpu
