"""How well pictures are restored, beside what needs no model: print the tables of docs/results.md, "Restoration".

    python -m benchmarks.restoration_results [-n 24] [--steps 50] [--factor 4] [--picture FILE] RUN [RUN …]

Held-out images of the first run's data; the middle square of half the side painted in, and pictures made F times as
large. A run that was trained for it is asked as it was trained, every other one by the default method. Beside them: the
mean of the training images in the hole, and bicubic enlargement.

Of each: PSNR in dB of one candidate and of the mean of four; perceptual distance (`sumi.evaluation.perceptual`, the
built-in network on the training images) of one candidate; differences to what needs no model, paired by image, with
95 % intervals of the mean; pixels of the known part that differ from the given ones in bytes.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.data.dataset import ImageDataset
from sumi.evaluation.feature_network import FeatureNetwork
from sumi.evaluation.perceptual import perceptual_distance
from sumi.evaluation.pictures import png, side_by_side
from sumi.kinds import load
from sumi.measure import learn_features
from sumi.model import DiffusionModel
from sumi.restoration.operators import Mask
from sumi.restoration.separable import box
from sumi.restore import AnyOperator, How, inpaint, method_for, upscale

CANDIDATES = 4


def psnr(made: Tensor, truth: Tensor) -> Tensor:
    """dB of each image (N, C, H, W) in [-1, 1]: (N,)."""
    return 10 * (4 / (made - truth).square().flatten(1).mean(1).clamp(min=1e-10)).log10()


def interval(values: Tensor) -> str:
    """Mean and 95 % interval of the mean, by the normal law."""
    values = values.double()
    half = 1.96 * float(values.std()) / len(values) ** 0.5
    mean = float(values.mean())
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


class Task:
    """One way to spoil pictures, and the restoration that needs no model."""

    def __init__(self, name: str, truth: Tensor, mean: Tensor, factor: int | None) -> None:
        self.name, self.truth, self.factor = name, truth, factor
        _, _, height, width = truth.shape
        self.mask = torch.zeros(height, width, dtype=torch.bool)
        self.mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        self.operator: AnyOperator
        if factor is None:
            self.operator, self.plain = Mask(self.mask), torch.where(self.mask, mean, truth)
            self.given, self.plain_name = truth, "mean of the training images"
        else:
            self.operator = box(height, width, factor)
            self.given, self.plain_name = self.operator(truth), "bicubic"
            self.plain = F.interpolate(self.given, scale_factor=factor, mode="bicubic", antialias=True).clamp(-1, 1)

    def restored(self, model: DiffusionModel, steps: int) -> Tensor:
        """CANDIDATES of each picture: (N, CANDIDATES, C, H, W)."""
        made = []
        for index, given in enumerate(self.given):
            how = How(n=CANDIDATES, steps=steps, start=CANDIDATES * index)
            if self.factor is None:
                made.append(inpaint(model, given, self.mask, how))
            else:
                made.append(upscale(model, given, self.factor, how))
        return torch.stack(made)


def rows(task: Task, runs: list[tuple[str, DiffusionModel]], network: FeatureNetwork, steps: int) -> list[Tensor]:
    """Print the table of one task; returns each run's candidates."""
    print(f"\n{task.name}, {len(task.truth)} images:\n")
    columns = ("PSNR, one", "mean of four", "perceptual, one", "gain, one", "gain, mean", "gain, perceptual", "bytes")
    print(f"| | {' | '.join(columns)} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    plain, plain_seen = psnr(task.plain, task.truth), perceptual_distance(network, task.plain, task.truth)
    print(f"| {task.plain_name} | {interval(plain)} | | {interval(plain_seen)} | | | | |")
    found = []
    for name, model in runs:
        if task.factor is not None and model.config.conditioning.name == "masked":
            continue
        if task.factor is None and model.config.conditioning.name == "small":
            continue
        made = task.restored(model, steps)
        found.append(made)
        one, mean = psnr(made[:, 0], task.truth), psnr(made.mean(1), task.truth)
        seen = perceptual_distance(network, made[:, 0], task.truth)
        differing = ""
        if task.factor is None:
            kept, given = (model.pixels.to_bytes(x)[..., ~task.mask] for x in (made[:, 0], task.truth))
            differing = str(int((kept != given).sum()))
        method = method_for(model, task.operator, How())
        gains = f"{interval(one - plain)} | {interval(mean - plain)} | {interval(plain_seen - seen)}"
        print(
            f"| {name}, {method} | {interval(one)} | {interval(mean)} | {interval(seen)} | {gains} | {differing} |",
            flush=True,
        )
    return found


def picture(tasks: list[tuple[Task, list[Tensor]]], pixels) -> bytes:
    """Four pictures of each task: given, without a model, the first candidates of each run, and the truth."""
    panels = []
    for task, found in tasks:
        given = task.given[:4]
        if task.factor is None:
            given = torch.where(task.mask, 0.0, given)
        else:
            given = given.repeat_interleave(task.factor, 2).repeat_interleave(task.factor, 3)
        parts = [("given", given), (task.plain_name, task.plain[:4])]
        parts += [(f"candidate {k + 1}", made[:4, k]) for made in found[-1:] for k in (0, 1)]
        panels += [(title, pixels.to_bytes(x)) for title, x in [*parts, ("truth", task.truth[:4])]]
    return png(side_by_side(panels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=24)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("runs", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = [(Path(run).name, load(run, DiffusionModel)) for run in options.runs]
    first = runs[0][1]
    dataset = first.load_data()
    assert isinstance(dataset, ImageDataset)
    train, held_out = dataset.split(first.config.data.held_out)
    chosen = np.random.default_rng(0).permutation(len(held_out))[: options.n]
    truth = held_out.batch(chosen)
    mean = train.batch(np.random.default_rng(1).permutation(len(train))[:2000]).mean(0)
    network = learn_features(train.subset(np.random.default_rng(2).permutation(len(train))[:12000]))
    tasks = [
        Task("The middle painted in", truth, mean, None),
        Task(f"{options.factor} times as large", truth, mean, options.factor),
    ]
    done = [(task, rows(task, runs, network, options.steps)) for task in tasks]
    if options.picture is not None:
        options.picture.write_bytes(picture(done, first.pixels))


if __name__ == "__main__":
    main()
