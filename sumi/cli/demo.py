"""``sumi demo``: from nothing to a trained, sampled and measured model of handwritten digits."""

import argparse
import shutil
from pathlib import Path
from typing import Final

import torch

from sumi.cli.evaluate import measure_with_progress, say_measured
from sumi.cli.terminal import say, training_progress
from sumi.errors import InputError
from sumi.run import RunFolder
from sumi.training_run import Events, train

# a small network for 8x8 images, a high rate that falls to 0, and the sampler that suits few pixels
SETTINGS: Final = (
    "network.widths=32,64",
    "network.blocks=1,3",
    "network.embedding=96",
    "training.steps=2400",
    "training.learning_rate=2e-3",
    "training.warmup_steps=100",
    "training.decay=linear",
    "training.sample_every=600",
    "training.checkpoint_every=800",
    "sampling.solver=ddpm",
    "sampling.steps=100",
)


def run(options: argparse.Namespace) -> None:
    # on 8x8 images a second thread waits more than it works, and on a busy machine it makes the first one wait too
    torch.set_num_threads(1)
    folder = RunFolder(options.out)
    _clear(folder)
    with training_progress() as progress:
        model = train(
            "ddpm",
            data="digits",
            out=folder.path,
            settings=SETTINGS,
            device=options.device,
            events=Events(say, progress),
        )
    say(f"trained {model.step} steps")
    say_measured(measure_with_progress(model))


def _clear(folder: RunFolder) -> None:
    """Remove an earlier demo; nothing that is no run."""
    if not folder.path.exists():
        return
    if not folder.config_file.exists() and any(Path(folder.path).iterdir()):
        raise InputError(f"--out {folder.path}: holds files that are no run; give another folder")
    shutil.rmtree(folder.path)
