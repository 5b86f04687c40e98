"""``sumi evaluate RUN``, ``sumi evaluate A B``, and the end of ``sumi train``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sumi.cli.options import add_checkpoint, add_seed, is_quick
from sumi.cli.terminal import counting_of, say
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.evaluation.guidance import GuidanceSweep
    from sumi.models.model import TrainedModel


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN|A", help="a run folder or model that comes with Sumi; or, with B, a set of images"
    )
    parser.add_argument(
        "against",
        nargs="?",
        metavar="B",
        help="measure A against B, without any model: folders of images, .npy arrays, or runs (-n samples of each)",
    )
    parser.add_argument("--data", metavar="PATH|NAME", help="what to compare with (default: the run's own data)")
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="of images: compare with this split of the data's own, such as combos of characters (default: those held "
        "out)",
    )
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
        "--sweeps",
        action="store_true",
        help="also by how random sampling is, and by its steps (ten times the samples); and the loss by the length of "
        "the weights' average, where the run has snapshots",
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
        help="run that reads what was asked for: of text-to-image a judge, of symbols a symbol-classifier",
    )
    parser.add_argument("--clip", metavar="RUN", help="of a text-to-image model: how near this CLIP finds its captions")
    add_seed(parser)
    add_checkpoint(parser)
    parser.add_argument(
        "--range",
        metavar="LOW,HIGH",
        help="of A and B: the lowest and highest possible value of float arrays, such as 0,1",
    )
    parser.add_argument("--out", metavar="DIR", help="of A and B: folder for the report (default: evaluate-A-B)")


def run(options: argparse.Namespace) -> None:
    from sumi.boundary.group import joined
    from sumi.models.run import load

    if options.against is not None:
        _evaluate_sets(options)
        return
    if options.range is not None:
        raise InputError("range: is of two sets of images, A and B; give data.range in training")
    if options.out is not None:
        raise InputError("out: is of two sets of images, A and B; leave it out, or give B")
    with joined():
        model = load(options.run, checkpoint=options.checkpoint, device=options.device)
        say_evaluation(
            model,
            data=options.data,
            n=options.n,
            seed=options.seed,
            features=options.features,
            sweeps=options.sweeps,
            guidance=guidance_of(model, options),
            judge=options.judge,
            clip=options.clip,
            split=options.split,
        )


def _evaluate_sets(options: argparse.Namespace) -> None:
    """Measure A against B. Raises InputError for an option of a run alone."""
    of_runs = ("data", "split", "sweeps", "trade_off", "scales", "classifier", "worse", "worse_checkpoint")
    for name in (*of_runs, "checkpoint", "judge", "clip"):
        if getattr(options, name):
            raise InputError(f"{name}: is of the evaluation of a run; leave it out, or leave out {options.against}")
    say_evaluation(
        options.run,
        options.against,
        n=options.n,
        seed=options.seed,
        features=options.features,
        out=options.out,
        device=options.device,
        range=None if options.range is None else _numbers(options.range),
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"range: {text!r} is no lowest and highest value; give two, such as 0,1") from None


def guidance_of(model: TrainedModel, options: argparse.Namespace) -> GuidanceSweep | None:
    """The guidance methods and scales to measure; None: none. Raises InputError."""
    from sumi.evaluation.guidance import SCALES, guidance_sweep, read_scales
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load

    runs = {name: getattr(options, name) for name in ("classifier", "worse", "worse_checkpoint")}
    if not options.trade_off:
        for name, value in {"scales": options.scales, **runs}.items():
            if value is not None:
                raise InputError(f"{name}: counts with --trade-off alone; add --trade-off")
        return None
    worse = options.worse
    if options.worse_checkpoint is not None:
        worse = load(
            worse or model.folder, DiffusionModel, checkpoint=options.worse_checkpoint, device=str(model.device)
        )
    scales = SCALES if options.scales is None else read_scales(options.scales)
    return guidance_sweep(model, scales, classifier=options.classifier, worse=worse)


def say_evaluation(*of: TrainedModel | str, **options: Any) -> None:
    """Evaluate a model, or a set against another (`sumi.evaluate`): how far it is, the verdict, the files to open."""
    from sumi.boundary.group import first_process
    from sumi.report.evaluate import evaluate

    with counting_of() as progress:
        measured = evaluate(*of, progress=progress, **options)
    if not first_process():
        return
    for line in measured.verdict.split("\n"):
        say(line)
    say("open:")
    for path in measured.files:
        say(f"  {path}")


def report_at_end(options: argparse.Namespace, model: TrainedModel, seconds: float) -> None:
    """The report of --report, after so many ``seconds`` of training."""
    if options.report != "none":
        say_evaluation(model, quick=is_quick(options.report, model, seconds))
