"""The report's sections on sweeps over the sampler's randomness, its number of steps, guidance, and averages' lengths.

Each has a sentence, charts and a table. A sentence names a change only where a permutation test over pairs that share
their noise finds it significant (`sumi.evaluation.sweeps`). For guidance, the best setting by each figure is given with
the number of settings whose intervals overlap its own.
"""

from collections.abc import Mapping, Sequence
from operator import gt, lt
from pathlib import Path

from sumi.boundary.files import typed
from sumi.evaluation.averages import LengthLoss
from sumi.evaluation.images import SIGNIFICANT
from sumi.evaluation.sweeps import Sweep
from sumi.figures.charts import swept, trade_off
from sumi.metrics.intervals import Estimate
from sumi.report.page import Figure, Section, Table
from sumi.report.words import listed, percent

NAMES = {
    "frechet": "the Fréchet distance",
    "precision": "precision",
    "recall": "recall",
    "copies": "the share of copies",
    "detail": "fine detail",
    "accuracy": "class accuracy",
}
MOST_OF_IT = 0.95


def randomness(sweep: Sweep, *, steps: int) -> Section:
    """The effect of DDIM's η, from 0 (deterministic) to 1 (ancestral sampling)."""
    changed = [name for name in sweep.lines if _beyond_chance(sweep, name)]
    alike = listed([NAMES[name] for name in sweep.lines if name not in changed])
    if not changed:
        words = f"Noise in every step does not significantly change {alike}."
    else:
        changes = listed([_change(name, sweep.lines[name]) for name in changed])
        words = f"With noise in every step (η = 1) instead of none (η = 0), {changes}."
        words += f" The change of {alike} is not significant." if alike else ""
    how = (
        f"DDIM in {steps} steps, {sweep.samples} images per η from the same starting noise; each step adds a fraction "
        "η of the noise of ancestral sampling."
    )
    shares = [name for name in ("precision", "recall", "copies") if name in sweep.lines]
    figures = [_chart(sweep, names, "η") for names in (shares, ["frechet"]) if names]
    return Section("Does randomness help?", f"{words}\n\n{how}", figures, [table({"": sweep}, "η")])


def number_of_steps(sweep: Sweep, *, solver: str) -> Section:
    """The distance to real images, and fine detail, by number of steps."""
    words = [_nearness(sweep)]
    if "detail" in sweep.lines:
        words.append(_detail(sweep))
    how = f"Solver {solver}, {sweep.samples} images per number of steps, from the same starting noise."
    figures = [_chart(sweep, [name], "steps", logarithmic=True) for name in sweep.lines]
    return Section("How many steps?", f"{' '.join(words)}\n\n{how}", figures, [table({"": sweep}, "steps")])


def lengths(found: Sequence[LengthLoss], run: Path) -> Section:
    """The loss on held-out images by the length of the average (`sumi.evaluation.averages`)."""
    best = min(found, key=lambda row: row.loss.value)
    alike = sum(row.loss.low <= best.loss.high for row in found) - 1
    words = (
        f"The loss on held-out images is lowest, {best.loss.value:.5f}, for weights that are averaged over a length of "
        f"{best.length:g} ({alike} of the {len(found) - 1} other lengths are statistically as good). "
        f"`sumi ema {typed(run)} --length {best.length:g}` writes a run with them."
    )
    how = (
        "A length is the standard deviation of the average's profile, as a share of the training. All are made of the "
        "snapshots that the training has kept, and denoise the same images with the same noise."
    )
    losses = {"loss": [row.loss for row in found]}
    chart = swept([row.length for row in found], losses, x="length", y="loss", real={}, logarithmic=True)
    rows = [
        (f"{row.length:g}", f"{row.loss.value:.5f} [{row.loss.low:.5f}, {row.loss.high:.5f}]", f"{row.distance:.2%}")
        for row in found
    ]
    shown = Table(("length", "loss on held-out images", "profile differs by"), rows, "95 % intervals, over images.")
    figure = Figure(chart, "Loss on held-out images by length, with 95 % intervals")
    return Section("Over which length to average?", f"{words}\n\n{how}", [figure], [shown])


def _beyond_chance(sweep: Sweep, name: str) -> bool:
    return sweep.p_values[name] < SIGNIFICANT


def _nearness(sweep: Sweep) -> str:
    few, many, line = f"{sweep.values[0]:g}", f"{sweep.values[-1]:g}", sweep.lines["frechet"]
    first, last = (figure_of("frechet", e.value) for e in (line[0], line[-1]))
    if not _beyond_chance(sweep, "frechet"):
        return (
            "The number of steps does not significantly change the distance to real images: the Fréchet distance "
            f"is {first} in {few} steps and {last} in {many}."
        )
    if line[-1].value >= line[0].value:
        return (
            f"More steps move the samples away from real images: the Fréchet distance rises from {first} in {few} "
            f"steps to {last} in {many}."
        )
    fall = line[0].value - line[-1].value
    enough = len(line) - 1
    while enough > 0 and line[0].value - line[enough - 1].value >= MOST_OF_IT * fall:
        enough -= 1
    some = f"; {sweep.values[enough]:g} steps achieve {percent(MOST_OF_IT)} of that" if enough < len(line) - 1 else ""
    return (
        f"More steps bring the samples closer to real images: the Fréchet distance falls from {first} in {few} steps "
        f"to {last} in {many}{some}."
    )


