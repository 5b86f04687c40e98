"""AdamW against Muon in equal CPU seconds, each at four learning rates that fall to 0, for docs/results/speed.md.

    python -m benchmarks.optimizers [--seconds 60] [--systems NAME …]

The held-out loss is E ‖ε̂ - ε‖²/d, the mean over eight bins of log-SNR and 100 held-out images, always with the same
noise; ± is the standard error of its difference from the best of the other optimizer, image by image. One seed, and one
thread (`benchmarks.trainings`). Runs and results stay in runs/optimizers; a command that is stopped goes on.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks.trainings import Set
from sumi.evaluation.during_training import held_out_errors
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load

FOLDER = Path("runs/optimizers")
SYSTEMS = {
    "U-Net, fashion at 28 px": (Set("fashion", "fashion", FOLDER, 28), "ddpm", ("training.batch_size=64",)),
    "transformer, fashion at 28 px": (
        Set("fashion", "fashion", FOLDER, 28),
        "flow",
        ("training.batch_size=64", "network=transformer", "network.width=96", "network.blocks=4"),
    ),
}
RATES = {
    "adamw": ("learning_rate", (5e-4, 1e-3, 2e-3, 4e-3)),
    "muon": ("muon_learning_rate", (0.01, 0.02, 0.04, 0.08)),
}
SHORT = ("training.decay=linear", "training.warmup_steps=20", "training.ema_decay=0.98", "training.check_every=0")


def errors(run: Path, images: Set) -> dict[str, Any]:
    """Of each held-out image, the mean over bins of the squared error of the noise; and the steps of the run."""
    model = load(run, DiffusionModel)
    bins = held_out_errors(model, images.parts[1])
    return {"steps": model.step, "each": torch.stack([one.noise for one in bins]).mean(0).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| training | optimizer | steps | rate: held-out loss | best | less than the other's |")
    print("| --- | --- | --- | --- | --- | --- |")
    for system in options.systems:
        images, recipe, settings = SYSTEMS[system]
        found: dict[str, dict[float, dict[str, Any]]] = {}
        for optimizer, (field, rates) in RATES.items():
            for rate in rates:
                chosen = (f"training.optimizer={optimizer}", f"training.{field}={rate:g}")
                name = f"{system} {optimizer} {rate:g}"
                run = images.trained(recipe, name, options.seconds, (*SHORT, *settings, *chosen))
                found.setdefault(optimizer, {})[rate] = images.kept(f"errors {run}", errors, run, images)
        means = {
            optimizer: {rate: torch.tensor(one["each"]).mean().item() for rate, one in by_rate.items()}
            for optimizer, by_rate in found.items()
        }
        best = {optimizer: min(by_rate, key=by_rate.__getitem__) for optimizer, by_rate in means.items()}
        for optimizer, other in (("adamw", "muon"), ("muon", "adamw")):
            mine, its = (torch.tensor(found[one][best[one]]["each"]) for one in (optimizer, other))
            less = its - mine
            error = less.std() / len(less) ** 0.5 / its.mean()
            row = [
                system,
                optimizer,
                f"{found[optimizer][best[optimizer]]['steps']:,}",
                ", ".join(f"{rate:g}: {mean:.4f}" for rate, mean in means[optimizer].items()),
                f"{mine.mean():.4f}",
                f"{100 * less.mean() / its.mean():+.1f} ± {100 * error:.1f} %",
            ]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
