"""The loop: a run is a function of its configuration, resumed anywhere it is the same run, bit for bit."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from sumi.boundary.progress import duration
from sumi.data.batch import Batch
from sumi.data.vectors import VectorDataset
from sumi.errors import InputError
from sumi.models.run import load
from sumi.objectives.objective import Objective
from sumi.training.checkpoint import find_checkpoints, load_checkpoint
from sumi.training.config import TrainingConfig
from sumi.training.ema import EMA
from sumi.training.interruption import Interrupted, StopRequest
from sumi.training.meter import Meter
from sumi.training.precision import resolve_precision
from sumi.training.run_folder import RunFolder
from sumi.training.trainer import Trainer
from sumi.training_run import Events, train
from tests.interrupted import Crash, crash, in_step
from tests.small_runs import assert_same, config_of, state_of


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An uninterrupted run of 40 steps."""
    run = tmp_path_factory.mktemp("whole") / "run"
    torch.set_num_threads(1)
    train(config_of(), out=run)
    return run


@pytest.mark.parametrize("crash_at", [1, 9, 10, 11, 25, 39])
def test_killed_at_any_step_and_resumed_is_the_same_run(
    whole: Path, tmp_path: Path, monkeypatch, crash_at: int
) -> None:
    in_step(monkeypatch, crash_at, crash)
    with pytest.raises(Crash):
        train(config_of(), out=tmp_path / "run")
    monkeypatch.undo()
    torch.manual_seed(crash_at)  # what happened in the global generator must not matter
    train(config_of(), out=tmp_path / "run", resume=True)
    assert_same(state_of(tmp_path / "run"), state_of(whole))
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 40


@pytest.mark.slow
def test_killed_at_every_step_with_dropout(tmp_path: Path, monkeypatch) -> None:
    """All forty steps, one after the other, with dropout inside the network."""
    train(config_of("network.dropout=0.2"), out=tmp_path / "whole")
    for crash_at in range(1, 41):
        run = tmp_path / f"{crash_at}"
        in_step(monkeypatch, crash_at, crash)
        with pytest.raises(Crash):
            train(config_of("network.dropout=0.2"), out=run)
        monkeypatch.undo()
        train(config_of("network.dropout=0.2"), out=run, resume=True)
        assert_same(state_of(run), state_of(tmp_path / "whole"))


@pytest.mark.parametrize("setting", ["network.dropout=0.2", "training.optimizer=muon"])
def test_dropout_and_muon_are_resumed_exactly_too(tmp_path: Path, monkeypatch, setting: str) -> None:
    settings = (setting, "training.steps=20")
    train(config_of(*settings), out=tmp_path / "whole")
    in_step(monkeypatch, 15, crash)
    with pytest.raises(Crash):
        train(config_of(*settings), out=tmp_path / "run")
    monkeypatch.undo()
    train(config_of(*settings), out=tmp_path / "run", resume=True)
    assert_same(state_of(tmp_path / "run", 20), state_of(tmp_path / "whole", 20))
    plain = train(config_of("training.steps=20"), out=tmp_path / "plain")
    assert plain.step == 20
    weights = (state_of(tmp_path / name, 20).model["network.conv_in.weight"] for name in ("plain", "whole"))
    assert not torch.equal(*weights)  # and the setting did something


def test_a_saved_model_is_trained_on_from_its_weights(whole: Path, tmp_path: Path) -> None:
    """Weights and average begin at what was saved; the optimizer is new, which one line says."""
    load(whole).save(tmp_path / "saved")
    message: list[str] = []
    arguments = {"out": tmp_path / "saved", "steps": 41, "resume": True, "events": Events(message.append)}
    with pytest.raises(InputError, match="resume it"):
        train(config_of(), out=tmp_path / "saved")
    train(str(tmp_path / "saved/config.json"), **arguments)
    assert "the run has only weights, as a saved model does: the optimizer starts from zero" in message
    assert "continues from step 40" in message
    before, after = state_of(whole), state_of(tmp_path / "saved", 41)
    rate = config_of("training.steps=41").training.learning_rate_at(41)
    for name, weight in before.ema.items():
        assert float((after.model[name] - weight).abs().max()) <= 1.01 * rate + 1e-6  # one step of a new AdamW
    assert all(float(value) == 1 for name, value in after.optimizer.items() if name.endswith(".step"))
    message.clear()
    train(str(tmp_path / "saved/config.json"), **arguments)  # what is trained by now is resumed as ever
    assert not any("only weights" in line for line in message)


