"""Blocks of a network turned into machine code of their own (`torch.compile`), where a training repays the wait.

The compiler merges passes over memory: between two products of matrices a transformer's block then reads and writes its
tokens once, where it does so a dozen times. Blocks that are alike share one compilation, of some seconds. A block that
convolves gains nothing here: its passes are merged by hand (`sumi.networks.convolutional`).

Rounding differs a little from that of the uncompiled block, and is the same in every step and after every resume.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from sumi.errors import InputError
from sumi.training.config import TrainingConfig

if TYPE_CHECKING:
    from sumi.objectives.objective import Objective

REPAID: Final = 2000
"""Steps from which on ``auto`` compiles: a choice by timing would differ from run to run."""


def compile_blocks(config: TrainingConfig, objective: "Objective") -> bool:
    """Compile blocks of ``objective`` in place, as ``config.compile`` says; whether any are.

    on: all that its loss allows (`Objective.blocks`). auto: those that gain by it (``gains_by_compiling`` of their
    class is true), in trainings of `REPAID` steps or more whose blocks nothing else wraps, and where there is a
    compiler. Raises InputError where ``config.compile`` is on and blocks are wrapped, or there are none, or there is
    no compiler.
    """
    wrapped = next((name for name, used in _wraps(config).items() if used), None)
    match config.compile:
        case "off":
            return False
        case "auto":
            able = wrapped is None and config.steps >= REPAID
            blocks = [one for one in objective.blocks() if getattr(one, "gains_by_compiling", False)] if able else []
            if not blocks or _fault(objective.device) is not None:
                return False
        case "on":
            blocks = objective.blocks()
            if wrapped is not None:
                raise InputError(f"training.compile: on does not go with training.{wrapped}; leave one of them out")
            if not blocks:
                raise InputError("training.compile: nothing here can be compiled by blocks; set training.compile=off")
            if (fault := _fault(objective.device)) is not None:
                raise InputError(f"training.compile: torch cannot compile here ({fault}); set training.compile=off")
    for block in blocks:
        block.compile()
    return True


def _wraps(config: TrainingConfig) -> dict[str, bool]:
    return {"recompute": config.recompute, "shard": config.shard != "none", "lora_rank": config.lora_rank is not None}


def _fault(device: torch.device) -> str | None:
    """Why nothing can be compiled for ``device``, found by trying; None where it can."""
    try:
        torch.compile(nn.Softplus())(torch.zeros(2, device=device))
    except Exception as error:
        return " ".join(str(error).strip().splitlines()[:2])[:200] or type(error).__name__
    return None


@contextmanager
def uncompiled() -> Generator[None]:
    """Compiled blocks compute as they are written."""
    with torch.compiler.set_stance("force_eager"):
        yield
