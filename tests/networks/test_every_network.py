"""What every network promises: zero at the start, each sample by itself, all weights trained, any type of number."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sumi.networks.adm import ADMConfig
from sumi.networks.diffwave import DiffWaveConfig
from sumi.networks.mlp import MLPConfig
from sumi.networks.transformer import TransformerConfig
from sumi.networks.unet import UNetConfig
from tests.networks.stirred import stirred

UNET = UNetConfig(widths=(32, 64), blocks=(1, 2), embedding=32)
ADM = ADMConfig(widths=(32, 64), blocks=(1, 2), attention=(1,), embedding=32)
NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "unet": (UNET, (3, 8, 8)),
    "unet with attention": (replace(UNET, attention=(1,)), (3, 8, 8)),
    "unet with waves": (replace(UNET, fourier=(6,)), (3, 8, 8)),
    "adm": (ADM, (3, 8, 8)),
    "adm without attention": (replace(ADM, attention=()), (3, 8, 8)),
    "transformer": (TransformerConfig(patch=2, width=32, blocks=4, head_width=16, embedding=32), (3, 8, 7)),
    "mlp": (MLPConfig(width=32, blocks=2, embedding=16), (5,)),
    "diffwave": (DiffWaveConfig(layers=3, channels=16, cycle=2, embedding=16), (1, 40)),
}
SMALLEST: dict[str, tuple[Any, tuple[int, ...]]] = {
    "unet": (UNetConfig(widths=(16,), blocks=(1,), embedding=8), (1, 3, 3)),
    "adm": (ADMConfig(widths=(16,), blocks=(1,), attention=(), embedding=8, head_width=16), (1, 3, 3)),
    "transformer": (TransformerConfig(2, width=8, blocks=2, head_width=4, registers=1, embedding=8), (1, 3, 2)),
    "mlp": (MLPConfig(width=8, blocks=1, embedding=8), (2,)),
}


@pytest.fixture(params=NETWORKS)
def built(request: pytest.FixtureRequest) -> tuple[Any, tuple[int, ...]]:
    """A configuration and the shape of the data."""
    return NETWORKS[request.param]


def network_of(built: tuple[Any, tuple[int, ...]]) -> nn.Module:
    config, shape = built
    return stirred(config.build(shape), 0.1 if len(shape) == 1 else 0.05)


def data(n: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("outputs", [1, 2])
def test_it_starts_at_exactly_zero(built, outputs: int) -> None:
    config, (channels, *size) = built
    output = config.build((channels, *size), outputs)(data(3, (channels, *size)), torch.tensor([0.0, 500.0, 999.0]))
    assert torch.equal(output, torch.zeros(3, channels * outputs, *size))


def test_samples_do_not_see_each_other(built) -> None:
    network, x, c_noise = network_of(built), data(3, built[1]), torch.tensor([1.0, 30.0, 900.0])
    together = network(x, c_noise)
    assert (together.shape, together.dtype) == (x.shape, torch.float32)
    alone = torch.cat([network(x[i : i + 1], c_noise[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)  # other batch sizes add in another order


@pytest.mark.parametrize(("one", "other"), [(0.0, 1.0), (499.0, 500.0), (0.0, 999.0), (-2.0, 2.0), (0.50, 0.55)])
def test_the_noise_level_matters(built, one: float, other: float) -> None:
    """Neighbouring steps of the grid of 1000 and near values of log-SNR/4 are told apart; rounding is some 1e-6."""
    network, x = network_of(built), data(1, built[1])
    outputs = [network(x, torch.tensor([c])).detach() for c in (one, other)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-4 * outputs[0].abs().max()


def test_training_reaches_every_weight(built) -> None:
    """The zeros at the start open one after the other: output, then blocks, then what is before them."""
    config, shape = built
    torch.manual_seed(0)
    network = config.build(shape)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        (network(data(8, shape), torch.arange(8.0)) - 1).square().mean().backward()
        optimizer.step()
    assert [n for n, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_bfloat16_stays_near_float32_and_float64_is_kept(built) -> None:
    """One rounding is 2^-9; some twenty in a row, partly cancelling, stay within 2 % of the output's size."""
    network, x, c_noise = network_of(built), data(8, built[1]), torch.linspace(0, 999, 8)
    exact = network(x, c_noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network(x, c_noise)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).square().mean().sqrt() < 0.02 * exact.square().mean().sqrt()
    double = copy.deepcopy(network).double()(x.double(), c_noise.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SMALLEST)
def test_second_derivatives_are_those_of_the_first(name: str) -> None:
    """The gradient of the network can itself be differentiated: energies, exact likelihoods and Jacobians need that."""
    network, x = network_of(SMALLEST[name]).double(), data(1, SMALLEST[name][1]).double().requires_grad_()
    c_noise = torch.tensor([0.5], dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):  # other attention has no second derivative
        assert torch.autograd.gradgradcheck(lambda x: network(x, c_noise), (x,))


def test_it_is_a_function_of_its_input_and_built_from_the_seed(built) -> None:
    config, shape = built
    network, x = network_of(built), data(2, shape)
    assert torch.equal(network(x, torch.zeros(2)), network(x, torch.zeros(2)))
    torch.manual_seed(7)
    once = config.build(shape).state_dict()
    torch.manual_seed(7)
    again = config.build(shape).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in once.items())
