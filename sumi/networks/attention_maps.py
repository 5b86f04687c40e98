"""Where a network looks at the tokens of its condition (Tang et al. 2023, "What the DAAM: interpreting stable diffusion
using cross attention").

A position p of the picture takes the share A[p, k] of token k in each head of each layer, all keys together 1. Tokens
are attended to across (`layers.CrossAttention`), or are keys of the picture's own attention, or stand in its stream
(`transformer.Transformer`); there the rest of the 1 goes to the picture itself. Shares are recomputed beside the
layers' own arithmetic, which stays as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sumi.networks.condition import NetworkCondition
from sumi.networks.layers import CrossAttention
from sumi.networks.transformer import Block, Transformer


@contextmanager
def attention_maps(network: nn.Module) -> Iterator[list[Tensor]]:
    """A list that each layer appends to when ``network`` runs: (N, L, H', W'), the mean over its heads of the share
    that each position of the layer's picture takes of each of the L tokens of its condition, in [0, 1].
    """
    recorder = _Recorder()
    hooks: list[RemovableHandle] = []
    for part in network.modules():
        match part:
            case CrossAttention():
                hooks.append(part.register_forward_pre_hook(recorder.across))
            case Transformer():
                hooks.append(part.register_forward_pre_hook(recorder.begin))
            case Block():
                hooks.append(part.register_forward_pre_hook(recorder.in_block))
            case _:
                pass
    try:
        yield recorder.found
    finally:
        for hook in hooks:
            hook.remove()


class _Recorder:
    """``sides``: rows and columns of the transformer's patches; ``tokens``: how many its condition has."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []
        self.sides, self.tokens = (0, 0), 0

    def across(self, layer: CrossAttention, given: tuple[Tensor, ...]) -> None:
        height, width = given[0].shape[2:]
        self._keep(layer.shares(*given), (height, width))

    def begin(self, network: Transformer, given: tuple[Tensor, Tensor, NetworkCondition]) -> None:
        x, _, condition = given
        rows, columns = (-(-side // network.config.patch) for side in x.shape[2:])
        self.sides, self.tokens = (rows, columns), 0 if condition.tokens is None else condition.tokens.shape[1]

    def in_block(self, block: Block, given: tuple[Any, ...]) -> None:
        picture = self.sides[0] * self.sides[1]
        first = picture if block.key_value is None else given[0].shape[1]  # in the stream, or after it
        self._keep(block.shares(*given)[:, :, :picture, first : first + self.tokens], self.sides)

    def _keep(self, shares: Tensor, sides: tuple[int, int]) -> None:
        self.found.append(shares.mean(1).transpose(1, 2).unflatten(2, sides))
