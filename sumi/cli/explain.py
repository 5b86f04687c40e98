"""``sumi explain SCHEDULE|LAW|RUN``."""

import argparse
from pathlib import Path

from sumi.cli.terminal import counting_of, say
from sumi.explain.explain import explain


def run(options: argparse.Namespace) -> None:
    out = Path(options.out) if options.out else None
    with counting_of() as count:
        for drawn in explain(options.subject, data=options.data, out=out, checkpoint=options.checkpoint, count=count):
            say(f"{drawn.path}: {drawn.says}")
