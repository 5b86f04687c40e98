"""How well pictures are restored, beside what needs no model: print the tables of docs/results/restoration.md.

    python -m benchmarks.restoration_results RUN [RUN …] [-n 24] [--candidates 4] [--steps 50] [--task middle ×4 …]
        [--method NAME …] [--solver NAME …] [--checkpoint STEP] [--picture FILE]

Held-out images of the first run's data, and what is left of them (TASKS): without the middle square of half the side,
without what a brush went over, without the right half, and two or four times as small. A run that was trained for it is
asked as it was trained, every other one by the default method, or by each ``--method``; and with each ``--solver``.
Beside them: the mean of the training images in the hole, and bicubic enlargement.

Of one candidate, and of the mean of all: PSNR in dB; perceptual distance (`sumi.metrics.perceptual`, the built-in
network on the training images); what they gain on what needs no model, paired by image, with 95 % intervals of the
mean. Of one candidate as files have it, in bytes: the root mean square of A x̂ - y, in levels of 255, and how many known
pixels' bytes differ from the given ones. Seconds of processor for one candidate.
"""

import argparse
import os
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.conditioning.masks import DRAWS, training_masks
from sumi.data.image_set import ImageDataset
from sumi.data.pixels import PixelRange
from sumi.evaluation.images import learn_features
from sumi.figures.pictures import png, side_by_side
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.perceptual import perceptual_distance
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.options import SampleOptions
from sumi.models.diffusion.restoration import ANCESTRAL, candidates, method_for
from sumi.models.run import load
from sumi.operators.linear import Mask, Operator
from sumi.operators.separable import box
from sumi.restoration.condition import trained_for
from sumi.restoration.measurement import Measurement

TOGETHER = 32
"""Candidates at a time, about."""
TASKS = {
    "middle": "the middle painted in",
    "brush": "brush strokes painted in",
    "half": "the right half painted in",
    "×2": "two times as large",
    "×4": "four times as large",
}
COLUMNS = (
    *("PSNR, one", "of the mean", "perceptual, one", "of the mean"),
    *("gain: PSNR, one", "of the mean", "perceptual, one", "of the mean", "levels", "bytes", "s"),
)


def psnr(made: Tensor, truth: Tensor) -> Tensor:
    """dB of each image (N, C, H, W) in [-1, 1]: (N,)."""
    return 10 * (4 / (made - truth).square().flatten(1).mean(1).clamp(min=1e-10)).log10()


def interval(values: Tensor) -> str:
    """Mean and 95 % interval of the mean, by the normal law."""
    values = values.double()
    half = 1.96 * float(values.std()) / len(values) ** 0.5
    mean = float(values.mean())
    return f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}]"


def brush(height: int, width: int) -> Tensor:
    """Four strokes, bool (H, W), as models for inpainting see them in training."""
    u = torch.rand(1, DRAWS, generator=torch.Generator().manual_seed(7))
    u[:, :2] = 0.99  # strokes, and as many as there may be
    return training_masks(u, (height, width))[0]


