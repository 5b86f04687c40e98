"""`sumi ema`: a run with an average of another length, and which length is best."""

import json
from pathlib import Path

import pytest
import torch

from sumi.cli.main import main
from sumi.errors import InputError
from sumi.evaluation.averages import LENGTHS, averaged, has_averages
from sumi.models.run import load
from sumi.report import evaluate as report
from sumi.training.checkpoint import load_checkpoint
from sumi.training_run import train
from tests.small_runs import config_of
from tests.tiny_models import random_features


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """24 steps with a third average, of the length that is made of the snapshots of the other two."""
    folder = tmp_path_factory.mktemp("ema") / "run"
    settings = ("training.ema_lengths=[0.05,0.1]", "training.ema_snapshot_every=1", "training.steps=24")
    train(config_of(*settings), out=folder)
    train(config_of("training.ema_lengths=[0.13]", "training.steps=24"), out=folder.with_name("direct"))
    return folder


def test_a_made_average_is_the_one_kept_directly(run: Path) -> None:
    model, averages = averaged(run, 0.13)
    assert len(averages.sources) == 24
    direct = load_checkpoint(run.with_name("direct") / "checkpoints/00000024").optimizer
    changed = load(run).module.state_dict()
    for name, weight in model.module.named_parameters():
        wanted = direct[f"average.0.13.{name}"]
        assert float((weight - wanted).norm()) <= 1e-5 * float(wanted.norm()), name
        assert not weight.any() or not torch.equal(weight, changed[name])


def test_sumi_ema_writes_a_run_that_samples_with_it_and_compares_lengths(run: Path, capsys) -> None:
    assert main(["ema", str(run), "--length", "0.13"]) == 0
    assert "00000024" in str(next((run.with_name("run-ema-0.13") / "checkpoints").iterdir()))
    made = load(run.with_name("run-ema-0.13"))
    assert torch.equal(made.sample(2, steps=2), averaged(run, 0.13)[0].sample(2, steps=2))
    assert main(["ema", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "differs from it by 0.00%" in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith("0.")]
    assert [float(row[0]) for row in rows] == [*LENGTHS]
    best = next(row for row in rows if "best" in row)
    assert float(best[2]) == min(float(row[2 if "best" in row else 1]) for row in rows)
    assert f"--length {best[0]}" in shown


def test_the_report_compares_lengths_where_sweeps_are_asked_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "learn_features", lambda *_: random_features())
    monkeypatch.setattr(report, "sweep_sampler", lambda *_, **__: None)
    model = load(run)
    before = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    for sweeps in (False, True):
        page = report.evaluate(model, n=20, sweeps=sweeps).page
        figures = json.loads((page.parent / "evaluation.json").read_text())
        assert ("Over which length to average?" in page.read_text()) == ("averages" in figures) == sweeps
    found = {row["length"]: row["loss"]["value"] for row in figures["averages"]}
    assert tuple(found) == LENGTHS
    best = min(found, key=found.__getitem__)
    assert f"sumi ema {run} --length {best:g}" in page.read_text()
    assert all(torch.equal(weight, before[name]) for name, weight in model.module.state_dict().items())
    copy = run.with_name("copy")
    model.save(copy)
    assert has_averages(model)
    assert not has_averages(load(copy))  # so that a copy is reported without


def test_a_run_without_averages_and_a_length_out_of_range_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"length: 0\.4 is not from"):
        averaged(run, 0.4)
    load(run).save(tmp_path / "saved")
    with pytest.raises(InputError, match="holds no averages"):
        averaged(tmp_path / "saved", 0.13)
    train(config_of("training.steps=1"), out=tmp_path / "plain")
    with pytest.raises(InputError, match=r"training\.ema_lengths: .* was trained without"):
        averaged(tmp_path / "plain", 0.13)
