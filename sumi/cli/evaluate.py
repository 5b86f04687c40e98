"""``sumi evaluate RUN``, ``sumi evaluate A B``, and the end of ``sumi train``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sumi.cli.options import add_device
from sumi.cli.terminal import counting_of, say
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.evaluation.guidance import GuidanceSweep
    from sumi.evaluation.result import Measured
    from sumi.models.model import TrainedModel


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN|A", help="run folder that `sumi train` made; or, with B, a set of images")
    parser.add_argument(
        "against",
        nargs="?",
        metavar="B",
        help="measure A against B, without any model: folders of images, .npy arrays, or runs (-n samples of each)",
    )
    parser.add_argument("--data", metavar="PATH|NAME", help="default: the run's own data")
    parser.add_argument(
        "-n", type=int, metavar="N", help="samples to measure (default: as many as are held out, 500 to 2000)"
    )
    parser.add_argument(
        "--features",
        default="learned",
        metavar="PATH|NAME",
        help="the space to measure in: a file of Inception-v3 weights, a folder with DINOv2 or CLIP in Hugging Face's "
        "format, efficientnet: of the extra features, or learned: a network trained on the data (default)",
    )
    parser.add_argument(
        "--sweeps", action="store_true", help="also by how random sampling is, and by its steps (ten times the samples)"
    )
    parser.add_argument(
        "--trade-off",
        action="store_true",
        help="also by the scale of guidance, of a model that is conditioned on classes",
    )
    parser.add_argument("--scales", metavar="W,V,…", help="of --trade-off (default: 0,1,1.5,2,3,5)")
    parser.add_argument("--classifier", metavar="RUN", help="for --trade-off by this noisy-classifier, too")
    parser.add_argument("--worse", metavar="RUN", help="for --trade-off away from this worse run (autoguidance), too")
    parser.add_argument(
        "--worse-checkpoint",
        type=int,
        metavar="STEP",
        help="which checkpoint of --worse (or of RUN) to guide away from",
    )
    parser.add_argument(
        "--judge",
        metavar="RUN",
        help="of a text-to-image model: which attributes this judge reads of what captions say",
    )
    parser.add_argument("--clip", metavar="RUN", help="of a text-to-image model: how near this CLIP finds its captions")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    add_device(parser)
    parser.add_argument(
        "--range",
        metavar="LOW,HIGH",
        help="of A and B: the lowest and highest possible value of float arrays, such as 0,1",
    )
    parser.add_argument("--out", metavar="DIR", help="of A and B: folder for the report (default: evaluate-A-B)")


def run(options: argparse.Namespace) -> None:
    from sumi.models.run import load

    if options.against is not None:
        say_measured(_sets_with_progress(options))
        return
    if options.range is not None:
        raise InputError("range: is of two sets of images, A and B; give data.range in training")
    if options.out is not None:
        raise InputError("out: is of two sets of images, A and B; leave it out, or give B")
    model = load(options.run, checkpoint=options.checkpoint, device=options.device)
    measured = measure_with_progress(
        model,
        data=options.data,
        n=options.n,
        seed=options.seed,
        features=options.features,
        sweeps=options.sweeps,
        guidance=guidance_of(model, options),
        judge=options.judge,
        clip=options.clip,
    )
    say_measured(measured)


def _sets_with_progress(options: argparse.Namespace) -> Measured:
    """Measure A against B, showing what is going on. Raises InputError for an option of a run alone."""
    from sumi.report.evaluate import evaluate

    for name in (
        "data",
        "sweeps",
        "trade_off",
        "scales",
        "classifier",
        "worse",
        "worse_checkpoint",
        "checkpoint",
        "judge",
        "clip",
    ):
        if getattr(options, name):
            raise InputError(f"{name}: is of the evaluation of a run; leave it out, or leave out {options.against}")
    with counting_of() as progress:
        return evaluate(
            options.run,
            options.against,
            n=options.n,
            seed=options.seed,
            features=options.features,
            out=options.out,
            device=options.device,
            range=None if options.range is None else _numbers(options.range),
            progress=progress,
        )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"range: {text!r} is no lowest and highest value; give two, such as 0,1") from None


def measure_with_progress(
    model: TrainedModel,
    *,
    data: str | None = None,
    n: int | None = None,
    seed: int = 0,
    features: str = "learned",
    sweeps: bool = False,
    guidance: GuidanceSweep | None = None,
    quick: bool = False,
    judge: str | None = None,
    clip: str | None = None,
) -> Measured:
    """Measure, showing what is going on."""
    from sumi.report.evaluate import evaluate

    with counting_of() as progress:
        return evaluate(
            model,
            data=data,
            n=n,
            seed=seed,
            features=features,
            sweeps=sweeps,
            guidance=guidance,
            progress=progress,
            quick=quick,
            judge=judge,
            clip=clip,
        )


def guidance_of(model: TrainedModel, options: argparse.Namespace) -> GuidanceSweep | None:
    """The guidance methods and scales to measure; None: none. Raises InputError."""
    from sumi.evaluation.guidance import SCALES, guidance_sweep, read_scales
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load

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
    for line in measured.verdict.split("\n"):
        say(line)
    say("open:")
    for path in measured.files:
        say(f"  {path}")
