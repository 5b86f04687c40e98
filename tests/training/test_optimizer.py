"""The optimizers of training: which parameters Muon takes, its step, and its state in checkpoints."""

import math

import pytest
import torch
from torch import nn

from sumi.training.config import TrainingConfig
from sumi.training.optimizer import (
    Muon,
    build_optimizer,
    load_optimizer,
    optimizer_tensors,
    orthogonal,
)

MUON = TrainingConfig(optimizer="muon", learning_rate=1e-3, muon_learning_rate=0.02, weight_decay=0.1)


def network() -> nn.Sequential:
    """A picture's layer, a kernel, its norm, a matrix, a table and a head."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 24, 1), nn.Conv2d(24, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.Linear(32, 48)]
    return nn.Sequential(*layers, nn.Embedding(40, 48), nn.Linear(48, 3))


def muon_of(module: nn.Module, config: TrainingConfig = MUON) -> Muon:
    optimizer = build_optimizer(config, module, [list(module.parameters())], "fp32")
    assert isinstance(optimizer, Muon)
    return optimizer


def give_gradients(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draws)
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_muon_takes_matrices_and_kernels_and_nothing_else() -> None:
    module = network()
    names = {parameter: name for name, parameter in module.named_parameters()}
    *others, matrices = muon_of(module).param_groups
    assert [names[parameter] for parameter in matrices["params"]] == ["1.weight", "3.weight"]
    assert len(others) == 1
    assert len(others[0]["params"]) == len(names) - 2


def test_singular_values_end_near_one_and_vectors_stay() -> None:
    draws = torch.Generator().manual_seed(0)
    for shape in ((5, 16, 40), (5, 40, 16), (2, 24, 24)):
        given = torch.randn(shape, generator=draws, dtype=torch.float64)
        left, values, right = torch.linalg.svd(given, full_matrices=False)
        found = left.mT @ orthogonal(given) @ right.mT  # the new singular values, if the vectors are the same
        expected = values / values.square().sum(1, keepdim=True).sqrt()
        for _ in range(5):
            expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
        torch.testing.assert_close(found, torch.diag_embed(expected), rtol=0, atol=1e-9)
        if shape[1] != shape[2]:
            assert float(found.diagonal(dim1=1, dim2=2).min()) > 0.6
            assert float(found.diagonal(dim1=1, dim2=2).max()) < 1.25


def test_a_step_is_that_of_an_independent_formula() -> None:
    """Two steps, so that the average counts, of a matrix and a kernel; torch's own Muon agrees within its bfloat16."""
    module, rates = network(), (0.02, 0.01)
    optimizer = muon_of(module)
    weights = {name: module.get_parameter(name).detach().double() for name in ("1.weight", "3.weight")}
    average = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    peer = nn.Linear(32, 48, bias=False)
    peer.load_state_dict({"weight": module.get_parameter("3.weight")})
    torchs = torch.optim.Muon(peer.parameters(), lr=0.02, weight_decay=0.1, momentum=0.95)
    for seed, rate in enumerate(rates):
        gradients = give_gradients(module, seed)
        peer.weight.grad = gradients["3.weight"].clone()
        for group in (*optimizer.param_groups, *torchs.param_groups):
            group["lr"] = rate
        optimizer.step()
        torchs.step()
        for name, weight in weights.items():
            gradient = gradients[name].double()
            average[name] = 0.95 * average[name] + 0.05 * gradient
            ahead = (0.05 * gradient + 0.95 * average[name]).flatten(1)
            left, values, right = torch.linalg.svd(ahead, full_matrices=False)
            values = values / values.norm()
            for _ in range(5):
                values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
            scale = math.sqrt(max(1, ahead.shape[0] / ahead.shape[1]))
            update = (left * values @ right).view_as(weight)
            weights[name] = weight * (1 - rate * 0.1) - rate * scale * update
            torch.testing.assert_close(module.get_parameter(name).double(), weights[name], rtol=0, atol=2e-6)
    torch.testing.assert_close(module.get_parameter("3.weight"), peer.weight, rtol=0, atol=0.03 * sum(rates))


def test_the_others_take_the_steps_of_adamw() -> None:
    module, plain = network(), network()
    optimizer = muon_of(module)
    adamw = build_optimizer(TrainingConfig(weight_decay=0.1), plain, [list(plain.parameters())], "fp32")
    for seed in range(3):
        give_gradients(module, seed)
        give_gradients(plain, seed)
        optimizer.step()
        adamw.step()
    matrices = {"1.weight", "3.weight"}
    for (name, left), right in zip(module.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(left, right) == (name not in matrices)


def test_state_saved_and_loaded_goes_on_with_the_same_bits() -> None:
    whole, stopped = network(), network()
    first, second = muon_of(whole), muon_of(stopped)
    for seed in range(2):
        for module, optimizer in ((whole, first), (stopped, second)):
            give_gradients(module, seed)
            optimizer.step()
    tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(second, stopped).items()}
    assert "3.weight.exp_avg_sq" not in tensors
    assert "3.bias.exp_avg_sq" in tensors
    assert float(tensors["3.weight.step"]) == 2
    again = network()
    again.load_state_dict(stopped.state_dict())
    third = muon_of(again)
    assert {name: t.shape for name, t in optimizer_tensors(third, again).items()} == {
        name: t.shape for name, t in tensors.items()
    }
    load_optimizer(third, again, tensors)
    for module, optimizer in ((whole, first), (again, third)):
        give_gradients(module, 2)
        optimizer.step()
    assert all(torch.equal(left, right) for left, right in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_network_without_matrices_is_left_to_adamw() -> None:
    module = nn.Linear(4, 4)
    assert type(build_optimizer(MUON, module, [list(module.parameters())], "fp32")) is torch.optim.AdamW


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_is_that_of_the_run(precision: str) -> None:
    module = network()
    optimizer = build_optimizer(MUON, module, [list(module.parameters())], precision)
    assert optimizer.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    give_gradients(module, 0)
    before = module.get_parameter("3.weight").detach().clone()
    optimizer.step()
    moved = (module.get_parameter("3.weight").detach() - before * (1 - 1e-3 * 0.1)).norm()
    assert 0.8 * 1e-3 < float(moved) / math.sqrt(32 * 1.5) < 1.2e-3
