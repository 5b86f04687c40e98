"""Which samples a sweep asks a model for, and how its words come into the report."""

import json
import re
from pathlib import Path

import pytest
import torch

from sumi.errors import InputError
from sumi.evaluation.sweeps import sweep_sampler
from sumi.metrics.features import learned as features
from sumi.report.evaluate import evaluate
from tests.tiny_models import digits_model, drawing, random_features, training_part


def test_every_set_is_of_one_noise_and_of_the_labels_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """η by DDIM in the run's steps, then the run's solver in 5 to 20 steps, as many as its network knows."""
    model = digits_model(tmp_path, "sampling.solver=unipc", "sampling.steps=7", "schedule.steps=20", "times.steps=20")
    images, _, _, held_out = training_part(model)
    requested = drawing(monkeypatch, held_out)
    condition: list[tuple[str, int, int]] = []
    labels = torch.arange(40) % 10
    found = sweep_sampler(
        model,
        random_features(),
        images,
        held_out,
        n=40,
        labels=labels,
        seed=6,
        progress=lambda *count: condition.append(count),
    )
    ways = [(one["solver"], one["steps"], one["eta"]) for one in requested]
    assert ways[:5] == [("ddim", 7, eta) for eta in (0, 0.25, 0.5, 0.75, 1)]
    assert ways[5:] == [("unipc", steps, None) for steps in (5, 10, 20)]
    for one in requested:
        assert (one["n"], one["seed"]) == (40, 6)
        assert one["label"] is labels
    assert (found.eta_steps, found.solver) == (7, "unipc")
    assert (found.eta.values, found.steps.values) == ((0, 0.25, 0.5, 0.75, 1), (5, 10, 20))
    assert found.eta.lines.keys() == {"frechet", "precision", "recall", "copies"}
    assert found.steps.lines.keys() == {"frechet", "detail"}
    for sweep in (found.eta, found.steps):
        assert set(sweep.p_values.values()) == {1}  # the same samples every time
    named = list(dict.fromkeys(what for what, *_ in condition))
    assert named[:2] == ["sampling with η = 0", "sampling with η = 0.25"]
    assert named[5:7] == ["comparing η = 0 with η = 1", "sampling in 5 steps"]
    assert condition[-1] == ("comparing 5 steps with 20", 199, 199)


@pytest.mark.slow
def test_the_report_has_both_sweeps_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = digits_model(tmp_path)
    _, _, _, held_out = training_part(model)
    drawing(monkeypatch, held_out)
    monkeypatch.setattr(features, "FEWEST_STEPS", 20)
    for sweeps in (True, False):
        report = evaluate(model, n=40, sweeps=sweeps).page
        page = re.sub(r"<style>.*?</style>|<[^>]*>", " ", report.read_text())
        figures = json.loads((report.parent / "evaluation.json").read_text())
        assert ("Does randomness help?" in page) == ("How many steps?" in page) == sweeps
        assert ("sweeps" in figures) == sweeps
        assert "trade_off" not in figures
        if sweeps:
            assert figures["sweeps"]["steps"]["values"] == [5, 10, 20, 50, 100]
            assert len(figures["sweeps"]["eta"]["lines"]["recall"]) == 5


def test_too_few_images_for_sweeps_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = digits_model(tmp_path)
    images, _, _, held_out = training_part(model)
    requested = drawing(monkeypatch, held_out)
    with pytest.raises(
        InputError, match=r"^sweeps: too few images to measure distances: .*, 5 samples; at least 10, 10"
    ):
        evaluate(model, n=5, sweeps=True)
    with pytest.raises(InputError, match=r"^sweeps: 10 training images are too few to search for copies"):
        sweep_sampler(model, random_features(), images[:10], held_out, n=40)
    assert requested == []
