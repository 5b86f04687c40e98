"""Students of one to four steps at equal CPU seconds, beside their teacher and its tuned solver.

    benchmarks/few_steps.py --data fashion --out runs/few-steps --teacher-seconds 300 --seconds 300
    benchmarks/few_steps.py --teacher characters --out runs/few-words --seconds 600 --features efficientnet

The first trains a teacher (a rectified flow) and one student by each method, each for so many CPU seconds, which are
turned into steps beforehand (`equal_time`); the second has a teacher that is there, with its data. Then every model
makes the same number of images in 1, 2, 4 and 8 steps, the teacher in 50 too, guided as its run says and by captions of
held-out images where it reads any, and their Fréchet distances to held-out images, in one feature space, are printed as
multiples of the teacher's. What is there already is not trained or measured again: `few_steps.json` in the folder has
every figure, and ``--print`` prints it alone. ``--only NAME …`` trains and measures these alone; ``--seeds K`` trains
each student K times for ``--seed-seconds`` and counts those of which all samples are finite. ``--chart FOLDER …`` draws
the figures of these folders side by side, in docs/images/few-steps.png.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.equal_time import Enough, Stopwatch
from sumi.boundary.files import write_text
from sumi.conditioning.text import captions_of
from sumi.data.dataset import Dataset, evenly, everything
from sumi.distillation import distil
from sumi.errors import SumiError
from sumi.evaluation.images import learn_features
from sumi.figures.canvas import INK, canvas, save
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.features.open import EFFICIENTNET, LEARNED, open_space
from sumi.metrics.features.space import FeatureSpace
from sumi.metrics.frechet import frechet_distance
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuning import tune
from sumi.models.run import load
from sumi.training_run import Events, train

STEPS = (1, 2, 4, 8)
FULL = 50
FROM = 4000
"""Training images, evenly spaced, of which the feature network is learned."""
TICKS = (0.3, 0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 250, 300, 350, 400, 450, 500)
CHART = Path("docs/images/few-steps.png")
TUNED = "teacher, tuned solver"
TEACHER = (
    *("training.batch_size=64", "training.decay=cosine", "training.ema_decay=0.995"),
    *("training.sample_every=0", "training.warmup_steps=50"),
)
STUDENT = ("training.ema_decay=0.995", "training.sample_every=0")


@dataclass(frozen=True)
class Student:
    """A method, its settings, and whether it begins from the teacher or from nothing (a recipe).

    ``taught``: whether it learns the way of an unguided teacher and not that of the data.
    """

    method: str
    settings: tuple[str, ...] = ()
    recipe: str = ""
    taught: bool = False


STUDENTS = {
    "consistency tuning": Student("consistency"),
    "consistency, teacher's way": Student("consistency", taught=True),
    "mean flow, improved": Student("mean_flow"),
    "mean flow, teacher's way": Student("mean_flow", taught=True),
    "mean flow, teacher's way, plain square": Student("mean_flow", ("objective.power=0",), taught=True),
    "mean flow, plain": Student("mean_flow", ("objective.form=plain", "objective.same=0.25", "objective.power=0.75")),
    "mean flow, from nothing": Student("mean_flow", ("training.batch_size=64",), recipe="mean-flow"),
    "consistency, from nothing": Student("consistency", ("training.batch_size=64",), recipe="consistency"),
    "progressive, 4 steps": Student("progressive", ("objective.steps=4",)),
}


def row_of(name: str, seconds: float) -> str:
    """What a student of so many CPU seconds is called."""
    return f"{name}, {seconds:g} s"


def folder_of(row: str) -> str:
    """A student's folder in the benchmark's."""
    return row.replace(", ", "-").replace(" ", "-").replace("'", "")


class Bench:
    """The folder of one benchmark: its runs, its features, its figures."""

    def __init__(self, out: Path, data: str, n: int, teacher: str | None = None, features: str = LEARNED) -> None:
        self.out, self.data, self.n, self.source = out, data, n, teacher or str(out / "teacher")
        self.space = features
        self.given = teacher is not None
        self.file = out / "few_steps.json"
        self.rows: dict[str, Any] = json.loads(self.file.read_bytes()) if self.file.exists() else {}

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Write the figures with this row."""
        self.rows[name] = self.rows.get(name, {}) | row
        write_text(self.file, json.dumps(self.rows, indent=2, sort_keys=True) + "\n")

    def teacher(self, seconds: float) -> DiffusionModel:
        """The one given, the one in the folder, or a new one."""

        def begin(steps: int, folder: Path, events: Events) -> object:
            return train("flow", data=self.data, steps=steps, out=folder, settings=TEACHER, events=events)

        if not self.given:
            self.trained("teacher", begin, Path(self.source), seconds)
        return load(self.source, DiffusionModel)

    def student(self, name: str, seconds: float, seed: int | None = None) -> DiffusionModel:
        """The one in the folder, or a new one of the teacher."""
        row = row_of(name, seconds) if seed is None else f"{row_of(name, seconds)}, seed {seed}"
        which, run = STUDENTS[name], self.out / folder_of(row)

        def begin(steps: int, folder: Path, events: Events) -> object:
            kept = ("objective.teacher=kept", f"objective.teacher.source={self.source}") if which.taught else ()
            settings = (*STUDENT, *kept, *which.settings)
            if which.recipe:
                return train(
                    which.recipe, data=self.data, steps=steps, out=folder, settings=settings, events=events, seed=seed
                )
            return distil(
                self.source,
                method=which.method,
                steps=steps,
                out=folder,
                settings=settings,
                events=events,
                seed=seed,
            )

        self.trained(row, begin, run, seconds)
        return load(run, DiffusionModel)

    def is_finite(self, name: str, seconds: float, seed: int) -> bool:
        """Whether a student of this seed trains to the end, and all its samples in one step are finite."""
        try:
            return bool(self.student(name, seconds, seed).sample(16, steps=1).isfinite().all())
        except SumiError as error:
            print(error)
            return False

    def trained(self, name: str, begin: Any, run: Path, seconds: float) -> None:
        """Train for as many steps as fit in so many CPU seconds, once; those of a step are measured first."""
        if "steps" in self.rows.get(name, {}):
            return
        shutil.rmtree(run, ignore_errors=True)  # of a training that was stopped
        watch = Stopwatch(limit=min(8.0, seconds / 10))
        with tempfile.TemporaryDirectory() as scratch, suppress(Enough):
            begin(10**6, Path(scratch) / "run", Events(progress=watch))
        (first, since), (last, until) = watch.heard[0], watch.heard[-1]
        each = (until - since) / max(1, last - first)
        steps, started = max(2, round(seconds / each)), time.process_time()
        begin(steps, run, Events(say=print))
        self.keep(name, {"steps": steps, "seconds_a_step": each, "cpu_seconds": time.process_time() - started})

    def prompts(self, model: DiffusionModel) -> list[str] | None:
        """Captions of held-out images, evenly spaced, for a model that reads any."""
        if model.text is None:
            return None
        held_out = self.images[1]
        return captions_of(held_out.subset(evenly(len(held_out), self.n)))

    @cached_property
    def images(self) -> tuple[Dataset, Dataset]:
        """The teacher's, to train on and held out."""
        teacher = load(self.source, DiffusionModel)
        return teacher.load_images().split(teacher.config.data.held_out)

    @cached_property
    def features(self) -> tuple[FeatureNetwork | FeatureSpace, torch.Tensor]:
        """The feature network, learned once or the one that is named, and the features of held-out images."""
        training, held_out = self.images
        if (space := open_space(self.space, torch.device("cpu"))) is not None:
            return space, space.features(everything(held_out))
        file = self.out / "features.safetensors"
        if file.exists():
            network = FeatureNetwork.load(file)
        else:
            network = learn_features(training.subset(evenly(len(training), FROM)))
            network.save(file)
        return network, network.features(everything(held_out))

    def measure(self, name: str, model: DiffusionModel, counts: tuple[int, ...], **options: Any) -> None:
        """The Fréchet distance of its samples in so many steps, each."""
        for count in counts:
            key = f"frechet_{count}"
            if key in self.rows.get(name, {}):
                continue
            network, real = self.features
            made = model.sample(self.n, steps=count, seed=1, prompt=self.prompts(model), **options)
            levels = model.pixels.to_model(model.pixels.to_levels(made))
            found = frechet_distance(network.features(levels), real)
            self.keep(name, {key: found.value, f"interval_{count}": [found.low, found.high]})
            print(f"{name}, {count} steps: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]", flush=True)


