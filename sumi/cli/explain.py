"""``sumi explain SCHEDULE|LAW|RUN``."""

import argparse
from pathlib import Path

from sumi.cli.options import add_device
from sumi.cli.terminal import counting_of, say
from sumi.errors import InputError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        help="a schedule, such as linear or vp; a law: unscaled, reverse-kernel, recognition, parameterizations, "
        "low-density, guidance; introduction, some forty claims of an introduction put to the test; or a run "
        "folder, or a model that comes with Sumi",
    )
    parser.add_argument(
        "--data",
        metavar="PATH|NAME",
        help="images to noise (default: characters, digits where networks are trained, or the run's own)",
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help="of a run: what each word did to the picture of this text, instead: where the network looked at it, and "
        "the picture without it",
    )
    parser.add_argument(
        "--change", metavar="OLD=NEW", help="with --prompt: also the picture with a word replaced, of the same noise"
    )
    parser.add_argument("--seed", type=int, help="with --prompt: of the picture (default: 0)")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="of a run; default: the newest")
    add_device(parser)
    parser.add_argument(
        "--out", metavar="DIR", help="folder for the figures (default: explain/NAME, or in the run folder)"
    )


def run(options: argparse.Namespace) -> None:
    from sumi.explain.explain import explain
    from sumi.report.introduction import INTRODUCTION, write_introduction

    out = Path(options.out) if options.out else None
    if options.subject == INTRODUCTION:
        for name in (
            name for name in ("prompt", "change", "seed", "checkpoint", "device") if getattr(options, name) is not None
        ):
            raise InputError(f"{name}: does not count for {INTRODUCTION}; leave it out")
        with counting_of() as count:
            for line in write_introduction(out or Path("explain"), data=options.data, count=count):
                say(line)
        return
    with counting_of() as count:
        for figure in explain(
            options.subject,
            data=options.data,
            out=out,
            checkpoint=options.checkpoint,
            device=options.device,
            prompt=options.prompt,
            change=options.change,
            seed=options.seed,
            count=count,
        ):
            say(f"{figure.path}: {figure.says}")
