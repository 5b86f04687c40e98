"""How probable a model holds data: by its variational bound and by its probability-flow ODE
(`sumi.models.diffusion.ode_likelihood`).

A probability is given as bits per dimension of the original discrete data, whose bins are stated. Points of a continuum
have a density instead, given as nats per dimension in the data's own units; it may be negative. Every figure is a mean
over held-out items with its standard error, which covers the noise, times and probes that were drawn for them.

A network that knows only the times of its chain has the chain's bound, any other the one of continuous time. The ODE
gives a density; discrete data are dequantised for it, so that its figure is a bound as well.
"""

from __future__ import annotations

from math import log, prod
from typing import TYPE_CHECKING, Final, Literal, get_args

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, torch_defaults, whole
from sumi.boundary.config import nearest
from sumi.boundary.group import group
from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import evenly, evenly_spaced
from sumi.data.items import Items
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.figures.canvas import SavedFigure
from sumi.likelihood.binomial import binomial_bound
from sumi.likelihood.continuous import ContinuousBound
from sumi.likelihood.estimate import BoundEstimate, estimate_bound
from sumi.likelihood.figures import BoundFigures, Likelihood, draw_bound
from sumi.likelihood.fitted_variance import measure_variance
from sumi.likelihood.variational import VARIANCES, VariationalBound, even_times
from sumi.models.diffusion.ode_likelihood import BATCH, Dequantization, first_time, ode_likelihood
from sumi.randomness import SampleNoise
from sumi.sampling.time_grid import log_snr, snap
from sumi.training.run_folder import RunFolder

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel

Variance = Literal["small", "large", "learned", "measured"]
KNOWN: Final = 4096
"""At most so many training items are looked at, where something is fitted to them."""
MEASURED_ON: Final = 256
MEASURED_AT: Final = 100
"""At most so many of a chain's times have their variance measured: evenly spaced in log-SNR."""


@torch_defaults()
def likelihood(
    model: DiffusionModel,
    *,
    data: str | None = None,
    n: int = 256,
    seed: int = 0,
    evaluations: int = 100,
    variance: Variance | None = None,
    ode: bool = True,
    dequantization: Dequantization | None = None,
    draws: int | None = None,
    probes: int | None = None,
    progress: Count | None = None,
) -> tuple[Likelihood, SavedFigure]:
    """The likelihood of up to ``n`` held-out items of ``data`` (the run's own), and a plot of the bound by noise level.

    Both are written to ``nll/`` in the run folder. ``evaluations``: noise levels for the bound of an item; as many as
    the chain has steps evaluate each once. ``variance`` of a chain's steps: the learned one where there is one, else
    small. ``dequantization``, ``draws`` and ``probes`` (1 each): see `OdeLikelihood`; ``ode`` False leaves it all out.
    ``progress(what, done, total)``. Raises InputError.
    """
    model.space.refuse("the likelihood")
    model.require_mean("likelihood: it")
    _check(n, seed, evaluations, draws, probes, dequantization, variance)
    of_ode = any(option is not None for option in (dequantization, draws, probes))
    match model.network_denoiser:
        case BinomialDenoiser() if variance is not None or of_ode:
            raise InputError("variance, dequantization, draws, probes: do not apply to bits; leave them out")
        case BinomialDenoiser() if not ode:
            raise InputError("ode: bits have none to leave out; leave this out")
        case BinomialDenoiser():
            ode = False
        case _ if not ode and of_ode:
            raise InputError("dequantization, draws, probes: are for the ODE, which is left out; leave them out too")
        case _:
            pass
    if model.network_denoiser.trained_steps == 1:
        raise InputError(f"{model.folder}: is a chain of one step, nothing between prior and decoder; train a longer")
    dataset = model.load_data(data)
    changed = data is None and dataset.fingerprint() != model.description.data_fingerprint
    train, held_out = dataset.split(model.config.data.held_out)
    if len(held_out) < 2:
        raise InputError("data.held_out: keeps a single item, too few for a standard error; give more data")
    x_0 = evenly_spaced(held_out, n).to(model.device)
    known = evenly_spaced(train, KNOWN).to(model.device)
    unit = model.items.unit
    walk = (
        ode_likelihood(
            model, known, dequantization=dequantization, seed=seed, draws=draws, probes=probes, progress=progress
        )
        if ode
        else None
    )
    estimate, how = _estimate_bound(model, x_0, known, variance, seed, evaluations, progress)
    by_ode = None if walk is None else walk.figures(x_0, unit, counting_one(progress, "the ODE"))
    figures = BoundFigures.of(estimate, unit, how)
    source = model.config.data.source if data is None else data
    note = "the data has changed since training: held-out items may have been trained on" if changed else ""
    found = Likelihood(unit.name, unit.about, source, note, len(x_0), seed, model.step, figures, by_ode)
    folder = RunFolder(model.folder).nll
    steps = model.network_denoiser.trained_steps is not None
    with group().in_turn():
        found.write(folder)
        return found, draw_bound(estimate, figures, unit, folder / "bound.png", steps=steps)