def table(rows: dict[str, Any]) -> str:
    """The figures as Markdown, each also as a multiple of the teacher's at `FULL` steps, with its 95 % interval."""
    full = rows["teacher"].get(f"frechet_{FULL}", nan)
    lines = ["| model | training steps | CPU s | " + " | ".join(f"{k} step{'s' * (k > 1)}" for k in STEPS) + " |"]
    lines.append("| --- | --- | --- |" + " --- |" * len(STEPS))
    for name, row in rows.items():
        cells = [cell(row, k, full) for k in STEPS]
        if any(cells):
            steps, seconds = row.get("steps", ""), row.get("cpu_seconds")
            lines.append(f"| {name} | {steps} | {'' if seconds is None else round(seconds)} | {' | '.join(cells)} |")
    low, high = rows["teacher"].get(f"interval_{FULL}", (nan, nan))
    lines.append(f"\nTeacher in {FULL} steps: {full:.2f} [{low:.2f}, {high:.2f}].")
    for name, row in rows.items():
        if "finite" in row:
            lines.append(f"{name}: finite in {row['finite']} of {row['seeds']} seeds.")
    return "\n".join(lines)


def cell(row: dict[str, Any], count: int, full: float) -> str:
    """A distance, its multiple of ``full`` and its interval; "" where it was not measured."""
    if (value := row.get(f"frechet_{count}")) is None:
        return ""
    low, high = row[f"interval_{count}"]
    return f"{value:.1f} ({value / full:.1f}) [{low:.1f}, {high:.1f}]"


