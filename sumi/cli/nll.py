"""``sumi nll RUN``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sumi.cli.options import add_checkpoint, add_run, add_seed
from sumi.cli.terminal import counting_of, refuse, say
from sumi.errors import InputError

if TYPE_CHECKING:
    from sumi.models.baselines.model import BaselineModel
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.model import GenerativeModel
    from sumi.models.molecules.model import MoleculeModel
    from sumi.models.symbols.model import SymbolModel


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--data", metavar="PATH|NAME", help="data of the same type to measure (default: the run's own)")
    parser.add_argument("-n", type=int, default=256, metavar="N", help="held-out items (default: up to 256)")
    parser.add_argument(
        "--evaluations", type=int, metavar="K", help="noise levels for the bound of an item (default: 100)"
    )
    parser.add_argument(
        "--steps", type=int, metavar="K", help="of symbols: of the chain of K steps, in place of continuous time"
    )
    parser.add_argument(
        "--variance",
        choices=("small", "large", "learned", "measured"),
        help="of a chain's steps (default: learned where it is, else small)",
    )
    parser.add_argument("--no-ode", dest="ode", action="store_false", help="the bound alone")
    parser.add_argument(
        "--dequantize",
        dest="dequantization",
        choices=("uniform", "variational", "gaussian"),
        help="how pixels become points for the ODE (default: gaussian; uniform where data.dequantize was set)",
    )
    parser.add_argument(
        "--draws",
        type=int,
        metavar="K",
        help="dequantizations of each item (default: 1), or latents of a VAE (256)",
    )
    parser.add_argument(
        "--probes", type=int, metavar="K", help="random probes of the ODE's trace, for each item (default: 1)"
    )
    add_seed(parser)
    add_checkpoint(parser)


def run(options: argparse.Namespace) -> None:
    from sumi.boundary.group import joined
    from sumi.models.model import GenerativeModel
    from sumi.models.run import load

    with joined() as group:
        model = load(options.run, GenerativeModel, checkpoint=options.checkpoint, device=options.device)
        lines = _lines(model, options)
        if group.first:
            for line in lines:
                say(line)


def _lines(model: GenerativeModel[Any], options: argparse.Namespace) -> list[str]:
    """What is found, for the terminal. Raises InputError."""
    from sumi.models.baselines.model import BaselineModel
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.diffusion.space import LatentSpace
    from sumi.models.molecules.model import MoleculeModel
    from sumi.models.symbols.model import SymbolModel

    match model:
        case BaselineModel():
            return _of_baseline(model, options)
        case SymbolModel():
            return _of_symbols(model, options)
        case MoleculeModel():
            return _of_molecules(model, options)
        case DiffusionModel(space=LatentSpace()):
            return _of_latents(model, options)
        case DiffusionModel():
            return _of_diffusion(model, options)
        case _:
            raise InputError(f"{model.folder}: a run of {model.config.recipe} has no likelihood; choose another")


def _of_baseline(model: BaselineModel, options: argparse.Namespace) -> list[str]:
    from sumi.models.baselines.likelihood import likelihood_of_baseline

    refuse(model, options, "variance", "dequantization", "probes", "evaluations", "steps", ode=True)
    with counting_of() as progress:
        found = likelihood_of_baseline(
            model, data=options.data, n=options.n, seed=options.seed, draws=options.draws, progress=progress
        )
    first = f"-log p of {found.items} held-out items in {found.unit} ({found.about}), ± standard error"
    return [first, *(f"{name:24} {figure}" for name, figure in found.figures)]


def _of_symbols(model: SymbolModel, options: argparse.Namespace) -> list[str]:
    from sumi.models.symbols.likelihood import likelihood_of_symbols

    refuse(model, options, "variance", "dequantization", "draws", "probes", ode=True)
    if options.steps is not None and options.evaluations is not None:
        raise InputError("evaluations: each of --steps has one of its own; leave one of them out")
    with counting_of() as progress:
        found = likelihood_of_symbols(
            model,
            data=options.data,
            n=options.n,
            seed=options.seed,
            evaluations=options.evaluations or 100,
            steps=options.steps,
            progress=progress,
        )
    bound = f"the bound, at {found.evaluations} times each"
    if options.steps is not None:
        bound = f"the bound of the chain of {found.evaluations} steps"
    figures = ((found.by_item, "bits/sequence"), (found.by_character, "bits/character"))
    return [
        f"-log p of {found.items} held-out items by {bound}",
        *(f"{figure.value:10.4f} [{figure.low:.4f}, {figure.high:.4f}] {unit}" for figure, unit in figures),
        f"an item has {found.characters:.2f} characters on average; its length is part of what is counted",
    ]


def _of_molecules(model: MoleculeModel, options: argparse.Namespace) -> list[str]:
    from sumi.models.molecules.likelihood import likelihood_of_molecules

    refuse(model, options, "variance", "dequantization", "draws", "probes", "evaluations", "steps", ode=True)
    with counting_of() as progress:
        count, found = likelihood_of_molecules(model, data=options.data, n=options.n, progress=progress)
    return [
        f"-log p of {count} held-out molecules by the ODE, in the model's units, given their sizes",
        f"{found.value:10.4f} [{found.low:.4f}, {found.high:.4f}] nats/molecule",
    ]


def _of_latents(model: DiffusionModel, options: argparse.Namespace) -> list[str]:
    from sumi.models.diffusion.latent_bound import latent_bound

    refuse(model, options, "variance", "dequantization", "draws", "probes", "evaluations", "steps", ode=True)
    with counting_of() as progress:
        found = latent_bound(model, data=options.data, n=options.n, seed=options.seed, progress=progress)
    return [
        f"-log p of {found.items} held-out images in bits/dim ({found.about}), ± standard error: at most",
        f"{found.total}   by encoder, ODE and decoder; a bound, which need not be near",
        f"  {'decoder':12} {found.decoder}   with Laplace noise of scale {found.scale:.4f}",
        f"  {'latents':12} {found.latents}",
    ]


def _of_diffusion(model: DiffusionModel, options: argparse.Namespace) -> list[str]:
    from sumi.models.diffusion.likelihood import likelihood

    refuse(model, options, "steps")
    with counting_of() as progress:
        found, saved = likelihood(
            model,
            data=options.data,
            n=options.n,
            seed=options.seed,
            evaluations=100 if options.evaluations is None else options.evaluations,
            variance=options.variance,
            ode=options.ode,
            dequantization=options.dequantization,
            draws=options.draws,
            probes=options.probes,
            progress=progress,
        )
    bound = found.bound
    terms = (("prior", bound.prior), ("between", bound.between), ("decoder", bound.decoder))
    lines = [
        f"-log p of {found.items} held-out items in {found.unit} ({found.about}), ± standard error",
        *([f"note: {found.note}"] if found.note else []),
        f"by the bound   {bound.total}   {bound.how}",
        f"  {'95 %':12} {bound.total.interval}, over items",
        *(f"  {name:12} {term}" for name, term in terms),
    ]
    if found.by_ode is not None:
        ode = found.by_ode
        lines.append(f"by the ODE     {ode.total}   {ode.how}, {ode.evaluations:.0f} evaluations an item")
        lines.append(f"  {'95 %':12} {ode.total.interval}, over items and their probes")
        if ode.probe_error is not None:
            lines.append(f"  {'probes':12} ± {ode.probe_error:.4f} of that (95 %), {ode.probes} for each item")
        elif ode.probes:
            lines.append(f"  {'probes':12} 1 for each item: their part shows with --probes 2")
    return [*lines, f"{saved.path}: {saved.says}"]
