"""What a network really is: the reading under which its denoising error is least.

E[x_0 | x_t] is the one function with the least mean squared error, so of all readings of a network the true one has the
least error of x̂_0, at every noise level. Readings are compared by

    L = mean over levels of log mean over items of min(‖x̂_0 - x_0‖²/d, CAP · Var x_0)

with the same items, noise and relative noise level ρ for all (`sumi.check.audit.reading`). exp(L' - L) is the ratio of
two readings' errors, and its standard error is that over groups of items. One change at a time is taken, the one that
brings the most, until none brings enough.

The true reading is best at every level, so one that is worse where the present one does denoise is refuted, whatever it
gains elsewhere. That counts for networks that are rough where there is little noise, such as predict x_0: a reading
that returns x_t has a small error there. To denoise is to be better than the best that the data's deviation s alone
tells, a linear denoiser with the error s² ρ²/(s² + ρ²).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp, inf, log
from typing import Final

import torch
from torch import Tensor

from sumi.check.audit.reading import OFFSET, Alternative, Reading, alternatives, probing_ratios, scaled
from sumi.check.audit.subject import WHITE, Rows, Subject
from sumi.denoising.parameterization import Coefficients
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose, normal

MATERIAL: Final = 0.9
"""Another reading must have at most this share of the error of the present one. Well trained networks of ours read
otherwise gain less than 1 % (the six of the tests and the shipped ones); the least of the planted faults gains 30 %."""
SMALL_MATERIAL: Final = 0.985
"""So for an offset of the time by one, at the level where it brings the most (at most of 1000 levels it changes nothing
that can be measured): planted ones gain 2 to 6 % there, sound ones 0.4 %."""
CERTAIN: Final = 4.0
"""Standard errors by which it must be better: of some 30 readings that are tried one is 4 off by chance in 1,000."""
SCREENED: Final = (16, 3)
"""All readings are first tried on this many items and on every third level; those that do not lose are then measured in
full, and the offsets by one always."""
PROMISING: Final = 0.05
DENOISES: Final = 0.7
"""Share of a linear denoiser's error that a denoiser has at most which knows more of the data than their deviation."""
WORSE: Final = 1.3
"""A reading with this many times the error of the present one, where that denoises, is not the true one."""
CAP: Final = 10.0
"""Errors count up to this many variances of the data; a constant has 1, and more is as useless."""
LEAST_LEVELS: Final = 3
GROUPS: Final = 8
ROUNDS: Final = 3
TIE: Final = 0.02
"""Readings whose log errors differ by less are alike, and the likelier mistake is named."""


@dataclass(frozen=True)
class Change:
    """One step of the search: ``taken`` in place of ``before``, whose error it has ``share`` of ± ``error``.

    ``levels``: (σ/α, error before, error after) with errors as shares of the data's variance.
    """

    taken: Alternative
    before: Reading
    share: float
    error: float
    levels: tuple[tuple[float, float, float], ...]

    @property
    def best(self) -> tuple[float, float, float]:
        """The level at which it brings the most."""
        return min(self.levels, key=lambda row: row[2] / max(row[1], 1e-30))