def test_a_second_interrupt_stops_at_once() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_in_the_last_step_is_answered_too(tmp_path: Path, monkeypatch) -> None:
    in_step(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(config_of("training.steps=3"), out=tmp_path / "run")
    assert state_of(tmp_path / "run", 3).step == 3


def test_whatever_sampling_does_the_step_is_saved_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sumi.models.diffusion.model.DiffusionModel.sample", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(config_of("training.steps=3"), out=tmp_path / "run")
    assert state_of(tmp_path / "run", 3).step == 3


def test_another_set_up_is_reported(whole: Path, tmp_path: Path) -> None:
    message: list[str] = []
    train(config_of("training.steps=12"), out=tmp_path / "run")
    torch.set_num_threads(2)
    train(config_of("training.steps=14"), out=tmp_path / "run", resume=True, events=Events(message.append))
    assert any(line.startswith("threads was 1, is 2") for line in message)


def test_a_fresh_start_does_not_keep_an_old_log(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").write_config({"config": {}, "items": {}, "format": 6})
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 7, "loss": 1.0}\n')
    train(config_of("training.steps=5"), out=tmp_path / "run")
    assert [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()] == [5]


def test_options_are_applied_to_a_configuration_too(tmp_path: Path) -> None:
    model = train(config_of(), out=tmp_path / "run", steps=2, seed=5)
    assert (model.step, model.config.seed) == (2, 5)


def test_more_steps_extend_a_finished_run_and_as_many_do_nothing(whole: Path, tmp_path: Path) -> None:
    train(config_of("training.decay=constant", "training.steps=20"), out=tmp_path / "run")
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    train(config_of("training.decay=constant", "training.steps=20"), out=tmp_path / "run", resume=True)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before
    train(config_of("training.decay=constant"), out=tmp_path / "run", resume=True)
    train(config_of("training.decay=constant"), out=tmp_path / "straight")
    assert_same(state_of(tmp_path / "run"), state_of(tmp_path / "straight"))


def test_resume_where_there_is_nothing_starts(tmp_path: Path, whole: Path) -> None:
    train(config_of(), out=tmp_path / "run", resume=True)
    assert_same(state_of(tmp_path / "run"), state_of(whole))


@pytest.mark.parametrize(
    ("settings", "data", "answer"),
    [
        (("training.beta_1=0.8",), None, "training.beta_1: 0.9 → 0.8"),
        (("training.steps=39",), None, "steps: 39 are fewer"),
        (("network.widths=64",), None, "network.widths[0]"),
    ],
)
def test_a_changed_configuration_is_refused(whole: Path, settings, data, answer: str) -> None:
    before = {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    with pytest.raises(InputError) as error:
        train(config_of(*settings), out=whole, resume=True)
    assert answer.replace("[0]", "") in str(error.value)
    assert {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()} == before


def test_a_run_is_not_overwritten(whole: Path) -> None:
    before = {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="already holds a run"):
        train(config_of(), out=whole)
    assert {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()} == before


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(whole: Path, tmp_path: Path) -> None:
    train(config_of(), out=tmp_path / "run")
    newest = tmp_path / "run/checkpoints/00000040/model.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    message: list[str] = []
    train(config_of(), out=tmp_path / "run", resume=True, events=Events(message.append))
    assert any("damaged" in line and "00000040" in line for line in message)
    assert_same(state_of(tmp_path / "run"), state_of(whole))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_and_saves(whole: Path, tmp_path: Path, number: int, code: int, monkeypatch) -> None:
    in_step(monkeypatch, 13, lambda: os.kill(os.getpid(), number))
    previous = signal.getsignal(number)
    with pytest.raises(Interrupted) as stopped:
        train(config_of(), out=tmp_path / "run")
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is previous
    assert int(find_checkpoints(tmp_path / "run/checkpoints")[0][-1].name) == 13
    monkeypatch.undo()
    train(config_of(), out=tmp_path / "run", resume=True)
    assert_same(state_of(tmp_path / "run"), state_of(whole))


def test_in_another_thread_signals_are_left_alone() -> None:
    seen = []

    def enter() -> None:
        with StopRequest() as stop:
            seen.append(stop.signal_number)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [None]


def test_accumulation_changes_only_rounding(whole: Path, tmp_path: Path) -> None:
    train(config_of("training.accumulation=4", "training.precision=fp32"), out=tmp_path / "four")
    train(config_of("training.precision=fp32"), out=tmp_path / "one")
    logged = [json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[0]) for run in ("four", "one")]
    for name in ("loss", "gradient_norm"):
        assert logged[0][name] == pytest.approx(logged[1][name], rel=1e-3)
    four, one = state_of(tmp_path / "four").model, state_of(tmp_path / "one").model
    start = {k: float(v.abs().max()) for k, v in one.items()}
    for key, value in one.items():
        # Adam divides by the root of the squared gradient, so rounding of tiny gradients shows in the weights
        assert float((value - four[key]).abs().max()) < 1e-3 * max(start[key], 0.1), key


def numbers(count: int) -> VectorDataset:
    """So many items, of which nothing is used."""
    return VectorDataset(np.zeros((count, 1), np.float32), tuple(map(str, range(count))))


@pytest.mark.parametrize("order", ["shuffled", "keyed", "windowed"])
def test_every_item_comes_once_an_epoch(order: Literal["shuffled", "keyed", "windowed"], tmp_path: Path) -> None:
    """In another order each, and whatever the parts of a batch."""
    orders = []
    for accumulation in (1, 2):
        seen: list[int] = []

        class Counting(Objective):
            def forward(self, batch: Batch) -> torch.Tensor:
                seen.extend(batch.items.tolist())  # noqa: B023
                return self.model.weight.sum().expand(len(batch.items))

        config = TrainingConfig(steps=5, batch_size=8, accumulation=accumulation, order=order)
        folder = tmp_path / str(accumulation)
        folder.mkdir()
        Trainer(config, Counting(torch.nn.Linear(1, 1)), numbers(20), 3, folder).run()
        orders.append(seen)
    assert sorted(orders[0][:20]) == sorted(orders[0][20:]) == list(range(20))
    assert orders[0][:20] != orders[0][20:]
    assert orders[0] == orders[1]


def test_adamw_ema_and_learning_rate_follow_their_formulas(tmp_path: Path) -> None:
    """Three steps of the loop against the same arithmetic written out."""

    class Quadratic(Objective):
        def forward(self, batch: Batch) -> torch.Tensor:
            return (self.model.weight - 3.0).square().sum().expand(len(batch.items))

    config = TrainingConfig(
        steps=3, batch_size=2, learning_rate=0.1, warmup_steps=2, weight_decay=0.5, gradient_clip=1.0, ema_decay=0.3
    )
    module = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)
    trainer = Trainer(config, Quadratic(module), numbers(1), 0, tmp_path)
    trainer.run()
    w, ema, m, v = 1.0, 1.0, 0.0, 0.0
    for step, rate in ((1, 0.05), (2, 0.1), (3, 0.1)):
        g = 2 * (w - 3)
        g = g / max(1.0, abs(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w * (1 - rate * 0.5) - rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)) ** 0.5 + 1e-8)
        decay = min(0.3, (1 + step) / (10 + step))
        ema = decay * ema + (1 - decay) * w
    assert module.weight.item() == pytest.approx(w, rel=1e-5)
    assert trainer.ema.module.weight.item() == pytest.approx(ema, rel=1e-5)


