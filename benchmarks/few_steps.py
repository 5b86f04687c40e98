"""Students of one to four steps at equal CPU seconds, beside their teacher and its tuned solver.

    benchmarks/few_steps.py --data fashion --out runs/few-steps --teacher-seconds 300 --seconds 300

trains a teacher (a rectified flow) and one student by each method, each for so many CPU seconds, which are turned into
steps beforehand (`equal_time`). Then every model makes the same number of images in 1, 2 and 4 steps, the teacher in 50
too, and their Fréchet distances to held-out images, in one feature space, are printed as multiples of the teacher's.
What is there already is not trained or measured again: `few_steps.json` in the folder has every figure, and
``--print`` prints it alone. ``--only NAME`` trains and measures one student; ``--seeds K`` trains each of them K times
for ``--seed-seconds`` and counts those that stay finite.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.equal_time import Enough, Stopwatch
from sumi.boundary.files import write_text
from sumi.data.dataset import everything
from sumi.distillation import distil
from sumi.errors import SumiError
from sumi.evaluation.images import learn_features
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.frechet import frechet_distance
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.tuning import tune
from sumi.models.run import load
from sumi.training_run import Events, train

STEPS = (1, 2, 4)
FULL = 50
TEACHER = (
    *("training.batch_size=64", "training.decay=cosine", "training.ema_decay=0.995"),
    *("training.sample_every=0", "training.warmup_steps=50"),
)
STUDENT = ("training.batch_size=64", "training.ema_decay=0.995", "training.sample_every=0")


@dataclass(frozen=True)
class Student:
    """A method, its settings, and whether it begins from the teacher or from nothing (a recipe)."""

    method: str
    settings: tuple[str, ...] = ()
    recipe: str = ""


STUDENTS = {
    "consistency tuning": Student("consistency"),
    "mean flow, improved": Student("mean_flow"),
    "mean flow, plain": Student("mean_flow", ("objective.form=plain", "objective.same=0.25", "objective.power=0.75")),
    "mean flow, from nothing": Student("mean_flow", recipe="mean-flow"),
    "consistency, from nothing": Student("consistency", recipe="consistency"),
    "progressive, 4 steps": Student("progressive", ("objective.steps=4",)),
}


def folder_of(name: str) -> str:
    """A student's folder in the benchmark's."""
    return name.replace(", ", "-").replace(" ", "-")


class Bench:
    """The folder of one benchmark: its runs, its features, its figures."""

    def __init__(self, out: Path, data: str, n: int) -> None:
        self.out, self.data, self.n = out, data, n
        self.file = out / "few_steps.json"
        self.rows: dict[str, Any] = json.loads(self.file.read_bytes()) if self.file.exists() else {}

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Write the figures with this row."""
        self.rows[name] = self.rows.get(name, {}) | row
        write_text(self.file, json.dumps(self.rows, indent=2, sort_keys=True) + "\n")

    def teacher(self, seconds: float) -> DiffusionModel:
        """The one in the folder, or a new one."""
        run = self.out / "teacher"
        if not (run / "checkpoints").exists():

            def begin(steps: int, folder: Path, events: Events) -> object:
                return train("flow", data=self.data, steps=steps, out=folder, settings=TEACHER, events=events)

            self.trained("teacher", begin, run, seconds)
        return load(run, DiffusionModel)

    def student(self, name: str, seconds: float, seed: int | None = None) -> DiffusionModel:
        """The one in the folder, or a new one of the teacher there."""
        which, run = STUDENTS[name], self.out / (folder_of(name) + ("" if seed is None else f"-seed{seed}"))

        def begin(steps: int, folder: Path, events: Events) -> object:
            settings = (*STUDENT, *which.settings)
            if which.recipe:
                return train(
                    which.recipe, data=self.data, steps=steps, out=folder, settings=settings, events=events, seed=seed
                )
            return distil(
                self.out / "teacher",
                method=which.method,
                steps=steps,
                out=folder,
                settings=settings,
                events=events,
                seed=seed,
            )

        if not (run / "checkpoints").exists():
            self.trained(name if seed is None else f"{name}, seed {seed}", begin, run, seconds)
        return load(run, DiffusionModel)

    def trained(self, name: str, begin: Any, run: Path, seconds: float) -> None:
        """Train for as many steps as fit in so many CPU seconds; those of a step are measured first."""
        watch = Stopwatch(limit=min(8.0, seconds / 10))
        with tempfile.TemporaryDirectory() as scratch, suppress(Enough):
            begin(10**6, Path(scratch) / "run", Events(progress=watch))
        (first, since), (last, until) = watch.heard[0], watch.heard[-1]
        each = (until - since) / max(1, last - first)
        steps, started = max(2, round(seconds / each)), time.process_time()
        begin(steps, run, Events(say=print))
        self.keep(name, {"steps": steps, "seconds_a_step": each, "cpu_seconds": time.process_time() - started})

    def features(self, model: DiffusionModel) -> tuple[FeatureNetwork, torch.Tensor]:
        """The feature network, learned once, and the features of held-out images."""
        training, held_out = model.load_images().split(model.config.data.held_out)
        file = self.out / "features.safetensors"
        if file.exists():
            network = FeatureNetwork.load(file)
        else:
            network = learn_features(training)
            network.save(file)
        return network, network.features(everything(held_out))

    def measure(self, name: str, model: DiffusionModel, counts: tuple[int, ...], **options: Any) -> None:
        """The Fréchet distance of its samples in so many steps, each."""
        for count in counts:
            key = f"frechet_{count}"
            if key in self.rows.get(name, {}):
                continue
            network, real = self.features(model)
            made = model.sample(self.n, steps=count, seed=1, **options)
            levels = model.pixels.to_model(model.pixels.to_levels(made))
            found = frechet_distance(network.features(levels), real)
            self.keep(name, {key: found.value, f"interval_{count}": [found.low, found.high]})
            print(f"{name}, {count} steps: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]", flush=True)


