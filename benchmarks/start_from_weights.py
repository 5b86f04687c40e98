"""What weights to begin with are worth: 50, 300 and 3,000 handwritten digits, learned from scratch, and from a run of
Fashion-MNIST's clothes, whole or by low-rank additions. Prints the tables of docs/results/start-from-weights.md.

    python -m benchmarks.start_from_weights SHARED [PART …]

SHARED holds mnist/ and fashion_mnist/ (idx files). PART: base, or METHOD-COUNT such as lora-50; all by default. The
U-Net is the default one, images are reduced to 16 px, batches have 32. The base learns for 600 steps, every other run
for 200, and is measured after 50, 100 and 200.

Held-out loss is the mean squared error of ε̂ at 12 times, evenly spaced as those of training, on 256 digits of MNIST's
test set with one noise each, the same for all runs. The first half of them decides which of the three checkpoints is
used; the tables show the other half, the first one in thirds of the times. Copies and the Fréchet distance are of 300
samples (DDIM, 20 steps), the latter to 2,000 digits of the test set in the features that a classifier learns of 3,000
digits that no run saw. Intervals are of 95 %, those of differences in loss by the same digits and noise.

Runs and figures are kept in runs/start-from-weights, and what is there is not made again; the tables are of the counts
whose figures are all there. One thread; seconds are of
the CPU, of all 200 steps.
"""

import json
import os
import sys
import time
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, everything
from sumi.data.load import load_images
from sumi.evaluation.images import learn_features
from sumi.evaluation.loss_by_noise import bootstrapped
from sumi.metrics.copies import copy_rate, copy_ratios
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.process.gaussian import add_noise
from sumi.process.schedule import noise_levels
from sumi.randomness import Purpose, normal
from sumi.training_run import train

FOLDER = Path("runs/start-from-weights")
COUNTS, STAGES, BASE_STEPS = (50, 300, 3000), (50, 100, 200), 600
METHODS = {
    "scratch": ("from scratch", ()),
    "full": ("`--from`, all weights", ()),
    "lora": ("`--from`, `lora_rank=4`", ("training.lora_rank=4",)),
}
HELD_OUT, SAMPLES, TIMES = 256, 300, 12
SETTINGS = (
    *("training.batch_size=32", "training.sample_every=0", "training.checkpoint_every=1000000"),
    *("training.keep_checkpoints=9", "data.held_out=1e-6"),  # none of so few is held out; MNIST has a test set
)


@cache
def images(shared: Path, name: str, part: str) -> Dataset:
    return load_images(DataConfig(str(shared / name / f"{part}-images-idx3-ubyte.gz"), size=16))


@cache
def judge(shared: Path) -> FeatureNetwork:
    return learn_features(images(shared, "mnist", "train").subset(np.arange(10_000, 13_000)))


def losses(model: DiffusionModel, held_out: Tensor) -> Tensor:
    """The squared error of ε̂ of each image at each time, float64 (N, TIMES), from data to noise."""
    denoiser = model.gaussian_denoiser()
    times = (torch.arange(1, TIMES + 1, dtype=torch.float64) - 0.5) / TIMES
    found: list[Tensor] = []
    with torch.inference_mode():
        for k, now in enumerate(noise_levels(denoiser.schedule, (times * 1000).round() / 1000)):
            noise = normal(0, range(len(held_out)), k, Purpose.EVALUATION, held_out.shape[1:])
            clean = denoiser(add_noise(held_out, noise, now), now).clean
            error = (clean - held_out).square().flatten(1).mean(1).double()
            found.append(error * (now.alpha / now.sigma) ** 2)
    return torch.stack(found, 1)


def figures(
    model: DiffusionModel, training: Tensor, test: Tensor, network: FeatureNetwork
) -> dict[str, tuple[float, float, float]]:
    """Copies of ``training`` among samples, and their Fréchet distance to ``test``: value, low, high."""
    samples = model.items.finish(model.sample(SAMPLES, solver="ddim", steps=20))
    near, real = (copy_ratios(x, training, mirrored=False).ratio for x in (samples, test))
    distance = frechet_distance(network.features(samples), network.features(test))
    found = {"copies": copy_rate(near, real).rate, "frechet": distance}
    return {name: (one.value, one.low, one.high) for name, one in found.items()}


