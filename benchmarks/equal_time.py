"""Systems trained for the same CPU time: how many steps that is, and the runs that take them.

    steps = budget in CPU seconds / CPU seconds of one step

A rate that falls to zero must know its last step, so the budget is turned into steps before the training and not while
it goes on. A step's time is measured in turns (A B C A B C …), each turn stopped after so many CPU seconds, and the
median of a system's turns counts: what else the machine does falls on all alike. The time is that of this process's
thread and not the clock on the wall; reading the data, saving and drawing at the end do not count.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sumi.boundary.progress import Progress
from sumi.errors import InputError
from sumi.models.model import GenerativeModel
from sumi.models.run import load
from sumi.training_run import Events, train

TURNS, TURN = 3, 1.0  # turns of each system, of so many CPU seconds


@dataclass(frozen=True)
class System:
    """A recipe and its settings."""

    recipe: str
    settings: tuple[str, ...]

    def command(self, steps: int, seed: int, *more: str) -> str:
        """What trains it."""
        flags = " ".join(f"--set {setting}" for setting in (*self.settings, *more))
        return f"sumi train {self.recipe} --data digits --steps {steps} --seed {seed} {flags}"


class Enough(Exception):
    """The CPU seconds are used up."""


class Stopwatch:
    """Hears of a training's progress and knows the CPU seconds of a step, from the first that it heard of to the last.

    The first ``left_out`` times do not count, as a compiler may be at work in the first steps. Raises Enough once more
    than ``limit`` of the seconds have passed.
    """

    def __init__(
        self, limit: float = float("inf"), clock: Callable[[], float] = time.process_time, left_out: int = 0
    ) -> None:
        self.limit, self.clock, self.left_out = limit, clock, left_out
        self.heard: list[tuple[int, float]] = []

    def __call__(self, progress: Progress) -> None:
        if self.left_out > 0:
            self.left_out -= 1
            return
        self.heard.append((progress.step, self.clock()))
        if self.heard[-1][1] - self.heard[0][1] > self.limit:
            raise Enough

    @property
    def per_step(self) -> float:
        """CPU seconds of a step. Raises InputError where a training was over before it was heard of twice."""
        if len(self.heard) < 2:
            raise InputError("the training was over before a step of it could be timed; give it more steps")
        (first, begin), (last, end) = self.heard[0], self.heard[-1]
        return (end - begin) / (last - first)


def turn(system: System, seconds: float = TURN) -> float:
    """CPU seconds of a step of the system, from a training that is stopped after so many."""
    watch = Stopwatch(seconds)
    with tempfile.TemporaryDirectory() as folder:
        try:
            _train(system, Path(folder) / "run", 1_000_000, 0, watch)
        except Enough:
            return watch.per_step
    raise AssertionError("a million steps were over in a few seconds")


def cpu_per_step(systems: Mapping[str, System], measure: Callable[[System], float] = turn) -> dict[str, float]:
    """The median of ``TURNS`` turns of each, taken in turns."""
    rounds = [{name: measure(system) for name, system in systems.items()} for _ in range(TURNS)]
    return {name: statistics.median(found[name] for found in rounds) for name in systems}


def steps_for(systems: Mapping[str, System], seconds: float, file: Path) -> dict[str, int]:
    """How many steps each takes in so many CPU seconds; a step's time is measured once, and kept in ``file``."""
    known = json.loads(file.read_text()) if file.exists() else {}
    message = {name: system.command(0, 0) for name, system in systems.items()}
    if known.get("systems") != message:
        known = {"systems": message, "cpu_per_step": cpu_per_step(systems)}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known, indent=2) + "\n")
    return {name: max(1, round(seconds / known["cpu_per_step"][name])) for name in systems}


def trained(system: System, run: Path, steps: int, seed: int = 0, *more: str) -> tuple[GenerativeModel, float]:
    """The run of that many steps, and the CPU seconds that they took. One that was finished is not trained again.

    Raises SumiError where the training fails.
    """
    seconds = run / "cpu-seconds"
    if not seconds.exists():  # written at the end: a run that was stopped is made anew
        shutil.rmtree(run, ignore_errors=True)
        watch = Stopwatch()
        _train(system, run, steps, seed, watch, *more)
        seconds.write_text(f"{watch.per_step * steps:.1f}")
    print(f"{system.command(steps, seed, *more)} --out {run}", file=sys.stderr, flush=True)
    return load(run, GenerativeModel), float(seconds.read_text())


def _train(system: System, run: Path, steps: int, seed: int, watch: Stopwatch, *more: str) -> None:
    settings = (*system.settings, *more)
    train(
        system.recipe, data="digits", out=run, steps=steps, seed=seed, settings=settings, events=Events(progress=watch)
    )