class Task:
    """One way to spoil pictures, and the restoration that needs no model."""

    def __init__(self, name: str, truth: Tensor, mean: Tensor) -> None:
        self.name, self.truth = name, truth
        _, _, height, width = truth.shape
        self.operator: Operator
        self.mask: Tensor | None = None
        if name.startswith("×"):
            factor = int(name[1:])
            self.operator, self.plain_name = box(height, width, factor), "bicubic"
            small = self.operator(truth)
            self.plain = F.interpolate(small, scale_factor=factor, mode="bicubic", antialias=True).clamp(-1, 1)
        else:
            self.mask = mask = torch.zeros(height, width, dtype=torch.bool)
            if name == "brush":
                mask |= brush(height, width)
            elif name == "half":
                mask[:, width // 2 :] = True
            else:
                mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
            self.operator, self.plain_name = Mask(mask), "mean of the training images"
            self.plain = torch.where(mask, mean, truth)
        self.given = self.operator(truth)

    def suits(self, model: DiffusionModel) -> bool:
        """Whether the model was trained for this, or for nothing of the kind."""
        conditioning = model.config.conditioning
        return {c.name for c in conditioning} <= {"labels"} or trained_for(conditioning, self.operator, 0.0)

    def restored(self, row: "Row") -> Tensor:
        """``row.candidates`` of each picture: (N, n, C, H, W)."""
        made, n = [], row.candidates
        pictures = max(1, TOGETHER // n)
        for first in range(0, len(self.given), pictures):
            given = self.given[first : first + pictures].repeat_interleave(n, 0)
            known, count = Measurement(self.operator, given.to(row.model.device)), len(given)
            options: SampleOptions = {"steps": row.steps, "solver": row.solver, "start": n * first, "batch_size": count}
            made.append(candidates(row.model, known, count, row.method, options))
        return torch.cat(made).unflatten(0, (-1, n))


@dataclass(frozen=True)
class Row:
    """A model, and how it restores."""

    name: str
    model: DiffusionModel
    candidates: int
    steps: int
    solver: str
    method: str | None


def scores(made: Tensor, truth: Tensor, network: FeatureNetwork) -> list[Tensor]:
    """PSNR of a candidate and of the mean, and perceptual distance of both: each (N,)."""
    answers = made[:, 0], made.mean(1)
    return [psnr(x, truth) for x in answers] + [perceptual_distance(network, x, truth) for x in answers]


def table(task: Task, rows: list[Row], network: FeatureNetwork, pixels: PixelRange) -> list[Tensor]:
    """Print the table of one task; returns each row's candidates."""
    first = rows[0]
    what = f"{len(task.truth)} images, {first.candidates} candidates, {first.steps} steps"
    print(f"\n{TASKS[task.name].capitalize()}: {what}\n")
    print(f"| | {' | '.join(COLUMNS)} |\n|{' --- |' * (len(COLUMNS) + 1)}", flush=True)
    plain = scores(task.plain[:, None], task.truth, network)
    print(f"| {task.plain_name} | {float(plain[0].mean()):.2f} | | {float(plain[2].mean()):.3f} |{' |' * 8}")
    found = []
    for row in rows:
        if not task.suits(row.model):
            continue
        begun = time.process_time()
        made = task.restored(row)
        seconds = (time.process_time() - begun) / made[:, :, 0, 0, 0].numel()
        found.append(made)
        got = scores(made, task.truth, network)
        gains = [a - b for a, b in zip(got[:2], plain[:2], strict=True)]
        gains += [b - a for a, b in zip(got[2:], plain[2:], strict=True)]
        written = PixelRange().to_model(pixels.to_bytes(made[:, 0]))
        left = float((task.operator(written) - task.given).square().mean().sqrt()) * 255 / 2
        differ = ""
        if task.mask is not None:
            kept, given = (pixels.to_bytes(x)[..., ~task.mask] for x in (made[:, 0], task.truth))
            differ = str(int((kept != given).sum()))
        method = method_for(row.model, task.operator, row.method)
        one, mean, one_seen, mean_seen = (float(v.mean()) for v in got)
        alone = f"{one:.2f} | {mean:.2f} | {one_seen:.3f} | {mean_seen:.3f}"
        gained = " | ".join(interval(v) for v in gains)
        solver = "" if row.solver == ANCESTRAL else f", {row.solver}"
        print(
            f"| {row.name}, {method}{solver} | {alone} | {gained} | {left:.2f} | {differ} | {seconds:.2f} |", flush=True
        )
    return found


def picture(tasks: list[tuple[Task, list[Tensor]]], pixels: PixelRange) -> bytes:
    """Four pictures of each task: given, without a model, two candidates and the mean of the last run, the truth."""
    panels = []
    for task, found in tasks:
        if task.mask is not None:
            given = torch.where(task.mask, 0.0, task.given[:4])
        else:
            given = task.operator.pseudo_inverse(task.given[:4])
        parts = [("given", given), ("no model", task.plain[:4])]
        for made in found[-1:]:
            parts += [*((f"candidate {k + 1}", made[:4, k]) for k in (0, 1)), ("mean", made[:4].mean(1))]
        panels += [(title, pixels.to_bytes(x)) for title, x in [*parts, ("truth", task.truth[:4])]]
    return png(side_by_side(panels, columns=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=24)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--task", nargs="+", choices=TASKS, default=["middle", "×4"])
    parser.add_argument("--method", nargs="+", default=[None])
    parser.add_argument("--solver", nargs="+", default=[ANCESTRAL])
    parser.add_argument("--checkpoint", type=int)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("runs", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for run in options.runs:
        model = load(run, DiffusionModel, checkpoint=options.checkpoint, device="cpu")
        for method, solver in product(options.method, options.solver):
            rows += [Row(Path(run).name, model, options.candidates, options.steps, solver, method)]
    first = rows[0].model
    dataset = first.load_data()
    assert isinstance(dataset, ImageDataset)
    train, held_out = dataset.split(first.config.data.held_out)
    truth = held_out.batch(np.random.default_rng(0).permutation(len(held_out))[: options.n])
    mean = train.batch(np.random.default_rng(1).permutation(len(train))[:2000]).mean(0)
    network = learn_features(train.subset(np.random.default_rng(2).permutation(len(train))[:12000]))
    tasks = [Task(name, truth, mean) for name in options.task]
    done = [(task, table(task, rows, network, first.pixels)) for task in tasks]
    if options.picture is not None:
        options.picture.write_bytes(picture(done, first.pixels))


if __name__ == "__main__":
    main()