class Halves(torch.nn.Module):
    """The part beside the network comes first in the module, and last in the optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.other = torch.nn.Linear(3, 1, bias=False)
        self.network = torch.nn.Linear(2, 1, bias=False)
        self.counter = torch.nn.BatchNorm1d(1, affine=False)  # has buffers and no parameters
        for parameter in self.parameters():
            torch.nn.init.constant_(parameter, 1.0)


class Steep(Objective[Halves]):
    """Sums of weights, of which the other's is ``slope`` times as steep as the network's 5."""

    def __init__(self, slope: float) -> None:
        super().__init__(Halves())
        self.slope = slope

    def auxiliary(self) -> list[torch.nn.Module]:
        return [self.model.other, self.model.counter]

    def forward(self, batch: Batch) -> torch.Tensor:
        total = 3 * self.model.network.weight[0, 0] + 4 * self.model.network.weight[0, 1]
        return (total + 5 * self.slope * self.model.other.weight.sum()).expand(len(batch.items))


def test_each_part_is_clipped_for_itself_and_the_norm_logged_is_the_networks(tmp_path: Path) -> None:
    config, clipped = TrainingConfig(steps=1, batch_size=1, gradient_clip=2.0), tmp_path / "clipped"
    clipped.mkdir()
    trainer = Trainer(config, Steep(100.0), numbers(1), 0, clipped)
    trainer.run()
    assert trainer.model.network.weight.grad.tolist()[0] == pytest.approx([3 * 2 / 5, 4 * 2 / 5], rel=1e-5)
    assert trainer.model.other.weight.grad.tolist()[0] == pytest.approx([2 / 3**0.5] * 3, rel=1e-5)
    trainer = Trainer(TrainingConfig(steps=3, batch_size=1), Steep(100.0), numbers(1), 0, tmp_path)
    trainer.run()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["gradient_norm"] == pytest.approx(5.0)


def test_parameters_next_to_the_network_do_not_decay(tmp_path: Path) -> None:
    """A gradient of 0 leaves AdamW its decay alone."""

    class Flat(Steep):
        def forward(self, batch: Batch) -> torch.Tensor:
            return 0 * super().forward(batch)

    config = TrainingConfig(steps=1, batch_size=1, learning_rate=0.1, warmup_steps=0, weight_decay=0.5)
    trainer = Trainer(config, Flat(1.0), numbers(1), 0, tmp_path)
    trainer.run()
    assert trainer.model.network.weight.tolist()[0] == pytest.approx([0.95, 0.95])
    assert trainer.model.other.weight.tolist()[0] == [1.0, 1.0, 1.0]


def test_muons_learning_rate_warms_up_with_the_other(tmp_path: Path) -> None:
    class Square(Objective):
        def forward(self, batch: Batch) -> torch.Tensor:
            return self.model(torch.ones(16)).sum().expand(len(batch.items))

    config = TrainingConfig(batch_size=1, optimizer="muon", learning_rate=0.1, muon_learning_rate=0.4, warmup_steps=4)
    trainer = Trainer(config, Square(nn.Linear(16, 16)), numbers(1), 0, tmp_path)
    trainer.take_step(3)
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([0.075, 0.3])


def test_the_optimizer_is_resumed_by_name_whatever_the_order_of_its_parts(tmp_path: Path) -> None:
    def run(folder: Path, steps: int) -> None:
        folder.mkdir(exist_ok=True)
        trainer = Trainer(TrainingConfig(steps=steps, batch_size=1), Steep(7.0), numbers(1), 0, folder)
        trainer.resume()
        trainer.run()

    run(tmp_path / "halted", 3)
    run(tmp_path / "halted", 6)
    run(tmp_path / "whole", 6)
    assert_same(*(load_checkpoint(tmp_path / name / "checkpoints/00000006") for name in ("halted", "whole")))


@pytest.mark.parametrize(
    ("decay", "expected"),
    [("constant", [0.5, 1, 1, 1, 1]), ("linear", [0.5, 1, 1, 2 / 3, 1 / 3]), ("cosine", [0.5, 1, 1, 0.75, 0.25])],
)
def test_learning_rate_warms_up_and_decays(decay, expected: list[float]) -> None:
    config = TrainingConfig(steps=5, warmup_steps=2, learning_rate=1.0, decay=decay)
    assert [config.learning_rate_at(step) for step in range(1, 6)] == pytest.approx(expected)


def test_ema_of_a_constant_is_the_constant() -> None:
    layer = torch.nn.Linear(2, 2)
    ema = EMA(layer)
    for _ in range(10):
        ema.update(0.9)
    assert torch.equal(ema.module.weight, layer.weight)
    assert not ema.module.weight.requires_grad


def test_buffers_are_copied_into_the_average() -> None:
    """Counts and running means are those of the source after every update, not an average, and not before it."""
    source = torch.nn.BatchNorm1d(2)
    ema = EMA(source)
    for step in (1, 2):
        source(torch.tensor([[1.0, 2.0], [3.0, 5.0]]) * step)
        assert int(ema.module.num_batches_tracked) == step - 1
        ema.update(0.9)
        assert int(ema.module.num_batches_tracked) == step
        assert torch.equal(ema.module.running_mean, source.running_mean)
        assert torch.equal(ema.module.running_var, source.running_var)


def test_precision_is_taken_as_given_and_otherwise_from_the_device(monkeypatch) -> None:
    cpu = torch.device("cpu")
    for supported, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=supported: answer)
        assert resolve_precision("auto", cpu) == expected
        assert resolve_precision("fp32", cpu) == "fp32"
        assert resolve_precision("bf16", cpu) == "bf16"
    for capability, expected in (((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, answer=capability: answer)
        assert resolve_precision("auto", torch.device("cuda")) == expected


def test_before_the_first_line_the_loss_on_show_is_the_mean_so_far() -> None:
    meter = Meter(TrainingConfig(steps=10), 1, torch.device("cpu"))
    for loss in (1.0, 3.0, 8.0):
        meter.add((torch.tensor(loss), torch.ones(1)))
    meter.add(None)  # a step that was skipped
    assert meter.progress(4).loss == 4


def test_after_twenty_steps_the_rest_is_estimated_once_without_the_first(tmp_path: Path, monkeypatch) -> None:
    """On a clock on which the first step takes a minute and each other one 90 s: the 20 left take half an hour."""
    clock = [0.0]

    def step(trainer: Trainer, number: int) -> None:
        clock[0] += 60 if number == 1 else 90

    monkeypatch.setattr("sumi.training.meter.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Trainer, "take_step", step)
    lines: list[str] = []
    train(config_of(), out=tmp_path / "run", events=Events(lines.append))
    estimates = [line for line in lines if "about" in line]
    assert estimates == ["20 steps at 90 s a step: about 30 min, without samples on the way"]
    more: list[str] = []
    train(config_of("training.steps=59"), out=tmp_path / "run", resume=True, events=Events(more.append))
    assert not [line for line in more if "about" in line]  # it was over before


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (89, "89 s"), (90, "1.5 min"), (5399, "90 min"), (9000, "2.5 h"), (86_400, "24 h"),
     (181_440, "2.1 days"), (86_400 * 365, "365 days")],
)  # fmt: skip
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