def measure(part: str, shared: Path) -> None:
    """Train and measure what is not there yet: ``part`` of the module docstring."""
    file, run = FOLDER / f"{part}.json", FOLDER / part
    if file.exists():
        return
    if part == "base":
        train(
            "ddpm",
            data=images(shared, "fashion_mnist", "train"),
            out=run,
            steps=BASE_STEPS,
            settings=SETTINGS,
            resume=True,
        )
        file.write_text("{}")
        return
    method, count = part.split("-")
    digits, test = images(shared, "mnist", "train"), images(shared, "mnist", "t10k")
    chosen, seen = digits.subset(np.arange(int(count))), everything(test.subset(np.arange(2000)))
    start = None if method == "scratch" else FOLDER / "base"
    seconds = 0.0
    if method == "base":
        models = {BASE_STEPS: load(FOLDER / "base", DiffusionModel)}
    else:
        clock = FOLDER / f"{part}.seconds"
        for steps in STAGES:
            if (run / f"checkpoints/{steps:08d}").exists():
                continue
            begin = time.process_time()
            settings = (*SETTINGS, *METHODS[method][1])
            try:
                train("ddpm", data=chosen, out=run, steps=steps, settings=settings, start=start, resume=True)
            finally:
                before = float(clock.read_text()) if clock.exists() else 0
                clock.write_text(str(before + time.process_time() - begin))
        seconds = float(clock.read_text()) if clock.exists() else 0.0
        models = {steps: load(run, DiffusionModel, checkpoint=steps) for steps in STAGES}
    by_step = {steps: losses(model, seen[:HELD_OUT]) for steps, model in models.items()}
    best = min(by_step, key=lambda steps: float(by_step[steps][: HELD_OUT // 2].mean()))
    rest = {str(steps): loss[HELD_OUT // 2 :].tolist() for steps, loss in by_step.items()}
    more = figures(models[best], everything(chosen), seen, judge(shared))
    file.write_text(json.dumps({"seconds": seconds, "best": best, "losses": rest, **more}))
    print(part, best, {steps: round(float(loss.mean()), 4) for steps, loss in by_step.items()}, more, flush=True)


def cell(estimate: Estimate, digits: int = 3, factor: float = 1) -> str:
    value, low, high = (f"{factor * x + 0.0:.{digits}f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def table(counts: list[int]) -> None:
    """What was measured of so many images, in two tables."""
    print(
        "| images | weights | after step | held-out loss | little noise | middle | much | copies, % | Fréchet | CPU s |"
    )
    print("| --- " * 10 + "|")
    kept: dict[str, Tensor] = {}
    for count in counts:
        for method, name in {"base": "the base as it is", **{key: name for key, (name, _) in METHODS.items()}}.items():
            found = json.loads((FOLDER / f"{method}-{count}.json").read_text())
            loss = torch.tensor(found["losses"][str(found["best"])], dtype=torch.float64)
            kept[f"{method}-{count}"] = loss.mean(1)
            thirds = torch.stack([loss.mean(1), *(part.mean(1) for part in loss.chunk(3, dim=1))], 1)
            cells = [cell(one) for one in bootstrapped(thirds, 0)]
            step = "" if method == "base" else str(found["best"])
            more = cell(Estimate(*found["copies"]), 0, 100), cell(Estimate(*found["frechet"]), 1)
            seconds = f"{found['seconds']:.0f}" if found["seconds"] else ""
            print(f"| {' | '.join([f'{count:,}', name, step, *cells, *more, seconds])} |")
    print("\n| images | `lora_rank=4` less the base | less all weights | all weights at step 200 less at its best |")
    print("| --- " * 4 + "|")
    for count in counts:
        lora, full = kept[f"lora-{count}"], kept[f"full-{count}"]
        last = (
            torch.tensor(json.loads((FOLDER / f"full-{count}.json").read_text())["losses"][str(STAGES[-1])])
            .double()
            .mean(1)
        )
        apart = torch.stack([lora - kept[f"base-{count}"], lora - full, last - full], 1)
        print(f"| {count:,} | {' | '.join(cell(one, 4) for one in bootstrapped(apart, 0))} |")


def main() -> None:
    torch.set_num_threads(1)
    shared = Path(sys.argv[1])
    every = ["base", *(f"{method}-{count}" for count in COUNTS for method in ("base", *METHODS))]
    for part in sys.argv[2:] or every:
        measure(part, shared)
    table([count for count in COUNTS if all((FOLDER / f"{one}-{count}.json").exists() for one in ("base", *METHODS))])


if __name__ == "__main__":
    main()