def bits_per_dim(
    model: DiffusionModel,
    images: Items,
    *,
    method: Literal["bound", "ode"] = "bound",
    seed: int = 0,
    evaluations: int = 100,
    progress: Count | None = None,
) -> Tensor:
    """-log₂ p of each of ``images`` (N, …) for each of its dimensions: float64 (N,), on the CPU.

    They are in the model's range, and rounded to the levels of its data first. ``method``: "bound" of
    ``evaluations`` noise levels an item, or "ode", the density by the probability-flow ODE, which for discrete data is
    a bound as well (module docstring). Of points it is a density in the data's own units, and may be negative. Raises
    InputError for items of another shape, an unknown method, and for "ode" of bits.
    """
    model.space.refuse("the likelihood")
    model.require_mean("likelihood: it")
    _check(2, seed, evaluations)
    shape, unit = model.items.shape, model.items.unit
    x = model.read("images", images)
    if tuple(x.shape[1:]) != shape or not len(x):
        raise InputError(f"images: are of shape {tuple(x.shape)}; the model takes (N, {', '.join(map(str, shape))})")
    if method not in ("bound", "ode"):
        raise InputError(f"method: there is no {method!r}; choose bound or ode")
    x_0 = model.items.finish(x).to(model.device)
    if method == "ode":
        nats = ode_likelihood(model, x_0, seed=seed).estimate(x_0, counting_one(progress, "the ODE")).nats
    else:
        nats = _estimate_bound(model, x_0, x_0, None, seed, evaluations, progress)[0].total
    return unit.of_nats(nats).cpu() * unit.per_item / (prod(shape) * log(2))


def _check(
    n: int,
    seed: int,
    evaluations: int,
    draws: int | None = None,
    probes: int | None = None,
    dequantization: str | None = None,
    variance: str | None = None,
) -> None:
    """Raises InputError, before anything takes time."""
    if whole("n", n) < 2:
        raise InputError(f"n: {n} items are too few for a standard error; give 2 or more")
    whole("seed", seed)
    for name, value, known in (
        ("dequantization", dequantization, get_args(Dequantization)),
        ("variance", variance, get_args(Variance)),
    ):
        if value is not None and value not in known:
            raise InputError(f"{name}: there is no {value!r}; {nearest(str(value), known)}")
    for name, value in (("evaluations", evaluations), ("draws", draws), ("probes", probes)):
        if value is not None:
            whole(name, value, least=1, most=MOST_COUNT)


def _estimate_bound(
    model: DiffusionModel,
    x_0: Tensor,
    known: Tensor,
    variance: Variance | None,
    seed: int,
    evaluations: int,
    progress: Count | None,
) -> tuple[BoundEstimate, str]:
    """The bound on items x_0 (M, …) of a model of bits or of any other, and what it is in words."""
    match model.network_denoiser:
        case BinomialDenoiser() as of_bits:
            return _of_bits(model, of_bits, x_0, seed, evaluations)
        case network:
            bound, denoiser, how = _bound(model, network, variance, known, seed, progress)
    counted, std = counting_one(progress, "the bound"), model.description.data_std
    estimate = estimate_bound(denoiser, bound, x_0, seed=seed, evaluations=evaluations, data_std=std, progress=counted)
    return estimate, how


def _bound(
    model: DiffusionModel,
    network: NetworkDenoiser,
    variance: Variance | None,
    known: Tensor,
    seed: int,
    progress: Count | None,
) -> tuple[VariationalBound | ContinuousBound, Denoiser, str]:
    """The model's bound, the denoiser that it is of, and what it is in words."""
    schedule, levels, denoiser = network.schedule, model.items.levels, model.denoiser()
    if network.trained_steps is None:
        if variance is not None:
            raise InputError(
                f"variance: {variance} is for the steps of a chain, and this model has continuous time; leave it out"
            )
        start = first_time(network, levels)
        how = "continuous time" + (f" from t = {start:.2g}" if start else "")
        return ContinuousBound(schedule, start, levels, model.prior_std), denoiser, how
    variance = variance or ("learned" if network.learned_variance else "small")
    if variance == "learned" and not network.learned_variance:
        raise InputError("variance: this model has not learned one; choose small, large or measured")
    if variance == "measured":
        times = snap(log_snr(schedule, min(network.trained_steps, MEASURED_AT)), network.trained_steps)[
            :-1
        ]  # the last is the data
        counted = counting_one(progress, "measuring the variance")
        some = known[torch.from_numpy(evenly(len(known), MEASURED_ON))]
        denoiser = measure_variance(denoiser, some, times, seed=seed, progress=counted)
    step = VARIANCES["learned" if variance == "measured" else variance]
    bound = VariationalBound(schedule, even_times(network.trained_steps), step, levels, model.prior_std)
    return bound, denoiser, f"chain of {network.trained_steps} steps, variance {variance}"


def _of_bits(
    model: DiffusionModel, denoiser: BinomialDenoiser, x_0: Tensor, seed: int, evaluations: int
) -> tuple[BoundEstimate, str]:
    """Every step of the chain for each sequence, as many draws of it as ``evaluations`` allow."""
    steps = denoiser.trained_steps or 1
    rows = []
    with torch.inference_mode():
        for first in range(0, len(x_0), BATCH):
            x = x_0[first : first + BATCH]
            noise = SampleNoise(seed, range(first, first + len(x)), model.items.shape, device=model.device)
            rows.append(binomial_bound(denoiser, x, steps, noise, draws=max(1, evaluations // steps)))
    prior, between, decoder = (
        torch.cat([getattr(row, name) for row in rows]).double().cpu() for name in ("prior", "steps", "decoder")
    )
    error = between.std(0) / len(x_0) ** 0.5
    times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    lengths = torch.ones(steps - 1, dtype=torch.float64)
    estimate = BoundEstimate(prior, between.sum(1), decoder, times, lengths, between.mean(0), error)
    return estimate, f"binomial chain of {steps} steps"
