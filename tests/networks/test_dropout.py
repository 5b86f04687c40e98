"""Dropout: a mask belongs to (seed, step, position in the batch, layer), however a batch is divided."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.load import load as load_data
from sumi.models.model import RunDescription
from sumi.networks.dropout import Dropout, masks_by_position
from sumi.training.run_folder import RunFolder
from sumi.training_run import Events, build_trainer


def masks(
    layers: int, p: float = 0.25, *, seed: int = 0, step: int = 1, positions=range(8), shape=(16, 8, 8)
) -> Tensor:
    """What each layer of a pass makes of ones, (layers, N, *shape)."""
    layer = Dropout(p)
    with masks_by_position(seed, step, positions):
        return torch.stack([layer(torch.ones(len(positions), *shape)) for _ in range(layers)])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_values_are_dropped_as_it_says_and_the_mean_is_kept(p: float) -> None:
    """409,600 values: three standard errors are 0.0023; what stays is divided by the share that stays."""
    dropped = masks(5, p, positions=range(80))
    assert float((dropped == 0).double().mean()) == pytest.approx(p, abs=3 * (p * (1 - p) / dropped.numel()) ** 0.5)
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).item()}


def test_rows_layers_steps_and_seeds_are_independent() -> None:
    """The correlation of any two masks is that of chance: 1,024 values each, so 4.5 standard errors are 0.14."""
    whole = torch.cat([masks(3, seed=seed, step=step).flatten(0, 1) for seed in (0, 1) for step in (1, 2)]).flatten(1)
    correlation = torch.corrcoef(whole)
    assert len(whole) == 96
    assert float((correlation - torch.eye(96)).abs().max()) < 0.14


def test_a_row_is_masked_alike_alone_and_among_others() -> None:
    together = masks(3)
    for k in (0, 3, 7):
        assert torch.equal(masks(3, positions=[k])[:, 0], together[:, k])
    assert torch.equal(masks(2, shape=(5,)), masks(2, shape=(5,)))
    x = torch.ones(8, 16, 8, 8).to(memory_format=torch.channels_last)
    with masks_by_position(0, 1, range(8)):
        made = Dropout(0.25)(x)
    assert torch.equal(made, together[0])
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_a_mask_for_other_rows_is_refused() -> None:
    with masks_by_position(0, 1, range(3)), pytest.raises(ValueError, match="4 rows for 3 positions"):
        Dropout(0.5)(torch.ones(4, 2))


def test_gradients_and_half_precision_see_the_same_mask() -> None:
    x = torch.full((4, 64), 2.0, dtype=torch.bfloat16, requires_grad=True)
    with masks_by_position(0, 1, range(4)):
        made = Dropout(0.5)(x)
    made.sum().backward()
    assert made.dtype == torch.bfloat16
    assert x.grad is not None
    assert torch.equal(made, 2 * x.grad)
    assert {0.0, 2.0} == set(x.grad.unique().tolist())


def test_elsewhere_it_is_the_one_of_torch() -> None:
    x = torch.ones(50, 20)
    for ours, theirs in ((Dropout(0.5), nn.Dropout(0.5)), (Dropout(0.5).eval(), nn.Dropout(0.5).eval())):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            expected = theirs(x)
            torch.manual_seed(0)
            assert torch.equal(ours(x), expected)
    with masks_by_position(0, 1, range(50)):
        assert torch.equal(Dropout(0.5).eval()(x), x)
        assert Dropout(0.0)(x) is x


def first_step(folder: Path, recipe: str, *settings: str) -> list[float]:
    """The loss of step 1 and its gradient's norm, from weights at which no branch is zero."""
    config = override(
        recipes.build(recipe, DataConfig(source="digits")),
        ["training.batch_size=8", "training.precision=fp32", *settings],
    )
    data = load_data(config.data)
    description = RunDescription.of(config, data)
    trainer, _ = build_trainer(description, data, RunFolder(folder), "cpu", Events())
    trainer.model.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in trainer.model.parameters():
            nn.init.normal_(weight, std=0.1)
        loss, norms = trainer.take_step(1)
    return [float(loss), *norms.tolist()]


@pytest.mark.parametrize(
    ("recipe", "network"),
    [
        ("ddpm", ["network.widths=32", "network.blocks=3", "network.embedding=32"]),
        ("pixelcnn", ["network.width=16", "network.blocks=2"]),
    ],
)
def test_a_training_step_does_not_depend_on_accumulation(tmp_path: Path, recipe: str, network: list[str]) -> None:
    """To float32 rounding, 1e-6; with masks of torch's one generator the gradient differs by 1e-3 and more."""
    settings = [*network, "network.dropout=0.5"]
    whole = first_step(tmp_path, recipe, *settings)
    for parts in (2, 4):
        divided = first_step(tmp_path, recipe, *settings, f"training.accumulation={parts}")
        assert divided == pytest.approx(whole, rel=1e-5)
    assert first_step(tmp_path, recipe, *network, "network.dropout=0") != pytest.approx(whole, rel=1e-4)