def _detail(sweep: Sweep) -> str:
    line = sweep.lines["detail"]
    amounts = (
        f"{percent(line[0].value)} of the power of held-out images in {sweep.values[0]:g} steps, "
        f"{percent(line[-1].value)} in {sweep.values[-1]:g}"
    )
    if not _beyond_chance(sweep, "detail"):
        return f"Fine detail does not change significantly: {amounts}."
    if line[-1].value > line[0].value:
        return f"More steps add fine detail: {amounts}."
    return f"More steps remove fine detail, or noise: {amounts}."


def _change(name: str, line: Sequence[Estimate]) -> str:
    first, last = line[0].value, line[-1].value
    verb = "rises" if last > first else "falls"
    return f"{NAMES[name]} {verb} from {figure_of(name, first)} to {figure_of(name, last)}"


def _chart(sweep: Sweep, names: Sequence[str], x: str, *, logarithmic: bool = False) -> Figure:
    distance = "frechet" in names
    real = {name: of_real.value for name, of_real in sweep.real.items() if name in names}
    y = "Fréchet distance" if distance else "power, % of held-out" if "detail" in names else "share of images, %"
    lines = {name: sweep.lines[name] for name in names}
    times = 1.0 if distance else 100.0
    chart = swept(sweep.values, lines, x=x, y=y, real=real, times=times, logarithmic=logarithmic)
    what = listed([NAMES[name].removeprefix("the ") for name in names])
    dashed = "; dashed: training images, compared in the same way" if real else ""
    return Figure(chart, f"{what[0].upper()}{what[1:]} by {x}, with 95 % intervals{dashed}")


def table(sweeps: Mapping[str, Sweep], x: str) -> Table:
    """The figures of several ``sweeps`` of one model; each row begins with its sweep's name."""
    first = next(iter(sweeps.values()))
    header = (x, *(NAMES[name].removeprefix("the ") for name in first.lines))
    rows: list[tuple[str, ...]] = []
    for method, sweep in sweeps.items():
        for k, value in enumerate(sweep.values):
            cells = (_interval(name, line[k]) for name, line in sweep.lines.items())
            rows.append((f"{method} {value:g}".strip(), *cells))
    if first.real:
        of_real = (_interval(name, first.real[name]) if name in first.real else "" for name in first.lines)
        rows.append(("real images", *of_real))
    caption = "95 % intervals, over other noise and other real images."
    if first.p_values:
        rows.append(("p", *(f"{first.p_values[name]:.2g}" for name in first.lines)))
        caption += (
            f" p: of the difference between {first.values[-1]:g} and {first.values[0]:g}, by a permutation test over "
            "images that share their noise."
        )
    left_out = dict.fromkeys(reason for sweep in sweeps.values() for reason in sweep.left_out)
    caption += f" Left out: {'; '.join(left_out)}." if left_out else ""
    return Table(header, rows, caption)


def figure_of(name: str, value: float) -> str:
    return f"{value + 0.0:.2f}" if name == "frechet" else percent(value)


def _interval(name: str, estimate: Estimate) -> str:
    times, digits = (1, 2) if name == "frechet" else (100, 1)
    value, low, high = (f"{times * v + 0.0:.{digits}f}" for v in (estimate.value, estimate.low, estimate.high))
    unit = "" if name == "frechet" else "\N{NO-BREAK SPACE}%"
    return f"{value}{unit} [{low},\N{NO-BREAK SPACE}{high}]"


PANELS = (("accuracy", "frechet"), ("recall", "precision"))
WHAT = (
    "Scale 1 of classifier-free guidance and of autoguidance, and scale 0 of classifier guidance, are no guidance: the "
    "samples are the same. Accuracy or precision above that of real images is no merit: such samples are too typical."
)
CAPTION = "Points are labelled by scale; faint lines: 95 % intervals. Best: lower right (left), upper right (right)."


def guidance(sweeps: Mapping[str, Sweep], *, solver: str, steps: int) -> tuple[Section, bytes]:
    """The section, and its figure as PNG."""
    first = next(iter(sweeps.values()))
    best = [_best(sweeps, name) for name in first.lines]
    words = f"{'; '.join(best)}."
    how = f"Solver {solver}, {steps} steps, {first.samples} images per setting, with the same noise and labels."
    panels = [(x, y) for x, y in PANELS if x in first.lines and y in first.lines]
    lines = {method: (sweep.values, sweep.lines) for method, sweep in sweeps.items()}
    names = {name: words.removeprefix("the ") for name, words in NAMES.items()}
    chart, picture = trade_off(lines, panels, names=names, real=first.real)
    figures = [Figure(chart, CAPTION, wide=True)]
    text = f"{words[0].upper()}{words[1:]}\n\n{WHAT}\n\n{how}"
    return Section("What does guidance gain and cost?", text, figures, [table(sweeps, "guidance")]), picture


def _best(sweeps: Mapping[str, Sweep], name: str) -> str:
    """Where the figure ``name`` is best, that of real images, and how many other settings may be as good."""
    every = {
        f"{method} at {scale:g}": estimate
        for method, sweep in sweeps.items()
        for scale, estimate in zip(sweep.values, sweep.lines[name], strict=True)
    }
    word, beats = ("lowest", lt) if name == "frechet" else ("highest", gt)
    where, found = next(iter(every.items()))
    for other, estimate in every.items():
        if beats(estimate.value, found.value):
            where, found = other, estimate
    alike = sum(e.low <= found.high and found.low <= e.high for e in every.values()) - 1
    notes = [f"{alike} of the {len(every) - 1} other settings are statistically as good"]
    real = next(iter(sweeps.values())).real
    if name in real:
        notes.insert(0, f"real images have {figure_of(name, real[name].value)}")
    return f"{NAMES[name]} is {word}, {figure_of(name, found.value)}, {where} ({listed(notes)})"
