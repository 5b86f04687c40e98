"""How samples change with a setting of the sampler: figures at each value, and whether the ends differ.

All sets of samples begin from the same noise and are measured against the same held-out real images. Each figure has
its interval at each value. Whether it changes from the first value to the last is told by exchanging pairs of one noise
(``exchange``). That sees more than the intervals, which are for other noise and other real images, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.evaluation.beside_real import Measures
from sumi.evaluation.exchange import exchange_p_values, exchanged
from sumi.evaluation.intervals import Estimate
from sumi.evaluation.sweep_measures import Measure


@dataclass(frozen=True)
class Sweep:
    """Figures of ``samples`` samples at each of ``values``: ``lines`` by name, an estimate for each value.

    ``real``: what real images have of some of them. ``p_values``, by name: of the change from the first value to the
    last, where it was asked for. ``left_out``: what could not be measured, with the reason.
    """

    values: tuple[float, ...]
    lines: Mapping[str, tuple[Estimate, ...]]
    real: Mapping[str, Estimate]
    p_values: Mapping[str, float]
    samples: int
    left_out: tuple[str, ...]


def sweep(
    draw: Callable[[float], Tensor],
    values: Sequence[float],
    measures: Sequence[Measure],
    *,
    compare_ends: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Take ``measures`` of the samples that ``draw`` makes at each of ``values``.

    ``draw(value)``: images (N, C, H, W) in [-1, 1], as they would be saved, image i from the same noise each time.
    ``compare_ends``: also how likely the change from the first value to the last is by chance.
    ``progress(done, total)`` counts the exchanges of pairs, which ``seed`` chooses.
    """
    kept: list[list[Tensor]] = []
    samples = 0
    for value in values:
        images = draw(value)
        samples = len(images)
        kept.append([measure.kept(images) for measure in measures])
    possible, lines, real = Measures(), dict[str, tuple[Estimate, ...]](), dict[str, Estimate]()
    ends: list[tuple[Measure, Tensor, Tensor]] = []
    for measure, sets in zip(measures, zip(*kept, strict=True), strict=True):
        found = possible.where_possible(measure.name, lambda m=measure, s=sets: ([m.estimates(x) for x in s], m.real()))
        if found is not None:
            each, of_real = found
            lines |= {name: tuple(one[name] for one in each) for name in each[0]}
            real |= of_real
            ends.append((measure, sets[0], sets[-1]))

    def difference(chosen: Tensor) -> Tensor:
        change: list[float] = []
        for measure, first, last in ends:
            before, after = (measure.values(x) for x in exchanged(first, last, chosen[: len(first)]))
            change += [after[name] - before[name] for name in before]
        return torch.tensor(change, dtype=torch.float64)

    p_values: dict[str, float] = {}
    if compare_ends:
        found = exchange_p_values(difference, samples, seed=seed, progress=progress)
        p_values = dict(zip(lines, found.tolist(), strict=True))
    return Sweep(tuple(values), lines, real, p_values, samples, tuple(possible.left_out))
