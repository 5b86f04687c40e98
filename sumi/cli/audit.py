"""``sumi audit SOURCE``."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sumi.cli.options import add_device
from sumi.cli.terminal import counting_of, say

if TYPE_CHECKING:
    from sumi.check.audit.finding import Finding


def add_options(parser: argparse.ArgumentParser) -> None:
    import_module("sumi.cli.import").add_claims(parser)
    add_audit(parser)
    parser.add_argument("--json", metavar="FILE", help="write all numbers into FILE")


def add_audit(parser: argparse.ArgumentParser) -> None:
    """What an audit is made of."""
    parser.add_argument(
        "--data", metavar="PATH|NAME", help="what it was trained on (default: the run's own data, else its own samples)"
    )
    parser.add_argument("-n", type=int, default=64, metavar="N", help="items to try it on (default: 64)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--no-copies", action="store_true", help="do not look for copies of training images")
    parser.add_argument(
        "--no-solvers", action="store_true", help="do not look for the best solver for 5, 10 and 20 evaluations"
    )
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.check.audit.audit import audit, write
    from sumi.interop.sources import open_source, read_claims

    claims = read_claims(options.mapping)
    source = open_source(options.source, claims=claims, settings=options.settings, device=options.device)
    for note in source.notes:
        say(f"note: {note}")
    with counting_of() as count:
        found = audit(
            source.diffusion,
            data=options.data,
            n=options.n,
            seed=options.seed,
            copies=not options.no_copies,
            compared=not options.no_solvers,
            progress=count,
            see=say_finding,
        )
    if not found.faults:
        say("nothing is wrong")
    else:
        count_of = "1 fault" if len(found.faults) == 1 else f"{len(found.faults)} faults"
        say(f"{count_of}: {', '.join(found.faults)}")
    if options.json is not None:
        say(f"wrote {write(found, Path(options.json))}")


def say_finding(finding: Finding) -> None:
    """Two lines where something is wrong, one otherwise."""
    say(f"{'ok   ' if finding.fault is None else 'FAULT'}  {finding.name}: {finding.says}")
    if finding.change is not None:
        say(f"       to do: {finding.change}")
