"""``sumi push RUN REPOSITORY``."""

import argparse

from sumi.cli.options import add_run
from sumi.cli.terminal import say


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub")
    parser.add_argument("--public", action="store_true", help="a new repository is public (default: private)")
    parser.add_argument("--licence", metavar="NAME", help="of the data, for the card, such as CC BY 4.0")


def run(options: argparse.Namespace) -> None:
    from sumi.interop.hub import push

    say(push(options.run, options.repository, private=not options.public, licence=options.licence or ""))
