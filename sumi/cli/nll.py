"""``sumi nll RUN``."""

import argparse

from sumi.cli.terminal import counting_of, say
from sumi.kinds import load
from sumi.model import DiffusionModel
from sumi.nll import likelihood


def run(options: argparse.Namespace) -> None:
    model = load(options.run, DiffusionModel, checkpoint=options.checkpoint, device=options.device)
    with counting_of() as progress:
        found, drawn = likelihood(
            model,
            data=options.data,
            n=options.n,
            seed=options.seed,
            evaluations=options.evaluations,
            variance=options.variance,
            ode=not options.no_ode,
            dequantization=options.dequantize,
            draws=options.draws,
            probes=options.probes,
            progress=progress,
        )
    say(f"-log p of {found.items} held-out items in {found.unit} ({found.about}), ± standard error")
    if found.note:
        say(f"note: {found.note}")
    bound = found.bound
    say(f"by the bound   {bound.total}   {bound.how}")
    for name, term in (("prior", bound.prior), ("between", bound.between), ("decoder", bound.decoder)):
        say(f"  {name:12} {term}")
    if found.by_ode is not None:
        ode = found.by_ode
        say(f"by the ODE     {ode.total}   {ode.how}, {ode.evaluations:.0f} evaluations an item")
    say(f"{drawn.path}: {drawn.says}")
