"""Claims on the bound, its simplification, and scores."""

from math import log, sqrt
from typing import Any

import torch
from torch import Tensor

from sumi.denoising.exact import mixture_denoiser
from sumi.explain.introduction.claim import Chapter, Finding, judged
from sumi.explain.introduction.noising import STEPS, alpha_bar, betas, draws, fresh
from sumi.explain.introduction.reverse import KNOWN, mixture
from sumi.explain.reverse_kernel import empirical_denoiser
from sumi.figures.charts import curves
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Cosine
from sumi.process.exploding import EDM
from sumi.process.gaussian import add_noise, gaussian_kl
from sumi.process.schedule import Schedule, noise_level
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import log_ratio

BOUND = Chapter("What is learned")
SCORES = Chapter("Scores, and equations in continuous time")


@BOUND.says("The distance of two Gaussians of equal variance is the squared distance of their means.")
def _equal_variance(_: Tensor) -> Finding:
    mean, variance = 0.7, 0.3
    x = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    log_q, log_p = -((x - mean) ** 2) / (2 * variance), -(x**2) / (2 * variance)
    q = log_q.softmax(0)
    integral = float(q @ (log_q - log_p))
    formula, squared = float(gaussian_kl(mean, variance, variance)), mean**2 / (2 * variance)
    return Finding(
        judged(abs(integral - squared) < 1e-9 and abs(formula - squared) < 1e-12),
        f"KL(N({mean}, {variance}) ‖ N(0, {variance})) by integration is {integral:.9f}, and μ²/(2σ²) = {squared:.9f}. "
        "That "
        f"is why learning to denoise is regression.",
    )


@BOUND.says("The last term of the bound has no parameters and is close to zero.")
def _prior_term(pictures: Tensor) -> Finding:
    kept = alpha_bar()
    squares = float(pictures.double().square().mean())

    def bits(k: Tensor) -> Tensor:
        return (k * squares - k - (-k).log1p()) / 2 / log(2)

    last = float(bits(kept[-1]))
    return Finding(
        judged(last < 1e-3),
        f"With 1,000 steps it is {last:.1e} bits a dimension of these pictures; had one stopped at step 500, "
        f"{float(bits(kept[499])):.3f}.",
        curves({"bits": (list(range(100, STEPS + 1)), bits(kept[99:]).tolist())}, x="steps", y="bits", logarithmic="y"),
        "the last term if the chain ended at each step, bits a dimension",
    )


@BOUND.says("The simple loss is the bound, only without its constants.")
def _simple_loss(_: Tensor) -> Finding:
    kept, beta = alpha_bar(), betas()
    before = torch.cat([kept.new_ones(1), kept[:-1]])
    variance = beta * (1 - before) / (1 - kept)
    weight = (beta**2 / (2 * variance * (1 - beta) * (1 - kept)))[1:]
    ratio = float(weight[0] / weight.min())
    return Finding(
        judged(ratio < 2, "false" if ratio > 10 else "imprecise"),
        f"The bound counts an error in ε at step 2 {ratio:,.0f} times as much as where it counts least. To leave the "
        "weights "
        f"out is another objective, which spends a network on what eyes see rather than on the last bits.",
        curves({"weight": (list(range(2, STEPS + 1)), weight.tolist())}, x="step", y="weight", logarithmic="y"),
        "how much the bound counts an error in ε at each step",
    )


@BOUND.says("A better shape of the noise schedule makes a better likelihood.")
def _schedule_shape(_: Tensor) -> Finding:
    std, ends = 0.5, torch.tensor([10.0, -10.0], dtype=torch.float64)

    def bound(schedule: Schedule) -> float:
        """½ ∫ E|x_0 - x̂_0|² d(SNR), over t, from the data's end to the noise's."""
        low, high = schedule.time(ends).tolist()
        t = torch.linspace(0, 1, 200_001, dtype=torch.float64)
        # even steps of t would miss the ends of the slower schedules: t is drawn out towards both
        t = low + (high - low) * t.square() * (3 - 2 * t)
        level = noise_level(schedule, t)
        snr = torch.as_tensor(level.log_snr).exp()
        error = std**2 / (1 + snr * std**2)
        return float(-torch.trapezoid(error, snr) / 2)

    found = {name: bound(s) for name, s in (("VP", VP().build()), ("cosine", Cosine().build()), ("EDM", EDM().build()))}
    spread = max(found.values()) - min(found.values())
    return Finding(
        judged(spread > 1e-3),
        "In continuous time only its two ends count (Kingma et al. 2021). With the same ends the bound's integral is "
        + ", ".join(f"{value:.5f} ({name})" for name, value in found.items())
        + " nats. What the shape changes is how noisy its estimate is, and how well a network learns.",
    )


@BOUND.says("A network that denoises has learned the score: they differ by a known factor.")
def _tweedie(_: Tensor) -> Finding:
    schedule = VP().build()
    denoiser, worst = mixture(schedule), 0.0
    for t in (0.1, 0.3, 0.6, 0.9):
        level = noise_level(schedule, t)
        x = draws((200, 2), 20).requires_grad_()
        log_density = _mixture_log_density(x, float(level.alpha), float(level.sigma))
        (score,) = torch.autograd.grad(log_density.sum(), x)
        tweedie = (level.alpha * denoiser(x.detach(), level).clean - x.detach()) / level.sigma**2
        worst = max(worst, float((score - tweedie).abs().max() / score.abs().max()))
    return Finding(
        judged(worst < 1e-9),
        "∇ log p(x_t) by differentiating the density of five blobs, and (α x̂_0 - x_t)/σ² by denoising, agree to "
        f"{worst:.0e} "
        f"(Tweedie's formula).",
    )


