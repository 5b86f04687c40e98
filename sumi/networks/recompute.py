"""Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost").

A block's activations are not kept for the backward pass but computed again in it, from the block's input: a third more
arithmetic, for a fraction of the memory. Gradients are the same bit for bit, dropout included.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from sumi.networks.dropout import masks_from_here
from sumi.networks.layers import in_forward_mode


@contextmanager
def recomputed(module: nn.Module) -> Generator[None]:
    """Within this context, the passes through the blocks of ``module`` that gradients are taken of are recomputed.

    Blocks are the innermost items of its `torch.nn.ModuleList`s, whoever wrote the network. Derivatives that are
    carried forward (`torch.func.jvp`) need no activations, and are computed as ever.
    """
    found = {block: vars(block).get("forward") for block in blocks(module)}
    try:
        for block in found:
            vars(block)["forward"] = _twice(block.forward)
        yield
    finally:
        for block, own in found.items():
            vars(block).pop("forward")
            if own is not None:
                vars(block)["forward"] = own


def blocks(module: nn.Module) -> list[nn.Module]:
    """The items of the module's lists that have no lists of their own, in order, each once."""
    lists = [part for part in module.modules() if type(part) is nn.ModuleList]
    items = dict.fromkeys(item for part in lists for item in part)
    return [item for item in items if not any(type(part) is nn.ModuleList for part in item.modules())]


def _twice(forward: Callable[..., Any]) -> Callable[..., Any]:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), masks_from_here()

    def compute(*inputs: Any, **options: Any) -> Any:
        if in_forward_mode():
            return forward(*inputs, **options)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)

    return compute
