"""Claims on the reverse process and on sampling."""

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from sumi.denoising.exact import gaussian_denoiser, mixture_denoiser
from sumi.explain.correction import measure_remainder
from sumi.explain.introduction.claim import Chapter, Finding, in_a_row, judged
from sumi.explain.introduction.noising import correlation, draws, fresh
from sumi.explain.reverse_kernel import MEASURED, empirical_denoiser, order, worst_step
from sumi.figures.charts import curves
from sumi.metrics.spectrum import fine_power
from sumi.process.chain import LinearBeta
from sumi.process.continuous import VP, Flow
from sumi.process.gaussian import add_noise, posterior
from sumi.process.schedule import NoiseLevel, Schedule, noise_level
from sumi.sampling.inversion import invert
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.time_grid import log_ratio, uniform

KNOWN = 300
"""Pictures that the exact denoiser of pictures knows."""

REVERSE = Chapter("From noise to data")
SAMPLING = Chapter("Sampling")


def mixture(schedule: Schedule) -> Any:
    """The exact denoiser of five blobs in the plane, of variance about 1 together."""
    angle = torch.arange(5, dtype=torch.float64) * (2 * torch.pi / 5)
    means = 1.2 * torch.stack([angle.cos(), angle.sin()], 1)
    shares = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.1], dtype=torch.float64)
    return mixture_denoiser(means, torch.full((5,), 0.15, dtype=torch.float64), shares, schedule)


@REVERSE.says("Undoing a small Gaussian step is a Gaussian step too.")
def _gaussian_reverse(_: Tensor) -> Finding:
    schedule = LinearBeta().build()
    found = {steps: worst_step(schedule, steps) for steps in MEASURED}
    few, many = found[5].distance, found[1000].distance
    slope = order(found[500], found[1000])
    return Finding(
        judged(many < 1e-6, "imprecise" if many < 0.01 else "false"),
        f"Only in the limit. For data of two narrow peaks the least Gaussian of 1,000 steps is {many:.2g} away from "
        "one "
        f"(total variation), of 5 steps {few:.2f}; the distance falls like β^{slope:.2f}.",
        curves(
            {"distance": (list(found), [step.distance for step in found.values()])},
            x="steps",
            y="distance",
            logarithmic="xy",
        ),
        "distance of the least Gaussian step from a Gaussian",
    )


@REVERSE.says("q(x_s | x_t) needs all the data, but with x_0 given it is a known Gaussian.")
def _posterior(_: Tensor) -> Finding:
    schedule = VP().build()
    s, t = noise_level(schedule, 0.4), noise_level(schedule, 0.5)
    x_0, x_t = 0.6, -0.3
    x = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    scale, variance = float(t.alpha / s.alpha), float(t.sigma**2 - (t.alpha / s.alpha * s.sigma) ** 2)
    weights = (-((x - s.alpha * x_0) ** 2) / (2 * s.sigma**2) - (x_t - scale * x) ** 2 / (2 * variance)).softmax(0)
    mean = float(weights @ x)
    std = sqrt(float(weights @ (x - mean) ** 2))
    known = posterior(s, t)
    exact = float(known.clean) * x_0 + float(known.noisy) * x_t
    off = max(abs(mean - exact), abs(std - sqrt(float(known.variance))))
    return Finding(
        judged(off < 1e-8),
        f"By Bayes' rule on a fine grid its mean is {mean:.6f} and its deviation {std:.6f}; the formula gives the same "
        "up "
        f"to {off:.0e}.",
    )


@REVERSE.says("For the variance of a reverse step, β or the posterior's, both do.")
def _two_variances(_: Tensor) -> Finding:
    def ends(eta: float, std: float, steps: int) -> float:
        schedule = LinearBeta().build()
        noise = fresh((4000, 1), 100_000)
        start = draws((4000, 1), 5)
        return float(sample(gaussian_denoiser(0.0, std, schedule), DDIM(eta=eta), uniform(steps), start, noise).std())

    counts = (5, 10, 20, 50, 200)
    found = [ends(1.0, 1.0, steps) for steps in counts]
    return Finding(
        judged(abs(found[2] - 1) < 0.02, "imprecise"),
        f"Each is exact for other data: the posterior's for a single point, β for data of variance 1 (Ho et al. 2020). "
        f"With the posterior's, data N(0, 1) come out with a deviation of {found[1]:.3f} in 10 steps, {found[2]:.3f} "
        "in "
        f"20, {found[-1]:.3f} in 200.",
        curves({"deviation": (counts, found)}, x="steps", y="deviation", logarithmic="x"),
        "data of deviation 1, sampled with the posterior's variance",
    )


