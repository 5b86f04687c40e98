"""Augmentation that does not leak, on a small set: `conditioning=augmentation` next to none in equal CPU seconds.

    python -m benchmarks.augmentation [--images 200] [--seconds 240]

So many of the built-in fashion images are trained on, and the others held out. Rows: after each quarter of the training
E ‖ε̂ - ε‖²/d of held-out images (mean over eight bins of log-SNR), the Fréchet distance of 1,000 samples to held-out
images in features of a classifier that was trained on 5,000 of those, and the share of samples that are copies
(`sumi.metrics.copies`). One seed, one thread. Runs stay in runs/augmentation; a command that is stopped goes on.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.trainings import Set, figures, shown
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, evenly_spaced, everything
from sumi.data.load import load as load_data
from sumi.evaluation.during_training import held_out_errors
from sumi.evaluation.images import learn_features
from sumi.metrics.copies import copying, nearest
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.frechet import frechet_distance
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load

FOLDER = Path("runs/augmentation")
POINTS, SAMPLES, JUDGED = 4, 1000, 5000
WAYS = {
    "none": (),
    "augmented, a share of 0.12": ("conditioning=augmentation",),
    "augmented, a share of 0.3": ("conditioning=augmentation", "conditioning.share=0.3"),
}
SETTINGS = ("training.batch_size=32", "training.optimizer=muon", "training.ema_decay=0.995", "training.check_every=0")


def judge(held_out: Dataset) -> FeatureNetwork:
    file = FOLDER / "features.safetensors"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        chosen = np.linspace(0, len(held_out) - 1, JUDGED).round().astype(np.int64)
        learn_features(held_out.subset(chosen)).save(file)
    return FeatureNetwork.load(file)


def measured(run: Path, checkpoint: int, train: Dataset, held_out: Dataset) -> dict[str, Any]:
    model = load(run, DiffusionModel, checkpoint=checkpoint)
    error = torch.stack([one.noise.mean() for one in held_out_errors(model, held_out)]).mean().item()
    samples = model.sample(SAMPLES, steps=20, solver="adams", batch_size=250)
    network = judge(held_out)
    real, learned = evenly_spaced(held_out, JUDGED), everything(train)
    distance = frechet_distance(network.features(samples), network.features(real))
    copied = copying(nearest(samples, learned).distance, nearest(real[:2000], learned).distance)
    return {"step": model.step, "error": error, "frechet": figures(distance), "copies": copied.counted / SAMPLES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=240)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(DataConfig("fashion"))
    share = 1 - options.images / len(data)
    train, held_out = data.split(share)
    images = Set("fashion", "fashion", FOLDER, data.shape[1])
    print(f"{len(train)} images to train on, {len(held_out):,} held out")
    print("| augmentation | step | held-out loss | Fréchet distance | copies, of samples |")
    print("| --- | --- | --- | --- | --- |")
    for name, settings in WAYS.items():
        more = (*SETTINGS, f"data.held_out={share:.6f}", *settings)
        run = images.trained("ddpm", f"{name} {options.images}", options.seconds, more, POINTS)
        last = max(int(folder.name) for folder in (run / "checkpoints").iterdir() if folder.name.isdigit())
        for point in range(1, POINTS + 1):
            step = last * point // POINTS
            found = images.kept(f"{run} {step}", measured, run, step, train, held_out)
            row = [
                name,
                f"{step:,}",
                f"{found['error']:.4f}",
                shown(found["frechet"]),
                f"{100 * found['copies']:.1f} %",
            ]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
