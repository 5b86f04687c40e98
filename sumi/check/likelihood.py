"""Laws of bounds and likelihoods, on data whose entropy and density are known."""

from math import e, log, pi

import torch

from sumi.check.law import Law
from sumi.denoising.binomial import before, bound_term
from sumi.denoising.exact import gaussian_denoiser, mixture_denoiser
from sumi.likelihood.discretised import discretised_gaussian
from sumi.likelihood.grid_flow import GridFlow
from sumi.likelihood.probability_flow import Flow as FlowOfDensity
from sumi.likelihood.probability_flow import ProbabilityFlow
from sumi.likelihood.trace import ExactTrace
from sumi.likelihood.variational import VARIANCES, VariationalBound, even_times
from sumi.process.binomial import bernoulli_kl, kept
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Erasing, Flow
from sumi.process.exploding import EDM
from sumi.process.schedule import Schedule, noise_level
from sumi.randomness import Purpose, SampleNoise

STD = 0.3


def laws() -> list[Law]:
    """Every law of the likelihoods, measured now."""
    chain = LinearBeta().build()
    end = VariationalBound(chain, even_times(1000), VARIANCES["small"])
    prior = float(end.prior(torch.ones(1, 1, dtype=torch.float64))) / log(2)
    return [
        Law("the prior's term of the linear chain is 2.9e-5 bits at x_0 = ±1", abs(prior - 2.9e-5), 5e-7),
        Law("P(x | x̂_0) adds up to 1 over the levels", _adds_up(), 1e-12),
        Law("the bound with the best variance is the entropy (N(0, 0.3²), + KL to the prior)", _entropy(), 1e-8),
        Law("a bit's bound is its entropy, in any number of steps", _bit(), 1e-10),
        Law(
            "the ODE's density of a mixture is the mixture's, in bits (adaptive)",
            _density(VP().build(), ProbabilityFlow()),
            1e-4,
        ),
        Law("the same on the times of a chain of 1000 steps", _density(chain, GridFlow(1000)), 1e-4),
    ]


def _adds_up() -> float:
    mean = torch.linspace(-1.3, 1.3, 27, dtype=torch.float64)
    worst = 0.0
    for levels, std in ((2, 0.4), (17, 0.05), (256, 0.003)):
        values = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None].expand(-1, len(mean))
        nats = discretised_gaussian(values, mean.expand_as(values), std, levels)
        worst = max(worst, float(((-nats).exp().sum(0) - 1).abs().max()))
    return worst


def _entropy() -> float:
    """The bound is a quadratic form in x_0 and ε, so averaging over their signs gives its mean."""
    worst = 0.0
    for schedule in (LinearBeta().build(), VP().build(), EDM().build(), Flow().build()):
        last = noise_level(schedule, 1.0)
        variance = (float(last.alpha) * STD) ** 2 + float(last.sigma) ** 2
        prior_std = max(1.0, float(last.sigma))
        to_prior = (variance / prior_std**2 - 1 - log(variance / prior_std**2)) / 2
        denoiser = gaussian_denoiser(0.0, STD, schedule)
        for steps in (2, 20):
            bound = VariationalBound(schedule, even_times(steps), VARIANCES["learned"], None, prior_std)
            signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64).repeat_interleave(steps, 0)
            x_0, noise = STD * signs[:, :1], signs[:, 1:]
            index = torch.arange(1, steps + 1).repeat(2)
            total = bound.step(denoiser, x_0, index, noise).sum() / 2 + bound.prior(x_0).mean()
            worst = max(worst, abs(float(total) - log(2 * pi * e * STD**2) / 2 - to_prior))
    return worst


def _bit() -> float:
    """All terms for a bit that is +1 with probability 0.8, weighted by the probabilities of x_0 and x_t."""
    worst = 0.0
    schedule = Erasing().build()
    entropy = -(0.8 * log(0.8) + 0.2 * log(0.2))
    x_0 = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)[:, None]
    x_t = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:, None]
    of_data = 0.5 + 0.3 * x_0
    for steps in (1, 4, 8):
        a = float(kept(noise_level(schedule, 1.0)))
        total = float((of_data / 2 * bernoulli_kl(a * x_0, torch.zeros_like(x_0))).sum())
        for i in range(1, steps + 1):
            now = noise_level(schedule, torch.full((4,), i / steps, dtype=torch.float64))
            keeps = torch.as_tensor(kept(now))[:, None]
            logits = log(0.8 / 0.2) + x_t * torch.log((1 + keeps) / (1 - keeps))
            term = bound_term(logits, x_t, x_0, before(schedule, now, steps), now)
            total += float((of_data * (1 + keeps * x_0 * x_t) / 2 * term).sum())
        worst = max(worst, abs(total - entropy))
    return worst


def _density(schedule: Schedule, flow: FlowOfDensity) -> float:
    """The mean deviation at points of a mixture of two Gaussians in the plane, bits per dimension."""
    means = torch.tensor([[-0.7, 0.35], [0.3, -0.15]], dtype=torch.float64)  # of mean 0, as the prior
    stds = torch.tensor([0.15, 0.25], dtype=torch.float64)
    shares = torch.tensor([0.3, 0.7], dtype=torch.float64)
    draws = SampleNoise(0, range(40), (2,), dtype=torch.float64)(0, Purpose.START)
    which = (torch.arange(40) % 10 >= 3).long()
    x = means[which] + stds[which, None] * draws
    denoiser = mixture_denoiser(means, stds, shares, schedule)
    found = flow.log_density(denoiser, x, ExactTrace())
    first = flow.first(schedule)
    variance = stds**2 + float(first.sigma / first.alpha) ** 2
    squares = (x[:, None] - means).square().sum(-1) / (2 * variance)
    exact = (shares.log() - squares - (2 * pi * variance).log()).logsumexp(1)
    return float((found.log_density - exact).abs().mean()) / (2 * log(2))
