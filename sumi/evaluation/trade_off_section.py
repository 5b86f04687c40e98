"""Section of the report on guidance: what it costs and brings, in words, two charts and a table.

Beside the best of each figure stands how many other settings cannot be told from it: whose intervals meet its own.
"""

from collections.abc import Mapping
from operator import gt, lt

from sumi.evaluation.charts import trade_off
from sumi.evaluation.report import Figure, Section
from sumi.evaluation.sweep_sections import NAMES, figure_of, table
from sumi.evaluation.sweeps import Sweep
from sumi.evaluation.words import listed

PANELS = (("accuracy", "frechet"), ("recall", "precision"))
WHAT = (
    "Scale 1 of classifier-free guidance and of autoguidance and 0 of a classifier are no guidance: the same samples. "
    "More class accuracy or precision than real images have is no merit: such samples are plainer than real ones."
)
CAPTION = "Points say their scale; faint lines: 95 % intervals. Left, best is below and right; right, above and right."


def guidance(kinds: Mapping[str, Sweep], *, solver: str, steps: int) -> tuple[Section, bytes]:
    """The section, and its figure as PNG."""
    first = next(iter(kinds.values()))
    best = [_best(kinds, name) for name in first.lines]
    words = f"{'; '.join(best)}."
    how = f"Solver {solver}, {steps} steps, {first.samples} images at each setting, of one noise and the same labels."
    panels = [(x, y) for x, y in PANELS if x in first.lines and y in first.lines]
    lines = {kind: (sweep.values, sweep.lines) for kind, sweep in kinds.items()}
    names = {name: said.removeprefix("the ") for name, said in NAMES.items()}
    chart, picture = trade_off(lines, panels, names=names, real=first.real)
    figures = [Figure(chart, CAPTION, wide=True)]
    text = f"{words[0].upper()}{words[1:]}\n\n{WHAT}\n\n{how}"
    return Section("What does guidance cost and bring?", text, figures, [table(kinds, "guidance")]), picture


def _best(kinds: Mapping[str, Sweep], name: str) -> str:
    """Where the figure called ``name`` is best, what real images have, and how many others may be as good."""
    every = {
        f"{kind} at {scale:g}": estimate
        for kind, sweep in kinds.items()
        for scale, estimate in zip(sweep.values, sweep.lines[name], strict=True)
    }
    word, beats = ("lowest", lt) if name == "frechet" else ("highest", gt)
    where, found = next(iter(every.items()))
    for other, estimate in every.items():
        if beats(estimate.value, found.value):
            where, found = other, estimate
    alike = sum(e.low <= found.high and found.low <= e.high for e in every.values()) - 1
    beside = [f"not told from it in {alike} of the {len(every) - 1} other settings"]
    real = next(iter(kinds.values())).real
    if name in real:
        beside.insert(0, f"real images {figure_of(name, real[name].value)}")
    return f"{NAMES[name]} is {word}, {figure_of(name, found.value)}, {where} ({listed(beside)})"