class Probe:
    """Measures readings of one subject on the same items and noise; outputs of the network are kept for reuse."""

    def __init__(self, subject: Subject, rows: Rows, ratios: list[float] | None = None, seed: int = 0) -> None:
        self.subject, self.rows, self.seed = subject, rows, seed
        self.ratios = ratios or probing_ratios(subject.reading.schedule, subject.grid, rows.std)
        square, variance = torch.tensor(self.ratios, dtype=torch.float64).square(), rows.std**2
        self.linear = variance * square / (variance + square)
        self.evaluations = 0
        self._kept: dict[tuple[object, ...], Tensor] = {}
        self._noise: dict[int, Tensor] = {}

    def noised(self, reading: Reading, number: int, level: NoiseLevel) -> tuple[Tensor, Tensor]:
        """x_0 and x_t of level ``number``, in the frame of the reading."""
        x_0 = reading.frame(self.rows.x)
        if number not in self._noise:
            self._noise[number] = normal(self.seed, range(len(x_0)), number, Purpose.PROBE, tuple(x_0.shape[1:]))
        return x_0, level.alpha * x_0 + level.sigma * self._noise[number]

    @torch.inference_mode()
    def clean(self, reading: Reading, number: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """x_0, x_t and x̂_0 at level ``number``, in the frame of the reading; None where it has no such level."""
        level = reading.level(self.ratios[number])
        if level is None:
            return None
        c = reading.coefficients(level)
        if not all(abs(float(value)) < inf for value in (c.c_in, c.c_skip, c.c_out, c.c_noise)):
            return None
        x_0, x = self.noised(reading, number, level)
        return x_0, x, c.c_skip * x + c.c_out * self._output(x, c, (number, level.alpha, reading.frame))

    def _output(self, x: Tensor, c: Coefficients, place: tuple[object, ...]) -> Tensor:
        key = (*place, round(float(c.c_noise), 9), float(c.c_in))
        if key not in self._kept:
            self.evaluations += 1
            self._kept[key] = self.subject.predict(x, c, self.rows.condition)
        return self._kept[key]

    def screening(self, every: int = SCREENED[1]) -> "Probe":
        """The same on fewer items and levels."""
        chosen = torch.arange(0, len(self.rows.x), max(1, len(self.rows.x) // SCREENED[0]))
        return Probe(self.subject, self.rows.chosen(chosen), self.ratios[::every], self.seed)

    def errors(self, reading: Reading) -> Tensor:
        """‖x̂_0 - x_0‖²/d of each item, at each level, in the data's units and capped: float64 (K, N), nan: no level."""
        cap = CAP * self.rows.std**2
        found = []
        for number in range(len(self.ratios)):
            views = self.clean(reading, number)
            if views is None:
                found.append(torch.full((len(self.rows.x),), torch.nan, dtype=torch.float64))
                continue
            error = (views[2].double() - views[0].double()).flatten(1).square().mean(1) / reading.frame.scale**2
            found.append(error.nan_to_num(cap, cap, cap).clamp(1e-20, cap))
        return torch.stack(found)


@dataclass(frozen=True)
class Gain:
    """Of one reading over another: the log ratio of their errors, its standard error, and the levels in common.

    ``denoises``: whether it has less error there than a linear denoiser; ``refuted``: it is worse where the other
    denoises.
    """

    log_ratio: float
    error: float
    each: tuple[float, ...]
    each_error: tuple[float, ...]
    denoises: tuple[bool, ...]
    refuted: bool

    @property
    def certain(self) -> bool:
        """Whether it is no chance."""
        return self.log_ratio < -CERTAIN * self.error


def gain(before: Tensor, after: Tensor, linear: Tensor) -> Gain | None:
    """From errors (K, N), and a linear denoiser's (K,); None where fewer than `LEAST_LEVELS` levels, or half of them,
    are in common."""
    common = ~(before.isnan().any(1) | after.isnan().any(1))
    if int(common.sum()) < max(LEAST_LEVELS, int((~before.isnan().any(1)).sum()) // 2):
        return None
    before, after, linear = before[common], after[common], linear[common]
    groups = min(GROUPS, before.shape[1])

    def logs(errors: Tensor) -> Tensor:
        parts = errors[:, : errors.shape[1] // groups * groups].unflatten(1, (-1, groups))  # items in turn
        return parts.mean(1).log()

    apart = logs(after) - logs(before)  # (K, groups)
    each = after.mean(1).log() - before.mean(1).log()
    spread = apart.std(1) / groups**0.5 if groups > 1 else torch.full_like(each, inf)
    whole = float(apart.mean(0).std() / groups**0.5) if groups > 1 else inf
    worse = (before.mean(1) < DENOISES * linear) & (each > log(WORSE) + CERTAIN * spread)
    denoises = tuple((after.mean(1) < linear).tolist())
    return Gain(float(each.mean()), whole, tuple(each.tolist()), tuple(spread.tolist()), denoises, bool(worse.any()))


def material(taken: Alternative, found: Gain) -> bool:
    """Whether a gain is large and certain enough to call the present reading wrong."""
    if taken.fault == OFFSET:
        rows = zip(found.each, found.each_error, found.denoises, strict=True)
        sure = [gained for gained, error, denoises in rows if denoises and gained < -CERTAIN * error]
        return found.log_ratio < 0 and min(sure, default=0.0) < log(SMALL_MATERIAL)
    return found.certain and not found.refuted and found.log_ratio < log(MATERIAL)


@torch.inference_mode()
def search(
    probe: Probe, start: Reading, progress: Callable[[], None] = lambda: None
) -> tuple[Reading, list[Change], int]:
    """The reading under which the error is least, how it was reached, and how many readings were tried."""
    now, changes, tried = start, list[Change](), 0
    x = probe.rows.x if probe.rows.real else None
    for _ in range(ROUNDS):
        errors, small = probe.errors(now), probe.screening()
        first = small.errors(now)
        found: list[tuple[float, Alternative, Gain]] = []
        for other in alternatives(now, probe.subject.grid, x):
            progress()
            if any(other.axis == change.taken.axis for change in changes):
                continue
            tried += 1
            quick = gain(first, small.errors(other.reading), small.linear)
            if quick is None or ((quick.refuted or quick.log_ratio > PROMISING) and other.fault != OFFSET):
                continue
            better = gain(errors, probe.errors(other.reading), probe.linear)
            if better is not None and material(other, better):
                found.append((better.log_ratio, other, better))
        if not found:
            break
        least = min(value for value, _, _ in found)
        _, taken, better = next(row for row in found if row[0] <= least + TIE)
        if taken.axis == "scale":
            taken = _refined(probe, now, taken)
        after = probe.errors(taken.reading)
        better = gain(errors, after, probe.linear) or better
        share = exp(better.log_ratio)
        changes.append(Change(taken, now, share, share * better.error, _levels(probe, errors, after)))
        now = taken.reading
    return now, changes, tried


@torch.inference_mode()
def search_by_samples(
    subject: Subject, n: int, seed: int = 0, progress: Callable[[], None] = lambda: None
) -> tuple[Reading, list[Change], int, Rows]:
    """As `search`, where there are no data but what the network makes.

    Samples made by the stated reading are searched as data are; where that finds nothing, it is the true one. Otherwise
    every reading makes samples of its own, and that one is taken which denoises its own samples best, in comparison
    with a linear denoiser that knows their variance, s²ρ²/(s² + ρ²): a wrong reading makes white or saturated samples,
    with no structure to find. An offset by one and the frame of the data cannot be told this way.
    """
    stated = subject.reading
    rows = subject.samples(stated, n, seed)
    probe = Probe(subject, rows, seed=seed)
    _, changes, tried = search(probe, stated, progress)
    if not changes:
        return stated, [], tried, rows
    scored = [(_coherence(subject, stated, rows, seed), Alternative("", "", "", stated), rows)]
    for other in alternatives(stated, subject.grid, None):
        progress()
        if other.fault != OFFSET:
            own = subject.samples(other.reading, n, seed)
            scored.append((_coherence(subject, other.reading, own, seed), other, own))
    first, (least, taken, own) = scored[0][0], min(scored, key=lambda row: row[0])
    if taken.reading is stated or least > first + log(MATERIAL):
        return stated, [], len(scored), rows
    again = Probe(subject, own, seed=seed)
    errors, after = again.errors(stated), again.errors(taken.reading)
    better = gain(errors, after, again.linear)
    share, error = (exp(least - first), 0.0) if better is None else (exp(better.log_ratio), better.error)
    change = Change(taken, stated, share, share * error, _levels(again, errors, after))
    return taken.reading, [change], len(scored), own


def _coherence(subject: Subject, reading: Reading, rows: Rows, seed: int) -> float:
    """Mean over levels of the log of its error on its own samples, as a share of a linear denoiser's."""
    if rows.origin == WHITE or rows.std < 0.1 * subject.data_std:
        return inf
    errors = Probe(subject, rows, seed=seed).screening(every=2).errors(reading).mean(1)
    ratios = torch.tensor(probing_ratios(subject.reading.schedule, subject.grid, rows.std)[::2])
    linear = rows.std**2 * ratios**2 / (rows.std**2 + ratios**2)
    found = (errors / linear).log()
    found = found[~found.isnan()]
    return float(found.mean()) if len(found) >= LEAST_LEVELS else inf


def _levels(probe: Probe, before: Tensor, after: Tensor) -> tuple[tuple[float, float, float], ...]:
    variance = probe.rows.std**2
    rows = zip(probe.ratios, (before.mean(1) / variance).tolist(), (after.mean(1) / variance).tolist(), strict=True)
    return tuple(row for row in rows if row[1] == row[1] and row[2] == row[2])


def _refined(probe: Probe, now: Reading, taken: Alternative) -> Alternative:
    """The scale with the least error near the one that was found, to about 1 %: by halving the step."""
    centre, step = log(taken.reading.frame.scale), log(2) / 2
    errors = probe.errors(now)

    def value(scale: float) -> float:
        found = gain(errors, probe.errors(replace(now, frame=scaled(exp(scale)))), probe.linear)
        return inf if found is None else found.log_ratio

    best = value(centre)
    while step > 0.01:
        tried = {centre + sign * step: value(centre + sign * step) for sign in (-1, 1)}
        nearest = min(tried, key=lambda scale: tried[scale])
        if tried[nearest] < best:
            centre, best = nearest, tried[nearest]
        step /= 2
    frame = scaled(exp(centre))
    return Alternative(taken.axis, taken.fault, frame.words, replace(now, frame=frame))
