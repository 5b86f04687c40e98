"""Does a device compute what the CPU does? A network forward and backward on both, compared in float64.

The weights are random, also where a network begins at zero, so that every layer counts. Errors are relative:
‖a - b‖/‖b‖ of the output, and of the gradients of all weights together, b computed in float64 on the CPU. In float32
they are about 1e-6; a GPU may compute products in TensorFloat-32, whose 10 bits of mantissa make that 1e-3.
"""

from typing import Final

import torch
from torch import Tensor, nn

from sumi.check.law import Law
from sumi.models.model import pick_device
from sumi.networks.transformer import TransformerConfig
from sumi.networks.unet import UNetConfig

BOUND: Final = 1e-4
BOUND_TF32: Final = 1e-2
NETWORKS: Final = (
    UNetConfig(widths=(32, 64), blocks=(1, 1), attention=(1,), embedding=64),
    TransformerConfig(width=64, blocks=2, embedding=64),
)
_SHAPE: Final = (3, 16, 16)


def compare_device(device: str | torch.device | None) -> list[Law]:
    """The error of the output and of the gradients of each of `NETWORKS` on ``device``; as a `Law` each.

    Raises InputError for a device that is not there.
    """
    place = pick_device(device)
    tf32 = place.type == "cuda" and (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
    bound = BOUND_TF32 if tf32 else BOUND
    laws: list[Law] = []
    for config in NETWORKS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = config.build(_SHAPE)
            for weight in network.parameters():
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.5)
            x, c_noise, wanted = torch.randn(4, *_SHAPE), torch.rand(4), torch.randn(4, *_SHAPE)
        there = _computed(network.to(place), x.to(place), c_noise.to(place), wanted.to(place))
        exact = _computed(network.double().cpu(), x.double(), c_noise.double(), wanted.double())
        for what, a, b in zip(("output", "gradients"), there, exact, strict=True):
            laws.append(Law(f"{config.name}: {what} on {place}", float((a - b).norm() / b.norm()), bound))
    return laws


def _computed(network: nn.Module, x: Tensor, c_noise: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The output and all gradients of its squared error, float64 on the CPU."""
    network.zero_grad()
    output = network(x, c_noise)
    (output - wanted).square().mean().backward()
    gradients = [weight.grad.flatten() for weight in network.parameters() if weight.grad is not None]
    return output.detach().double().cpu().flatten(), torch.cat(gradients).double().cpu()
