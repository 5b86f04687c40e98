"""``sumi mend RUN --out NEW``."""

import argparse

from rich.table import Table

from sumi.cli.options import add_device, add_run
from sumi.cli.terminal import cell, counting_of, say, show


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--out", required=True, metavar="NEW", help="run folder to write; RUN stays as it is")
    parser.add_argument(
        "--data", metavar="PATH|NAME", help="what it was trained on (default: the run's own data, else its own samples)"
    )
    parser.add_argument("-n", type=int, default=64, metavar="N", help="items to try it on (default: 64)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--tune", type=int, metavar="K", help="also fit a grid and coefficients for K steps")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.check.audit.mend import mend, rows_of
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load

    model = load(options.run, DiffusionModel, checkpoint=options.checkpoint, device=options.device)
    with counting_of() as count:
        mended = mend(
            model,
            options.out,
            data=options.data,
            n=options.n,
            seed=options.seed,
            tuned=() if options.tune is None else (options.tune,),
            progress=count,
        )
    for words in mended.done:
        say(f"mended  {words}")
    for words in mended.left:
        say(f"left    {words}")
    table = Table("", "before", "after", box=None)
    for row in rows_of(mended.before, mended.after):
        table.add_row(*map(cell, row))
    show(table)
    say(f"wrote {options.out}; {options.run} is as it was")
