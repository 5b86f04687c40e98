"""Claims on the forward process."""

from math import sqrt

import numpy as np
import torch
from torch import Tensor

from sumi.explain.introduction.claim import Chapter, Finding, in_a_row, judged
from sumi.explain.unscaled import variances, walk_points
from sumi.figures.charts import curves
from sumi.metrics.spectrum import spectrum
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.gaussian import add_noise
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose, normal
from sumi.sampling.solvers.solver import Noise

STEPS = 1000
DRAWS = 200_000

NOISING = Chapter("From data to noise")


def betas() -> Tensor:
    """β of Ho et al. 2020, float64 (1000,)."""
    return LinearBeta().build().betas(STEPS)


def alpha_bar() -> Tensor:
    """ᾱ after 1 … 1000 steps."""
    return (1 - betas()).cumprod(0)


def draws(shape: tuple[int, ...], place: int = 0) -> Tensor:
    """Standard normal float64 numbers, always the same; ``place`` tells apart those of one experiment."""
    return normal(0, [place], 0, Purpose.START, shape, dtype=torch.float64)[0]


def fresh(shape: tuple[int, ...], place: int) -> Noise:
    """New noise of this shape for each step of a sampler."""

    def noise(step: int, _: Purpose, draw: int = 0, /) -> Tensor:
        return draws(shape, place + 10_000 * draw + step)

    return noise


