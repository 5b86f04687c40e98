"""``sumi audit``: what a network really is, measured, and what is wrong with how it is used.

The reading (`search`) comes first, as all else depends on it: what the network predicts, its clock, its schedule and
how the data are presented to it. With that reading: its denoising (`denoising`), conditions, layers, and the run's own.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sumi.boundary.arguments import whole
from sumi.boundary.files import write_text
from sumi.boundary.progress import Count
from sumi.check.audit.conditions import conditions
from sumi.check.audit.denoising import denoising, terminal
from sumi.check.audit.finding import Finding, percent
from sumi.check.audit.layers import layers
from sumi.check.audit.reading import PREDICTIONS, Reading, at_its_time
from sumi.check.audit.run import averaging, copying, solvers
from sumi.check.audit.search import Change, Probe, search, search_by_samples
from sumi.check.audit.subject import Rows, Subject, of_model, rows_of_data, rows_of_model
from sumi.data.dataset import Dataset
from sumi.models.diffusion.model import DiffusionModel

ITEMS: Final = 64
FEWEST: Final = 16
REMEDIES: Final = {
    "prediction type": "set parameterization={}; `sumi mend` does",
    "off-by-one timesteps": "give the network that index",
    "time unit": "give the network its time so",
    "time direction": "give the network its time so",
    "squared alphas": "the stated alphas are powers of the true ones: ᾱ is alpha², so take one root more or less",
    "schedule": "set schedule to that",
    "swapped channels": "put the channels of what goes in, and of what comes out, in that order",
    "data range": "bring the data to that range on the way in, and back on the way out",
    "scale factor": "multiply what goes in by that (of latents it is the scale factor), and divide what comes out",
}
AXES: Final = {
    "prediction": "it predicts",
    "clock": "its time input is",
    "schedule": "its schedule is",
    "channels": "it knows the data with",
    "range": "it knows the data",
    "scale": "it knows the data",
}


@dataclass(frozen=True)
class Audit:
    """All ``findings``, and the ``reading`` under which the network has the least error, with the ``changes`` to it."""

    findings: tuple[Finding, ...]
    reading: Reading
    changes: tuple[Change, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Short names of what is wrong."""
        return tuple(finding.fault for finding in self.findings if finding.fault is not None)


def audit(
    source: DiffusionModel | Subject,
    *,
    data: object = None,
    n: int = ITEMS,
    seed: int = 0,
    copies: bool = True,
    compared: bool = True,
    progress: Count | None = None,
    see: Callable[[Finding], None] = lambda _finding: None,
) -> Audit:
    """Measure a model, or anything made a `Subject`.

    ``data``: what it was trained on, as `sumi.data.open_data` takes them, or `Rows`; None: a run's own, where they are
    still there, and otherwise the network's own samples, which tell less. ``n``: how many items. ``copies``: look for
    copies of the training images. ``compared``: find the best solvers for few evaluations. ``see(finding)`` gets each
    as it is made. Raises InputError for too few items and data that do not fit.
    """
    n = whole("n", n, least=FEWEST, most=2**20)
    match source:
        case Subject() as subject:
            pass
        case model:
            subject = of_model(model)
    rows, dataset = _rows(subject, data, n)
    tick = _ticker(progress)
    if rows is None:
        reading, changes, tried, rows = search_by_samples(subject, n, seed, tick)
    else:
        reading, changes, tried = search(Probe(subject, rows, seed=seed), subject.reading, tick)
    probe, kept = Probe(subject, rows, seed=seed), list[Finding]()
    for finding in _findings(probe, reading, changes, tried, dataset, copies, compared, progress):
        kept.append(finding)
        see(finding)
    return Audit(tuple(kept), reading, tuple(changes))


def _rows(subject: Subject, data: object, n: int) -> tuple[Rows | None, Dataset | None]:
    """The items to try it on, and the set that they are of."""
    match data, subject.model:
        case Rows() as rows, _:
            return rows, None
        case None, None:
            return None, None
        case _, None:
            return rows_of_data(subject, data, n), None
        case _, model:
            return rows_of_model(model, data, n) or (None, None)


def _ticker(progress: Count | None) -> Callable[[], None]:
    """Counts readings; how many there will be is not known before, so the total grows."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("reading the network otherwise", done, max(done, 40))

    return tick


def _findings(
    probe: Probe,
    reading: Reading,
    changes: list[Change],
    tried: int,
    dataset: Dataset | None,
    copies: bool,
    compared: bool,
    progress: Count | None,
) -> Iterator[Finding]:
    yield from of_reading(probe, changes, tried)
    yield terminal(probe, reading)
    yield denoising(probe, reading)
    for finding in (conditions(probe, reading), *layers(probe, reading), averaging(probe, reading)):
        if finding is not None:
            yield finding
    model = probe.subject.model
    if model is None or changes:
        return
    if (
        dataset is not None
        and copies
        and (finding := copying(model, dataset, len(probe.rows.x), probe.seed)) is not None
    ):
        yield finding
    if compared and (finding := solvers(model, probe.seed, progress)) is not None:
        yield finding


def of_reading(probe: Probe, changes: list[Change], tried: int) -> Iterator[Finding]:
    """One finding for each thing that is other than stated; or that all is as stated."""
    stated = probe.subject.reading
    name = str(getattr(stated.parameterization, "name", "what is stated"))
    known = ((at_its_time(p, stated.parameterization), w) for p, w in PREDICTIONS.values())
    words = next((w for p, w in known if p == stated.parameterization), name)
    if not changes:
        limits = "" if probe.rows.real else " (an offset by one, range, scale and channels cannot be told without data)"
        yield Finding(
            "reading",
            f"it predicts {words}, at the stated times and on the stated schedule: none of {tried} other readings has "
            f"a smaller error on {probe.rows.origin}{limits}",
            facts={"readings": tried, "items": len(probe.rows.x), "of": probe.rows.origin},
        )
    for change in changes:
        yield _of_change(change, probe, words)


def _of_change(change: Change, probe: Probe, stated: str) -> Finding:
    taken, (ratio, before, after) = change.taken, change.best
    read = f", and is read as {stated}" if taken.axis == "prediction" else ""
    facts: dict[str, Any] = {
        "is": taken.words,
        "share_of_error": change.share,
        "standard_error": change.error,
        "levels": [{"ratio": r, "before": b, "after": a} for r, b, a in change.levels],
        "of": probe.rows.origin,
    }
    return Finding(
        taken.axis,
        f"{AXES[taken.axis]} {taken.words}{read}. Read so, its denoising error falls to {percent(change.share)} ± "
        f"{percent(change.error)}; at σ/α = {ratio:.2g} from {percent(before)} of the data's variance to "
        f"{percent(after)}",
        taken.fault,
        REMEDIES[taken.fault].format(getattr(taken.reading.parameterization, "name", "that")),
        facts,
    )


def write(found: Audit, file: Path) -> Path:
    """All findings with their numbers, as JSON. Raises SumiError where it cannot be written."""
    rows = [asdict(finding) for finding in found.findings]
    write_text(file, json.dumps({"faults": found.faults, "findings": rows}, indent=1, ensure_ascii=False) + "\n")
    return file