def chart(folders: list[Path]) -> None:
    """The distances by the number of steps, a panel for each folder, with the intervals as bands; of models that were
    measured up to the most steps.
    """
    figure = canvas(7.4 * len(folders), 4.4)
    for axes, folder in zip(figure.subplots(1, len(folders), squeeze=False)[0], folders, strict=True):
        rows = json.loads((folder / "few_steps.json").read_bytes())
        for name, row in rows.items():
            counts = [k for k in STEPS if f"frechet_{k}" in row]
            if STEPS[-1] not in counts:
                continue
            values = [row[f"frechet_{k}"] for k in counts]
            low, high = zip(*(row[f"interval_{k}"] for k in counts), strict=True)
            style = "--" if name.startswith("teacher") else "-"
            line = axes.plot(counts, values, f"o{style}", label=name, markersize=4)[0]
            axes.fill_between(counts, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        full = rows["teacher"][f"frechet_{FULL}"]
        axes.axhline(full, color=INK, linewidth=1, linestyle=":", label=f"teacher, {FULL} steps")
        axes.set(xscale="log", yscale="log", xlabel="evaluations", title=rows["teacher"]["data"])
        axes.minorticks_off()
        axes.set_xticks(STEPS, [str(k) for k in STEPS])
        low, high = axes.get_ylim()
        ticks = [tick for tick in TICKS if low <= tick <= high]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.axes[0].set_ylabel("Fréchet distance")
    save(figure, CHART, "Fréchet distance by the number of steps, of students and of their teacher's solvers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion", help="as of `sumi train --data`")
    parser.add_argument("--teacher", metavar="RUN|NAME", help="a model that is there, with its own data")
    parser.add_argument("--out", type=Path, default=Path("runs/few-steps"))
    parser.add_argument("--teacher-seconds", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=300, help="CPU seconds of each student")
    parser.add_argument("-n", type=int, default=2000, help="images of each")
    parser.add_argument("--features", default=LEARNED, help=f"as of `sumi evaluate`, such as {EFFICIENTNET}")
    parser.add_argument("--trajectories", type=int, default=64, help="of the fit of a tuned solver")
    parser.add_argument(
        "--only", nargs="+", choices=[*STUDENTS, "teacher", "tuned"], help="train and measure these alone"
    )
    parser.add_argument("--seeds", type=int, default=0, help="count the finite ones of so many")
    parser.add_argument("--seed-seconds", type=float, default=10)
    parser.add_argument("--print", action="store_true", help="the figures that are there")
    parser.add_argument("--chart", nargs="+", type=Path, metavar="FOLDER", help="draw the figures of these alone")
    options = parser.parse_args()
    if options.chart:
        chart(options.chart)
        return
    if options.teacher and "tuned" in (options.only or ()):
        parser.error("--only tuned: would be kept in the folder of the teacher that is given; leave it out")
    bench = Bench(options.out, options.data, options.n, options.teacher, options.features)
    if not options.print:
        run(bench, options)
    print(table(bench.rows))


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Train and measure what is chosen."""
    teacher = bench.teacher(options.teacher_seconds)
    own = [] if bench.given else ["tuned", *(name for name, student in STUDENTS.items() if student.recipe)]
    chosen = options.only or ["teacher", *own, *(name for name, student in STUDENTS.items() if not student.recipe)]
    if options.seeds:
        for name in set(chosen) & set(STUDENTS):
            seconds, seeds = options.seed_seconds, range(1, options.seeds + 1)
            finite = sum(bench.is_finite(name, seconds, seed) for seed in seeds)
            bench.keep(row_of(name, seconds), {"finite": finite, "seeds": options.seeds})
        return
    bench.keep("teacher", {"data": Path(teacher.config.data.source).name.replace("_", " ")})
    for name in chosen:
        match name:
            case "teacher":
                bench.measure("teacher", teacher, (*STEPS, FULL), solver="adams")
            case "tuned":
                for count in STEPS[1:]:
                    if not teacher.is_tuned(count):
                        tune(teacher, count, trajectories=options.trajectories)
                bench.measure(TUNED, teacher, tuple(k for k in STEPS[1:] if teacher.is_tuned(k)), solver="tuned")
            case _:
                student = bench.student(name, options.seconds)
                bench.measure(row_of(name, options.seconds), student, STEPS)


if __name__ == "__main__":
    main()