def table(rows: dict[str, Any]) -> str:
    """The figures as Markdown, each also as a multiple of the teacher's at `FULL` steps."""
    reference = rows["teacher"].get(f"frechet_{FULL}", float("nan"))
    lines = ["| model | training steps | CPU s | " + " | ".join(f"{k} steps" for k in STEPS) + " |"]
    lines.append("| --- | --- | --- |" + " --- |" * len(STEPS))
    for name, row in rows.items():
        cells = [
            f"{row[key]:.2f} ({row[key] / reference:.1f} times)" if (key := f"frechet_{k}") in row else ""
            for k in STEPS
        ]
        if any(cells):
            steps, seconds = row.get("steps", ""), row.get("cpu_seconds")
            lines.append(f"| {name} | {steps} | {'' if seconds is None else round(seconds)} | {' | '.join(cells)} |")
    lines.append(f"\nTeacher in {FULL} steps: {reference:.2f}.")
    for name, row in rows.items():
        if "finite" in row:
            lines.append(f"{name}: finite in {row['finite']} of {row['seeds']} seeds.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion", help="as of `sumi train --data`")
    parser.add_argument("--out", type=Path, default=Path("runs/few-steps"))
    parser.add_argument("--teacher-seconds", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=300, help="CPU seconds of each student")
    parser.add_argument("-n", type=int, default=2000, help="images of each")
    parser.add_argument("--only", choices=[*STUDENTS, "teacher", "tuned"], help="train and measure this one alone")
    parser.add_argument("--seeds", type=int, default=0, help="count the finite ones of so many")
    parser.add_argument("--seed-seconds", type=float, default=10)
    parser.add_argument("--print", action="store_true", help="the figures that are there")
    options = parser.parse_args()
    bench = Bench(options.out, options.data, options.n)
    if not options.print:
        run(bench, options)
    print(table(bench.rows))


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Train and measure what is chosen."""
    teacher = bench.teacher(options.teacher_seconds)
    if options.only in (None, "teacher"):
        bench.measure("teacher", teacher, (*STEPS, FULL), solver="adams")
    if options.only in (None, "tuned"):
        for count in STEPS[1:]:
            if not teacher.is_tuned(count):
                tune(teacher, count)
        bench.measure("teacher, tuned solver", teacher, tuple(k for k in STEPS[1:] if teacher.is_tuned(k)))
    for name in STUDENTS if options.only is None else set(STUDENTS) & {options.only}:
        if options.seeds:
            finite = 0
            for seed in range(1, options.seeds + 1):
                try:
                    made = bench.student(name, options.seed_seconds, seed).sample(16, steps=1)
                    finite += isfinite(float(made.abs().sum()))
                except SumiError as error:
                    print(error)
            bench.keep(name, {"finite": finite, "seeds": options.seeds})
        else:
            bench.measure(name, bench.student(name, options.seconds), STEPS)


if __name__ == "__main__":
    main()
