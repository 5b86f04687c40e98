"""What a person sees while waiting: a live line on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.model import TrainedModel
    from sumi.training.trainer import Progress as TrainingProgress


def refuse(model: TrainedModel, options: Namespace, *names: str, **defaults: object) -> None:
    """Raises InputError where an option that this kind of model does not have was given."""
    for name, default in {**dict.fromkeys(names), **defaults}.items():
        given = getattr(options, name)
        if given != default and given is not False and given != []:
            raise InputError(f"--{name.replace('_', '-')}: a run of {model.config.recipe} has none; leave it out")


console = Console(soft_wrap=True, highlight=False)
SECONDS_BETWEEN_LINES = 5.0


def say(line: str) -> None:
    """A plain line: no markup is read in file names."""
    console.print(line, markup=False)


def _bar(*columns: str) -> Progress:
    shown = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    return Progress(*shown, *(TextColumn(c) for c in columns), TimeRemainingColumn(), console=console, transient=True)


@contextmanager
def training_progress() -> Generator[Callable[[TrainingProgress], None]]:
    """Steps, items/s, loss and time left."""

    if not console.is_terminal:
        last = [time.monotonic()]

        def line(p: TrainingProgress) -> None:
            if time.monotonic() - last[0] >= SECONDS_BETWEEN_LINES:
                last[0] = time.monotonic()
                say(
                    f"step {p.step}/{p.steps}  loss {p.loss:.4f}  {p.items_per_second:,.0f} items/s  "
                    f"{p.seconds_left:.0f} s left"
                )

        yield line
        return
    with _bar("loss {task.fields[loss]:.4f}", "{task.fields[speed]:,.0f} items/s") as bar:
        task = bar.add_task("training", total=None, loss=float("nan"), speed=0.0, visible=False)

        def update(p: TrainingProgress) -> None:
            bar.update(task, visible=True, total=p.steps, completed=p.step, loss=p.loss, speed=p.items_per_second)

        yield update


@contextmanager
def counting_of() -> Generator[Callable[[str, int, int], None]]:
    """What is being done, and done of total: for anything longer than two seconds."""
    if not console.is_terminal:
        next_line = [time.monotonic() + 2.0]

        def line(what: str, done: int, total: int) -> None:
            if time.monotonic() >= next_line[0]:
                next_line[0] = time.monotonic() + SECONDS_BETWEEN_LINES
                say(f"{what}: {done}/{total}")

        yield line
        return
    bar: list[Progress] = []

    def update(what: str, done: int, total: int) -> None:
        if not bar:  # shown from the first count to the last: two live displays never stand under each other
            bar.append(_bar())
            bar[0].start()
            bar[0].add_task(what)
        bar[0].update(bar[0].task_ids[0], description=what, total=total, completed=done)
        if done >= total:
            bar.pop().stop()

    try:
        yield update
    finally:
        for left in bar:
            left.stop()


@contextmanager
def counting(what: str) -> Generator[Callable[[int, int], None]]:
    """As `counting_of`, for one thing."""
    with counting_of() as count:
        yield lambda done, total: count(what, done, total)
