"""Guidance through x̂_0: of a Gaussian, where the guided mean is known, and against finite differences."""

import torch
from torch import Tensor

from sumi.denoising.exact import gaussian_denoiser, mixture_denoiser
from sumi.guidance.clip import clip_guided, of_clean
from sumi.guidance.extrapolation import ALWAYS, Interval
from sumi.process.continuous import VP
from sumi.process.schedule import noise_level

GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(6, 3, generator=GENERATOR, dtype=torch.float64)
SLOPE = torch.randn(6, 3, generator=GENERATOR, dtype=torch.float64)
STD = 0.7
SCHEDULE = VP().build()


def linear(x_0: Tensor) -> Tensor:
    """Of another slope for each sample."""
    return (x_0 * SLOPE).sum(1)


def test_a_gaussian_moves_by_its_covariance_times_the_gradient() -> None:
    """Cov(x_0 | x_t) = s² sigma²/(alpha² s² + sigma²) of N(m, s²), written out."""
    base = gaussian_denoiser(0.3, STD, SCHEDULE)
    for t in (0.1, 0.4, 0.7):
        now = noise_level(SCHEDULE, t)
        covariance = STD**2 * now.sigma**2 / (now.alpha**2 * STD**2 + now.sigma**2)
        found = clip_guided(base, linear, 2.5, ALWAYS)(X, now).clean
        torch.testing.assert_close(found, base(X, now).clean + 2.5 * covariance * SLOPE, rtol=1e-9, atol=1e-9)


def test_the_gradient_goes_through_the_denoiser() -> None:
    """Of a mixture and a curved match, by central differences in each element of x_t."""
    means = torch.tensor([[-1.0, 0.5, 0.2], [0.8, -0.3, 0.4]], dtype=torch.float64)
    base = mixture_denoiser(means, torch.tensor([0.3, 0.5]).double(), torch.tensor([0.4, 0.6]).double(), SCHEDULE)

    def match(x_0: Tensor) -> Tensor:
        return -(x_0 - SLOPE).square().sum(1) + linear(x_0).sin()

    now, scale, step = noise_level(SCHEDULE, 0.5), 1.7, 1e-5
    log_probability = of_clean(base, match)
    slopes = torch.zeros_like(X)
    for k in range(X.shape[1]):
        moved = torch.zeros_like(X)
        moved[:, k] = step
        slopes[:, k] = (log_probability(X + moved, now) - log_probability(X - moved, now)) / (2 * step)
    found = clip_guided(base, match, scale, ALWAYS)(X, now).clean
    expected = base(X, now).clean + scale * now.sigma**2 / now.alpha * slopes
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_it_guides_within_the_interval_and_where_a_picture_can_be_seen() -> None:
    base = gaussian_denoiser(0.0, STD, SCHEDULE)
    late, early = noise_level(SCHEDULE, 0.2), noise_level(SCHEDULE, 0.999)
    assert float(early.sigma / early.alpha) > 20 > float(late.sigma / late.alpha)
    for now, interval, guides in ((late, ALWAYS, True), (early, ALWAYS, False), (late, Interval(1.0, 5.0), False)):
        moved = clip_guided(base, linear, 3.0, interval)(X, now).clean - base(X, now).clean
        assert bool((moved != 0).any()) == guides
