"""How much detail of each size there is: the power spectrum, averaged over directions, against that of real images.

    P(f) = |X(f)|²/(H W),   X = Σ x exp(-2πi f·r) over the pixels r of an image in [-1, 1]

at the frequencies f = (i/H, j/W), in cycles per pixel, averaged over channels and over the frequencies of one *ring*:
those whose length is nearest to k/max(H, W). Ring 0 holds f = 0 alone, the last one the corners, |f| = √½. So white
noise of variance s² has P = s² in every ring, a sine of amplitude A carries A² H W/4 at each of its two frequencies,
and nothing is lost: Σ over all frequencies of P/(H W) is the mean square of the pixels. Blurred samples lack power in
the outer rings, noisy ones have too much (Durall, Keuper and Keuper 2020, take the same average). Images are not
periodic: their opposite edges make a cross of power in real images and samples alike, and no window is applied.

Images are independent, and power is positive and skewed: the interval of a ring's mean is ``intervals.positive_mean``.
It holds from some hundred images on. Where a few images have most of the power, ``heavy_tailed`` says that it may not.

Two figures compare samples with real images. ``detail`` is the ratio of their power above a frequency, 1 where they are
alike. ``log_distance`` is the mean over the rings but the first of the squared difference of log P. It is the squared
length of a vector Δ, and its estimate Δ̂ has a covariance S that the images give, so

    ‖Δ̂‖² - tr S has no bias,   Var = 2 tr S² + 4 ΔᵀSΔ                                             (to first order in S)

the form that ``intervals`` turns into an interval.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.features.network import FEWEST, check_images
from sumi.metrics.intervals import Estimate, heavy_tailed, positive_mean, ratio, squared_distance

BLOCK = 2**22  # pixels transformed at once
FINE = 0.25  # cycles per pixel: waves of four pixels and shorter


@dataclass(frozen=True)
class Spectrum:
    """The mean ``power`` of each ring, at its ``frequency`` in cycles per pixel, over ``images`` images."""

    frequency: tuple[float, ...]
    power: tuple[Estimate, ...]
    images: int


@dataclass(frozen=True)
class SpectralDistance:
    """Samples against real images.

    ``detail``: power at and above the frequency ``above``, samples/real. ``log_distance``: the mean squared difference
    of the rings' log powers, bias taken off; None where a ring has no power at all in one of the two sets.
    ``heavy_tailed``: whether a few images have so much of the power that the intervals hold less often than stated.
    """

    above: float
    detail: Estimate
    log_distance: Estimate | None
    samples: int
    real: int
    heavy_tailed: bool = False


def frequencies(height: int, width: int) -> Tensor:
    """|f| in cycles per pixel: float64 (H, W)."""
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in (height, width))
    return (rows[:, None] ** 2 + columns**2).sqrt()


def powers(images: Tensor) -> Tensor:
    """P of each image, channels averaged: float64 (N, H, W)."""
    size = max(1, BLOCK // images[0].numel())
    blocks = (torch.fft.fft2(block.double().cpu()).abs().square().mean(1) for block in images.split(size))
    return torch.cat(list(blocks)) / (images.shape[2] * images.shape[3])


def _rings(powers: Tensor) -> Tensor:
    """The mean over each ring of powers (N, H, W): (N, rings)."""
    height, width = powers.shape[1:]
    ring = (frequencies(height, width) * max(height, width)).round().long().flatten()
    total = powers.new_zeros(len(powers), int(ring.max()) + 1).index_add_(1, ring, powers.flatten(1))
    return total / ring.bincount()


def spectrum(images: Tensor) -> Spectrum:
    """The radially averaged power spectrum of images (N, C, H, W) in [-1, 1], N ≥ 4.

    Raises InputError for other shapes and for fewer images.
    """
    _check(images)
    rings = _rings(powers(images))
    side = max(images.shape[2:])
    frequency = tuple(k / side for k in range(rings.shape[1]))
    return Spectrum(frequency, tuple(positive_mean(ring) for ring in rings.T), len(images))


def spectral_distance(samples: Tensor, real: Tensor, *, above: float = FINE) -> SpectralDistance:
    """The spectra of ``samples`` (m, C, H, W) and of ``real`` images (n, C, H, W), in [-1, 1], compared.

    ``above``: where fine detail begins, in cycles per pixel, in (0, √½]. Give samples rounded to the levels of the
    data, as they would be saved: rounding is power too. Raises InputError for images that do not fit together, for
    fewer than 4 of either kind, and where the real images have no detail.
    """
    _check(samples)
    _check(real)
    if samples.shape[1:] != real.shape[1:]:
        raise InputError(
            f"samples of shape {tuple(samples.shape[1:])}, real images of shape {tuple(real.shape[1:])}: "
            "give images of one size and kind"
        )
    fine = frequencies(*samples.shape[2:]) >= above - 1e-12
    if above <= 0 or not bool(fine.any()):
        raise InputError(
            f"above: {above:g} cycles per pixel; these images have frequencies above 0, up to 0.71 at most"
        )
    of_both = [powers(x) for x in (samples, real)]
    of_each = [p[:, fine].mean(1) for p in of_both]
    apart, heavy = _log_distance(*(_rings(p)[:, 1:] for p in of_both)), any(map(heavy_tailed, of_each))
    return SpectralDistance(above, relative_power(*of_each), apart, len(samples), len(real), heavy)


def fine_power(images: Tensor, *, above: float = FINE) -> Tensor:
    """The mean power at and above the frequency ``above`` of each image (N, C, H, W): float64 (N,)."""
    return powers(images)[:, frequencies(*images.shape[2:]) >= above - 1e-12].mean(1)


def relative_power(samples: Tensor, real: Tensor) -> Estimate:
    """The mean of ``samples`` (m,) over that of ``real`` images (n,): powers, so positive numbers."""
    return ratio(positive_mean(samples), positive_mean(real))


def _log_distance(a: Tensor, b: Tensor) -> Estimate | None:
    """From the powers of rings (m, R) and (n, R)."""
    if not bool((a.mean(0) > 0).all() and (b.mean(0) > 0).all()):
        return None
    # log of a mean varies like the values over their mean, divided by their number
    covariance = sum((torch.cov((x / x.mean(0)).T) / len(x) for x in (a, b)), a.new_zeros(()))
    apart = a.mean(0).log() - b.mean(0).log()
    rings = len(apart)
    biased = float(apart.square().sum())
    slope = float(4 * apart @ covariance @ apart) / biased if biased > 0 else 0.0
    value, at_zero = biased - float(covariance.trace()), 2 * float(covariance.square().sum())
    return squared_distance(value / rings, at_zero / rings**2, slope / rings)


def _check(images: Tensor) -> None:
    check_images(images)
    if len(images) < FEWEST:
        raise InputError(f"{len(images)} images are too few to measure a spectrum: give at least {FEWEST}")
