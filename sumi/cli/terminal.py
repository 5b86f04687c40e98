"""Lines and progress on the terminal."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sumi.boundary import progress
from sumi.boundary.progress import Count, Progress
from sumi.errors import InputError, printable

if TYPE_CHECKING:
    from sumi.models.model import TrainedModel


def refuse(model: TrainedModel, options: Namespace, *names: str, **defaults: object) -> None:
    """Raises InputError where an option that this kind of model does not have was given."""
    for name, default in {**dict.fromkeys(names), **defaults}.items():
        given = getattr(options, name, default)
        if given != default and (given is not False or default is True) and given != []:
            raise InputError(f"{name}: a run of {model.config.recipe} has none; leave it out")


NARROWEST: Final = 80
console = Console(soft_wrap=True, highlight=False)


def say(line: str) -> None:
    """A plain line: nothing in file names is markup, or moves the cursor."""
    console.print(printable(line), markup=False)


def cell(text: str) -> str:
    """A table's text, printed as `say` prints it."""
    return escape(printable(text))


def show(table: Table) -> None:
    """A table, of at least NARROWEST columns: a narrower terminal breaks its lines, and no word is cut off."""
    for column in table.columns:
        column.overflow = "fold"
    Console(soft_wrap=True, highlight=False, width=max(console.width, NARROWEST)).print(table)


def training_progress() -> AbstractContextManager[Callable[[Progress], None]]:
    """As `sumi.boundary.progress.training_progress`."""
    return progress.training_progress(console)


def counting_of() -> AbstractContextManager[Count]:
    """As `sumi.boundary.progress.counting_of`."""
    return progress.counting_of(console)


@contextmanager
def counting(what: str) -> Generator[Callable[[int, int], None]]:
    """As `counting_of`, for one thing."""
    with counting_of() as count:
        yield lambda done, total: count(what, done, total)
