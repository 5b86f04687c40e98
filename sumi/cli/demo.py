"""``sumi demo``: from nothing to a trained, sampled and measured model of handwritten digits."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from sumi.cli.evaluate import measure_with_progress, say_measured
from sumi.cli.options import add_device
from sumi.cli.terminal import say, training_progress
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.model import SystemConfig
    from sumi.training.run_folder import RunFolder

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


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", metavar="RUN", help="run folder, made anew (default: runs/demo)")
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    # on 8x8 images a second thread waits more than it works, and on a busy machine it makes the first one wait too
    import torch

    from sumi.training.lock import training_in
    from sumi.training.run_folder import RunFolder
    from sumi.training_run import Events, configure, train_in

    torch.set_num_threads(1)
    folder, config = RunFolder(options.out), configure("ddpm", data="digits", settings=SETTINGS)
    _refuse_others(folder, config)
    with training_in(folder.path, say):
        _refuse_others(folder, config)
        folder.clear()
        with training_progress() as progress:
            model = train_in(folder, config, "digits", device=options.device, events=Events(say, progress))
        say(f"trained {model.step} steps")
        say_measured(measure_with_progress(model))


def _refuse_others(folder: RunFolder, config: SystemConfig) -> None:
    """Raises InputError for a folder of something else than an earlier demo."""
    from sumi.models.run import read_run

    folder.refuse_foreign()
    if folder.is_described() and read_run(folder).config != config:
        raise InputError(f"out: {folder.path} holds another run; give another folder")
