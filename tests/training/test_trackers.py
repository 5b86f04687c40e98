"""Trackers: TensorBoard itself, and the others by stand-ins of their Python faces."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from sumi.errors import InputError, SumiError
from sumi.training.trackers import key, numbers_of, tracker
from sumi.training_run import Events, train
from tests.small_runs import assert_same, config_of, state_of

SETTINGS = ("training.steps=4", "training.log_every=1", "training.sample_every=2", "training.checkpoint_every=2")


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple]:
    """A module of this name that records what is called on it, on its results and theirs."""
    calls: list[tuple] = []

    class Recorder:
        def __init__(self, path: str) -> None:
            self.path = path

        def __getattr__(self, name: str) -> "Recorder":
            if name.startswith("__"):
                raise AttributeError(name)
            return Recorder(f"{self.path}.{name}")

        def __call__(self, *arguments, **options) -> object:
            calls.append((self.path, arguments, options))
            return [] if self.path == "mlflow.search_runs" else Recorder(f"{self.path}()")

    module = ModuleType(name)
    module.__getattr__ = lambda attribute: getattr(Recorder(name), attribute)
    monkeypatch.setitem(sys.modules, name, module)
    return calls


def called(calls: list[tuple], path: str) -> list[tuple]:
    return [(arguments, options) for found, arguments, options in calls if found == path]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("plain") / "run"
    train(config_of(*SETTINGS), out=run)
    return run


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_every_line_and_every_grid_goes_to_the_tracker_and_no_weight_changes(
    name: str, plain: Path, tmp_path: Path, monkeypatch
) -> None:
    calls = stand_in(monkeypatch, name)
    run = tmp_path / "run"
    train(config_of(*SETTINGS, f"training.tracker={name}"), out=run)
    assert_same(state_of(run, 4), state_of(plain, 4))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    match name:
        case "wandb":
            (_, begun), *_ = called(calls, "wandb.init")
            logged = [arguments[0] for arguments, _ in called(calls, "wandb.init().log")]
            assert (begun["id"], begun["resume"]) == (key(run), "allow")
            assert begun["config"]["training.steps"] == "4"
            assert {line["step"]: line["train/loss"] for line in logged if "train/loss" in line} == losses
            assert [line["step"] for line in logged if "samples" in line] == [2, 4]
            end = "wandb.init().finish"
        case "mlflow":
            ((_, begun),) = called(calls, "mlflow.start_run")
            assert begun == {"run_name": "run", "tags": {"sumi.run": key(run)}}
            logged = [(options["step"], arguments[0]) for arguments, options in called(calls, "mlflow.log_metrics")]
            assert {step: line["train/loss"] for step, line in logged if "train/loss" in line} == losses
            assert len(called(calls, "mlflow.log_image")) == 2
            end = "mlflow.end_run"
        case _:
            ((_, begun),) = called(calls, "trackio.init")
            assert (begun["name"], begun["resume"]) == (f"run-{key(run)}", "allow")
            logged = [(options["step"], arguments[0]) for arguments, options in called(calls, "trackio.log")]
            assert {step: line["train/loss"] for step, line in logged if "train/loss" in line} == losses
            end = "trackio.finish"
    assert calls[-1][0] == end


def test_mlflow_continues_the_run_that_has_the_tag(tmp_path: Path, monkeypatch) -> None:
    calls = stand_in(monkeypatch, "mlflow")
    found = SimpleNamespace(info=SimpleNamespace(run_id="abc"))
    monkeypatch.setattr(sys.modules["mlflow"], "search_runs", lambda **_: [found], raising=False)
    tracker("mlflow", tmp_path, {}, 3)
    assert called(calls, "mlflow.start_run") == [((), {"run_id": "abc"})]


def test_tensorboard_has_the_curves_and_a_resumed_run_continues_them(plain: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run, settings = tmp_path / "run", (*SETTINGS, "training.tracker=tensorboard")
    train(config_of(*settings, "training.steps=2"), out=run)
    train(config_of(*settings), out=run, resume=True)
    assert_same(state_of(run, 4), state_of(plain, 4))
    found = accumulator.EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: pytest.approx(line["loss"], rel=1e-6) for line in lines if "loss" in line}
    assert {event.step: event.value for event in found.Scalars("train/loss")} == losses
    assert [event.step for event in found.Images("samples")] == [2, 4]


def test_a_tracker_that_fails_is_reported_once_and_the_training_goes_on(
    plain: Path, tmp_path: Path, monkeypatch
) -> None:
    calls = stand_in(monkeypatch, "trackio")

    def fail(*arguments, **options) -> None:
        calls.append(("trackio.log", arguments, options))
        raise ConnectionError("no route to host")

    monkeypatch.setattr(sys.modules["trackio"], "log", fail, raising=False)
    heard: list[str] = []
    train(config_of(*SETTINGS, "training.tracker=trackio"), out=tmp_path / "run", events=Events(heard.append))
    assert len(called(calls, "trackio.log")) == 1
    (line,) = (line for line in heard if "training.tracker" in line)
    assert "trackio has failed (ConnectionError: no route to host); from step 1 on" in line
    assert_same(state_of(tmp_path / "run", 4), state_of(plain, 4))


def test_a_tracker_that_is_missing_or_cannot_begin_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"training\.tracker: wandb is not installed; pip install 'sumi\[wandb\]'"):
        train(config_of(*SETTINGS, "training.tracker=wandb"), out=tmp_path / "run")
    assert not (tmp_path / "run/config.json").exists()
    stand_in(monkeypatch, "trackio")
    monkeypatch.setattr(sys.modules["trackio"], "init", lambda **_: 1 / 0, raising=False)
    with pytest.raises(SumiError, match=r"trackio cannot begin \(ZeroDivisionError"):
        tracker("trackio", tmp_path, {}, 0)


def test_only_finite_numbers_are_shown_by_what_they_are_of() -> None:
    line = {
        "step": 3,
        "event": "check",
        "held_out_+1.0": 0.5,
        "copies": 2,
        "rises": True,
        "bad": float("nan"),
        "x": "y",
    }
    assert numbers_of(line) == {"check/held_out_+1.0": 0.5, "check/copies": 2}
    assert numbers_of({"step": 1, "loss": 2.0}) == {"train/loss": 2.0}
