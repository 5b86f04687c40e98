"""Progress of long work: a callback (what is running, items done, items in total), and its display.

It shows as a live line on a terminal, a bar in a notebook, and elsewhere a plain line every few seconds. Functions
take ``progress``: a callback, True (show), False (silent), or None (show in a notebook only).
"""

import html
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from sumi.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

Count = Callable[[str, int, int], None]
"""Progress callback: what is running, items done, items in total."""

SECONDS_BETWEEN_LINES: Final = 5.0


@dataclass(frozen=True)
class Progress:
    """Where a training run is."""

    step: int
    steps: int
    loss: float
    items_per_second: float
    seconds_left: float


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3.5 h, 2.1 days."""
    for least, unit, name in ((172_800, 86_400, "days"), (5400, 3600, "h"), (90, 60, "min")):
        if seconds >= least:
            return f"{seconds / unit:.2g} {name}" if seconds < 100 * unit else f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.0f} s"


def counting_one(progress: Count | None, what: str) -> Callable[[int, int], None] | None:
    """A (done, total) callback that reports to ``progress`` under the name ``what``."""
    return None if progress is None else lambda done, total: progress(what, done, total)


def in_notebook() -> bool:
    """Whether this runs in a notebook, whose cells show HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


_shown: list[object] = []
"""The displays in use. Nested work, such as a preview during training, gets no display of its own."""


@contextmanager
def count_shown(progress: Count | bool | None) -> Generator[Count | None]:
    """The callback for the value of a ``progress`` argument (module docstring); None: silent."""
    if callable(progress):
        yield progress
    elif (in_notebook() if progress is None else progress) and not _shown:
        with counting_of() as count:
            yield count
    else:
        yield None


@contextmanager
def one_shown(
    progress: Callable[[int, int], None] | bool | None, what: str
) -> Generator[Callable[[int, int], None] | None]:
    """As `count_shown`, for a single task called ``what``."""
    if callable(progress):
        yield progress
    else:
        with count_shown(progress) as count:
            yield counting_one(count, what)


@contextmanager
def training_progress(console: "Console | None" = None) -> Generator[Callable[[Progress], None]]:
    """Steps, loss, items/s and time left."""
    with _displayed(console, SECONDS_BETWEEN_LINES) as display:

        def show(p: Progress) -> None:
            facts = f"loss {p.loss:.4f}  {p.items_per_second:,.0f} items/s  {p.seconds_left:.0f} s left"
            display.show("step", p.step, p.steps, facts)

        yield show


@contextmanager
def counting_of(console: "Console | None" = None) -> Generator[Count]:
    """A progress display for work that takes longer than two seconds."""
    with _displayed(console, 2.0) as display:
        yield display.show


class _Display(Protocol):
    """Shows progress."""

    def show(self, what: str, done: int, total: int, facts: str = "", /) -> None: ...

    def close(self) -> None: ...


@contextmanager
def _displayed(console: "Console | None", silence: float) -> Generator[_Display]:
    """The display for this environment; the first plain line appears after ``silence`` seconds."""
    display: _Display
    if in_notebook():
        display = _Cell()
    else:
        from rich.console import Console

        console = console or Console(soft_wrap=True, highlight=False)
        live = console.is_terminal and not console.is_dumb_terminal
        display = _Bar(console) if live else _Lines(console, silence)
    _shown.append(display)
    try:
        yield display
    finally:
        _shown.remove(display)
        display.close()


class _Lines:
    """A plain line every few seconds."""

    def __init__(self, console: "Console", silence: float) -> None:
        self.console, self.next = console, time.monotonic() + silence

    def show(self, what: str, done: int, total: int, facts: str = "", /) -> None:
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + SECONDS_BETWEEN_LINES
            self.console.print(printable(f"{what} {done}/{total}  {facts}".rstrip()), markup=False)

    def close(self) -> None:
        """Nothing is left open."""


class _Bar:
    """A live line on a terminal, from the first count to the last."""

    def __init__(self, console: "Console") -> None:
        self.console = console
        self.bar: RichProgress | None = None

    def show(self, what: str, done: int, total: int, facts: str = "", /) -> None:
        from rich import progress as rich

        what = printable(what)
        if self.bar is None:
            text = rich.TextColumn("{task.description}", markup=False)
            columns = [rich.SpinnerColumn("line"), text, rich.BarColumn()]  # a spinner that any encoding has
            columns += [rich.MofNCompleteColumn(), rich.TextColumn("{task.fields[facts]}"), rich.TimeRemainingColumn()]
            self.bar = rich.Progress(*columns, console=self.console, transient=True)
            self.bar.start()
            self.bar.add_task(what, total=total, facts=facts)
        self.bar.update(self.bar.task_ids[0], description=what, total=total, completed=done, facts=facts)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Remove the line."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class _Cell:
    """A bar below the cell of a notebook."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.next = 0.0

    def show(self, what: str, done: int, total: int, facts: str = "", /) -> None:
        if done < total and time.monotonic() < self.next:
            return
        self.next = time.monotonic() + 0.1
        notebook = import_module("IPython.display")  # a notebook has it
        words = html.escape(f"{what} {done}/{total}  {facts}".rstrip())
        bar = notebook.HTML(f'<progress value="{done}" max="{total}"></progress> <code>{words}</code>')
        if self.handle is None:
            self.handle = notebook.display(bar, display_id=True)
        else:
            self.handle.update(bar)

    def close(self) -> None:
        """The last state stays in the notebook."""
