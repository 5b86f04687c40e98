"""``sumi distil``."""

import argparse
import time

from sumi.boundary.files import typed
from sumi.cli.evaluate import report_at_end
from sumi.cli.options import add_device, add_end, add_run, add_settings
from sumi.cli.terminal import counting_of, say, training_progress
from sumi.errors import InputError


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder of the student")
    parser.add_argument(
        "--method",
        choices=("consistency", "mean_flow", "progressive"),
        help="how it learns: consistency tuning (default), mean flow of a run of flow, or progressive distillation",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps (default: 4000)")
    parser.add_argument(
        "--guidance",
        metavar="W|LOW,HIGH",
        help="the scale of guidance that it learns, or a range to choose from when it samples (default: the run's)",
    )
    parser.add_argument("--data", metavar="PATH|NAME", help="where the run's data are now (default: as before)")
    parser.add_argument("--seed", type=int, metavar="S", help="all randomness follows from it (default: the run's)")
    add_device(parser)
    add_settings(parser, "the student's configuration", "`sumi info`")
    add_end(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.boundary.group import first_process, restarted
    from sumi.distillation import distil
    from sumi.training_run import Events

    begun = time.monotonic()
    with counting_of() as counting, training_progress() as progress:
        model = distil(
            options.run,
            out=options.out,
            method=options.method,
            steps=options.steps,
            guidance=_guidance(options.guidance),
            data=options.data,
            seed=options.seed,
            settings=options.settings,
            device=options.device,
            resume=options.resume or restarted(),
            events=Events(say, progress, counting),
        )
    if not first_process():
        return
    at_once = f"sumi sample {typed(model.folder)} --steps 1"
    say(f"trained {model.step} steps: {model.folder}; `{at_once}` makes images at once")
    report_at_end(options, model, time.monotonic() - begun)


def _guidance(text: str | None) -> float | tuple[float, float] | None:
    if text is None:
        return None
    try:
        match [float(part) for part in text.split(",")]:
            case [scale]:
                return scale
            case [low, high]:
                return low, high
    except ValueError:
        pass
    raise InputError(f"guidance: {text} is neither a scale nor LOW,HIGH; write 2, or 1,4")
