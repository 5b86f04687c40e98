"""``sumi watch RUN``."""

import argparse
from contextlib import suppress

from sumi.cli.options import add_run
from sumi.cli.terminal import say


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of the page's address (default: a free one)")


def run(options: argparse.Namespace) -> None:
    from sumi.report.watch import Watch
    from sumi.training.run_folder import RunFolder

    with Watch(RunFolder(options.run), options.port) as server:
        say(f"{server.address} shows {options.run} on this machine; Ctrl-C ends")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
