"""The exponential moving average of a network's weights, used for sampling."""

import copy
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """θ_ema ← decay θ_ema + (1 - decay) θ, in one fused call; ``module`` has the type of ``source``.

    Buffers (counts, histories) are copied.
    """

    def __init__(self, source: nn.Module) -> None:
        self.module = copy.deepcopy(source).eval().requires_grad_(False)
        pairs = zip(source.parameters(), self.module.parameters(), strict=True)
        trained = [(weight, average) for weight, average in pairs if weight.requires_grad]
        self._source: list[Tensor] = [weight for weight, _ in trained]
        self._average: list[Tensor] = [average for _, average in trained]
        self._buffers = list(zip(self.module.buffers(), source.buffers(), strict=True))

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """One step towards the source's present weights; decay in [0, 1)."""
        torch._foreach_lerp_(self._average, self._source, 1 - decay)
        for copied, present in self._buffers:
            copied.copy_(present)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged weights and the buffers, by the names of ``state_dict``."""
        return self.module.state_dict()

    def load(self, tensors: Mapping[str, Tensor], strict: bool = True) -> None:
        """Take over `tensors`. ``strict``: all of them."""
        self.module.load_state_dict(tensors, strict=strict)

    @contextmanager
    def whole(self) -> Generator[nn.Module]:
        """The module, ready to be evaluated."""
        yield self.module

    @torch.no_grad()
    def restore_buffers(self) -> None:
        """The source's buffers again as they were at the last update."""
        for copied, present in self._buffers:
            present.copy_(copied)
