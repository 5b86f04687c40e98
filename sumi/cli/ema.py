"""``sumi ema RUN``."""

import argparse
from pathlib import Path

from rich.table import Table

from sumi.boundary.files import typed
from sumi.cli.options import add_device, add_run
from sumi.cli.terminal import counting, say, show


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--length",
        type=float,
        metavar="S",
        help="of the average, as a share of the training, such as 0.13: write a run with it (default: compare lengths "
        "by the loss on held-out data)",
    )
    parser.add_argument("--out", metavar="RUN", help="folder of the new run (default: RUN-ema-S)")
    parser.add_argument("--data", metavar="PATH|NAME", help="where the run's data are now (default: as before)")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.evaluation.averages import averaged, losses_by_length
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load

    if options.length is not None:
        model, averages = averaged(options.run, options.length, checkpoint=options.checkpoint, device=options.device)
        out = options.out or f"{Path(options.run)}-ema-{options.length:g}"
        model.save(out)
        say(
            f"wrote {out}: the average of length {options.length:g} at step {model.step}, of {len(averages.sources)} "
            f"snapshots, whose profile differs from it by {averages.distances[options.length]:.2%}"
        )
        return
    model = load(options.run, DiffusionModel, checkpoint=options.checkpoint, device=options.device)
    held_out = model.load_data(options.data).split(model.config.data.held_out)[1]
    with counting("comparing lengths") as progress:
        found = losses_by_length(model, held_out, progress=progress)
    table = Table("length", "loss on held-out data", "95 % interval", "profile differs by", box=None, pad_edge=False)
    best = min(found, key=lambda row: row.loss.value)
    for row in found:
        mark = " best" if row is best else ""
        loss = row.loss
        table.add_row(
            f"{row.length:g}{mark}", f"{loss.value:.5f}", f"{loss.low:.5f} to {loss.high:.5f}", f"{row.distance:.2%}"
        )
    show(table)
    say(f"sumi ema {typed(options.run)} --length {best.length:g} writes a run with it")
