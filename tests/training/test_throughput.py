"""Operations of a step, counted, and what share of the device's fastest matrix product that is."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from sumi.boundary.group import Group
from sumi.training import throughput
from sumi.training.throughput import Throughput, fastest
from sumi.training_run import Events, train
from tests.small_runs import assert_same, config_of, state_of

CPU = torch.device("cpu")


def test_operations_are_those_of_the_matrices() -> None:
    """Going forward 2 N a b each; going back that again for the weights, and for the inputs but the first layer's."""
    network, x = nn.Sequential(nn.Linear(5, 7), nn.SiLU(), nn.Linear(7, 3)), torch.randn(4, 5)
    counted = Throughput(CPU, torch.float32)
    counted.counted(lambda: network(x).sum().backward())
    assert counted.operations == 2 * 4 * (2 * 5 * 7 + 3 * 7 * 3)


def test_the_share_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "fastest", lambda *_: 50e9)
    used = Throughput(CPU, torch.bfloat16, operations=4 * 10**9)
    assert (
        used.line(0.2) == "4 GFLOP a step, 20 GFLOP/s: 40% of the 50 that a product of bfloat16 matrices reaches here"
    )
    assert Throughput(CPU, torch.float32).line(0.2) is None
    assert Throughput(torch.device("meta"), torch.float32, operations=1).line(0.2) is None


def test_the_operations_of_several_processes_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "fastest", lambda *_: 50e9)
    monkeypatch.setattr(throughput, "group", lambda: Group(0, 2))
    line = Throughput(CPU, torch.float32, operations=4 * 10**9).line(0.2)
    assert (line or "").startswith("4 GFLOP a step in each process, 20 GFLOP/s: 40%")


def test_the_fastest_product_is_measured_once() -> None:
    assert 1e8 < fastest(CPU, torch.float32) == fastest(CPU, torch.float32) < 1e14


def test_a_run_says_it_once_and_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = config_of("training.steps=21", "training.checkpoint_every=21")
    lines: list[str] = []
    train(short, out=tmp_path / "counted", events=Events(lines.append))
    assert len([line for line in lines if re.search(r"GFLOP a step, .* GFLOP/s: \d+% of the", line)]) == 1
    monkeypatch.setattr(Throughput, "counted", lambda _, step: step())
    train(short, out=tmp_path / "plain")
    assert_same(state_of(tmp_path / "counted", 21), state_of(tmp_path / "plain", 21))
