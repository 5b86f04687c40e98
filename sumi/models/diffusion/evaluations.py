"""How often networks are evaluated while samples are made: guidance takes two evaluations for one of its denoiser."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.models.diffusion.trained_denoiser import TrainedDenoiser
from sumi.sampling.sampler import Guidance


@dataclass
class Evaluations:
    """``rows``: the inputs of all networks so far, a batch of N counting N."""

    rows: int = 0


def networks_of(model: TrainedDenoiser, guidance: Guidance) -> list[nn.Module]:
    """The model's network, and that of the worse model that it is guided away from, once that is loaded."""
    found = [model.gaussian_denoiser().network]
    match guidance.worse:
        case NetworkDenoiser(network=worse):
            found.append(worse)
    return found


@contextmanager
def counted(networks: Sequence[nn.Module]) -> Generator[Evaluations]:
    """What these ``networks`` evaluate within this context."""
    found = Evaluations()

    def count(_network: nn.Module, inputs: tuple[Any, ...], _output: object) -> None:
        found.rows += len(inputs[0])

    hooks = [network.register_forward_hook(count) for network in networks]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