def correlation(a: Tensor, b: Tensor) -> float:
    """Of all entries."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@NOISING.says("Add a little Gaussian noise, often enough, and nothing of the picture is left.")
def _nothing_left(pictures: Tensor) -> Finding:
    schedule = LinearBeta().build()
    x, noise = pictures[:100].double(), draws(tuple(pictures[:100].shape))
    times = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
    shown = [add_noise(x[:1], noise[:1], noise_level(schedule, t))[0] for t in times]
    left = correlation(add_noise(x, noise, noise_level(schedule, 1.0)), x)
    return Finding(
        judged(sqrt(float(alpha_bar()[-1])) < 0.01 and abs(left) < 0.02),
        f"After 1,000 steps √ᾱ = {sqrt(float(alpha_bar()[-1])):.4f} of the picture is left in noise of size 1; over "
        "100 "
        f"pictures x_T and x_0 correlate by {left:.3f}.",
        in_a_row(torch.stack(shown), [f"{1000 * t:g}" for t in times]),
        "one picture after 0 to 1,000 steps",
    )


@NOISING.says("A noising step draws from a Gaussian whose mean is (1 - β) x.")
def _mean_of_a_step(_: Tensor) -> Finding:
    beta, x = 0.2, draws((DRAWS,), 1)
    after = sqrt(1 - beta) * x + sqrt(beta) * draws((DRAWS,), 2)
    slope, error = float(after @ x / (x @ x)), sqrt(beta / DRAWS)
    return Finding(
        judged(abs(slope - (1 - beta)) < 4 * error),
        f"It is √(1 - β) x. For β = {beta} the mean of {DRAWS:,} steps is {slope:.3f} ± {2 * error:.3f} times x: "
        f"√(1 - β) is {sqrt(1 - beta):.3f} and 1 - β is {1 - beta:.3f}. With 1 - β, data of variance 1 would shrink to "
        "a "
        f"variance of {(1 - beta) ** 2 + beta:.2f} in one step.",
    )


@NOISING.says("Shrinking x at each step keeps the variance from growing without limit.")
def _unscaled(_: Tensor) -> Finding:
    walked = walk_points(betas(), points=5_000)
    steps = list(range(STEPS + 1))
    without, kept = float(walked.unscaled[-1]), float(walked.scaled[-1])
    exact = float(variances(betas(), scaled=False)[-1])
    return Finding(
        judged(without > 5 and abs(kept - 1) < 4 * walked.error),
        f"Without √(1 - β) data of variance 1 end at {without:.2f} (exactly {exact:.2f}) and go on growing with every "
        f"step; with it at {kept:.2f} ± {2 * walked.error:.2f}.",
        curves(
            {"x + √β ε": (steps, walked.unscaled.tolist()), "√(1-β) x + √β ε": (steps, walked.scaled.tolist())},
            x="step",
            y="variance",
        ),
        "variance of 5,000 points over the steps",
    )


@NOISING.says("After 50 of 1,000 steps ᾱ is already much closer to 0.")
def _fifty_steps(_: Tensor) -> Finding:
    kept = alpha_bar()
    half = int((kept < 0.5).nonzero()[0]) + 1
    return Finding(
        judged(float(kept[49]) < 0.5),
        f"ᾱ_50 = {float(kept[49]):.3f}: a picture's neighbour would not notice. Half of the variance is noise only "
        "after "
        f"{half} steps.",
        curves({"ᾱ": (list(range(1, STEPS + 1)), kept.tolist())}, x="step", y="ᾱ"),
        "the share of the variance that is still the picture's",
    )


@NOISING.says("Sums of Gaussians are Gaussian, so that any step can be reached in one jump.")
def _one_jump(_: Tensor) -> Finding:
    count, steps, x_0 = 20_000, 300, 0.7
    x = torch.full((count,), x_0, dtype=torch.float64)
    for k, beta in enumerate(betas()[:steps].tolist()):
        x = sqrt(1 - beta) * x + sqrt(beta) * draws((count,), k + 1)
    kept = float(alpha_bar()[steps - 1])
    z = ((x - sqrt(kept) * x_0) / sqrt(1 - kept)).sort().values
    normal_cdf = torch.special.ndtr(z)
    apart = float((normal_cdf - (torch.arange(count) + 0.5) / count).abs().max())
    return Finding(
        judged(apart < 1.63 / sqrt(count)),
        f"{count:,} walks of {steps} steps and the jump √ᾱ x_0 + √(1 - ᾱ) ε: their distributions are {apart:.4f} apart "
        f"(Kolmogorov-Smirnov; by chance up to {1.63 / sqrt(count):.4f} in 99 of 100).",
    )


@NOISING.says("The noise in the jump is the noise of the first step.")
def _noise_of_the_jump(_: Tensor) -> Finding:
    kept, first = alpha_bar(), betas()[0]
    exact = (first * kept / kept[0] / (1 - kept)).sqrt()
    count, steps = 20_000, 50
    x = torch.zeros(count, dtype=torch.float64)
    for k, beta in enumerate(betas()[:steps].tolist()):
        x = sqrt(1 - beta) * x + sqrt(beta) * draws((count,), k + 1)
    measured = correlation(x, draws((count,), 1))
    return Finding(
        judged(float(exact[steps - 1]) > 0.99),
        f"It mixes the noises of all steps. After {steps} steps it correlates with the first one by "
        f"{float(exact[steps - 1]):.3f} (measured: {measured:.3f} ± {2 / sqrt(count):.3f}).",
        curves({"correlation": (list(range(1, STEPS + 1)), exact.tolist())}, x="step of the jump", y="correlation"),
        "correlation of the jump's noise with that of the first step",
    )


@NOISING.says("As every β is between 0 and 1, ᾱ tends to 0.")
def _betas_between(_: Tensor) -> Finding:
    k = torch.arange(2, 1_000_002, dtype=torch.float64)
    kept = (1 - 1 / k**2).cumprod(0)
    places = np.unique(np.geomspace(1, len(k), 100).astype(int)) - 1
    return Finding(
        judged(float(kept[-1]) < 0.01),
        f"Their sum must grow without limit too. With β_k = 1/(k + 1)², all between 0 and 1, ᾱ is "
        f"{float(kept[-1]):.4f} after a million steps, and tends to ½.",
        curves({"ᾱ": ((places + 1).tolist(), kept[places].tolist())}, x="step", y="ᾱ", logarithmic="x"),
        "ᾱ for β_k = 1/(k + 1)²",
    )


@NOISING.says("The steps add noise evenly, so that each takes away as much as any other.")
def _evenly(_: Tensor) -> Finding:
    linear, cosine = alpha_bar(), (1 - CosineBeta().build().betas(STEPS)).cumprod(0)
    late = {"linear": float(linear[599]), "cosine": float(cosine[599])}
    steps = list(range(1, STEPS + 1))
    return Finding(
        judged(abs(late["linear"] - 0.4) < 0.1),
        f"The linear schedule leaves {100 * late['linear']:.1f} % of the picture's variance to the last 400 of its "
        "steps, "
        f"the cosine schedule {100 * late['cosine']:.0f} %: that is why the latter was made (Nichol & Dhariwal 2021).",
        curves({"linear β": (steps, linear.tolist()), "cosine": (steps, cosine.tolist())}, x="step", y="ᾱ"),
        "the share of the variance that is still the picture's",
    )


@NOISING.says("Noise hides fine detail first, and the outline last.")
def _detail_first(pictures: Tensor) -> Finding:
    power = spectrum(pictures[:500])
    rings = [(f, p.value) for f, p in zip(power.frequency, power.power, strict=True) if f > 0 and p.value > 0]
    kept = alpha_bar()
    drowned = [int((kept / (1 - kept) * p < 1).nonzero()[0]) + 1 for _, p in rings]  # white noise has a power of 1
    frequency = [f for f, _ in rings]
    return Finding(
        judged(drowned[0] > 2 * drowned[-1]),
        f"The coarsest waves of these pictures are as strong as the noise at step {drowned[0]}, the finest already at "
        "step "
        f"{drowned[-1]}.",
        curves({"as strong as the noise": (frequency, drowned)}, x="cycles per pixel   (coarse ← → fine)", y="step"),
        "when noise is as strong as the waves of each length",
    )


@NOISING.says("Sampling may start from N(0, I), because that is what x_T is.")
def _start(pictures: Tensor) -> Finding:
    kept = float(alpha_bar()[-1])
    x = pictures.double().flatten(1)
    bits = float((kept * x.square() - kept - np.log1p(-kept)).sum(1).mean() / 2 / np.log(2))
    shift = sqrt(kept) * float(x.mean(0).norm())
    return Finding(
        judged(bits < 0.01, "imprecise"),
        f"Nearly: KL(q(x_T | x_0) ‖ N(0, I)) is {bits:.3f} bits a picture, and the mean of all x_T is off by "
        f"{shift:.2f} "
        f"in all where one x_T has length {sqrt(x.shape[1]):.0f}. A sampler that starts at N(0, I) never sees the mean "
        f"brightness that training leaked, which shows in flat pictures (Lin et al. 2024).",
    )


@NOISING.says("Writing x_t as mean plus deviation times ε is what lets gradients through the drawing of x_t.")
def _reparameterized(_: Tensor) -> Finding:
    mean, std = 1.0, 0.5
    noise = draws((DRAWS,), 3)
    x = mean + std * noise
    through = 2 * x  # d/dmean of x² with x = mean + std ε
    around = x.square() * noise / std  # x² ∂ log N(x; mean, std²)/∂mean
    ratio = float(around.var() / through.var())
    error = sqrt(float(around.var()) / DRAWS)
    agree = abs(float(around.mean()) - 2 * mean) < 4 * error and abs(float(through.mean()) - 2 * mean) < 4 * error
    return Finding(
        judged(agree and ratio < 1.5, "imprecise"),
        "Gradients can be had without it, by ∂ log p: both estimates of d E[x²]/dμ come to 2 "
        f"({float(through.mean()):.3f} "
        f"and {float(around.mean()):.3f}). But that one's variance is {ratio:.1f} times as large, already in one "
        "dimension.",
    )
