"""Unbiased estimates of a bound on data, per sample, from a few noise levels.

A bound is a prior, a decoder, and an integral over noise levels between them: over a chain's steps or continuous time.
Its range is divided into K strata, equal in the information I below. Every sample is evaluated at one uniform place in
each stratum, so

    E[Σ_k width_k · rate(place_k)] = ∫ rate dI

for any K. With as many strata as a chain has steps, each step is evaluated once and t is not random.

Sample i's noise in stratum k is `normal(seed, [i], k, Purpose.EVALUATION, …)`, so its value does not depend on the
other samples. The network runs in the samples' type on their device; its output is scored in float64 on the CPU.

The strata are equal in the information that x_t carries about the data. For Gaussian data of variance s², x_t carries

    I(t) = ½ log(1 + s² SNR(t))

nats about each element of x_0 (Shannon 1948). This is also the bound's integrand: with the mean squared error
s²/(1 + s² SNR) of the exact denoiser, ½ error dSNR = dI (Guo, Shamai & Verdú 2005). So for Gaussian data all strata
contribute alike, which minimises the variance; for other data the mean is still unbiased. With strata equal in t,
nearly all of a variance preserving bound would lie in the first thousandth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

import torch
from torch import Tensor

from sumi.boundary.group import group
from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level
from sumi.randomness import Purpose, generator, normal


@dataclass(frozen=True)
class Strata:
    """Strata, float64 on the CPU: I at their edges, falling, and the times there, rising, (K + 1,) each.

    ``lengths`` (K,): each stratum's number of steps of a chain, or length in continuous time.
    """

    information: Tensor
    times: Tensor
    lengths: Tensor


def information(t: NoiseLevel, data_std: float) -> Tensor:
    """I of each element at a level where sigma > 0, in nats: float64, the level's shape, without gradients."""
    log_snr = torch.as_tensor(t.log_snr, dtype=torch.float64).detach()
    return torch.log1p(data_std**2 * log_snr.exp()) / 2


def informed_time(schedule: Schedule, nats: Tensor, data_std: float) -> Tensor:
    """The times at which I is ``nats`` ≥ 0: float64, its shape."""
    return schedule.time(((2 * nats).expm1() / data_std**2).log())


_PLACE: Final = 2  # the draw number of a sample's place in its stratum


class Bound(Protocol):
    """What `VariationalBound` and `ContinuousBound` have in common: three terms in nats, (N,) each."""

    @property
    def schedule(self) -> Schedule: ...

    def prior(self, x_0: Tensor, /) -> Tensor: ...

    def decoder(self, denoiser: Denoiser, x_0: Tensor, noise: Tensor, /) -> Tensor: ...

    def strata(self, count: int, data_std: float, /) -> Strata:
        """At most ``count`` strata between the decoder and the prior."""
        ...

    def rate(self, denoiser: Denoiser, x_0: Tensor, place: Tensor, noise: Tensor, data_std: float, /) -> Tensor:
        """One sample of the bound's density in I (nats per nat), at I = ``place`` (N,)."""
        ...


@dataclass(frozen=True)
class BoundEstimate:
    """Nats of M samples, float64 (M,) each, and their distribution over the K strata, float64 (K,) each.

    ``times`` (K + 1,): the strata's edges. ``rate``: mean nats per step of a chain or unit of continuous time;
    ``rate_error``: its standard error over the samples (nan for one sample). ``lengths``: steps or time of each
    stratum, so ``(lengths * rate).sum()`` is the mean of ``between``.
    """

    prior: Tensor
    between: Tensor
    decoder: Tensor
    times: Tensor
    lengths: Tensor
    rate: Tensor
    rate_error: Tensor

    @property
    def total(self) -> Tensor:
        """The bound of each sample, (M,)."""
        return self.prior + self.between + self.decoder

    @property
    def centres(self) -> Tensor:
        """The middle of each stratum in t, (K,)."""
        return (self.times[:-1] + self.times[1:]) / 2


@torch.inference_mode()
def estimate_bound(
    denoiser: Denoiser,
    bound: Bound,
    x_0: Tensor,
    *,
    seed: int,
    evaluations: int,
    batch_size: int = 64,
    data_std: float = 0.5,
    indices: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BoundEstimate:
    """The ``bound`` of each of ``x_0`` (M, …), from ``evaluations`` noise levels per sample between decoder and prior.

    A chain's decoder takes one more evaluation. ``data_std`` > 0: s of I; it moves the strata but not the mean.
    ``indices``: the samples' indices for their noise, if not 0 … M - 1. ``progress(done, total)`` counts evaluations of
    samples. Processes of a group share the samples. Raises InputError for no samples, no evaluations, or a ``data_std``
    that is not positive.
    """
    if not len(x_0):
        raise InputError("data: there is no sample to evaluate; give 1 or more")
    if evaluations < 1:
        raise InputError(f"evaluations: {evaluations} is too few; give 1 or more for each sample")
    if not data_std > 0:
        raise InputError(f"data_std: {data_std} is not positive; images between -1 and 1 have about 0.5")
    own = range(len(x_0)) if indices is None else indices
    strata, precise = bound.strata(evaluations, data_std), _InFloat64(denoiser, x_0)
    count, levels = len(x_0), len(strata.lengths)

    def terms(part: range) -> Tensor:
        """Prior, decoder and the pieces between of these samples: float64 (n, 2 + K)."""
        rows: list[Tensor] = []
        for begin in range(part.start, part.stop, batch_size):
            chosen = slice(begin, min(begin + batch_size, part.stop))
            batch, ids = x_0[chosen].to("cpu", torch.float64), own[chosen]

            def noise(k: int, ids: Sequence[int] = ids) -> Tensor:
                return normal(seed, ids, k, Purpose.EVALUATION, x_0.shape[1:], dtype=x_0.dtype).double()

            nats = [bound.prior(batch), bound.decoder(precise, batch, noise(levels))]
            for k, (high, low) in enumerate(pairwise(strata.information.tolist())):
                place = high + (low - high) * _uniform(seed, ids, k)
                nats.append((high - low) * bound.rate(precise, batch, place, noise(k), data_std))
                if progress is not None:
                    progress(begin * levels + (k + 1) * len(batch), count * levels)
            rows.append(torch.stack(nats, dim=1))
        return torch.cat(rows)

    table = group().shared(terms, range(count), batch_size)
    prior, decoder, pieces = table[:, 0], table[:, 1], table[:, 2:]
    mean = pieces.mean(0)
    error = ((pieces - mean).square().sum(0) / (count - 1) / count).sqrt()
    lengths = strata.lengths
    return BoundEstimate(prior, pieces.sum(1), decoder, strata.times, lengths, mean / lengths, error / lengths)


def _uniform(seed: int, indices: Sequence[int], k: int) -> Tensor:
    return torch.tensor(
        [generator(seed, i, k, Purpose.EVALUATION, _PLACE).random() for i in indices], dtype=torch.float64
    )


@dataclass(frozen=True)
class _InFloat64:
    """A denoiser that runs in the type and on the device of ``like``, with inputs and outputs in float64 on the CPU."""

    denoiser: Denoiser
    like: Tensor

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        now = noise_level(self.schedule, t)
        prediction = self.denoiser(x_t.to(self.like), now)
        match prediction.clean_variance:
            case Tensor() as varied:
                variance = varied.to(x_t)
            case variance:
                pass
        return Denoised(prediction.clean.to(x_t), x_t, expand(now.alpha, x_t), expand(now.sigma, x_t), variance)
