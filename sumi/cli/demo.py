"""``sumi demo``: pictures by prompts of a model that comes with Sumi, then a model of characters, from nothing."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Final

from sumi.cli.evaluate import say_evaluation
from sumi.cli.options import add_device
from sumi.cli.terminal import counting_of, say, training_progress
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.model import SystemConfig
    from sumi.training.run_folder import RunFolder

RECIPE: Final = "jit"
SETTINGS: Final = (
    "data.reduce=2",
    "conditioning=labels",
    "times.mean=0.3",
    "times.std=1",
    "network.patch=8",
    "network.width=160",
    "network.blocks=4",
    "network.embedding=160",
    "training.steps=600",
    "training.batch_size=32",
    "training.optimizer=muon",
    "training.learning_rate=1.5e-3",
    "training.warmup_steps=30",
    "training.decay=linear",
    "training.beta_2=0.99",
    "training.ema_decay=0.99",
    "training.sample_every=75",
    "training.checkpoint_every=300",
    "sampling.solver=adams",
    "sampling.steps=16",
    "sampling.guidance.scale=2",
)
"""Of the second part: what is recognisable after a minute and a half on two cores."""
THREADS: Final = 2
"""Of the second part, whatever the machine has: rounding depends on the number."""
FIRST: Final = "characters"
"""The model of the first part."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", metavar="TEXT", help="only the first part: nine pictures of this")
    parser.add_argument("--out", metavar="RUN", help="run folder, made anew (default: runs/demo)")
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    if options.prompt is not None:
        _show(options)
        return
    say(f"first pictures by {FIRST}, a model that comes with Sumi; then a model of your own, trained from nothing")

    from sumi.recipes.configure import configure
    from sumi.training.run_folder import RunFolder

    folder, config = RunFolder(options.out or "runs/demo"), configure(RECIPE, data=FIRST, settings=SETTINGS)
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
    import torch

    from sumi.training.lock import training_in
    from sumi.training_run import Events, train_in

    torch.set_num_threads(THREADS)
    with training_in(folder.path, say):
        _refuse_others(folder, config)
        folder.clear()
        with counting_of() as counting, training_progress() as progress:
            model = train_in(folder, config, FIRST, device=options.device, events=Events(say, progress, counting))
        say(f"trained {model.step} steps")
        say_evaluation(model, quick=True)


def _refuse_others(folder: RunFolder, config: SystemConfig) -> None:
    """Raises InputError for a folder of something else than an earlier demo."""
    from sumi.models.run import read_run

    folder.refuse_foreign()
    if folder.is_described() and read_run(folder).config != config:
        raise InputError(f"out: {folder.path} holds another run; give another folder")
    folder.refuse_to_clear()
