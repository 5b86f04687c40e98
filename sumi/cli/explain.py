"""``sumi explain SCHEDULE|LAW|RUN``."""

import argparse
from pathlib import Path

from sumi.cli.options import add_device
from sumi.cli.terminal import counting_of, say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        help="a schedule, such as linear or vp; a law: unscaled, reverse-kernel, recognition, parameterizations, "
        "low-density, guidance; or a run folder",
    )
    parser.add_argument("--data", metavar="PATH|NAME", help="images to noise (default: digits, or the run's own data)")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="of a run; default: the newest")
    add_device(parser)
    parser.add_argument(
        "--out", metavar="DIR", help="folder for the figures (default: explain/NAME, or in the run folder)"
    )


def run(options: argparse.Namespace) -> None:
    from sumi.explain.explain import explain

    out = Path(options.out) if options.out else None
    with counting_of() as count:
        for figure in explain(
            options.subject,
            data=options.data,
            out=out,
            checkpoint=options.checkpoint,
            device=options.device,
            count=count,
        ):
            say(f"{figure.path}: {figure.says}")