@SCORES.says("The score points to the nearest data.")
def _nearest(pictures: Tensor) -> Finding:
    known = pictures[:KNOWN].double()
    schedule, flat = LinearBeta().build(), known.flatten(1)
    denoiser, times = empirical_denoiser(known, schedule), (0.1, 0.3, 0.5, 0.7, 0.9)
    shares: list[float] = []
    for t in times:
        level = noise_level(schedule, t)
        x_t = add_noise(known[:100], draws((100, *known.shape[1:]), 21), level)
        guess = denoiser(x_t, level).clean.flatten(1)
        nearest = torch.cdist(x_t.flatten(1), float(level.alpha) * flat).argmin(1)
        on_it = (guess - flat[nearest]).norm(dim=1) < 0.1 * (flat - flat.mean(0)).norm(dim=1).mean()
        shares.append(100 * float(on_it.double().mean()))
    return Finding(
        judged(min(shares) > 95, "imprecise" if max(shares) > 95 else "false"),
        f"It points to the average of the pictures that x_t may have come from. That is the nearest one for "
        f"{shares[0]:.0f} % at t = {times[0]}, but for {shares[-1]:.0f} % at t = {times[-1]}.",
        curves({"nearest": (times, shares)}, x="t   (0 data, 1 noise)", y="%"),
        "how often the score points to the nearest picture",
    )


@SCORES.says("Langevin steps along the score of the data end in samples of the data.")
def _langevin(_: Tensor) -> Finding:
    shares = torch.tensor([0.2, 0.8], dtype=torch.float64)
    means, stds = torch.tensor([[-4.0], [4.0]], dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    schedule = EDM().build()
    denoiser, x, step = mixture_denoiser(means, stds, shares, schedule), 6 * draws((2000, 1), 22), 0.02
    level = noise_level(schedule, schedule.time(torch.tensor(8.0, dtype=torch.float64)))
    for k in range(500):
        score = (level.alpha * denoiser(x, level).clean - x) / level.sigma**2
        x = x + step * score + sqrt(2 * step) * draws((2000, 1), 1000 + k)
    langevin = float((x > 0).double().mean())
    start = draws((2000, 1), 23) * float(noise_level(schedule, 1.0).sigma)
    diffused = sample(denoiser, Adams(data_std=4.0), log_ratio(schedule, 60, 4.0), start)
    annealed, error = float((diffused > 0).double().mean()), 2 * sqrt(0.16 / 2000)
    return Finding(
        judged(abs(langevin - 0.8) < 2 * error, "imprecise"),
        "They stay in the mode that they start nearest to. Of two far modes with shares 0.2 and 0.8, 500 Langevin "
        "steps "
        f"leave {langevin:.2f} in the second; through all noise levels it is {annealed:.2f} ± {error:.2f}.",
    )


@SCORES.says("The stochastic equation and the ordinary one lead to the same distribution.")
def _same_law(_: Tensor) -> Finding:
    schedule, count = VP().build(), 4000
    start, times = draws((count, 2), 24), log_ratio(schedule, 500, 1.0)
    ode = sample(mixture(schedule), Adams(data_std=1.0), times, start)
    sde = sample(mixture(schedule), DDIM(eta=1.0), times, start, fresh((count, 2), 500_000))
    apart = max(_kolmogorov(ode[:, k], sde[:, k]) for k in range(2))
    chance = 1.63 * sqrt(2 / count)
    return Finding(
        judged(apart < chance),
        f"{count:,} samples of five blobs by each are {apart:.3f} apart (Kolmogorov-Smirnov; by chance up to "
        f"{chance:.3f} "
        f"in 99 of 100), though from the same start they end elsewhere.",
    )


@SCORES.says("Variance-preserving and variance-exploding diffusion are two different models.")
def _one_process(_: Tensor) -> Finding:
    vp, ve = VP().build(), EDM().build()
    times = torch.linspace(0.9, 0.05, 60, dtype=torch.float64)
    there = ve.time(torch.as_tensor(vp.log_snr(times)))
    first = noise_level(vp, float(times[0]))
    x = draws((200, 2), 25)
    a = sample(mixture(vp), DDIM(), times, x)
    b = sample(mixture(ve), DDIM(), there, x / float(first.alpha))
    last = noise_level(vp, float(times[-1]))
    apart = float((a / float(last.alpha) - b).abs().max())
    return Finding(
        judged(apart > 1e-3),
        "They are one, in other units: x_t of one divided by α is x_t of the other at the same signal-to-noise ratio. "
        "From "
        f"the same noise, 59 steps of DDIM end {apart:.0e} apart.",
    )


def _mixture_log_density(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """log p(x_t) of `mixture`, up to a constant, written independently."""
    angle = torch.arange(5, dtype=torch.float64) * (2 * torch.pi / 5)
    places = 1.2 * torch.stack([angle.cos(), angle.sin()], 1)
    shares = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.1], dtype=torch.float64)
    variance = (0.15 * alpha) ** 2 + sigma**2
    return (shares.log() - (x[:, None] - alpha * places).square().sum(2) / (2 * variance)).logsumexp(1)


def _kolmogorov(a: Tensor, b: Tensor) -> float:
    every: Any = torch.cat([a, b]).sort().values
    below = [torch.searchsorted(part.sort().values, every, right=True) / len(part) for part in (a, b)]
    return float((below[0] - below[1]).abs().max())
