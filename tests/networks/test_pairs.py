"""The network of atoms and pairs: it turns, mirrors and permutes with its input, and knows atoms from padding."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.networks.pairs import DEVIATION, PairNetwork, PairNetworkConfig
from tests.networks.random_molecules import molecules, orthogonal
from tests.networks.stirred import stirred

CONFIG = PairNetworkConfig(width=16, pair_width=12, vectors=4, layers=3, embedding=16, centres=20)


def built(by: float = 0.2) -> PairNetwork:
    return stirred(CONFIG.build((9, 8)), by).eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("training", [False, True])
def test_it_is_equivariant(dtype: torch.dtype, tolerance: float, training: bool) -> None:
    """Under rotations, reflections, permutations; places that are moved as a whole change nothing."""
    network = built().to(dtype).train(training)
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


def test_rows_of_zeros_are_no_atoms() -> None:
    network = built().double()
    x, c_noise = molecules(torch.float64)
    padded = torch.cat([x, x.new_zeros(4, 2, 8)], 1)
    out = network(padded, c_noise)
    torch.testing.assert_close(out[:, :7], network(x, c_noise), rtol=0, atol=1e-12)
    assert not out[:, 7:].any()


def test_it_is_zero_at_the_start_and_every_weight_learns() -> None:
    x, c_noise = molecules()
    assert not CONFIG.build((9, 8))(x, c_noise).any()
    network = built()
    network(x, c_noise).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_rounds_see_the_estimate_of_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second round's differences are those of cos a · x + sin a · F, with tan a = sigma/sigma_data."""
    network = built().double()
    x, c_noise = molecules(torch.float64)
    seen: list[Tensor] = []
    geometry = network._geometry

    def watched(difference: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(difference)
        return geometry(difference)

    monkeypatch.setattr(network, "_geometry", watched)
    moved: list[Tensor] = []
    network.layers[0].register_forward_hook(lambda _, __, out: moved.append(out[3]))
    network(x, c_noise)
    first, second = torch.triu_indices(7, 7, 1)
    sigma = (4 * c_noise).exp()[:, None, None]
    root = (sigma**2 + DEVIATION**2).sqrt()
    step = moved[0] - moved[0].mean(1, keepdim=True)
    y = (DEVIATION * x[..., :3] + sigma * step) / root
    torch.testing.assert_close(seen[1], y[:, first] - y[:, second])


def test_it_is_differentiated_exactly_but_in_training() -> None:
    """A likelihood needs dF/dx; in training no gradient goes through the estimate."""
    network = built().double()
    x, c_noise = molecules(torch.float64)
    x.requires_grad_()
    direction = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(3))
    slope = float((torch.autograd.grad(network(x, c_noise).sin().sum(), x)[0] * direction).sum())
    with torch.no_grad():
        ends = [float(network(x + h * direction, c_noise).sin().sum()) for h in (1e-6, -1e-6)]
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)
    in_training = torch.autograd.grad(network.train()(x, c_noise).sin().sum(), x)[0]
    assert abs(float((in_training * direction).sum()) - slope) > 1e-3 * abs(slope)


def test_close_and_distant_atoms_are_no_trouble() -> None:
    network = built()
    x, c_noise = molecules()
    for scale in (0.0, 1e-6, 1e4):
        close = torch.cat([x[..., :3] * scale, x[..., 3:]], 2).requires_grad_()
        out = network(close, c_noise)
        out.square().sum().backward()
        assert bool(out.isfinite().all())
        assert close.grad is not None
        assert bool(close.grad.isfinite().all())


@pytest.mark.parametrize("bounded", [False, True])
def test_vectors_grow_by_no_more_than_their_bound_in_a_round(bounded: bool) -> None:
    """Of large weights: mean |w|² < 1, or the products of each round multiply by those of the last."""
    network = replace(CONFIG, bounded=bounded).build((9, 8))
    network = stirred(network, 1.0).eval().requires_grad_(False)
    x, c_noise = molecules()
    largest: list[float] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda _, __, out: largest.append(float(out[2].square().sum(2).max())))
    network(x, c_noise)
    of_round = torch.tensor([(k + 1) ** 2 * 2 * CONFIG.vectors / 4 for k in range(CONFIG.layers)])
    assert bool((torch.tensor(largest) <= of_round).all()) is bounded
    if not bounded:
        assert largest[-1] > 1e6


def test_a_basis_has_no_denormal_numbers() -> None:
    basis = built()._geometry(torch.linspace(0, 20, 500)[None, :, None].expand(1, 500, 3))[0]
    assert float(basis.min()) > torch.finfo(torch.float32).tiny
    assert float(basis.min()) < 1e-6


def test_the_noise_the_size_and_the_condition_count() -> None:
    network = built().requires_grad_(False)
    x, c_noise = molecules()
    out = network(x, c_noise)
    assert float((network(x, c_noise + 0.5) - out).abs().max()) > 1e-3
    assert float((network(x, c_noise, NetworkCondition(vector=torch.ones(4, 16))) - out).abs().max()) > 1e-3
    network.of_size.weight.mul_(2)
    assert float((network(x, c_noise) - out).abs().max()) > 1e-3


def test_what_it_cannot_take_is_refused() -> None:
    with pytest.raises(InputError, match=r"^network=pairs: takes molecules, not data of shape \(3, 8, 8\)"):
        CONFIG.build((3, 8, 8))
    with pytest.raises(InputError, match=r"^network=pairs: takes no images or tokens"):
        CONFIG.build((9, 8), 1, ConditionShape(channels=1))
    wrong = (("width", 0), ("pair_width", 0), ("vectors", 0), ("layers", 0), ("centres", 1), ("embedding", 3))
    for field, value in wrong:
        with pytest.raises(InputError, match=rf"^network\.{field}: "):
            PairNetworkConfig(**{field: value})
