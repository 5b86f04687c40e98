"""The precision a network is trained in: a property of the device, not a matter of timing."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

import torch
from torch import Tensor

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
AUTOCAST: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What layers compute in, where it is not float32; weights and their gradients are float32 always."""


@dataclass
class LossScale:
    """What the loss is multiplied by before its gradients are computed, so that small ones are not 0 in float16.

    Micikevicius et al. 2018, "Mixed precision training", section 3.2. It is a power of two from 1 to `LARGEST`: halved
    where a gradient overflows, and doubled after `PATIENCE` steps without. float16 ends at 65504, and begins at 6e-8.
    """

    value: float = 2.0**16
    steps: int = 0

    LARGEST: ClassVar[float] = 2.0**24
    PATIENCE: ClassVar[int] = 2_000

    def answers(self, loss: Tensor, norms: Tensor) -> bool:
        """Whether a step is done: its gradients are finite, or not for want of a smaller scale. Else it is halved.

        ``loss``: without the scale; ``norms``: of the gradients.
        """
        if norms.isfinite().all():
            self.steps += 1
            if self.steps == self.PATIENCE:
                self.value, self.steps = min(self.value * 2, self.LARGEST), 0
            return True
        if not loss.isfinite() or self.value <= 1:
            return True
        self.value, self.steps = self.value / 2, 0
        return False


def resolve_precision(wanted: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> Precision:
    """``wanted``, or for "auto": bf16 if the device's arithmetic units support it, else fp32.

    A choice by timing would differ from run to run, and a resumed run must be the same run.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type == "cpu":
        return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    return "fp32"
