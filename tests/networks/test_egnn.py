"""The equivariant network: it turns, mirrors and permutes with its input, wherever that is; precise errors."""

import pytest
import torch

from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.networks.egnn import EGNN, EGNNConfig
from tests.networks.random_molecules import molecules, orthogonal
from tests.networks.stirred import stirred

CONFIG = EGNNConfig(width=16, layers=2, embedding=16, centres=60)


@pytest.fixture(scope="module")
def network() -> EGNN:
    return stirred(CONFIG.build((9, 8)), 0.3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_it_is_equivariant(network: EGNN, dtype: torch.dtype, tolerance: float) -> None:
    """Under rotations, reflections, permutations; places that are moved as a whole change nothing."""
    network = stirred(CONFIG.build((9, 8)), 0.3).to(dtype)
    x, c_noise = molecules(dtype)
    with torch.no_grad():
        out = network(x, c_noise)
        assert float(out.std()) > 0.1
        assert float(out[..., :3].mean(1).abs().max()) < tolerance
        for determinant in (1, -1):
            turn = orthogonal(determinant).to(dtype)
            turned = network(torch.cat([x[..., :3] @ turn, x[..., 3:]], 2), c_noise)
            wanted = torch.cat([out[..., :3] @ turn, out[..., 3:]], 2)
            assert float((turned - wanted).abs().max()) < tolerance
        order = torch.tensor([3, 0, 6, 2, 1, 5, 4])
        assert float((network(x[:, order], c_noise) - out[:, order]).abs().max()) < tolerance
        moved = network(x + torch.tensor([1.0, -2.0, 0.5] + [0.0] * 5, dtype=dtype), c_noise)
        assert float((moved - out).abs().max()) < 2 * tolerance


def test_it_is_zero_at_the_start_and_every_weight_learns(network: EGNN) -> None:
    x, c_noise = molecules()
    assert not CONFIG.build((9, 8))(x, c_noise).any()
    network.zero_grad()
    network(x, c_noise).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_a_step_of_a_place_is_bounded(network: EGNN) -> None:
    """By the number of other atoms in each of two layers, and once more by taking the mean away."""
    x, c_noise = molecules()
    wild = stirred(CONFIG.build((9, 8)), 30.0)
    for scale in (1e-6, 1.0, 1e4):
        out = wild(x * scale, c_noise)[..., :3].detach()
        assert bool(out.isfinite().all())
        assert float(out.norm(dim=2).max()) <= 2 * 2 * 6


def test_the_noise_the_size_and_the_condition_count(network: EGNN) -> None:
    x, c_noise = molecules()
    network.requires_grad_(False)
    out = network(x, c_noise)
    assert float((network(x, c_noise + 0.5) - out).abs().max()) > 1e-3
    assert float((network(x, c_noise, NetworkCondition(vector=torch.ones(4, 16))) - out).abs().max()) > 1e-3


def test_what_it_cannot_take_is_refused() -> None:
    with pytest.raises(InputError, match=r"^network=egnn: takes molecules, not data of shape \(3, 8, 8\)"):
        CONFIG.build((3, 8, 8))
    with pytest.raises(InputError, match=r"^network=egnn: takes no images or tokens"):
        CONFIG.build((9, 8), 1, ConditionShape(channels=1))
    for field, value in (("width", 0), ("layers", 0), ("embedding", 3)):
        with pytest.raises(InputError, match=rf"^network\.{field}: "):
            EGNNConfig(**{field: value})


def test_a_distance_is_described_by_gaussians_as_wide_as_they_are_apart(network: EGNN) -> None:
    described = network._basis(network.centres[20].view(1, 1, 1, 1))[0, 0, 0]
    torch.testing.assert_close(described[18:23], torch.tensor([-2.0, -0.5, 0.0, -0.5, -2.0]).exp(), rtol=1e-4, atol=0)
