"""The precision a network is trained in: a property of the device, not a matter of timing."""

from typing import Literal

import torch


def resolve_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> Literal["fp32", "bf16"]:
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
