"""``sumi train``."""

import argparse

from sumi.cli.evaluate import measure_with_progress, say_measured
from sumi.cli.terminal import counting, say, training_progress
from sumi.models.classifier import ClassifierModel
from sumi.models.model import GenerativeModel
from sumi.training_run import Events, train


def run(options: argparse.Namespace) -> None:
    with counting("reading images") as reading, training_progress() as progress:
        model = train(
            options.recipe,
            data=options.data,
            out=options.out,
            steps=options.steps,
            seed=options.seed,
            settings=options.settings,
            device=options.device,
            resume=options.resume,
            events=Events(say, progress, reading),
        )
    say(f"trained {model.step} steps: {model.folder}")
    if isinstance(model, GenerativeModel | ClassifierModel) and not options.no_report:
        say_measured(measure_with_progress(model))
