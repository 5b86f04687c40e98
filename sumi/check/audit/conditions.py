"""Is the guidance branch trained? What the condition changes, and whether "no condition" stands for all of them.

The best guess without a condition is E[x_0 | x_t], the least error of all guesses that do not know the condition. One
of those is the mean of the guesses for conditions of other items, D̄ = mean_k D(x_t, condition of item i + k), so

    error(right condition) ≤ error(no condition) ≤ error(D̄)

up to the network's own mistakes. Where "no condition" is worse than D̄, it was never trained, or is another condition.
"""

from typing import Final

import torch
from torch import Tensor

from sumi.check.audit.finding import Finding, percent
from sumi.check.audit.reading import Reading
from sumi.check.audit.search import Probe
from sumi.conditioning.condition import Condition
from sumi.process.schedule import NoiseLevel

SHUFFLES: Final = 6
MOST_CLASSES: Final = 20
LEVELS: Final = (0.5, 1.0, 2.0, 4.0)
"""Noise levels, in deviations of the data: where it is known that there is something, and not yet what."""
OUTSIDE: Final = 1.2
"""(error(none) - error(right))/(error(D̄) - error(right)), which is at most 1 in theory: the shipped digits have 0.4, an
untrained row of its table 2 and more, another class's row 2."""
IGNORED: Final = 1e-3
"""Share of the error by which another item's condition must change x̂_0 at least."""
SAME: Final = 0.05
"""Share of the distance between classes within which "no condition" is one of them."""


@torch.inference_mode()
def conditions(probe: Probe, reading: Reading) -> Finding | None:
    """The finding; None where the network is not conditioned, or never without."""
    given = probe.rows.condition
    if given is None or _always(probe):
        return None
    right, none, mean, apart, own = 0.0, 0.0, 0.0, 0.0, torch.zeros(0)
    nearest = torch.zeros(probe.subject.classes or 1, dtype=torch.float64)
    numbers = {min(range(len(probe.ratios)), key=lambda n: abs(probe.ratios[n] / probe.rows.std - w)) for w in LEVELS}
    between = 0.0
    for number in sorted(numbers):
        level = reading.level(probe.ratios[number])
        if level is None:
            continue
        x_0, x = probe.noised(reading, number, level)
        own, free = (_clean(probe, reading, x, level, c) for c in (given, None))
        places = torch.arange(len(x))
        step = max(1, len(x) // (SHUFFLES + 1))
        others = [_clean(probe, reading, x, level, given.rows(places.roll(step * k))) for k in range(1, SHUFFLES + 1)]
        middle = torch.stack(others).mean(0)
        weight = 1 / max(_error(middle, x_0), 1e-30)  # each level counts alike
        right, none, mean = (v + weight * _error(of, x_0) for v, of in ((right, own), (none, free), (mean, middle)))
        apart += weight * sum(_error(own, other) for other in others) / SHUFFLES
        if 0 < probe.subject.classes <= MOST_CLASSES:
            each = [
                _clean(probe, reading, x, level, Condition(labels=torch.full_like(given["labels"], k)))
                for k in range(probe.subject.classes)
            ]
            nearest += weight * torch.tensor([_error(free, one) for one in each], dtype=torch.float64)
            between += weight * sum(_error(one, each[0]) for one in each[1:]) / max(len(each) - 1, 1)
    facts = {"error_right": right, "error_none": none, "error_mean_of_others": mean, "changes": apart}
    if apart < IGNORED * right:
        return Finding(
            "condition",
            f"another item's condition changes x̂_0 by {percent(apart / right)} of its error: it is ignored",
            "condition ignored",
            "check that the condition reaches the network; guidance does nothing here",
            facts,
        )
    outside = (none - right) / max(mean - right, 1e-30)
    says = (
        f"the right condition has {percent(right / mean)} of the error of other items' conditions, no condition "
        f"{percent(none / mean)}"
    )
    if outside <= OUTSIDE:
        return Finding("condition", f"{says}: both branches are trained, and guidance works", facts=facts)
    if between and float(nearest.min()) < SAME * between:
        return Finding(
            "condition",
            f"{says}, more than a guess among classes has: no condition gives what class {int(nearest.argmin())} gives",
            "unconditional is a class",
            "use the index that stood for no class in training (often the number of classes) where none is given",
            facts,
        )
    return Finding(
        "condition",
        f"{says}, more than a guess among the conditions has: it was not trained without one",
        "unconditional untrained",
        "sample with guidance 1; or train further with conditioning.dropout=0.1",
        facts,
    )


def _always(probe: Probe) -> bool:
    model = probe.subject.model
    return model is not None and all(condition.dropout == 0 for condition in model.config.conditioning)


def _clean(probe: Probe, reading: Reading, x: Tensor, level: NoiseLevel, condition: Condition | None) -> Tensor:
    return probe.subject.denoise(reading, x, level, condition)


def _error(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).square().mean())
