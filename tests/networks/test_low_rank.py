"""Low-rank additions: what B A is of each layer, that merged and kept apart are equal, and what trains."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sumi.data.builtin import load_digits
from sumi.data.config import DataConfig
from sumi.errors import InputError
from sumi.networks.low_rank import LowRank, adapt, additions, frozen, merge, sides, without
from sumi.recipes.configure import configure
from sumi.training.config import TrainingConfig
from sumi.training.ema import EMA
from sumi.training.optimizer import build_optimizer
from sumi.training.tensor_file import stream


def adapted(layer: nn.Module, rank: int = 2) -> tuple[nn.Module, Tensor, Tensor]:
    """A network of ``layer`` and a bias, adapted by an A and a B that are not zero."""
    torch.manual_seed(0)
    network = nn.Sequential(layer)
    adapt(network, rank, [name for name, _ in network.named_parameters()], {})
    a, b = additions(network)
    nn.init.normal_(b, std=0.1)
    return network, a, b


def apart_linear(layer: nn.Linear, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return layer(x) + (x @ a.T) @ b.T


def apart_convolution(layer: nn.Conv2d, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """A reads a row of pixels, and B a column of what it found."""
    outputs, inputs, height, width = layer.weight.shape
    across = F.conv2d(x, a.view(-1, inputs, 1, width), padding=(0, width // 2))
    down = b.view(outputs, height, -1).permute(0, 2, 1)[..., None]
    return layer(x) + F.conv2d(across, down, padding=(height // 2, 0))


@pytest.mark.parametrize(
    ("layer", "apart", "shape"),
    [
        (nn.Linear(12, 9), apart_linear, (4, 12)),
        (nn.Conv2d(5, 7, 3, padding=1), apart_convolution, (4, 5, 8, 8)),
        (nn.Conv2d(5, 7, (3, 5), padding=(1, 2)), apart_convolution, (4, 5, 8, 8)),
        (nn.Conv2d(5, 7, 1), apart_convolution, (4, 5, 8, 8)),
    ],
)
def test_merged_equals_kept_apart(layer: nn.Module, apart, shape: tuple[int, ...]) -> None:
    plain = copy.deepcopy(layer)
    network, a, b = adapted(layer)
    x = torch.randn(shape)
    parametrized = network(x)
    merge(network)
    assert network.state_dict().keys() == {f"0.{name}" for name in plain.state_dict()}
    assert torch.equal(network(x), parametrized)
    assert not torch.allclose(parametrized, plain(x), atol=0.05)
    torch.testing.assert_close(network(x), apart(plain, a, b, x), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("shape", "matrix"), [((6, 4, 3), (6, 12)), ((6, 4, 3, 5, 7), (18, 140))])
def test_kernels_of_one_and_three_axes_are_matrices_too(shape: tuple[int, ...], matrix: tuple[int, int]) -> None:
    weight = torch.randn(shape)
    addition = LowRank(weight, 2)
    nn.init.normal_(addition.B)
    assert sides(weight) == matrix
    added = addition(weight) - weight
    rows = added if len(shape) == 3 else added.movedim(1, 2)  # outputs and half of the kernel come first
    assert torch.linalg.matrix_rank(rows.reshape(matrix), atol=1e-4) == 2


def test_additions_begin_at_zero_and_nothing_else_of_the_base_trains() -> None:
    network = nn.Sequential(nn.Conv2d(3, 20, 3), nn.GroupNorm(2, 20), nn.Conv2d(20, 3, 1))
    before = copy.deepcopy(network)
    adapt(network, 4, before.state_dict(), {})
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(network(x), before(x))
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    assert len(trained) == 4
    assert all(one is other for one, other in zip(trained, additions(network), strict=True))
    assert len(frozen(network)) == len(before.state_dict())
    network(x).square().sum().backward()
    assert all(weight.grad is not None for weight in trained)
    assert [weight.shape[0] for weight in trained[2:]] == [3, 3]  # a rank above the layer's would be no less


def test_what_is_new_trains_whole_and_of_a_table_the_new_rows() -> None:
    network = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    taken = ["1.weight", "1.bias"]
    adapt(network, 1, taken, {"0.weight": [0, 2]})
    assert frozen(network) == {"1.bias", "1.parametrizations.weight.original"}
    before = copy.deepcopy(network[0].weight.data)
    optimizer = torch.optim.AdamW([w for w in network.parameters() if w.requires_grad], lr=0.1, weight_decay=0.5)
    network(torch.tensor([0, 1, 2])).sum().backward()
    optimizer.step()
    for module in (network, EMA(network).module):
        assert torch.equal(module[0].weight[[0, 2]], before[[0, 2]])
        assert not torch.equal(module[0].weight[1], before[1])


def test_the_average_is_of_what_trains() -> None:
    network, a, b = adapted(nn.Linear(6, 6))
    average = EMA(network)
    kept = additions(average.module)[1].clone()
    base = network[0].parametrizations.weight.original
    before = base.clone()
    with torch.no_grad():
        b.add_(1)
        base.add_(1)  # which no optimizer does
    average.update(0.75)
    torch.testing.assert_close(additions(average.module)[1], kept + 0.25)
    assert torch.equal(average.module[0].parametrizations.weight.original, before)
    assert torch.equal(additions(average.module)[0], a)


def test_additions_have_a_learning_rate_of_their_own() -> None:
    network, a, b = adapted(nn.Linear(6, 6))
    whole, added = build_optimizer(TrainingConfig(weight_decay=0.1), network, [[a, b]], "fp32").param_groups
    assert (whole["params"], whole["multiple"]) == ([], 1)
    assert all(one is other for one, other in zip(added["params"], (a, b), strict=True))
    assert (added["multiple"], added["weight_decay"]) == (10, 0.1)


def test_bf16_does_not_round_the_sum() -> None:
    network, a, b = adapted(nn.Linear(6, 6))
    exact = network[0].parametrizations.weight.original + b @ a
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network[0].weight, exact)


@pytest.mark.parametrize("rank", [4, 8, 64])
def test_the_file_is_a_twentieth_of_the_weights_at_most(rank: int) -> None:
    """Of the U-Net that every image recipe has by default, names and all."""
    config = configure("ddpm", data="digits", settings=("data.channels=3",))
    items = load_digits(DataConfig("digits", channels=3)).spec
    module = config.build(items).model
    weights = sum(weight.numel() * 4 for weight in module.parameters())
    adapt(module, rank, list(module.state_dict()), {}, config.training.lora_share)
    size = sum(len(bytes(piece)) for piece in stream(without(module.state_dict(), frozen(module))))
    assert 0.02 * weights < size < 0.05 * weights


def test_the_rank_is_what_a_share_of_the_layer_allows() -> None:
    """1/10 of (40, 40) is two rows and two columns, of (60, 20) one and a half, of (8, 8) none."""
    network = nn.Sequential(nn.Linear(40, 40), nn.Linear(60, 20), nn.Linear(8, 8))
    adapt(network, 8, list(network.state_dict()), {}, share=0.1)
    assert [tuple(weight.shape) for weight in additions(network)] == [(2, 40), (40, 2), (1, 60), (20, 1)]
    assert "2.weight" in frozen(network)


@pytest.mark.parametrize(
    ("network", "rank", "message"),
    [
        (nn.Sequential(nn.Linear(12, 9)), 2, "training.lora_share: 0.05 of any layer is less than rank 1; give more"),
        (nn.Sequential(nn.Linear(12, 9), nn.Linear(9, 4)), 10, "training.lora_rank: 10 is above 9, the full rank"),
        (nn.Sequential(nn.GroupNorm(1, 4), nn.Bilinear(4, 4, 4)), 1, "training.lora_rank: the network has no Linear"),
    ],
)
def test_refusals(network: nn.Module, rank: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        adapt(network, rank, list(network.state_dict()), {}, share=0.05)
