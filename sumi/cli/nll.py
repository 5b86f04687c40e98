"""``sumi nll RUN``."""

import argparse

from sumi.cli.terminal import counting_of, refuse, say
from sumi.models.baselines.likelihood import likelihood_of_baseline
from sumi.models.baselines.model import BaselineModel
from sumi.models.diffusion.likelihood import likelihood
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import GenerativeModel
from sumi.models.run import load


def run(options: argparse.Namespace) -> None:
    model = load(options.run, GenerativeModel, checkpoint=options.checkpoint, device=options.device)
    if isinstance(model, BaselineModel):
        _of_baseline(model, options)
    elif isinstance(model, DiffusionModel):
        _of_diffusion(model, options)


def _of_baseline(model: BaselineModel, options: argparse.Namespace) -> None:
    refuse(model, options, "variance", "dequantize", "no_ode", probes=1, evaluations=100)
    with counting_of() as progress:
        found = likelihood_of_baseline(
            model, data=options.data, n=options.n, seed=options.seed, draws=options.draws, progress=progress
        )
    say(f"-log p of {found.items} held-out items in {found.unit} ({found.about}), ± standard error")
    for name, figure in found.figures:
        say(f"{name:24} {figure}")


def _of_diffusion(model: DiffusionModel, options: argparse.Namespace) -> None:
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
            draws=1 if options.draws is None else options.draws,
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
