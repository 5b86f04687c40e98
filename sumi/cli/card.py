"""``sumi card RUN``."""

import argparse

from sumi.cli.options import add_run
from sumi.cli.terminal import say


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--out", metavar="FILE", help="write it there instead of printing it")
    parser.add_argument("--licence", metavar="NAME", help="of the data, such as CC BY 4.0")


def run(options: argparse.Namespace) -> None:
    from pathlib import Path

    from sumi.boundary.files import write_text
    from sumi.interop.card import model_card
    from sumi.models.model import TrainedModel
    from sumi.models.run import load

    text = model_card(load(options.run, TrainedModel, device="cpu"), licence=options.licence or "")
    if options.out is None:
        for line in text.rstrip().split("\n"):
            say(line)
        return
    write_text(Path(options.out), text)
    say(f"card: {options.out}")
