"""How probable a model holds data: by its variational bound and by its probability-flow ODE, beside each other.

A probability is told as bits per dimension of the original discrete data, whose bins are stated. Points of a continuum
have a density instead, told as nats per dimension in the data's own units; it may be negative. Every figure is a mean
over held-out items with its standard error, which holds whatever was drawn for them too: noise, times, probes.

A network that knows only the times of its chain has the chain's bound, any other the one of continuous time. The ODE
gives a density; discrete data are dequantised for it, so that its figure is a bound as well.
"""

from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.explain.figure import Drawn
from sumi.likelihood.binomial import binomial_bound
from sumi.likelihood.continuous import ContinuousBound
from sumi.likelihood.estimate import BoundEstimate, estimate_bound
from sumi.likelihood.measured_variance import measure_variance
from sumi.likelihood.variational import VARIANCES, VariationalBound, even_times
from sumi.measured import Count, counting_one
from sumi.model import DiffusionModel
from sumi.nll_by_ode import BATCH, Dequantization, first_time, ode_likelihood
from sumi.nll_figures import BoundFigures, Likelihood, Unit, draw_bound
from sumi.process.noise import SampleNoise
from sumi.sampling.time_grid import log_snr, snap

Variance = Literal["small", "large", "learned", "measured"]
KNOWN: Final = 4096
"""At most so many training items are looked at, where something is fitted to them."""
MEASURED_ON: Final = 256
MEASURED_AT: Final = 100
"""At most so many of a chain's times have their variance measured: evenly spaced in log-SNR."""


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
    draws: int = 1,
    probes: int = 1,
    progress: Count | None = None,
) -> tuple[Likelihood, Drawn]:
    """The likelihood of up to ``n`` held-out items of ``data`` (the run's own), and a plot of the bound by noise level.

    Both are written to ``nll/`` in the run folder. ``evaluations``: noise levels for the bound of an item; as many as
    the chain has steps evaluate each once. ``variance`` of a chain's steps: the learned one where there is one, else
    small. ``dequantization``, ``draws`` and ``probes``: see `sumi.nll_by_ode`; ``ode`` False leaves it all out.
    ``progress(what, done, total)``. Raises InputError.
    """
    _check_numbers(n, seed, evaluations, draws, probes)
    of_ode = dequantization is not None or draws > 1 or probes > 1
    if isinstance(model.network_denoiser, BinomialDenoiser) and (variance is not None or of_ode):
        raise InputError("--variance, --dequantize, --draws, --probes: bits have none of them; leave them out")
    if not ode and of_ode:
        raise InputError("--no-ode: leaves out what --dequantize, --draws and --probes are for; leave these out too")
    if model.network_denoiser.grid == 1:
        raise InputError(f"{model.folder}: is a chain of one step, nothing between prior and decoder; train a longer")
    dataset = model.load_data(data)
    changed = data is None and dataset.fingerprint() != model.description.data_fingerprint
    train, held_out = dataset.split(model.config.data.held_out)
    if len(held_out) < 2:
        raise InputError("data.held_out: keeps a single item, too few for a standard error; give more data")
    x_0 = held_out.batch(_spread(len(held_out), n)).to(model.device)
    known = train.batch(_spread(len(train), KNOWN)).to(model.device)
    unit, by_ode = Unit.of(model.items), None
    if isinstance(model.network_denoiser, BinomialDenoiser):
        estimate, how = _of_bits(model, model.network_denoiser, x_0, seed, evaluations)
    else:
        bound, denoiser, how = _bound(model, model.network_denoiser, variance, known, seed, progress)
        walk = (
            ode_likelihood(
                model, known, dequantization=dequantization, seed=seed, draws=draws, probes=probes, progress=progress
            )
            if ode
            else None
        )
        estimate = estimate_bound(
            denoiser,
            bound,
            x_0,
            seed=seed,
            evaluations=evaluations,
            data_std=model.description.data_std,
            progress=counting_one(progress, "the bound"),
        )
        by_ode = None if walk is None else walk.figures(x_0, unit, counting_one(progress, "the ODE"))
    figures = BoundFigures.of(estimate, unit, how)
    source = model.config.data.source if data is None else data
    note = "the data has changed since training: held-out items may have been trained on" if changed else ""
    found = Likelihood(unit.name, unit.about, source, note, len(x_0), seed, model.step, figures, by_ode)
    folder = model.folder / "nll"
    found.write(folder)
    steps = model.network_denoiser.grid is not None
    return found, draw_bound(estimate, figures, unit, folder / "bound.png", steps=steps)


def _check_numbers(n: int, seed: int, evaluations: int, draws: int, probes: int) -> None:
    """Raises InputError, before anything takes time."""
    if n < 2:
        raise InputError(f"-n {n}: too few for a standard error; give 2 or more")
    if not 0 <= seed < 2**64:
        raise InputError(f"--seed {seed}: is not a whole number from 0 to 2^64 - 1")
    for name, value in (("evaluations", evaluations), ("draws", draws), ("probes", probes)):
        if value < 1:
            raise InputError(f"--{name} {value}: is too few; give 1 or more")


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` places of ``count``, all different, evenly spaced: data may lie in the order of classes."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


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
    if network.grid is None:
        if variance is not None:
            raise InputError(f"--variance {variance}: the steps of a chain have one, and time is continuous here")
        start = first_time(network, levels)
        how = "continuous time" + (f" from t = {start:.2g}" if start else "")
        return ContinuousBound(schedule, start, levels, model.prior_std), denoiser, how
    variance = variance or ("learned" if network.learned_variance else "small")
    if variance == "learned" and not network.learned_variance:
        raise InputError("--variance learned: this model has learned none; choose small, large or measured")
    if variance == "measured":
        times = snap(log_snr(schedule, min(network.grid, MEASURED_AT)), network.grid)[:-1]  # the last is the data
        counted = counting_one(progress, "measuring the variance")
        some = known[torch.from_numpy(_spread(len(known), MEASURED_ON))]
        denoiser = measure_variance(denoiser, some, times, seed=seed, progress=counted)
    step = VARIANCES["learned" if variance == "measured" else variance]
    bound = VariationalBound(schedule, even_times(network.grid), step, levels, model.prior_std)
    return bound, denoiser, f"chain of {network.grid} steps, variance {variance}"


def _of_bits(
    model: DiffusionModel, denoiser: BinomialDenoiser, x_0: Tensor, seed: int, evaluations: int
) -> tuple[BoundEstimate, str]:
    """Every step of the chain for each sequence, as many draws of it as ``evaluations`` allow."""
    steps = denoiser.grid or 1
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
