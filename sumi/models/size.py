"""A network is counted before memory is taken for it.

It is built with weights on the ``meta`` device first, where tensors have a shape and no storage; that is stopped at
more parameters than the memory available holds. Nothing random is used up by it.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.overrides import TorchFunctionMode

from sumi.data.memory import available_memory
from sumi.errors import InputError

COPIES: Final = 2
"""Of the weights in memory when a model is loaded: the file's and the network's."""
TRAINED_COPIES: Final = 5
"""Weights, averaged weights, gradient and AdamW's two averages."""
MOST_TENSORS: Final = 100_000
LARGE: Final = 2**24

Network = TypeVar("Network", bound=nn.Module)


class _WithoutStorage(TorchFunctionMode):
    """New weights are on ``meta``; small random ones and tables of constants are computed as ever.

    Their formulas on ``meta`` would import a second's worth of torch.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        given = dict(kwargs or {})
        large = func is torch.randn and torch.empty(*args, device="meta").numel() > LARGE
        if large or func in (torch.empty, torch.zeros, torch.ones):
            given["device"] = "meta"
        return func(*args, **given)


def bounded(build: Callable[[], Network]) -> Network:
    """What ``build`` makes. Raises InputError, before it takes memory, for a network that does not fit into it."""
    total, tensors, available = 0, 0, available_memory()

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal total, tensors
        del module, name
        if value is not None:
            total, tensors = total + value.numel(), tensors + 1
            _require(total, COPIES, available)
            if tensors > MOST_TENSORS:
                raise InputError(f"network: has more than {MOST_TENSORS:,} tensors of parameters; lower network.blocks")

    hooks = (
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    )
    try:
        with torch.random.fork_rng(devices=[]), _WithoutStorage():
            build()
    except (RuntimeError, OverflowError, TypeError, MemoryError) as error:
        # shapes beyond what a tensor can have
        reason = str(error).partition("\n")[0]
        raise InputError(f"network: is too large to build ({reason}); lower its widths or blocks") from None
    finally:
        for hook in hooks:
            hook.remove()
    return build()


def require_room(parameters: int, copies: int) -> None:
    """Raises InputError if ``copies`` of so many float32 ``parameters`` are more than the memory available."""
    _require(parameters, copies, available_memory())


def _require(parameters: int, copies: int, available: int | None) -> None:
    needed = 4 * copies * parameters
    if available is not None and needed > available:
        raise InputError(
            f"network: {parameters:.3g} parameters or more take {needed / 1e9:,.1f} GB, and {available / 1e9:,.1f} GB "
            "are available; lower its widths or blocks"
        )
