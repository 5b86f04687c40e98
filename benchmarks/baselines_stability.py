"""How often a training fails or collapses: five seeds at each of three learning rates.

A run has *failed* where its training stopped because a loss or a gradient was not finite. It has *collapsed* where the
recall of its samples is below half of that of as many real images, or they are no nearer to real images (Fréchet
distance) than images of which every pixel comes from another image. Recall is the share of held-out images that lie
among the samples (sumi/metrics/precision_recall.py): it is low where kinds of images are missing, and stays high
where samples are all of them and only blurred or noisy, as after too short a training. The second part is for samples
that scatter so far that everything lies among them. Both lines come from real images alone: they are drawn before
anything is trained, alike for all systems.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import inf, nan
from pathlib import Path

from benchmarks.baselines_systems import FOLDER, SPEEDS, SYSTEMS, digits, sampled
from benchmarks.equal_time import System, steps_for, trained
from sumi.errors import InputError, SumiError
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import share
from sumi.metrics.precision_recall import figures
from sumi.recipes.configure import configure

NAMES = ("vae", "gan", "pixelcnn", "ddpm")
SECONDS = 4.0
SEEDS = range(5)
FACTORS = {"⅓": 1 / 3, "1": 1.0, "3": 3.0}


@dataclass(frozen=True)
class Outcome:
    """What became of a run. ``error``: why it failed, or nothing; a failed run is infinitely far from real images."""

    error: str = ""
    seconds: float = 0.0
    frechet: float = inf
    precision: float = 0.0
    recall: float = 0.0
    coverage: float = 0.0

    @property
    def failed(self) -> bool:
        return bool(self.error)


@dataclass(frozen=True)
class Line:
    """What a run that has not collapsed reaches: ``recall`` at the least, ``frechet`` at the most."""

    recall: float
    frechet: float

    def collapsed(self, run: Outcome) -> bool:
        """Whether a run that did not fail is on the wrong side."""
        return not run.failed and (run.recall < self.recall or run.frechet >= self.frechet)


@cache
def line() -> Line:
    """Half of the recall of training images, and the distance of pixels drawn apart."""
    known = digits()
    some, apart = (known.network.features(images) for images in (known.some(), known.pixels_apart()))
    recall = float(figures(some.double(), known.features.double())[1])
    return Line(recall / 2, frechet_distance(apart, known.features).value)


def outcomes() -> dict[str, dict[str, list[Outcome]]]:
    """Of every run, by system and factor of the learning rate; what is known already is read."""
    steps = steps_for(SYSTEMS, SECONDS, SPEEDS)
    found = {name: {factor: [Outcome()] * len(SEEDS) for factor in FACTORS} for name in NAMES}
    for seed in SEEDS:
        for name in NAMES:
            for number, factor in enumerate(FACTORS):
                folder = FOLDER / "stability" / f"{name}-{number}-{seed}"
                found[name][factor][seed] = outcome(SYSTEMS[name], folder, steps[name], seed, FACTORS[factor])
    return found


def outcome(system: System, run: Path, steps: int, seed: int, factor: float) -> Outcome:
    """Of one run, kept in its folder."""
    file = run / "outcome.json"
    if not file.exists():
        rate = factor * configure(system.recipe, data="digits", settings=system.settings).training.learning_rate
        found = attempt(system, run, steps, seed, rate)
        run.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(found), indent=2) + "\n")
    return Outcome(**json.loads(file.read_text()))


def attempt(system: System, run: Path, steps: int, seed: int, rate: float) -> Outcome:
    """Train and measure. Raises InputError for what is no failure of the training."""
    try:
        model, seconds = trained(system, run, steps, seed, f"training.learning_rate={rate!r}")
        images = sampled(model)
    except InputError:
        raise
    except SumiError as error:
        return Outcome(error=str(error))
    known = digits()
    features = known.network.features(images)
    precision, recall, _, coverage = figures(features.double(), known.features.double()).tolist()
    distance = frechet_distance(features, known.features).value
    return Outcome("", seconds, distance, precision, recall, coverage)


def stability() -> None:
    """Print a row for each system."""
    steps = steps_for(SYSTEMS, SECONDS, SPEEDS)
    found = outcomes()
    print(f"\nCollapsed: recall below {line().recall:.2f}, or a Fréchet distance of {line().frechet:.1f} or more.")
    heads = ("steps", "CPU s", "failed, %", "collapsed, %", *(f"Fréchet at rate × {factor}" for factor in FACTORS))
    print(f"\n| | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}")
    for name, by_factor in found.items():
        runs = [run for group in by_factor.values() for run in group]
        seconds = statistics.median([run.seconds for run in runs if not run.failed] or [nan])
        cells = [
            f"{steps[name]:,}",
            f"{seconds:.1f}",
            of_all([run.failed for run in runs]),
            of_all([line().collapsed(run) for run in runs]),
            *(of_rate(group) for group in by_factor.values()),
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def of_all(message: Sequence[bool]) -> str:
    e = share(sum(message), len(message))
    return f"{sum(message)} of {len(message)}: {100 * e.value:.0f} [{100 * e.low:.0f}, {100 * e.high:.0f}]"


def of_rate(runs: Sequence[Outcome]) -> str:
    lost = sum(line().collapsed(run) for run in runs)
    return ranged([run.frechet for run in runs]) + (f", {lost} of {len(runs)} collapsed" if lost else "")


def ranged(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