@REVERSE.says("To predict the noise, the picture or the velocity is one and the same.")
def _same_prediction(_: Tensor) -> Finding:
    schedule = LinearBeta().build()
    times = torch.linspace(0.001, 1, 200, dtype=torch.float64)
    levels = [noise_level(schedule, float(t)) for t in times]
    x_0, noise = draws((100,), 6), draws((100,), 7)
    worst = 0.0
    for level in levels:
        x_t = level.alpha * x_0 + level.sigma * noise
        worst = max(worst, float(((x_t - level.sigma * noise) / level.alpha - x_0).abs().max()))
    ratio = [float(level.sigma / level.alpha) for level in levels]
    return Finding(
        judged(max(ratio) < 2, "imprecise"),
        f"What one says follows from the other (here up to {worst:.0e}), errors do not: an error in ε counts σ/α times "
        "in "
        f"x̂_0, which is {ratio[0]:.3f} at the first step and {ratio[-1]:.0f} at the last.",
        curves({"σ/α": (times.tolist(), ratio)}, x="t   (0 data, 1 noise)", y="σ/α", logarithmic="y"),
        "how much an error in the noise counts in the picture",
    )


@REVERSE.says("From pure noise, the best guess of the picture is the average picture.")
def _average(pictures: Tensor) -> Finding:
    known = pictures[:KNOWN].double()
    schedule = LinearBeta().build()
    level = noise_level(schedule, 1.0)
    x_t = add_noise(known[:16], draws((16, *known.shape[1:]), 8), level)
    guess, mean = empirical_denoiser(known, schedule)(x_t, level).clean, known.mean(0)
    apart = float((guess - mean).square().mean().sqrt() / (known - mean).square().mean().sqrt())
    return Finding(
        judged(apart < 0.2),
        f"Of {KNOWN} pictures: guesses from x_T differ from their mean by {100 * apart:.0f} % of what pictures do.",
        in_a_row(torch.cat([guess[:4], mean[None]]), [*["x̂_0"] * 4, "mean"]),
        "the exact guess from four noises, and the mean",
    )


@REVERSE.says("Halfway, the estimate x̂_0 is a picture already, only less certain.")
def _halfway(pictures: Tensor) -> Finding:
    known = pictures[:KNOWN].double()
    schedule = LinearBeta().build()
    times = (0.3, 0.4, 0.5, 0.6, 0.8)
    noise = draws((50, *known.shape[1:]), 9)
    denoiser = empirical_denoiser(known, schedule)
    guesses, detail = list[Tensor](), list[float]()
    for t in times:
        level = noise_level(schedule, t)
        guess = denoiser(add_noise(known[:50], noise, level), level).clean
        guesses.append(guess[0].float())
        detail.append(float(fine_power(guess.float()).mean() / fine_power(known[:50].float()).mean()))
    return Finding(
        judged(min(detail) > 0.9),
        "It is an average of the pictures that fit. Of the power of fine detail it has "
        + ", ".join(f"{100 * d:.0f} % at t = {t:g}" for t, d in zip(times, detail, strict=True))
        + ".",
        in_a_row(torch.stack(guesses), [f"t = {t:g}" for t in times]),
        "the exact x̂_0 of one noisy picture",
    )


@SAMPLING.says("Errors made early are corrected by later steps.")
def _corrected(_: Tensor) -> Finding:
    schedule = LinearBeta().build()
    ode, ancestral = measure_remainder(schedule, DDIM()), measure_remainder(schedule, DDIM(eta=1.0))
    return Finding(
        judged(abs(ode.left[-1]) < 0.05 and abs(ancestral.left[-1]) < 0.05, "imprecise"),
        f"For data of deviation 0.3, an error of 1 at half of the time ends as {ode.left[-1]:.2f} by the ODE and as "
        f"{ancestral.left[-1]:.2f} by ancestral sampling. It is the fresh noise that makes a sampler forget.",
        curves(
            {"ODE": (ode.t, ode.left), "ancestral": (ancestral.t, ancestral.left)}, x="t   (0 data, 1 noise)", y="left"
        ),
        "what is left of an error of 1 made at t = 0.5",
    )


@SAMPLING.says("The way from noise to a sample is a straight line.")
def _straight(_: Tensor) -> Finding:
    found = {}
    for name, schedule in (("VP", VP().build()), ("flow", Flow().build())):
        path: list[Tensor] = []

        def record(_step: int, _level: NoiseLevel, x: Tensor, path: list[Tensor] = path) -> None:
            path.append(x)

        start = draws((500, 2), 10) * float(noise_level(schedule, 1.0).sigma)
        sample(mixture(schedule), DDIM(), log_ratio(schedule, 200, 1.0), start, callback=record)
        points = torch.stack([start, *path])
        length = (points[1:] - points[:-1]).norm(dim=-1).sum(0)
        found[name] = float((length / (points[-1] - points[0]).norm(dim=-1)).median())
    return Finding(
        judged(max(found.values()) < 1.01),
        f"The median path to five blobs is {found['VP']:.2f} times as long as the straight line for the VP process, "
        "and "
        f"{found['flow']:.2f} times for flow matching, whose noising paths are straight.",
    )


