"""The perceptron for vectors: zero at the start, sees all of its input and the noise level, each sample by itself."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.errors import InputError
from sumi.networks.mlp import MLP, MLPConfig
from sumi.networks.unet import UNetConfig
from tests.networks.stirred import stirred

SMALL = MLPConfig(width=32, blocks=2, embedding=16)


def mlp(dimensions: int = 5, outputs: int = 1, config: MLPConfig = SMALL) -> MLP:
    return stirred(config.build((dimensions,), outputs), 0.1)


def points(n: int, dimensions: int = 5) -> Tensor:
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(1))


def test_it_is_its_formula() -> None:
    """h = W x + b; h ← h + W_2 silu(W_1 ((1 + scale) norm(h) + shift)); W' h: all scales stand before all shifts."""
    network, x, c_noise = mlp(), points(3), torch.tensor([0.0, 500.0, 999.0])
    numbers = network.modulation(F.silu(network.noise_embedding(c_noise)))

    def norm(h: Tensor) -> Tensor:
        variance, mean = torch.var_mean(h, dim=1, correction=0, keepdim=True)
        return (h - mean) / (variance + 1e-5).sqrt()

    h = network.linear_in(x)
    for k in range(2):
        scale, shift = numbers[:, 32 * k : 32 * (k + 1)], numbers[:, 64 + 32 * k : 64 + 32 * (k + 1)]
        h = h + network.second[k](F.silu(network.first[k]((1 + scale) * norm(h) + shift)))
    torch.testing.assert_close(network(x, c_noise), network.linear_out(h), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("outputs", [1, 2])
def test_every_output_depends_on_every_input_and_on_the_noise_level(outputs: int) -> None:
    network = mlp(outputs=outputs)
    x, c_noise = points(1), torch.tensor([0.5])
    by_x, by_noise = torch.autograd.functional.jacobian(network, (x, c_noise))
    assert by_x.shape == (1, 5 * outputs, 1, 5)
    assert float(by_x.abs().min()) > 1e-4
    assert float(by_noise.abs().min()) > 1e-5


@pytest.mark.parametrize("blocks", [1, 2])
def test_each_block_hears_the_noise_level(blocks: int) -> None:
    """Without what the noise level makes for a block, the output is another."""
    network, x, c_noise = mlp(config=MLPConfig(32, blocks, 16)), points(2), torch.tensor([0.5, 1.0])
    before = network(x, c_noise)
    for block in range(blocks):
        for first in (32 * block, 32 * (blocks + block)):
            rows = network.modulation.weight.data[first : first + 32]
            kept = rows.clone()
            rows.zero_()
            assert (network(x, c_noise) - before).abs().max() > 1e-4
            rows.copy_(kept)


def test_far_out_the_output_grows_as_the_input_does() -> None:
    """A network of ε whose answer were bounded would throw a start far from the middle still further out.

    Norms make the branches the same for x and 2 x far out, so the output is affine there: doubled but for a constant.
    """
    network, c_noise = mlp(), torch.zeros(1)
    x = points(1)
    near, far, further = (network(size * x, c_noise) for size in (1e5, 2e5, 4e5))
    # rounding of numbers of size 1e5 is 1e-2
    torch.testing.assert_close(further - far, 2 * (far - near), rtol=1e-3, atol=1.0)
    assert (far - near).abs().max() > 1e3


def test_it_learns_the_denoiser_of_a_gaussian() -> None:
    """ε of x_t = α x_0 + σ ε with x_0 ~ N(0, s²) is σ x_t/(α² s² + σ²): found to 5 % of its size, 3 deviations out."""
    torch.manual_seed(0)
    network = MLPConfig(width=32, blocks=1, embedding=16).build((2,))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(3)
    alpha, sigma, s = 0.8, 0.6, 0.5
    for _ in range(600):
        x_0, noise = (torch.randn(256, 2, generator=generator) for _ in range(2))
        guess = network(alpha * s * x_0 + sigma * noise, torch.full((256,), 300.0))
        optimizer.zero_grad()
        (guess - noise).square().mean().backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.995
    deviation = (alpha**2 * s**2 + sigma**2) ** 0.5
    x_t = 3 * deviation * F.normalize(torch.randn(100, 2, generator=generator))
    with torch.no_grad():
        error = network(x_t, torch.full((100,), 300.0)) - sigma * x_t / deviation**2
    assert float(error.square().mean().sqrt()) < 0.05 * 3 * sigma / deviation


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, "network.width: 0 is too few; give 1 or more"),
        ({"blocks": 0}, "network.blocks: 0 is too few; give 1 or more"),
        ({"embedding": 7}, "network.embedding: 7 is not an even number"),
        ({"embedding": 0}, "network.embedding: 0 is not an even number"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MLPConfig(**fields)


def test_images_are_refused_by_name_and_vectors_by_the_image_network() -> None:
    with pytest.raises(InputError, match=r"network=mlp: takes vectors, not data of shape \(1, 8, 8\); set network=une"):
        SMALL.build((1, 8, 8))
    with pytest.raises(InputError, match=r"network=unet: takes images, not data of shape \(5,\); set network=mlp"):
        UNetConfig().build((5,))
