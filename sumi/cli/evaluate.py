"""``sumi evaluate RUN``, and the end of ``sumi train``."""

import argparse

from sumi.cli.terminal import counting_of, say
from sumi.errors import InputError
from sumi.evaluation.guidance import SCALES, GuidanceSweep, guidance_sweep, read_scales
from sumi.evaluation.result import Measured
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import GenerativeModel
from sumi.models.run import load
from sumi.report.evaluate import evaluate


def run(options: argparse.Namespace) -> None:
    model = load(options.run, checkpoint=options.checkpoint, device=options.device)
    measured = measure_with_progress(
        model,
        data=options.data,
        n=options.n,
        seed=options.seed,
        features=options.features,
        sweeps=options.sweeps,
        guidance=guidance_of(model, options),
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
    guidance: GuidanceSweep | None = None,
) -> Measured:
    """Measure, showing what is going on."""
    with counting_of() as progress:
        return evaluate(
            model, data=data, n=n, seed=seed, features=features, sweeps=sweeps, guidance=guidance, progress=progress
        )


def guidance_of(model: GenerativeModel | ClassifierModel, options: argparse.Namespace) -> GuidanceSweep | None:
    """The kinds of guidance to measure; None: none. Raises InputError."""
    runs = {name: getattr(options, name) for name in ("classifier", "worse", "worse_checkpoint")}
    if not options.trade_off:
        for name, value in {"scales": options.scales, **runs}.items():
            if value is not None:
                raise InputError(f"{name}: is of --trade-off, which is not asked for; add it")
        return None
    worse = options.worse
    if options.worse_checkpoint is not None:
        worse = load(
            worse or model.folder, DiffusionModel, checkpoint=options.worse_checkpoint, device=str(model.device)
        )
    scales = SCALES if options.scales is None else read_scales(options.scales)
    return guidance_sweep(model, scales, classifier=options.classifier, worse=worse)


def say_measured(measured: Measured) -> None:
    """The verdict, then the files to open."""
    say(measured.verdict)
    say("open:")
    for path in measured.files:
        say(f"  {path}")