@SAMPLING.says("One must sample in as many steps as one trained with.")
def _as_many_steps(_: Tensor) -> Finding:
    schedule, counts = VP().build(), (5, 10, 20, 50, 200, 1000)
    start = draws((500, 2), 11)

    def errors(solver: Any) -> list[float]:
        exact = sample(mixture(schedule), Adams(data_std=1.0), log_ratio(schedule, 1500, 1.0), start)
        grids = (log_ratio(schedule, steps, 1.0) for steps in counts)
        return [float((sample(mixture(schedule), solver, grid, start) - exact).norm(dim=1).median()) for grid in grids]

    ddim, adams = errors(DDIM()), errors(Adams(data_std=1.0))
    enough = next((k for k in range(len(counts) - 1) if adams[k] < ddim[-1]), len(counts) - 1)
    return Finding(
        judged(enough == len(counts) - 1),
        f"From the same noise, {counts[enough]} steps of a multistep solver end {adams[enough]:.4f} from the exact "
        "sample (median, "
        f"data of deviation 1), 1,000 steps of DDIM {ddim[-1]:.4f}.",
        curves({"DDIM": (counts, ddim), "multistep (Adams)": (counts, adams)}, x="steps", y="error", logarithmic="xy"),
        "median distance to the exact sample of the same noise",
    )


@SAMPLING.says("Fewer steps cost fine detail.")
def _detail(pictures: Tensor) -> Finding:
    known = pictures[:KNOWN].double()
    schedule, counts = LinearBeta().build(), (3, 5, 10, 20, 50)
    denoiser, start = empirical_denoiser(known, schedule), draws((24, *known.shape[1:]), 12)
    made = {steps: sample(denoiser, DDIM(), uniform(steps), start).float() for steps in counts}
    real = fine_power(known.float()).mean()
    detail = [float(fine_power(made[steps]).mean() / real) for steps in counts]
    return Finding(
        judged(detail[0] < 0.9 and detail[0] < detail[-1]),
        "With the exact denoiser of the pictures, DDIM leaves "
        + ", ".join(f"{100 * d:.0f} % in {steps} steps" for steps, d in zip(counts, detail, strict=True))
        + " of the power of fine detail.",
        in_a_row(torch.stack([made[steps][3] for steps in counts]), [f"{steps} steps" for steps in counts]),
        "the same noise in fewer and more steps",
    )


@SAMPLING.says("The noise that sampling starts from decides the picture.")
def _decided(_: Tensor) -> Finding:
    schedule = VP().build()
    start, noises = draws((2000, 2), 13), [fresh((2000, 2), place) for place in (200_000, 300_000)]
    times = log_ratio(schedule, 100, 1.0)
    once, twice = (sample(mixture(schedule), DDIM(eta=1.0), times, start, noise) for noise in noises)
    ode = [sample(mixture(schedule), DDIM(), times, start) for _ in range(2)]
    alike = correlation(once, twice)
    return Finding(
        judged(torch.equal(*ode) and alike > 0.99, "imprecise"),
        f"By the ODE (DDIM, η = 0) it does, to the last bit. With fresh noise in each step (η = 1) two samples of one "
        f"start correlate by only {alike:.2f}.",
    )


@SAMPLING.says("A sampler without noise can be run backwards, from a picture to its noise.")
def _invertible(_: Tensor) -> Finding:
    schedule, counts = VP().build(), (10, 50, 250)
    x_0 = sample(mixture(schedule), Adams(data_std=1.0), log_ratio(schedule, 300, 1.0), draws((300, 2), 14))
    errors = []
    for steps in counts:
        times = log_ratio(schedule, steps, 1.0)
        back = invert(mixture(schedule), DDIM(), times, x_0)
        errors.append(float((sample(mixture(schedule), DDIM(), times, back) - x_0).norm(dim=1).median()))
    return Finding(
        judged(errors[-1] < 0.02 and errors[-1] < errors[0] / 5),
        "There and back by DDIM a sample (of data of deviation 1) is off by "
        + ", ".join(f"{error:.4f} in {steps} steps" for steps, error in zip(counts, errors, strict=True))
        + ": as exactly as the steps are small.",
    )


@SAMPLING.says("The randomness of sampling makes new pictures that resemble the data, instead of copies.")
def _copies(pictures: Tensor) -> Finding:
    known = pictures[:KNOWN].double()
    schedule = LinearBeta().build()
    denoiser, start = empirical_denoiser(known, schedule), draws((32, *known.shape[1:]), 15)
    share = {}
    for eta in (0.0, 1.0):
        noise = fresh(tuple(start.shape), 400_000)
        made = sample(denoiser, DDIM(eta=eta), uniform(100), start, noise)
        apart = torch.cdist(made.flatten(1), known.flatten(1)).min(1).values / sqrt(known[0].numel())
        share[eta] = float((apart < 2 / 255).double().mean())
    return Finding(
        judged(share[1.0] < 0.5),
        f"With a perfect denoiser every sample is a training picture, to a level of 255: {100 * share[0.0]:.0f} % "
        "without "
        f"and {100 * share[1.0]:.0f} % with fresh noise. What is new in a picture comes from what the network has not "
        f"learned by heart.",
    )
