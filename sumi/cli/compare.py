"""``sumi compare RUN``."""

from __future__ import annotations

import argparse
from math import isnan
from typing import TYPE_CHECKING

from rich.table import Table

from sumi.boundary.files import typed
from sumi.cli.options import add_checkpoint, add_run, add_seed
from sumi.cli.terminal import cell, counting, counting_of, say, show
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.evaluation.solvers import Comparison
    from sumi.models.diffusion.model import DiffusionModel


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--solvers",
        metavar="A,B,…",
        help="or SOLVER@GRID (default: adams and six known ones; of a student its own and its teacher)",
    )
    parser.add_argument("--steps", metavar="K,L,…", help="numbers of network evaluations (default: 5,10,20,50)")
    parser.add_argument("-n", type=int, default=64, metavar="N", help="images of each (default: 64)")
    parser.add_argument(
        "--frechet", action="store_true", help="also the Fréchet distance to held-out images (needs the run's data)"
    )
    parser.add_argument(
        "--tune", type=int, metavar="K", help="fit a grid and coefficients for K steps, which `sample` then uses"
    )
    parser.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="compare methods of guidance instead, at this effective scale and --steps evaluations (needs the data)",
    )
    parser.add_argument("--worse", metavar="RUN", help="with --guidance: also away from this worse run (autoguidance)")
    add_seed(parser)
    add_checkpoint(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.evaluation.solvers import DEFAULT_SOLVERS, compare, write_comparison
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load
    from sumi.training.run_folder import RunFolder

    model = load(options.run, DiffusionModel, checkpoint=options.checkpoint, device=options.device)
    evaluations = _numbers(options.steps) if options.steps else None
    if options.guidance is not None:
        _guidance(model, options, evaluations)
        return
    if options.worse is not None:
        raise InputError("worse: guides, and solvers are compared; add --guidance 2")
    solvers = None if options.solvers is None else tuple(filter(None, options.solvers.split(",")))
    if solvers == ():
        raise InputError(f"solvers: {options.solvers} names none; write such as adams,ddim")
    if options.tune is not None:
        evaluations = evaluations or (options.tune,)
        if _tune(model, options.tune, options.checkpoint):
            solvers = ("tuned", *(DEFAULT_SOLVERS if solvers is None else solvers))
    with counting_of() as progress:
        comparison = compare(
            model,
            solvers,
            evaluations or (5, 10, 20, 50),
            n=options.n,
            frechet=options.frechet,
            seed=options.seed,
            progress=progress,
        )
    _show(comparison)
    if options.tune is None:
        for file in write_comparison(comparison, RunFolder(options.run).compare):
            say(f"wrote {file}")


def _guidance(model: DiffusionModel, options: argparse.Namespace, evaluations: tuple[int, ...] | None) -> None:
    """Methods of guidance side by side."""
    from sumi.evaluation.guidance_methods import compare_guidance, write_guidance
    from sumi.training.run_folder import RunFolder

    for name in ("solvers", "tune"):
        if getattr(options, name) is not None:
            raise InputError(f"{name}: is of solvers, and methods of guidance are compared; leave it out")
    if evaluations is not None and len(evaluations) > 1:
        raise InputError("steps: methods of guidance are compared at one number of evaluations; give one")
    with counting_of() as progress:
        found = compare_guidance(
            model,
            options.guidance,
            *(evaluations or ()),
            n=options.n,
            worse=options.worse,
            seed=options.seed,
            progress=progress,
        )
    table = Table("method", "scale", "effective", "steps", box=None, pad_edge=False)
    table.add_column("Fréchet distance")
    table.add_column("right class")
    table.add_column("against cfg")
    for row in found.rows:
        away, right = row.frechet, row.accuracy
        table.add_row(
            row.method,
            f"{row.scale:.2f}",
            f"{row.effective:.2f}",
            str(row.steps),
            f"{away.value:.2f} [{away.low:.2f}, {away.high:.2f}]",
            "" if right is None else f"{right.value:.0%} [{right.low:.0%}, {right.high:.0%}]",
            row.verdict or "",
        )
    show(table)
    most = max(row.evaluations for row in found.rows)
    say(f"{found.images} images of each, of at most {most} evaluations; distances to {found.held_out} held-out images")
    say(f"wrote {write_guidance(found, RunFolder(options.run).compare)}")


def _tune(model: DiffusionModel, steps: int, checkpoint: int | None) -> bool:
    """Tune, say what it brought, and whether it is kept."""
    from sumi.models.diffusion.tuning import tune

    with counting("tuning") as progress:
        tuning = tune(model, steps, progress=progress)
    say(
        f"{steps} steps: median distance to the ODE's end {tuning.before:.2g} untuned, {tuning.after:.2g} tuned "
        "(on trajectories not fitted to)"
    )
    if tuning.file is None:
        say("others are as good; nothing is kept")
    else:
        older = f" --checkpoint {model.step}" if checkpoint is not None else ""
        say(f"wrote {tuning.file}; `sumi sample {typed(model.folder)} --steps {steps}{older}` uses it")
    return tuning.file is not None


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--steps {text}: is not a list of whole numbers; write such as 5,10,20") from None


def _show(comparison: Comparison) -> None:
    table = Table("solver", "evaluations", "distance to the ODE's end", "95th percentile", box=None, pad_edge=False)
    if comparison.held_out:
        table.add_column(f"Fréchet distance to {comparison.held_out} held-out images")
    table.add_column("ms an image", justify="right")
    for row in comparison.rows:
        cells = ["draws noise", ""] if isnan(row.median) else [f"{row.median:.2g}", f"{row.percentile_95:.2g}"]
        if row.frechet is not None:
            cells.append(f"{row.frechet.value:.3f} [{row.frechet.low:.3f}, {row.frechet.high:.3f}]")
        table.add_row(cell(row.solver), str(row.evaluations), *cells, f"{1000 * row.seconds:.1f}")
    show(table)
