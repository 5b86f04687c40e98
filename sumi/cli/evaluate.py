"""``sumi evaluate RUN``, and the end of ``sumi train``."""

import argparse

from sumi.cli.terminal import counting_of, say
from sumi.kinds import load
from sumi.measure import measure
from sumi.measured import Measured
from sumi.noisy_classifier import ClassifierModel
from sumi.trained import GenerativeModel


def run(options: argparse.Namespace) -> None:
    model = load(options.run, checkpoint=options.checkpoint, device=options.device)
    measured = measure_with_progress(
        model,
        data=options.data,
        n=options.n,
        seed=options.seed,
        features=options.features,
        sweeps=options.sweeps,
    )
    say_measured(measured)


def measure_with_progress(
    model: GenerativeModel | ClassifierModel,
    *,
    data: str | None = None,
    n: int | None = None,
    seed: int = 0,
    features: str = "learned",
    sweeps: bool = False,
) -> Measured:
    """Measure, showing what is going on."""
    with counting_of() as progress:
        return measure(model, data=data, n=n, seed=seed, features=features, sweeps=sweeps, progress=progress)


def say_measured(measured: Measured) -> None:
    """The verdict, then the files to open."""
    say(measured.verdict)
    say("open:")
    for path in measured.files:
        say(f"  {path}")
