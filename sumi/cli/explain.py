"""``sumi explain SCHEDULE|RUN``."""

import argparse
from pathlib import Path

from sumi.cli.terminal import say
from sumi.explain.explain import explain


def run(options: argparse.Namespace) -> None:
    out = Path(options.out) if options.out else None
    for drawn in explain(options.subject, data=options.data, out=out, checkpoint=options.checkpoint):
        say(f"{drawn.path}: {drawn.says}")
