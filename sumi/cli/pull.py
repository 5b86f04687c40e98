"""``sumi pull REPOSITORY --out RUN``."""

import argparse

from sumi.cli.terminal import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit (default: main)")


def run(options: argparse.Namespace) -> None:
    from sumi.interop.hub import pull

    for name, value in pull(options.repository, options.out, revision=options.revision).facts().items():
        say(f"{name:12} {value}")
