"""Compiled blocks: the same loss but for rounding, a resumed run bit for bit, and what cannot be compiled."""

from pathlib import Path

import pytest
import torch
from torch import nn

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError
from sumi.models.model import SystemConfig
from sumi.objectives.objective import Objective
from sumi.training import compiling
from sumi.training.checkpoint import load_checkpoint
from sumi.training.compiling import REPAID, compile_blocks
from sumi.training.config import TrainingConfig
from sumi.training_run import Events, train
from tests.interrupted import Crash, crash, in_step
from tests.small_runs import assert_same, state_of

SMALL = ("network.width=16", "network.head_width=8", "network.blocks=2", "network.registers=0")


def transformer(*settings: str) -> SystemConfig:
    """Of digits, with dropout, for 24 steps."""
    settings = ("training.steps=24", "training.checkpoint_every=12", "training.batch_size=8", *settings)
    rest = ("training.precision=fp32", "training.sample_every=0", "training.check_every=0", "network.dropout=0.2")
    return override(recipes.build("jit", DataConfig(source="digits")), [*SMALL, *rest, *settings])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("compiled") / "run"
    train(transformer("training.compile=on"), out=run)
    return run


def test_compiled_blocks_learn_the_same_but_for_rounding(compiled: Path, tmp_path: Path) -> None:
    """After 24 steps weights differ by no more than sums in another order do, and by something."""
    train(transformer(), out=tmp_path / "run")
    ours, plain = state_of(compiled, 24), state_of(tmp_path / "run", 24)
    assert ours.model.keys() == plain.model.keys()
    apart = [float((ours.model[name] - weight).abs().max()) for name, weight in plain.model.items() if weight.numel()]
    assert 0 < max(apart) < 1e-4  # a step is up to 1e-3, and AdamW divides small gradients by themselves
    assert ours.state["compiled"]
    assert not plain.state["compiled"]


def test_a_compiled_run_is_resumed_bit_for_bit(compiled: Path, tmp_path: Path, monkeypatch) -> None:
    """Resumed, its first step is one whose operations are counted; that must not change it."""
    in_step(monkeypatch, 15, crash)
    with pytest.raises(Crash):
        train(transformer("training.compile=on"), out=tmp_path / "run")
    monkeypatch.undo()
    for module in ("meter", "trainer"):
        monkeypatch.setattr(f"sumi.training.{module}.MEASURED", 2)
    message: list[str] = []
    train(transformer("training.compile=on"), out=tmp_path / "run", resume=True, events=Events(message.append))
    assert "continues from step 12" in message
    assert_same(state_of(tmp_path / "run", 24), state_of(compiled, 24))
    assert any("GFLOP a step" in line for line in message)


def test_a_run_goes_on_without_its_compiler_and_says_so(compiled: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for path in compiled.rglob("*"):
        target = tmp_path / "run" / path.relative_to(compiled)
        target.mkdir(parents=True, exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    message: list[str] = []
    longer = transformer("training.steps=25")
    train(longer, out=tmp_path / "run", resume=True, events=Events(message.append))
    assert "compiled was True, is False: the run continues, but is not bit-identical" in message
    assert load_checkpoint(tmp_path / "run/checkpoints/00000025").step == 25


class Blocks(Objective[nn.ModuleList]):
    """Blocks of which ``gains`` of them gain by compiling; none is ever called."""

    def __init__(self, gains: int, others: int) -> None:
        super().__init__(nn.ModuleList([*(Gaining() for _ in range(gains)), *(nn.Linear(1, 1) for _ in range(others))]))

    def forward(self, batch: object) -> torch.Tensor:
        raise NotImplementedError

    def compiled(self) -> int:
        return sum(block._compiled_call_impl is not None for block in self.model)


class Gaining(nn.Linear):
    gains_by_compiling = True

    def __init__(self) -> None:
        super().__init__(1, 1)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"compile": "auto", "steps": REPAID}, 2),
        ({"compile": "auto", "steps": REPAID - 1}, 0),
        ({"compile": "auto", "steps": REPAID, "recompute": True}, 0),
        ({"compile": "auto", "steps": REPAID, "shard": "full"}, 0),
        ({"compile": "auto", "steps": REPAID, "lora_rank": 4}, 0),
        ({"compile": "on", "steps": 1}, 3),
        ({"steps": REPAID}, 0),
    ],
    ids=str,
)
def test_which_blocks_are_compiled(monkeypatch, settings: dict[str, object], count: int) -> None:
    monkeypatch.setattr(compiling, "_fault", lambda _: None)
    objective = Blocks(2, 1)
    assert compile_blocks(TrainingConfig(**settings), objective) == bool(count)
    assert objective.compiled() == count


def test_auto_is_for_blocks_that_gain(monkeypatch) -> None:
    monkeypatch.setattr(compiling, "_fault", lambda _: None)
    assert not compile_blocks(TrainingConfig(compile="auto", steps=REPAID), Blocks(0, 3))


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        (Blocks(1, 0), {"recompute": True}, "compile: on does not go with training.recompute; leave one of them out"),
        (Blocks(1, 0), {"shard": "full"}, "compile: on does not go with training.shard"),
        (Blocks(0, 0), {}, "compile: nothing here can be compiled by blocks; set training.compile=off"),
        (Blocks(1, 0), {}, r"compile: torch cannot compile here \(backend raised: no compiler\); set"),
    ],
    ids=["recompute", "shard", "no blocks", "no compiler"],
)
def test_what_cannot_be_compiled_is_one_line(monkeypatch, objective: Blocks, settings: dict, message: str) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("\nbackend raised:\nno compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(InputError, match=rf"training.{message}"):
        compile_blocks(TrainingConfig(compile="on", **settings), objective)
    assert not compile_blocks(TrainingConfig(compile="auto", steps=REPAID, **settings), objective)


def test_losses_with_derivatives_of_their_own_are_not_compiled() -> None:
    """Mean flow carries derivatives forward through the network, which compiled blocks cannot."""
    spec = load(DataConfig("digits")).spec
    objective = recipes.build("mean-flow", DataConfig(source="digits")).build(spec)
    with pytest.raises(InputError, match="nothing here can be compiled"):
        compile_blocks(TrainingConfig(compile="on"), objective)
