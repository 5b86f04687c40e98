"""``sumi demo``: pictures by prompts of a model that comes with Sumi, then a model of digits, trained from nothing."""

from __future__ import annotations

import argparse
import shlex
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


FIRST: Final = "characters"
"""The model of the first part."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", metavar="TEXT", help="only the first part: nine pictures of this")
    parser.add_argument("--out", metavar="RUN", help="run folder, made anew (default: runs/demo)")
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.training.run_folder import RunFolder
    from sumi.training_run import configure

    if options.prompt is not None:
        _show(options)
        return
    folder, config = RunFolder(options.out or "runs/demo"), configure("ddpm", data="digits", settings=SETTINGS)
    _refuse_others(folder, config)
    _show(options)
    _train(options, folder, config)


def _show(options: argparse.Namespace) -> None:
    """A sheet of pictures with their prompts, and one as it emerges, by the command that a person would type."""
    from sumi.cli.main import build_parser
    from sumi.cli.sample import run as sample
    from sumi.pretrained.shipped import PLACE, PROMPTS

    prompts = ["--prompts", str(PLACE / FIRST / PROMPTS)] if options.prompt is None else ["--prompt", options.prompt]
    count = [] if options.prompt is None else ["-n", "9"]
    device = [] if options.device is None else ["--device", options.device]
    out = [] if options.prompt is None or options.out is None else ["--out", options.out]
    given = ["sample", FIRST, *prompts, *count, "--trajectory", *device, *out]
    say(f"sumi {shlex.join(given)}")
    sample(build_parser(["sample"]).parse_args(given))


def _train(options: argparse.Namespace, folder: RunFolder, config: SystemConfig) -> None:
    # on 8x8 images a second thread waits more than it works, and on a busy machine it makes the first one wait too
    import torch

    from sumi.training.lock import training_in
    from sumi.training_run import Events, train_in

    torch.set_num_threads(1)
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
    folder.refuse_to_clear()
