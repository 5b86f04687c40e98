"""Networks with every weight moved off its start, so that nothing is multiplied by zero."""

from typing import TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


def stirred(network: N, by: float = 0.05) -> N:
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(by * torch.randn(weight.shape))
    return network


def images(n: int, channels: int, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(n, channels, height, width, generator=torch.Generator().manual_seed(1))
