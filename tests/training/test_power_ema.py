"""Power-function averages: their weights over time, and averages of another length made of snapshots."""

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sumi.errors import InputError
from sumi.training.config import TrainingConfig
from sumi.training.power_ema import PowerEMAs, coefficients, decay, exponent, profile
from sumi.training_run import train
from tests.interrupted import Crash, crash, in_step
from tests.small_runs import assert_same, config_of, state_of


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2, 0.288])
def test_the_length_is_the_standard_deviation_of_the_profile(length: float) -> None:
    steps = np.arange(20_000) + 0.5
    weights = profile(length, 20_000, np.arange(20_001.0))
    mean = weights @ steps
    assert weights.sum() == pytest.approx(1)
    assert sqrt(weights @ (steps - mean) ** 2) / 20_000 == pytest.approx(length, rel=1e-4)


def test_the_recursion_gives_the_weights_of_each_step_their_share_of_the_profile() -> None:
    """A parameter that is 1 after one step alone averages to what that step counts."""
    for one in (1, 2, 7, 12):
        module = nn.Linear(1, 1, bias=False).double()
        averages = PowerEMAs(module, [0.05, 0.2])
        for step in range(1, 13):
            module.weight.data.fill_(step == one)
            averages.update(step)
        for length, found in zip((0.05, 0.2), averages.tensors().values(), strict=True):
            assert float(found) == pytest.approx(profile(length, 12, np.arange(13.0))[one - 1], rel=1e-9, abs=0)
    assert decay(0.05, 1) == 0
    assert exponent(0.05) == pytest.approx(16.97, abs=0.01)  # Karras et al. 2024, below eq. 127
    assert exponent(0.10) == pytest.approx(6.94, abs=0.01)


@pytest.mark.parametrize(("every", "bound"), [(1, 1e-13), (4, 1e-5)])
def test_an_average_of_snapshots_is_the_direct_average(every: int, bound: float) -> None:
    """Weights that walk at random, in float64; one snapshot a step leaves rounding alone."""
    generator, steps = torch.Generator().manual_seed(0), 240
    module, wanted = nn.Linear(16, 16).double(), (0.06, 0.075, 0.13)
    direct, kept = PowerEMAs(module, wanted), PowerEMAs(module, (0.05, 0.10))
    stored, snapshots = [], []
    for step in range(1, steps + 1):
        for weight in module.parameters():
            weight.data += 0.01 * torch.randn(weight.shape, dtype=torch.float64, generator=generator)
        direct.update(step)
        kept.update(step)
        if step % every == 0:
            for length in (0.05, 0.10):
                stored.append((length, step))
                snapshots.append(kept.tensors()[f"average.{length:g}.weight"].clone())
    for length in wanted:
        factors, distance = coefficients(stored, length, steps)
        found = sum(f * s for f, s in zip(factors.tolist(), snapshots, strict=True))
        exact = direct.tensors()[f"average.{length:g}.weight"]
        assert float((found - exact).norm() / exact.norm()) < bound
        assert distance < (1e-12 if every == 1 else 1e-3)
        assert factors.sum() == pytest.approx(1)


def test_one_stored_average_is_found_again_alone() -> None:
    stored = [(0.05, 50), (0.10, 50), (0.05, 100), (0.10, 100)]
    assert coefficients(stored, 0.10, 100)[0] == pytest.approx([0, 0, 0, 1], abs=1e-12)


def test_weights_that_do_not_change_are_their_own_average_however_far_the_profile_is() -> None:
    """The only average that is stored was made early, and has hardly a step of the one that is wanted."""
    factors, distance = coefficients([(0.02, 50)], 0.02, 1000)
    assert factors.tolist() == [1.0]
    assert distance == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"ema_lengths": (0.05, 0.3)}, "0.3 is not from 0.005 to 0.288"),
        ({"ema_lengths": (0.1, 0.1)}, "two are the same"),
        ({"ema_lengths": (0.1,), "lora_rank": 4}, "with lora_rank"),
        ({"ema_snapshot_every": 0}, "is too small"),
    ],
)
def test_lengths_that_are_none_are_refused(settings, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        TrainingConfig(**settings)


def test_averages_are_resumed_exactly_and_change_nothing_else(tmp_path: Path, monkeypatch) -> None:
    settings = ("training.ema_lengths=[0.05,0.1]", "training.ema_snapshot_every=4", "training.steps=20")
    train(config_of("training.steps=20"), out=tmp_path / "plain")
    train(config_of(*settings), out=tmp_path / "whole")
    in_step(monkeypatch, 15, crash)
    with pytest.raises(Crash):
        train(config_of(*settings), out=tmp_path / "run")
    monkeypatch.undo()
    train(config_of(*settings), out=tmp_path / "run", resume=True)
    whole, again, plain = (state_of(tmp_path / name, 20) for name in ("whole", "run", "plain"))
    assert_same(again, whole)
    assert all(torch.equal(whole.ema[name], plain.ema[name]) for name in plain.ema)
    assert whole.optimizer.keys() - plain.optimizer.keys() == {
        f"average.{length}.{name}" for length in ("0.05", "0.1") for name in plain.model
    }
    names = [path.name for path in sorted((tmp_path / "whole/averages").iterdir())]
    assert names == ["00000004", "00000008", "00000012", "00000016", "00000020"]
    for name in names:
        one, other = (tmp_path / run / "averages" / name / "optimizer.safetensors" for run in ("whole", "run"))
        assert one.read_bytes() == other.read_bytes()
