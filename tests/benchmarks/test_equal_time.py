"""Training for equal CPU time, and when a run counts as failed or collapsed (`benchmarks/baselines.py`)."""

import json
from itertools import count
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import baselines_stability, equal_time
from benchmarks.baselines_stability import Line, Outcome, attempt, outcome
from benchmarks.baselines_systems import Digits
from benchmarks.equal_time import Enough, Stopwatch, System, cpu_per_step, steps_for, trained, turn
from sumi.boundary.progress import Progress
from sumi.data.pixels import PixelRange
from sumi.errors import InputError
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.precision_recall import figures

TINY = System("vae", ("network.widths=16", "network.latent=2", "training.batch_size=8", "training.sample_every=0"))


def at(step: int) -> Progress:
    return Progress(step, 100, 0.0, 0.0, 0.0)


def test_a_step_is_timed_between_what_is_first_and_last_heard_of() -> None:
    """Steps 10, 15 and 40 at the times 3, 5 and 18: half a second each, whatever came before."""
    watch = Stopwatch(clock=iter([3.0, 5.0, 18.0]).__next__)
    for step in (10, 15, 40):
        watch(at(step))
    assert watch.per_step == 0.5


def test_steps_in_which_a_compiler_works_do_not_count() -> None:
    """A first step of 60 seconds and a second of 30 are left out, and the others take half a second."""
    watch = Stopwatch(2.0, clock=iter([93.0, 93.5, 94.0]).__next__, left_out=2)
    for step in range(1, 6):
        watch(at(step))
    assert watch.per_step == 0.5


def test_a_training_too_short_to_be_timed_says_so() -> None:
    watch = Stopwatch(clock=lambda: 0.0)
    watch(at(1))
    with pytest.raises(InputError, match="more steps"):
        assert watch.per_step


def test_a_training_is_stopped_once_its_seconds_are_over() -> None:
    """Of the times 5.0, 5.5, 6.0 … that of step 6 is the first more than 2 after the first."""
    watch = Stopwatch(2.0, clock=count(5.0, 0.5).__next__)
    for step in range(1, 6):
        watch(at(step))
    with pytest.raises(Enough):
        watch(at(6))
    assert watch.heard[-1] == (6, 7.5)


def test_a_turn_ends_by_cpu_time_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """No step is faster than a microsecond, and a million would take longer than a test may."""
    monkeypatch.chdir(tmp_path)
    assert turn(TINY, 0.2) > 1e-6
    assert list(tmp_path.iterdir()) == []


def test_systems_take_turns_and_the_median_counts() -> None:
    requested: list[str] = []
    answers = iter([1.0, 10.0, 3.0, 90.0, 2.0, 20.0])

    def measure(system: System) -> float:
        requested.append(system.recipe)
        return next(answers)

    found = cpu_per_step({"a": System("vae", ()), "b": System("gan", ())}, measure)
    assert requested == ["vae", "gan"] * 3
    assert found == {"a": 2.0, "b": 20.0}


def test_the_budget_becomes_steps_and_is_measured_anew_only_for_other_settings(tmp_path: Path, monkeypatch) -> None:
    times = iter([0.4, 0.8])
    monkeypatch.setattr(equal_time, "cpu_per_step", lambda systems: dict.fromkeys(systems, next(times)))
    file, systems = tmp_path / "speeds.json", {"a": TINY}
    assert steps_for(systems, 10.0, file) == {"a": 25}
    assert steps_for(systems, 20.0, file) == {"a": 50}
    assert steps_for({"a": System("gan", ())}, 20.0, file) == {"a": 25}


def test_a_run_is_trained_once_and_says_its_cpu_seconds(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sumi.training.meter.Meter.due", lambda self: True)  # however fast the steps are
    model, seconds = trained(TINY, tmp_path / "run", 12, 3, "training.learning_rate=0.01")
    assert (model.step, model.config.seed, model.config.training.learning_rate) == (12, 3, 0.01)
    (tmp_path / "run" / "cpu-seconds").write_text("7.5")
    assert trained(TINY, tmp_path / "run", 99)[1] == 7.5
    assert seconds >= 0


def test_what_lacks_most_classes_has_collapsed_and_what_is_noisy_has_not() -> None:
    """Ten far clusters: all of them, six of them, four; and all of them with twice the deviation."""
    generator = torch.Generator().manual_seed(0)

    def draws(n: int, variants: int, wider: float = 1.0) -> torch.Tensor:
        points = wider * torch.randn(n, 3, generator=generator, dtype=torch.float64)
        points[:, 0] += 100 * (torch.arange(n) % variants)
        return points

    real = draws(150, 10)
    half = float(figures(draws(500, 10), real)[1]) / 2
    for variants, wider, expected in ((10, 1.0, False), (6, 1.0, False), (4, 1.0, True), (10, 2.0, False)):
        recall = float(figures(draws(500, variants, wider), real)[1])
        assert Line(half, inf).collapsed(Outcome(frechet=0.0, recall=recall)) is expected


def test_the_lines_are_half_the_recall_of_training_images_and_the_distance_of_independent_pixels(monkeypatch) -> None:
    """Features are the pixels here; half of the held-out images are a kind that is not among the training images."""
    generator = torch.Generator().manual_seed(0)
    training = torch.randn(600, 1, 1, 3, generator=generator, dtype=torch.float64)
    unlike = torch.randn(50, 1, 1, 3, generator=generator, dtype=torch.float64) + 100
    training[:, :, :, 1] = training[:, :, :, 0]
    held_out = torch.cat([training[550:], unlike])
    known = Digits(training[:550], held_out, PixelRange(17), SimpleNamespace(features=flat), flat(held_out))
    monkeypatch.setattr(baselines_stability, "digits", lambda: known)
    found = baselines_stability.line.__wrapped__()
    assert found.recall == pytest.approx(0.25, abs=0.02)
    apart = flat(known.pixels_apart())
    assert found.frechet == frechet_distance(apart, flat(held_out)).value
    assert torch.isin(apart, training).all()
    correlation = torch.corrcoef(apart.T)[0, 1]
    assert abs(float(correlation)) < 4 / 500**0.5


def flat(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1)


def test_a_run_collapses_by_either_line_and_a_failed_one_does_not() -> None:
    line = Line(0.4, 20.0)
    assert not line.collapsed(Outcome(frechet=19.9, recall=0.4))
    assert line.collapsed(Outcome(frechet=19.9, recall=0.39))
    assert line.collapsed(Outcome(frechet=20.0, recall=0.9))
    assert not line.collapsed(Outcome(error="not finite"))


def test_a_training_that_is_not_finite_has_failed_and_is_kept_so(tmp_path: Path) -> None:
    found = outcome(TINY, tmp_path / "run", 60, 0, 1e30)
    assert found.failed
    assert "was not finite in 10 steps in a row" in found.error
    assert found.frechet == inf
    kept = json.loads((tmp_path / "run" / "outcome.json").read_text())
    assert kept["error"] == found.error
    assert outcome(TINY, tmp_path / "run", 60, 0, 1.0) == found


def test_a_mistake_in_the_settings_is_no_failure_of_the_training(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        attempt(System("vae", ("network.widths=15",)), tmp_path / "run", 2, 0, 1e-3)


def test_shares_and_ranges_as_they_are_printed() -> None:
    assert baselines_stability.of_all([True] * 3 + [False] * 12) == "3 of 15: 20 [7, 45]"
    assert baselines_stability.ranged([3.0, 1.0, 2.0, inf, 2.5]) == "2.5 (1.0 to inf)"
